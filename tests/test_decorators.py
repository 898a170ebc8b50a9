"""What a view says about the session it needs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import wraps

import pytest
import time_machine
from flask import Flask

from flask_device_sessions import allow_anonymous, fresh_session_required
from flask_device_sessions.decorators import allows_anonymous
from flask_device_sessions.testing import Browser
from tests.support import PASSWORD, User, sign_in

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)


def _view() -> str:
    return "open to everyone"


def _logged(view: Callable[[], str]) -> Callable[[], str]:
    @wraps(view)
    def wrapper() -> str:
        return view()

    return wrapper


def test_a_view_needs_a_session_unless_it_says_otherwise() -> None:
    """Nothing is open by accident."""
    assert not allows_anonymous(_view)


def test_the_decorator_returns_the_view_itself() -> None:
    """It marks, it does not wrap: name and behaviour stay."""

    def view() -> str:
        return "open"

    assert allow_anonymous(view) is view
    assert allows_anonymous(view)
    assert view() == "open"


def test_the_mark_survives_other_decorators() -> None:
    """A decorator that uses ``functools.wraps`` above it keeps the view open."""

    @_logged
    @allow_anonymous
    def view() -> str:
        return "open"

    assert allows_anonymous(view)
    assert view() == "open"


# -- fresh_session_required ----------------------------------------------------------------------


@pytest.fixture
def site(app: Flask, ada: User) -> Flask:
    """The app with views that need a fresh session."""

    @app.get("/bare")
    @fresh_session_required
    def bare() -> str:
        """Say hello."""
        return "bare"

    @app.get("/sharp/<name>")
    @fresh_session_required(max_age=timedelta(minutes=2))
    def sharp(name: str) -> str:
        return name

    return app


@pytest.mark.parametrize(
    ("path", "minutes", "status"),
    [
        ("/bare", 0, 200),
        ("/bare", 9, 200),
        ("/bare", 10, 302),
        ("/sharp/x", 1, 200),
        ("/sharp/x", 2, 302),
    ],
)
def test_a_view_runs_only_while_the_password_check_counts(
    site: Flask, laptop: Browser, path: str, minutes: int, status: int
) -> None:
    """FRESHNESS, or the view's own ``max_age``, exact to a second (ASVS V7.5.1, V7.5.3)."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        clock.shift(timedelta(minutes=minutes))

        assert laptop.get(path).status_code == status


def test_whose_check_is_too_old_confirms_and_comes_back(site: Flask, laptop: Browser) -> None:
    """Sent to the confirm page, and from there to where they wanted to go (ASVS V7.5.1)."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        clock.shift(timedelta(minutes=11))
        sent_to = laptop.get("/sharp/x").location

        back_to = laptop.post("/confirm", data={"password": PASSWORD, "next": "/sharp/x"}).location

        assert sent_to == "/confirm?next=%2Fsharp%2Fx"
        assert back_to == "/sharp/x"
        assert laptop.get(back_to).text == "x"


def test_a_stranger_is_sent_to_the_login_page(site: Flask, laptop: Browser) -> None:
    """Who is not signed in has nothing to confirm."""
    assert laptop.get("/bare").location == "/login?next=%2Fbare"


def test_the_guarded_view_keeps_its_name_and_words(site: Flask) -> None:
    """Endpoints and documentation are those of the view."""
    view = site.view_functions["bare"]

    assert (view.__name__, view.__doc__) == ("bare", "Say hello.")
