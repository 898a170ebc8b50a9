"""The bridge to Flask-Login: its functions, decorators and signals mean the device session."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from blinker import Signal
from flask import Flask, Response, flash, get_flashed_messages, render_template_string, request
from flask import session as flask_session
from flask.sessions import SessionInterface, SessionMixin
from flask_login import (
    AnonymousUserMixin,
    LoginManager,
    UserMixin,
    confirm_login,
    current_user,
    fresh_login_required,
    login_fresh,
    login_required,
    login_user,
    logout_user,
)
from flask_login.signals import (
    user_accessed,
    user_logged_in,
    user_logged_out,
    user_login_confirmed,
)
from werkzeug.http import parse_date

from flask_device_sessions import ConfigError, DeviceSessions, session_ended, session_started
from flask_device_sessions.login import check_user_model, has_own_activity
from flask_device_sessions.testing import Browser, listen_to
from tests.support import (
    User,
    add_views,
    bare_app,
    db,
    jar_of,
    make_app,
    replay,
    sign_in,
    statements,
    who,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
LEFTOVERS = {"_user_id", "_id", "_fresh", "_remember", "_remember_seconds"}


@pytest.fixture
def site(app: Flask, ada: User) -> Flask:
    """The app with views that call Flask-Login's own functions."""
    user_id = ada.id

    def enter(**options: Any) -> dict[str, Any]:
        result = login_user(db.session.get(User, user_id), **options)
        return {"result": result, "user": current_user.is_authenticated}

    views = {
        "enter": enter,
        "enter_remembered": lambda: enter(remember=True),
        "enter_for_a_week": lambda: enter(remember=True, duration=timedelta(days=7)),
        "enter_stale": lambda: enter(fresh=False),
        "enter_forced": lambda: enter(force=True),
        "leave": lambda: {"result": logout_user(), "user": current_user.is_authenticated},
        "reconfirm": lambda: {"result": confirm_login()},
    }
    for name, view in views.items():
        app.add_url_rule(f"/{name}", name, view, methods=["POST"])
    app.add_url_rule("/secret", "secret", fresh_login_required(lambda: "secret"))
    app.add_url_rule("/is-fresh", "is_fresh", lambda: {"is_fresh": login_fresh()})
    app.add_url_rule("/kept", "kept", lambda: {"kept": sorted(flask_session)})
    return app


def _cookie(answer: Any, name: str) -> str | None:
    """Return the Set-Cookie header of this name."""
    headers = answer.headers.getlist("Set-Cookie")
    return next((header for header in headers if header.startswith(f"{name}=")), None)


def _expiry(header: str | None) -> datetime | None:
    assert header is not None
    _, found, rest = header.partition("Expires=")
    return parse_date(rest.partition(";")[0]) if found else None


# -- Whose LoginManager -------------------------------------------------------------------------


def test_an_app_without_a_login_manager_gets_one(app: Flask, laptop: Browser) -> None:
    """``login_required`` leads to our login page, with a message in words."""
    answer = laptop.get("/private")
    page = laptop.get(answer.location)

    assert answer.location == "/login?next=%2Fprivate"
    assert "Please sign in to see this page." in page.text


def _say() -> str:
    flash("Something else.")
    return ""


@pytest.mark.parametrize("localize", [None, lambda text: f"<{text}>"], ids=["plain", "localized"])
@pytest.mark.parametrize("login_view", [None, "signin"], ids=["our page", "the app's"])
def test_a_reason_stands_alone(
    ada: User, app: Flask, login_view: str | None, localize: Any
) -> None:
    """Whoever reads why they are out need not be asked to sign in besides; other words stay."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.login_view, manager.localize_callback = login_view, localize
    app.add_url_rule("/signin", "signin", lambda: {"said": get_flashed_messages()})
    app.add_url_rule("/say", "say", _say)
    browser, other = Browser(app), Browser(app)
    sign_in(browser)
    sign_in(other)
    other.post("/devices/revoke-others")
    browser.get("/say")

    page = browser.get(browser.get("/private").location).text

    assert page.count("You were signed out from another device.") == 1
    assert "Something else." in page
    assert "sign in to" not in page.replace("Sign in", "")


def test_a_refusal_of_the_apps_own_is_left_alone(ada: User, app: Flask) -> None:
    """With an ``unauthorized_handler`` nothing general was said, and nothing is taken back."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.unauthorized_handler(lambda: ("out", 401))
    app.add_url_rule("/say", "say", _say)
    app.add_url_rule("/said", "said", lambda: {"said": get_flashed_messages()})
    browser, other = Browser(app), Browser(app)
    sign_in(browser)
    sign_in(other)
    other.post("/devices/revoke-others")
    browser.get("/say")

    answer = browser.get("/private")

    assert (answer.status_code, answer.text) == (401, "out")
    assert browser.get("/said").json == {"said": ["Something else."]}


@pytest.mark.parametrize("message", ["", "Ours."])
def test_a_shared_login_manager_speaks_as_before_in_an_app_without_us(message: str) -> None:
    """What was replaced on it asks first whether the app has device sessions."""
    manager = LoginManager()
    manager.login_view = "signin"
    manager.login_message = message
    manager.user_loader(lambda key: None)
    app, plain = bare_app(), Flask("plain")
    db.init_app(app)
    DeviceSessions(app)
    plain.secret_key = "x"
    for each in (app, plain):
        manager.init_app(each)
        add_views(each)
        each.add_url_rule("/signin", "signin", lambda: {"said": get_flashed_messages()})
    plain.view_functions["private"] = login_required(lambda: "")
    Browser(app).get("/open")
    visitor = plain.test_client()

    answer = visitor.get(visitor.get("/private").location)

    assert answer.json == {"said": [message] if message else []}


def test_its_templates_know_the_user(app: Flask, ada: User, laptop: Browser) -> None:
    """``current_user`` is there in every template, as Flask-Login gives it."""
    app.add_url_rule("/hi", "hi", lambda: render_template_string("{{ current_user.email }}"))
    sign_in(laptop)

    assert laptop.get("/hi").text == ada.email


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("login_view", [None, "signin"])
def test_a_login_manager_of_the_app_is_joined(is_first: bool, login_view: str | None) -> None:
    """Made before or after the extension, it keeps its login view, and gets ours if it has none."""
    app = bare_app()
    db.init_app(app)
    manager = LoginManager(app) if is_first else LoginManager()
    DeviceSessions(app)
    if not is_first:
        manager.init_app(app)
    manager.login_view = login_view
    add_views(app)
    app.add_url_rule("/signin", "signin", lambda: "the app's own form")

    answer = Browser(app).get("/private")

    where = "/signin" if login_view else "/login"
    assert app.login_manager is manager  # type: ignore[attr-defined]
    assert answer.location == f"{where}?next=%2Fprivate"


def test_without_pages_nobody_is_sent_to_one() -> None:
    """With PAGES off and no login view of the app's own, Flask-Login answers 401."""
    app = make_app(DEVICE_SESSIONS_PAGES=False)

    assert Browser(app).get("/private").status_code == 401


def test_a_manager_that_two_apps_share_serves_each_in_its_own_way() -> None:
    """In an app without the extension, its ``user_loader`` still decides."""
    manager = LoginManager()
    manager.user_loader(lambda user_id: User(id=int(user_id), email="loaded@example.com"))
    ours, plain = bare_app(), Flask("plain")
    plain.secret_key = "a secret of the plain app"
    db.init_app(ours)
    for app in (ours, plain):
        manager.init_app(app)
    DeviceSessions(ours)
    add_views(ours)
    plain.add_url_rule("/me", "me", lambda: {"id": current_user.get_id()})
    visitor = plain.test_client()
    with visitor.session_transaction() as state:
        state["_user_id"] = "7"

    first = Browser(ours).get("/whoami")

    assert first.json == {"user": None, "session": None, "proxy": True}
    assert visitor.get("/me").json == {"id": "7"}


def test_an_anonymous_user_of_the_apps_own_is_kept() -> None:
    """``login_manager.anonymous_user`` is what a stranger is."""

    class Guest(AnonymousUserMixin):
        name = "Guest"

    app = make_app()
    app.login_manager.anonymous_user = Guest  # type: ignore[attr-defined]
    app.add_url_rule("/name", "name", lambda: current_user.name)

    assert Browser(app).get("/name").text == "Guest"


def test_an_unauthorized_handler_of_the_apps_own_is_kept() -> None:
    """What the app answers to strangers is its own affair."""
    app = make_app()
    app.login_manager.unauthorized_handler(lambda: ("go away", 418))  # type: ignore[attr-defined]

    answer = Browser(app).get("/private")

    assert (answer.status_code, answer.text) == (418, "go away")


@pytest.mark.parametrize("missing", ["is_authenticated", "is_active", "is_anonymous", "get_id"])
def test_a_user_model_needs_what_flask_login_asks_of_it(missing: str) -> None:
    """The error names the attribute and the mixin."""
    names = {"is_authenticated", "is_active", "is_anonymous", "get_id"} - {missing}
    model = type("Person", (), dict.fromkeys(names, True))

    with pytest.raises(ConfigError, match=f"Person has no {missing}: .*UserMixin"):
        check_user_model(model)


def test_only_a_model_with_an_is_active_of_its_own_can_disable_people() -> None:
    """For the others no user needs to be looked at."""
    plain = type("Plain", (UserMixin,), {})

    check_user_model(plain)

    assert not has_own_activity(plain)
    assert has_own_activity(User)


# -- login_user and logout_user -----------------------------------------------------------------


def test_login_user_starts_a_device_session(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """A call anywhere in the app is enough, and the row says that it was the app's."""
    answer = laptop.post("/enter")

    (session,) = extension.sessions_of(ada)
    assert answer.json == {"result": True, "user": True}
    assert session.auth_method == "app"
    assert not session.remembered
    assert who(laptop) == ada.email


@pytest.mark.parametrize("way", ["enter", "enter_remembered", "enter_for_a_week", "reconfirm"])
def test_no_cookie_of_flask_logins_own_is_written(
    site: Flask, ada: User, laptop: Browser, way: str
) -> None:
    """Neither its remember cookie nor anything in Flask's session that could be replayed."""
    laptop.post("/enter")

    answer = laptop.post(f"/{way}")

    assert _cookie(answer, "remember_token") is None
    kept = laptop.get("/kept").json["kept"]  # type: ignore[index]
    # `_fresh` is written for the request alone, so that login_fresh() tells the truth.
    assert LEFTOVERS.isdisjoint(set(kept) - {"_fresh"})
    with laptop.session_transaction() as state:
        assert LEFTOVERS.isdisjoint(state)


def test_logout_user_ends_the_device_session(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The row says so, and the cookie is deleted (ASVS V7.4.1)."""
    laptop.post("/enter")

    answer = laptop.post("/leave")

    (ended,) = extension.sessions_of(ada, ended=True)
    assert answer.json == {"result": True, "user": False}
    assert ended.end_reason == "logout"
    assert "device_session" not in jar_of(laptop)


def test_logout_user_of_a_stranger_is_no_error(site: Flask, laptop: Browser) -> None:
    """There is nothing to end."""
    answer = laptop.post("/leave")

    assert answer.json == {"result": True, "user": False}


@pytest.mark.parametrize(
    ("way", "lifetime"),
    [
        ("enter", None),
        ("enter_remembered", timedelta(days=30)),
        ("enter_for_a_week", timedelta(days=7)),
    ],
)
def test_remember_and_duration_say_how_long_the_cookie_lives(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser, way: str, lifetime: Any
) -> None:
    """``remember=True`` and ``duration=`` mean what they meant before."""
    with time_machine.travel(NOON, tick=False):
        answer = laptop.post(f"/{way}")

    expiry = _expiry(_cookie(answer, "device_session"))
    assert expiry == (None if lifetime is None else NOON + lifetime)
    assert extension.sessions_of(ada)[0].remembered is (lifetime is not None)


def test_a_chosen_duration_outlives_a_confirmation(site: Flask, ada: User, laptop: Browser) -> None:
    """``confirm_login()`` sends the cookie anew and must not make it live longer."""
    with time_machine.travel(NOON, tick=False):
        laptop.post("/enter_for_a_week")
        answer = laptop.post("/reconfirm")

    expiry = _expiry(_cookie(answer, "device_session"))
    assert expiry == NOON + timedelta(days=7)


def test_login_user_twice_replaces_the_session(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Signing in again gives a new credential, and the old one is dead (ASVS V7.2.4)."""
    laptop.post("/enter")
    before = jar_of(laptop)

    laptop.post("/enter")

    assert who(replay(site, before)) is None
    assert who(laptop) == ada.email
    assert [s.end_reason for s in extension.sessions_of(ada, ended=True)] == ["replaced"]


def test_login_user_refuses_a_disabled_user(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """As Flask-Login does by itself: False, and nothing started."""
    ada.is_enabled = False
    db.session.commit()

    answer = laptop.post("/enter")

    assert answer.json == {"result": False, "user": False}
    assert extension.sessions_of(ada) == []


def test_forcing_a_disabled_user_in_lasts_one_request(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The next request looks at the user again and refuses (ASVS V7.4.2)."""
    ada.is_enabled = False
    db.session.commit()

    answer = laptop.post("/enter_forced")

    assert answer.json == {
        "result": True,
        "user": False,
    }  # UserMixin: is_authenticated is is_active
    assert who(laptop) is None
    assert [s.end_reason for s in extension.sessions_of(ada, ended=True)] == ["user_disabled"]


@pytest.mark.parametrize(
    "config", [{"DEVICE_SESSIONS_MAX_PER_USER": 1, "DEVICE_SESSIONS_LIMIT_POLICY": "refuse"}]
)
def test_login_user_at_the_limit_signs_nobody_in(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """The page about the limit is the answer, and nobody is signed in meanwhile."""
    seen: list[bool] = []

    @site.after_request
    def look(answer: Response) -> Response:
        seen.append(current_user.is_authenticated)
        return answer

    phone.post("/enter")

    answer = laptop.post("/enter")

    assert answer.status_code == 409
    assert "iPhone" in answer.text
    assert seen == [True, False]
    assert who(laptop) is None
    assert len(extension.sessions_of(ada)) == 1


# -- Freshness ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("passed", "status"), [(0, 200), (599, 200), (600, 302), (3600, 302)])
def test_fresh_login_required_follows_freshness(
    site: Flask, ada: User, laptop: Browser, passed: int, status: int
) -> None:
    """Ten minutes after the sign-in the password is asked for again (ASVS V7.5.3)."""
    with time_machine.travel(NOON, tick=False) as clock:
        laptop.post("/enter")
        clock.shift(timedelta(seconds=passed))

        assert laptop.get("/secret").status_code == status


def test_a_sign_in_without_a_password_check_is_not_fresh(
    site: Flask, ada: User, laptop: Browser
) -> None:
    """``login_user(fresh=False)`` signs in, but not for what needs a password."""
    laptop.post("/enter_stale")

    assert who(laptop) == ada.email
    assert laptop.get("/secret").location == "/confirm?next=%2Fsecret"


def test_confirm_login_renews_freshness_and_secret(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The session is fresh again, under a new credential; the old one is dead (ASVS V7.2.4)."""
    laptop.post("/enter_stale")
    before = jar_of(laptop)
    (session,) = extension.sessions_of(ada)

    laptop.post("/reconfirm")

    assert laptop.get("/secret").status_code == 200
    assert who(replay(site, before)) is None
    assert [s.id for s in extension.sessions_of(ada)] == [session.id]
    assert extension.events_of(ada)[0].action == "session_confirmed"


def test_confirm_login_of_a_stranger_is_nothing(site: Flask, laptop: Browser) -> None:
    """Nobody becomes anybody by it."""
    laptop.post("/reconfirm")

    assert who(laptop) is None
    assert laptop.get("/secret").location == "/login?next=%2Fsecret"


def test_freshness_is_not_what_the_session_cookie_says(
    site: Flask, ada: User, laptop: Browser
) -> None:
    """A ``_fresh`` in Flask's session, sent again later, makes nothing fresh (ASVS V7.5.3)."""
    laptop.post("/enter_stale")
    with laptop.session_transaction() as state:
        state["_fresh"] = True

    assert laptop.get("/secret").status_code == 302


def test_freshness_is_right_for_those_who_ask_nothing_else(
    site: Flask, ada: User, laptop: Browser
) -> None:
    """``login_fresh()`` by itself tells the truth, whatever Flask's session has kept."""
    laptop.post("/enter")
    fresh = laptop.get("/is-fresh").json
    laptop.post("/leave")
    with laptop.session_transaction() as state:
        state["_fresh"] = True

    assert fresh == {"is_fresh": True}
    assert laptop.get("/is-fresh").json == {"is_fresh": False}


@pytest.mark.parametrize("way", ["login_user", "confirm_login"])
def test_a_session_is_fresh_from_the_call_that_made_it_so(
    app: Flask, ada: User, laptop: Browser, way: str
) -> None:
    """Also for the rest of that request, as it is without the extension."""

    @app.post("/both")
    def both() -> dict[str, bool]:
        login_user(db.session.get(User, ada.id), fresh=way == "login_user")
        if way == "confirm_login":
            confirm_login()
        return {"is_fresh": login_fresh()}

    assert laptop.post("/both").json == {"is_fresh": True}


def test_signing_in_and_confirming_at_once_keeps_the_browser_known(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Both in one request: the browser gets its cookies, and is the same device next time."""

    @app.post("/both")
    def both() -> str:
        login_user(db.session.get(User, ada.id))
        confirm_login()
        return "both"

    laptop.post("/both")
    signed_in = who(laptop)
    laptop.post("/both")

    assert signed_in == ada.email
    assert len(extension.devices_of(ada)) == 1


def test_who_asks_before_our_hook_keeps_what_came_of_it(
    app: Flask, ada: User, laptop: Browser
) -> None:
    """A converter or preprocessor of URLs may sign people in: their cookie goes out."""
    app.url_value_preprocessor(lambda *_: _sign_in_at("/early"))
    app.add_url_rule("/early", "early", lambda: "early")
    sign_in(laptop)

    laptop.get("/early")

    assert who(laptop) == "ada@example.com"


def test_a_stranger_who_asks_before_our_hook_can_still_sign_in(
    app: Flask, ada: User, laptop: Browser
) -> None:
    """Without a cookie, as well: what was found out stays what it is."""
    app.url_value_preprocessor(lambda *_: _sign_in_at("/early"))
    app.add_url_rule("/early", "early", lambda: str(current_user.email))

    first = laptop.get("/early")

    assert first.text == who(laptop) == "ada@example.com"


def _sign_in_at(path: str) -> None:
    if request.path == path:
        login_user(db.session.scalars(sa.select(User)).one())


def test_an_old_cookie_does_not_make_a_stranger_fresh(app: Flask, laptop: Browser) -> None:
    """``login_fresh`` is for who is signed in: what was left before the adoption tells nothing."""
    app.add_url_rule("/fresh", "fresh", lambda: {"is_fresh": login_fresh()})
    with laptop.session_transaction() as left:
        left["_fresh"] = True

    assert laptop.get("/fresh").json == {"is_fresh": False}


class _DictlessSession(UserDict[str, Any], SessionMixin):
    """A session of another make, as some session stores have."""


class _Sessions(SessionInterface):
    def open_session(self, app: Flask, request: Any) -> Any:
        return _DictlessSession()

    def save_session(self, app: Flask, session: Any, response: Any) -> None:
        """Keep nothing."""


def test_a_session_store_that_is_no_dict_is_no_trouble(
    site: Flask, ada: User, laptop: Browser
) -> None:
    """Flask's session may be anything; who is signed in does not depend on it."""
    site.session_interface = _Sessions()

    laptop.post("/enter")

    assert who(laptop) == ada.email


# -- Signals ------------------------------------------------------------------------------------


@contextmanager
def _strict_listener(signal: Signal, app: Flask) -> Iterator[list[Any]]:
    """Listen as apps do: with the parameters that Flask-Login documents and no others."""
    heard: list[Any] = []

    def hear(sender: Flask, user: Any) -> None:
        heard.append((sender is app, user.email))

    with signal.connected_to(hear, sender=app):
        yield heard


@pytest.mark.parametrize("way", ["/enter", "/login"])
def test_listeners_to_user_logged_in_hear_it_once(
    site: Flask, ada: User, laptop: Browser, way: str
) -> None:
    """From ``login_user`` and from our page alike, with what Flask-Login documents."""
    with _strict_listener(user_logged_in, site) as heard:
        laptop.post(way, data={"identifier": ada.email, "password": "correct horse battery staple"})

    assert heard == [(True, ada.email)]


@pytest.mark.parametrize("way", ["/leave", "/logout"])
def test_listeners_to_user_logged_out_hear_it_once(
    site: Flask, ada: User, laptop: Browser, way: str
) -> None:
    """From ``logout_user`` and from our page alike, with what Flask-Login documents."""
    laptop.post("/enter")

    with _strict_listener(user_logged_out, site) as heard:
        laptop.post(way)

    assert heard == [(True, ada.email)]


def test_our_signals_are_sent_for_flask_logins_functions(
    site: Flask, ada: User, laptop: Browser
) -> None:
    """``session_started`` and ``session_ended`` do not depend on who called."""
    with listen_to(session_started) as started, listen_to(session_ended) as ended:
        laptop.post("/enter")
        laptop.post("/leave")

    assert [(s["session"].user_id, s["new_device"]) for s in started] == [(ada.id, True)]
    assert [e["reason"] for e in ended] == ["logout"]


def test_listeners_to_other_signals_go_on_hearing(site: Flask, ada: User, laptop: Browser) -> None:
    """``user_login_confirmed`` and ``user_accessed`` reach the app as before."""
    laptop.post("/enter")

    with listen_to(user_login_confirmed) as confirmed, listen_to(user_accessed) as accessed:
        laptop.post("/reconfirm")
        who(laptop)

    assert len(confirmed) == 1
    assert len(accessed) == 1


def test_a_listener_to_user_logged_in_finds_the_session(
    site: Flask, ada: User, laptop: Browser
) -> None:
    """Whoever listens after us may work with the row."""
    found: list[Any] = []

    def look(sender: Flask, **facts: Any) -> None:
        found.append(site.extensions["device_sessions"].sessions_of(facts["user"]))

    with user_logged_in.connected_to(look, sender=site):
        laptop.post("/enter")

    assert [len(sessions) for sessions in found] == [1]


# -- Why somebody is out ------------------------------------------------------------------------


def _with_own_login_page(app: Flask) -> None:
    app.login_manager.login_view = "signin"  # type: ignore[attr-defined]
    app.add_url_rule(
        "/signin", "signin", lambda: {"flashed": get_flashed_messages(with_categories=True)}
    )


def test_the_apps_own_login_page_is_told_why(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The reason is flashed on the way there, once, and the dead cookie is deleted."""
    _with_own_login_page(site)
    laptop.post("/enter")
    extension.revoke_all(ada)

    answer = laptop.get("/private")
    told = laptop.get("/signin").json
    again = laptop.get("/private", follow_redirects=True).json

    sentence = "You were signed out from another device."
    assert told is not None
    assert again is not None
    assert ["info", sentence] in [list(item) for item in told["flashed"]]
    assert (_cookie(answer, "device_session") or "").startswith("device_session=;")
    assert sentence not in str(again)


def test_strangers_are_told_nothing(site: Flask, laptop: Browser) -> None:
    """Somebody who never was signed in was not signed out."""
    _with_own_login_page(site)

    told = laptop.get("/private", follow_redirects=True).json

    assert told is not None
    assert len(told["flashed"]) == 1
    assert "signed out" not in str(told)


def test_our_own_login_page_says_it_by_itself(
    site: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Nothing is flashed besides, so that it is said once."""
    laptop.post("/enter")
    extension.revoke_all(ada)

    page = laptop.get("/private", follow_redirects=True).text

    assert page.count("You were signed out from another device.") == 1


# -- What it costs ------------------------------------------------------------------------------


def test_a_view_under_login_required_costs_one_select(
    app: Flask, ada: User, laptop: Browser
) -> None:
    """``login_required`` and ``current_user`` share the one look-up of the request."""
    app.add_url_rule("/mine", "mine", login_required(lambda: current_user.email))
    sign_in(laptop)

    with statements(app) as seen:
        answer = laptop.get("/mine")

    assert answer.text == ada.email
    assert [statement.split()[0] for statement in seen] == ["SELECT"]
    assert "Set-Cookie" not in answer.headers


def test_a_template_that_does_not_ask_loads_no_user(app: Flask, laptop: Browser) -> None:
    """The context processor gives the proxy: nobody is looked up for a page without a user."""
    app.add_url_rule("/plain", "plain", lambda: render_template_string("plain"))

    with listen_to(user_accessed) as accessed:
        assert laptop.get("/plain").text == "plain"

    assert accessed == []


def test_a_user_of_a_request_loader_has_no_sessions_to_manage(app: Flask, ada: User) -> None:
    """The pages are for who has a session: the way to the login page, and no error."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.request_loader(lambda request: ada)
    browser = Browser(app)

    answers = [browser.get("/devices/"), browser.post("/devices/revoke-all")]

    assert [answer.status_code for answer in answers] == [302, 302]


def test_a_request_loader_of_the_app_is_asked_where_there_is_no_session(
    app: Flask, ada: User, laptop: Browser
) -> None:
    """An API key in a header goes on working after the adoption; a device session wins."""

    @app.login_manager.request_loader  # type: ignore[attr-defined]
    def from_key(request: Any) -> Any:
        return User.query.first() if request.headers.get("X-Key") == "good" else None

    good = laptop.get("/whoami", headers={"X-Key": "good"})
    bad = laptop.get("/whoami", headers={"X-Key": "bad"})

    assert good.json == {"user": ada.email, "session": None, "proxy": True}
    assert bad.json == {"user": None, "session": None, "proxy": True}
