"""The story of an app that had Flask-Login, and gained device sessions by adding the extension."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from flask import Flask, flash, get_flashed_messages, redirect, request, session, url_for
from flask_login import (
    LoginManager,
    confirm_login,
    current_user,
    encode_cookie,
    fresh_login_required,
    login_required,
    login_user,
    logout_user,
)
from flask_login.signals import user_logged_in, user_logged_out
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from flask_device_sessions import DeviceSessions
from flask_device_sessions.testing import IPHONE, Browser, listen_to
from tests import engines
from tests.support import PASSWORD, User, add_user, bare_app, db, empty_tables, jar_of, replay

pytestmark = pytest.mark.connections

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)


def _app_as_it_was(uri: str) -> Flask:
    """Return an app with accounts as Flask-Login's documentation shows them."""
    app = bare_app(uri)
    db.init_app(app)
    manager = LoginManager(app)
    manager.login_view = "signin"
    manager.refresh_view = "signin"

    @manager.user_loader
    def load_user(user_id: str) -> Any:
        return db.session.get(User, int(user_id))

    @app.before_request
    def note_the_visitor() -> None:
        visitors.append(current_user.email if current_user.is_authenticated else None)

    @app.route("/signin", methods=["GET", "POST"])
    def signin() -> Any:
        if request.method == "GET":
            return {"flashed": get_flashed_messages()}
        user = db.session.scalar(db.select(User).filter_by(email=request.form["email"]))
        if user is None or not user.check_password(request.form["password"]):
            flash("No.")
            return redirect(url_for("signin"))
        login_user(user, remember=True)
        session["basket"] = "kept by the app"
        return redirect(url_for("home"))

    @app.post("/signout")
    @login_required
    def signout() -> Response:
        logout_user()
        return redirect(url_for("signin"))

    @app.post("/again")
    @login_required
    def again() -> str:
        confirm_login()
        return "confirmed"

    app.add_url_rule("/home", "home", login_required(lambda: current_user.email))
    app.add_url_rule("/safe", "safe", fresh_login_required(lambda: "the safe is open"))
    visitors: list[Any] = app.extensions.setdefault("visitors", [])
    return app


@pytest.fixture
def app(schema: engines.Engine) -> Iterator[Flask]:
    """The app as it was, and one line more."""
    app = _app_as_it_was(schema.uri)
    DeviceSessions(app)
    yield app
    empty_tables(app)


@pytest.fixture
def person(app: Flask) -> int:
    """The id of ada, who had her account before; no context stays open."""
    with app.app_context():
        return add_user().id


def _sign_in(browser: Browser, email: str = "ada@example.com") -> TestResponse:
    return browser.post("/signin", data={"email": email, "password": PASSWORD})


def _home(browser: Browser) -> str | None:
    """Return whose home the browser sees."""
    answer = browser.get("/home")
    return answer.text if answer.status_code == 200 else None


def _sessions(app: Flask, person: int, **which: Any) -> list[Any]:
    extension: DeviceSessions = app.extensions["device_sessions"]
    return extension.sessions_of(db.session.get(User, person), **which)


def test_signing_in_as_ever_is_now_a_device_session(
    app: Flask, person: int, laptop: Browser
) -> None:
    """The app's own view; one row; no cookie of Flask-Login's own."""
    answer = _sign_in(laptop)

    names = {header.partition("=")[0] for header in answer.headers.getlist("Set-Cookie")}
    assert names == {"device_session", "device_session_browser", "session"}
    assert _home(laptop) == "ada@example.com"
    with app.app_context():
        assert [s.remembered for s in _sessions(app, person)] == [True]


def test_a_stranger_is_still_sent_to_the_apps_own_page(app: Flask, laptop: Browser) -> None:
    """Its login view stays the login view."""
    assert laptop.get("/home").location == "/signin?next=%2Fhome"


def test_what_the_app_keeps_in_flasks_session_stays(
    app: Flask, person: int, laptop: Browser
) -> None:
    """Only Flask-Login's own entries are gone."""
    _sign_in(laptop)

    with laptop.session_transaction() as state:
        assert dict(state) == {"basket": "kept by the app"}


def test_the_full_jar_is_refused_after_logout_user(
    app: Flask, person: int, laptop: Browser
) -> None:
    """Every cookie there was, replayed: nobody (ASVS V7.4.1)."""
    _sign_in(laptop)
    laptop.get("/home")
    jar = jar_of(laptop)

    laptop.post("/signout")

    thief = replay(app, jar)
    assert _home(laptop) is None
    assert _home(thief) is None
    assert thief.get("/safe").status_code == 302
    assert _home(thief) is None


def test_the_full_jar_is_refused_after_a_revoke_from_elsewhere(
    app: Flask, person: int, laptop: Browser, phone: Browser
) -> None:
    """Signed out from our page on the phone, the laptop's cookies are worth nothing (7.4.1)."""
    _sign_in(laptop)
    _sign_in(phone)
    jar = jar_of(laptop)

    phone.post("/devices/revoke-others")

    assert _home(laptop) is None
    assert _home(replay(app, jar)) is None
    assert _home(phone) == "ada@example.com"


def test_the_one_signed_out_reads_why_on_the_apps_own_page(
    app: Flask, person: int, laptop: Browser, phone: Browser
) -> None:
    """The reason is flashed, once."""
    _sign_in(laptop)
    _sign_in(phone)
    phone.post("/devices/revoke-others")

    told = laptop.get("/home", follow_redirects=True).json
    again = laptop.get("/home", follow_redirects=True).json

    assert told is not None
    assert again is not None
    assert told["flashed"] == ["You were signed out from another device."]
    assert "You were signed out from another device." not in again["flashed"]


@pytest.mark.parametrize("is_signed_out", [False, True], ids=["never in", "signed out"])
def test_flask_logins_own_cookies_sign_nobody_in(
    app: Flask, person: int, laptop: Browser, is_signed_out: bool
) -> None:
    """Well-made ones, as the app gave them before it had us (ASVS V7.2.1)."""
    if is_signed_out:
        _sign_in(laptop)
        laptop.post("/signout")
    with app.app_context():
        laptop.set_cookie("remember_token", encode_cookie(str(person)))
    with laptop.session_transaction() as state:
        state["_user_id"], state["_fresh"], state["_id"] = str(person), True, "x"

    assert _home(laptop) is None
    assert laptop.get("/safe").location == "/signin?next=%2Fsafe"
    assert _home(laptop) is None


def test_people_who_were_signed_in_before_the_update_sign_in_once(
    schema: engines.Engine, app: Flask, person: int
) -> None:
    """A jar that the app itself gave out before: refused, and good for a new sign-in."""
    before = _app_as_it_was(schema.uri)
    browser = Browser(before)
    _sign_in(browser)
    had_been_in = _home(browser)
    jar = jar_of(browser)
    with before.app_context():
        db.engine.dispose()

    returning = replay(app, jar)

    assert had_been_in == "ada@example.com"
    assert "remember_token" in jar
    assert _home(returning) is None
    _sign_in(returning)
    assert _home(returning) == "ada@example.com"


def test_what_asks_for_a_fresh_login_follows_our_clock(
    app: Flask, person: int, laptop: Browser
) -> None:
    """Ten minutes after the password; ``confirm_login()`` renews it (ASVS V7.5.3, V7.2.4)."""
    with time_machine.travel(NOON, tick=False) as clock:
        _sign_in(laptop)
        at_first = laptop.get("/safe").status_code
        clock.shift(timedelta(minutes=10))
        later = laptop.get("/safe")
        jar = jar_of(laptop)
        laptop.post("/again")

        assert (at_first, later.status_code) == (200, 302)
        assert later.location.startswith("/signin")
        assert laptop.get("/safe").text == "the safe is open"
        assert _home(replay(app, jar)) is None
        clock.shift(timedelta(minutes=10))
        assert laptop.get("/safe").status_code == 302


def test_the_apps_listeners_hear_each_change_once(app: Flask, person: int, laptop: Browser) -> None:
    """``user_logged_in`` and ``user_logged_out``, from its own views."""
    with listen_to(user_logged_in) as came, listen_to(user_logged_out) as left:
        _sign_in(laptop)
        laptop.post("/signout")

    assert [len(came), len(left)] == [1, 1]


def test_functions_before_each_request_know_the_visitor(
    app: Flask, person: int, laptop: Browser
) -> None:
    """Registered before the extension was, they see ``current_user`` from it."""
    _sign_in(laptop)
    laptop.get("/home")

    assert app.extensions["visitors"] == [None, "ada@example.com"]


def test_the_next_person_in_the_same_browser_ends_the_firsts_session(
    app: Flask, person: int, laptop: Browser
) -> None:
    """Without signing out in between."""
    with app.app_context():
        add_user("bob@example.com")
    _sign_in(laptop)
    jar = jar_of(laptop)

    _sign_in(laptop, "bob@example.com")

    assert _home(laptop) == "bob@example.com"
    assert _home(replay(app, jar)) is None


def test_signing_out_of_our_page_is_signing_out_of_the_app(
    app: Flask, person: int, laptop: Browser
) -> None:
    """Our pages and the app's own views are one and the same session."""
    _sign_in(laptop)
    page = laptop.get("/devices/")
    laptop.post("/logout")

    assert "This device" in page.text
    assert _home(laptop) is None


def test_an_account_that_is_disabled_is_out_on_every_device(
    app: Flask, person: int, laptop: Browser
) -> None:
    """At the next request, without a word from the app (ASVS V7.4.2)."""
    tablet = Browser(app, IPHONE, ip="198.51.100.8")
    for browser in (laptop, tablet):
        _sign_in(browser)
    with app.app_context():
        db.session.get_one(User, person).is_enabled = False
        db.session.commit()

    assert [_home(laptop), _home(tablet)] == [None, None]
    with app.app_context():
        ended = _sessions(app, person, ended=True)
        assert [s.end_reason for s in ended] == ["user_disabled"] * 2
