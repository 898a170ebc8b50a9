"""The JSON API: its URLs, all on this screen. ``openapi.json`` tells programs the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from ..config import Settings
from ..errors import SessionLimitReached, StoreUnavailable, TooManyAttempts
from ..faults import STORE_FAULTS
from ..forgery import API
from . import handlers, views
from .guards import anybody, signed_in
from .handlers import refuse_method

__all__ = ["URLS", "refuse_method", "register"]

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]


class _RowId(BaseConverter):
    """Any text but the name of another route, so that each URL has its own methods."""

    regex = "(?!revoke-others$)[^/]+"


ID = "<device_sessions_row:session_id>"

#: Rule, endpoint, method, view, and who may call it. An id is text here: a malformed one gets
#: the same answer as an unknown one.
URLS: tuple[tuple[str, str, str, Callable[..., Any], Guard], ...] = (
    ("/session", "create_session", "POST", views.create_session, anybody),
    ("/session", "get_session", "GET", views.get_session, signed_in),
    ("/session", "delete_session", "DELETE", views.delete_session, signed_in),
    ("/sessions", "list_sessions", "GET", views.list_sessions, signed_in),
    (f"/sessions/{ID}", "revoke_session", "DELETE", views.revoke_session, signed_in),
    ("/sessions/revoke-others", "revoke_others", "POST", views.revoke_others, signed_in),
    ("/events", "list_events", "GET", views.list_events, signed_in),
    ("/tokens", "list_tokens", "GET", views.list_tokens, signed_in),
    ("/tokens", "create_token", "POST", views.create_token, signed_in),
    (f"/tokens/{ID}", "revoke_token", "DELETE", views.revoke_token, signed_in),
    ("/openapi.json", "openapi", "GET", views.openapi, anybody),
)


def register(app: Flask, settings: Settings) -> None:
    """Put the API into an app."""
    blueprint = Blueprint(API, "flask_device_sessions.api", url_prefix=settings.api_url_prefix)
    for rule, endpoint, method, view, guard in URLS:
        blueprint.add_url_rule(rule, endpoint, guard(view), methods=[method])
    blueprint.register_error_handler(HTTPException, handlers.http_error)
    blueprint.register_error_handler(StoreUnavailable, handlers.unavailable)
    for fault in STORE_FAULTS:
        blueprint.register_error_handler(fault, handlers.failed)
    blueprint.register_error_handler(SessionLimitReached, handlers.limit_reached)
    blueprint.register_error_handler(TooManyAttempts, handlers.too_many_attempts)
    blueprint.before_request(handlers.bound_body)
    blueprint.after_request(handlers.keep_private)
    app.url_map.converters.setdefault("device_sessions_row", _RowId)
    app.register_blueprint(blueprint)
