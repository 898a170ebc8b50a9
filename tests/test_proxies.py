"""What is importable from anywhere: the session, the user and the extension of the request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import flask_login
import pytest
from flask import Flask, g
from flask.ctx import _AppCtxGlobals

from flask_device_sessions import (
    ConfigError,
    DeviceSessions,
    current_session,
    current_user_id,
)
from flask_device_sessions.ambient import ambient
from flask_device_sessions.config import Settings
from flask_device_sessions.proxies import current_extension, current_user, current_visit
from flask_device_sessions.testing import Browser
from tests.engines import Engine
from tests.support import User, add_user, db, make_app, sign_in, statements


def test_the_session_proxy_is_the_session_of_the_request(
    app: Flask, ada: User, laptop: Browser
) -> None:
    """``current_session``, ``g.current_session`` and ``current_user`` agree."""

    @app.get("/same")
    def same() -> dict[str, Any]:
        return {
            "session": current_session._get_current_object() is g.current_session,
            "user": g.current_session.user is current_user._get_current_object(),
            "extension": current_extension._get_current_object()  # type: ignore[attr-defined]
            is app.extensions["device_sessions"],
        }

    sign_in(laptop)

    assert laptop.get("/same").json == {"session": True, "user": True, "extension": True}


def test_who_is_calling_takes_no_object(app: Flask, ada: User, laptop: Browser) -> None:
    """The id comes from the row that was read."""

    @app.get("/who")
    def who() -> dict[str, Any]:
        return {"id": current_user_id(), "is_made": "session" in vars(current_visit())}

    stranger = laptop.get("/who").json
    sign_in(laptop)
    with statements(app) as seen:
        signed_in = laptop.get("/who").json

    assert stranger == {"id": None, "is_made": False}
    assert signed_in == {"id": ada.id, "is_made": False}
    assert len(seen) == 1


def test_nobody_is_calling_outside_a_request(app: Flask) -> None:
    """A task of the app's is nobody's."""
    with app.app_context():
        assert current_user_id() is None


def test_who_is_calling_follows_a_sign_in_and_a_sign_out(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Within the same request."""

    @app.get("/in-and-out")
    def in_and_out() -> list[Any]:
        extension.login(db.session.get(User, ada.id))
        signed_in = current_user_id()
        extension.logout()
        return [signed_in, current_user_id()]

    assert laptop.get("/in-and-out").json == [ada.id, None]


def test_the_session_proxy_is_false_for_a_stranger(app: Flask, laptop: Browser) -> None:
    """Nobody signed in: false, and None inside."""

    @app.get("/nobody")
    def nobody() -> dict[str, Any]:
        return {"is_none": current_session._get_current_object() is None, "g": g.current_session}

    assert laptop.get("/nobody").json == {"is_none": True, "g": None}


def test_g_has_the_session_by_each_way_of_asking(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Before anybody has asked for it, as well as after."""
    app.add_url_rule("/get", "get", lambda: {"id": g.get("current_session").id})
    app.add_url_rule("/in", "in", lambda: {"in": "current_session" in g, "x": "x" in g})
    app.add_url_rule("/other", "other", lambda: {"other": g.get("other", "default")})
    sign_in(laptop)
    session_id = str(extension.sessions_of(ada)[0].id)

    answers = [laptop.get(path).json for path in ("/get", "/in", "/other")]

    assert answers == [{"id": session_id}, {"in": True, "x": False}, {"other": "default"}]


def test_g_has_no_session_outside_a_request(app: Flask) -> None:
    """There, it is no attribute; asking with a default gives that."""
    with app.app_context():
        assert g.get("current_session", "default") == "default"
        with pytest.raises(AttributeError, match="current_session"):
            _ = g.current_session


def test_an_apps_own_g_and_one_that_was_there_before_have_the_session(schema: Engine) -> None:
    """An app may choose the class of ``g``, and work in a context while it is still being made."""

    class OwnGlobals(_AppCtxGlobals):
        colour = "red"

    app = make_app(schema.uri)
    app.app_ctx_globals_class = OwnGlobals
    app.add_url_rule("/own", "own", lambda: {"colour": g.colour, "session": g.current_session})

    assert app.test_client().get("/own").json == {"colour": "red", "session": None}


@pytest.mark.parametrize(
    ("view", "objects"),
    [
        (lambda: str(current_visit().user_id), {"User"}),  # these users can be disabled
        (lambda: current_user.email, {"User"}),
        (lambda: g.current_session.user.email, {"User", "DeviceSession"}),
    ],
    ids=["who", "user", "session"],
)
def test_objects_are_made_for_whoever_asks(
    app: Flask, laptop: Browser, view: Any, objects: set[str]
) -> None:
    """Whether somebody is signed in, and who, takes no object but what ``is_active`` asks."""
    made: set[str] = set()

    @app.get("/view")
    def answer() -> str:
        text = str(view())
        made.update(type(held).__name__ for held in db.session.identity_map.values())
        return text

    with app.app_context():
        add_user()
    sign_in(laptop)

    with statements(app) as seen:
        laptop.get("/view")

    assert made == objects
    assert len(seen) == 1


def test_the_session_proxy_is_false_outside_a_request() -> None:
    """In a script or a shell there is no session, and asking is no error."""
    with make_app().app_context():
        assert not current_session


def test_an_app_without_the_extension_is_told_how_to_add_it() -> None:
    """Importing the proxy is not enough."""
    with Flask("tests").test_request_context(), pytest.raises(ConfigError, match="init_app"):
        bool(current_session)


def test_current_user_is_flask_logins_own() -> None:
    """There is one proxy for the user, not two."""
    assert current_user is flask_login.current_user


def test_models_follow_the_settings_of_the_running_app() -> None:
    """Outside an app, or in one without the extension, the defaults count."""
    app = make_app(DEVICE_SESSIONS_IDLE_TIMEOUT=timedelta(hours=1))

    outside = ambient.settings()
    with app.app_context():
        inside = ambient.settings()
    with Flask("tests").app_context():
        elsewhere = ambient.settings()

    assert inside.idle_timeout == timedelta(hours=1)
    assert outside == elsewhere == Settings()


def test_a_row_knows_whether_it_is_the_current_one(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """Of two live sessions, one is the request's own; outside a request none is."""

    @app.get("/current")
    def current() -> list[bool]:
        rows = extension.sessions_of(current_user)
        return [row.is_current for row in rows if row.device_name == "Linux PC"] + [
            row.is_current for row in rows if row.device_name == "iPhone"
        ]

    sign_in(laptop)
    sign_in(phone)

    assert laptop.get("/current").json == [True, False]
    assert phone.get("/current").json == [False, True]


def test_no_row_is_the_current_one_outside_a_request(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """A script sees every session as another's."""
    sign_in(laptop)
    g.pop("current_session", None)  # the fixtures' context is the request's, too

    (session,) = extension.sessions_of(ada)

    assert ambient.session_id() is None
    assert not session.is_current
