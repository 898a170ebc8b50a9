"""The extension and the session of the request that is running, importable from anywhere."""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import flask_login
from flask import Flask, Request, current_app, g, has_app_context, has_request_context, request
from werkzeug.local import LocalProxy
from werkzeug.utils import cached_property  # the standard library's locks, up to Python 3.11

from .ambient import ambient
from .config import Settings
from .errors import ConfigError

if TYPE_CHECKING:
    from .extension import DeviceSessions
    from .visit import Visit

#: Key of the extension in ``app.extensions``.
EXTENSION = "device_sessions"

#: Key in ``g`` of the state of a request.
_VISIT = "_device_sessions_visit"


def _extension() -> DeviceSessions:
    extension = running_app().extensions.get(EXTENSION)
    if extension is None:
        raise ConfigError(
            "This app has no device sessions: call DeviceSessions(app), or init_app(app)."
        )
    return cast("DeviceSessions", extension)


def running_app() -> Flask:
    """Return the app that is running, itself and no proxy."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app


def running_request() -> Request:
    """Return the request that is running, itself and no proxy."""
    caller: Request = request._get_current_object()  # type: ignore[attr-defined]
    return caller


def running_globals() -> Any:
    """Return ``g`` as it is now, itself and no proxy."""
    return g._get_current_object()


def known_visit(caller: Request) -> Visit | None:
    """Return the state of the request that is running, if it has one yet."""
    visit: Visit | None = vars(running_globals()).get(_VISIT)
    return visit if visit is not None and visit.request is caller else None


def current_visit() -> Visit:
    """Return the state of the request that is running."""
    return known_visit(running_request()) or _extension().visit()


class SessionGlobals:
    """``g`` with a ``current_session`` that is made once somebody asks for it."""

    @cached_property
    def current_session(self) -> Any:
        """The live ``DeviceSession`` of the running request, or ``None``."""
        if not has_request_context():
            raise AttributeError("current_session")
        return current_visit().session

    def get(self, name: str, default: Any = None) -> Any:
        """Return what is kept under this name, the session too."""
        if name == "current_session":
            return getattr(self, name, default)
        return super().get(name, default)  # type: ignore[misc]

    def __contains__(self, name: str) -> bool:
        is_here = name in vars(self) or name == "current_session"
        return is_here or super().__contains__(name)  # type: ignore[misc]


@lru_cache
def globals_with_session(base: type[Any]) -> type[Any]:
    """Return :class:`SessionGlobals` on top of an app's own ``app_ctx_globals_class``."""
    return type(base.__name__, (SessionGlobals, base), {})


def set_visit(visit: Visit) -> None:
    """Let this be the state of the request that is running."""
    forget_caller()[_VISIT] = visit


def forget_caller() -> dict[str, Any]:
    """Let everything about the caller be asked anew: an app context may outlive a request.

    Returns:
        The names in ``g``.
    """
    kept = running_globals()
    if not isinstance(kept, SessionGlobals):  # of a context that was there before the extension
        base: Any = type(kept)
        object.__setattr__(kept, "__class__", globals_with_session(base))
    names: dict[str, Any] = vars(kept)
    names.pop("current_session", None)
    names.pop("_login_user", None)
    return names


def _session() -> Any:
    return current_visit().session if has_request_context() else None


def current_user_id() -> Any | None:
    """Return the primary key of who is signed in by a session, or ``None``.

    It takes no object and leaves ``db.session`` alone: for what is asked at each request, such as
    the key of a rate limit.

    Raises:
        werkzeug.exceptions.ServiceUnavailable: the database cannot tell who is calling. Nobody is
            taken for a stranger then.
    """
    if not has_request_context():
        return None
    visit = current_visit()
    if visit.fault is not None:
        bool(visit.session)  # answers 503
    return visit.user_id


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
    return current_visit().session_id if has_request_context() and _is_here() else None


def _stored_address(address: str | None) -> str | None:
    return _extension().stored_address(address) if _is_here() else address


ambient.settings = _settings
ambient.stored_address = _stored_address
ambient.session_id = _session_id
