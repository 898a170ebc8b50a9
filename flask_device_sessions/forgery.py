"""CSRF: who acts by a cookie must show Flask-WTF's token; a bearer token is proof enough.

A browser adds cookies to requests that other sites make it send. It never adds a bearer token.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from flask import Flask, current_app, g, request
from flask_wtf.csrf import CSRFError, validate_csrf
from wtforms.validators import ValidationError

from .proxies import EXTENSION
from .transport import is_bearer

#: Name of the JSON API's blueprint, which looks for itself.
API = "device_sessions_api"

_HEADERS = ("X-CSRFToken", "X-CSRF-Token")


def ensure_sparing(app: Flask) -> None:
    """Let the app's CSRFProtect pass requests with a bearer token."""
    protection: Any = app.extensions.get("csrf")
    if protection is not None and "protect" not in vars(protection):
        protection.protect = _sparing(protection.protect)


def spare_forms() -> None:
    """Let Flask-WTF's forms pass the running request, which has a bearer token."""
    g.csrf_valid = True


def forget_sparing() -> None:
    """Take that back at the end of the request: an app context may outlive it."""
    g.pop("csrf_valid", None)


def check_header() -> None:
    """Look for the CSRF token in the headers.

    Raises:
        CSRFError: it is missing, too old or somebody else's.
    """
    if not current_app.config.get("WTF_CSRF_ENABLED", True):
        return
    names = current_app.config.get("WTF_CSRF_HEADERS", _HEADERS)
    try:
        validate_csrf(next(filter(None, map(request.headers.get, names)), None))
    except ValidationError as error:
        raise CSRFError(str(error)) from error


def _sparing(protect: Any) -> Any:
    @wraps(protect)
    def protect_cookies(*args: Any, **values: Any) -> None:
        is_ours = EXTENSION in current_app.extensions
        if not (is_ours and (is_bearer(request) or request.blueprint == API)):
            protect(*args, **values)

    return protect_cookies
