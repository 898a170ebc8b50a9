"""The extension and the session of the request that is running, importable from anywhere."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast

import flask_login
from flask import Flask, current_app, g, has_app_context, has_request_context
from werkzeug.local import LocalProxy

from .ambient import ambient
from .config import Settings
from .errors import ConfigError

if TYPE_CHECKING:
    from .extension import DeviceSessions
    from .visit import Visit

#: Key of the extension in ``app.extensions``.
EXTENSION = "device_sessions"


def _extension() -> DeviceSessions:
    extension = current_app.extensions.get(EXTENSION)
    if extension is None:
        raise ConfigError(
            "This app has no device sessions: call DeviceSessions(app), or init_app(app)."
        )
    return cast("DeviceSessions", extension)


def running_app() -> Flask:
    """Return the app that is running, itself and no proxy."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app


def current_visit() -> Visit:
    """Return the state of the request that is running."""
    return _extension().visit()


def _session() -> Any:
    return current_visit().session if has_request_context() else None


#: The extension of the running app.
current_extension = cast("DeviceSessions", LocalProxy(_extension))

#: The live ``DeviceSession`` of the running request; false when there is none.
current_session: Any = LocalProxy(_session)


#: Flask-Login's own, under a name that type checkers let through.
current_user: Any = flask_login.current_user


def _is_here() -> bool:
    return has_app_context() and EXTENSION in current_app.extensions


def _settings() -> Settings:
    return _extension().settings if _is_here() else Settings()


def _session_id() -> uuid.UUID | None:
    session = g.get("current_session") if has_app_context() else None
    return getattr(session, "id", None)


def _stored_address(address: str | None) -> str | None:
    return _extension().stored_address(address) if _is_here() else address


ambient.settings = _settings
ambient.stored_address = _stored_address
ambient.session_id = _session_id
