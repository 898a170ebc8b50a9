"""What a view says about the session it needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from flask_device_sessions import allow_anonymous
from flask_device_sessions.decorators import allows_anonymous


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
