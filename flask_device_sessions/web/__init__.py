"""The pages: their URLs, all on this screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask

from ..config import Settings
from ..decorators import allow_anonymous
from ..errors import SessionLimitReached, StoreUnavailable, TooManyAttempts
from ..faults import STORE_FAULTS
from . import plain, views
from .pages import protect, signed_in

Guard = Callable[[Any], Any]

DEVICE = "/devices/<uuid:device_id>"
SESSION = "/devices/sessions/<uuid:session_id>"

#: Rule, endpoint, method or methods, view, and who may call it.
URLS: tuple[tuple[str, str, str, Callable[..., Any], Guard], ...] = (
    ("/login", "login", "GET POST", views.login, allow_anonymous),
    ("/logout", "logout", "POST", views.logout, allow_anonymous),
    ("/confirm", "confirm", "GET POST", views.confirm, signed_in),
    ("/devices/", "devices", "GET", views.devices, signed_in),
    (f"{DEVICE}/rename", "rename_device", "POST", views.rename_device, signed_in),
    (f"{DEVICE}/revoke", "revoke_device", "POST", views.revoke_device, signed_in),
    (f"{SESSION}/revoke", "revoke_session", "POST", views.revoke_session, signed_in),
    ("/devices/revoke-others", "revoke_others", "POST", views.revoke_others, signed_in),
    ("/devices/revoke-all", "revoke_all", "POST", views.revoke_all, signed_in),
    ("/devices/not-me/<signed>", "not_me", "GET POST", views.not_me, allow_anonymous),
    ("/devices/activity", "activity", "GET", views.show_activity, signed_in),
    ("/devices/tokens", "tokens", "GET POST", views.tokens, signed_in),
)


def make_blueprint(settings: Settings) -> Blueprint:
    """Return the blueprint of the pages, for one app; without pages, of the mails' templates."""
    blueprint = Blueprint(
        "device_sessions",
        "flask_device_sessions",
        url_prefix=settings.url_prefix,
        template_folder="templates",
        static_folder="static" if settings.pages else None,
        static_url_path="/device-sessions/static",
    )
    if not settings.pages:
        return blueprint
    for rule, endpoint, methods, view, guard in URLS:
        blueprint.add_url_rule(rule, endpoint, guard(view), methods=methods.split())
    for fault in STORE_FAULTS:
        blueprint.register_error_handler(fault, views.failed)
    blueprint.after_request(protect)
    return blueprint


def register_error_handlers(app: Flask, *, with_pages: bool) -> None:
    """Answer in words when a verb, in any view of the app, cannot do its part."""
    answers: Any = views if with_pages else plain
    app.register_error_handler(StoreUnavailable, answers.unavailable)
    app.register_error_handler(SessionLimitReached, answers.limit_reached)
    app.register_error_handler(TooManyAttempts, answers.too_many_attempts)
