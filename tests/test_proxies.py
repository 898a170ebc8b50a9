"""What is importable from anywhere: the session, the user and the extension of the request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import flask_login
import pytest
from flask import Flask, g

from flask_device_sessions import ConfigError, DeviceSessions, current_session
from flask_device_sessions.ambient import ambient
from flask_device_sessions.config import Settings
from flask_device_sessions.proxies import current_extension, current_user
from flask_device_sessions.testing import Browser
from tests.support import User, make_app, sign_in


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


def test_the_session_proxy_is_false_for_a_stranger(app: Flask, laptop: Browser) -> None:
    """Nobody signed in: false, and None inside."""

    @app.get("/nobody")
    def nobody() -> dict[str, Any]:
        return {"is_none": current_session._get_current_object() is None, "g": g.current_session}

    assert laptop.get("/nobody").json == {"is_none": True, "g": None}


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
