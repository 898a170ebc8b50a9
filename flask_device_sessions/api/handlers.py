"""Errors become problems; every answer is private."""

from __future__ import annotations

import logging

from flask import Response, current_app, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from .. import problems
from ..errors import SessionLimitReached, StoreUnavailable, TooManyAttempts
from ..forgery import API
from ..proxies import current_extension
from ..transport import vary

#: Largest body that is read, in bytes: the longest password, and room.
BODY_BYTES = 64 * 1024

_logger = logging.getLogger("flask_device_sessions")

_NAMES = {
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    500: "internal-error",
    503: "unavailable",
}

#: Headers of an error that say more than its body.
_TELLING = ("Allow", "Retry-After")


def http_error(error: HTTPException) -> Response:
    """Answer one of Werkzeug's errors; a problem that was raised comes not here, but out."""
    if isinstance(error, CSRFError):
        return problems.make("csrf-token-missing", error.description or "")
    told = {name: value for name, value in error.get_headers() if name in _TELLING}
    return problems.make(_NAMES.get(error.code or 500, "bad-request"), headers=told)


def unavailable(error: StoreUnavailable) -> Response:
    """Answer when the database did not do its part: nothing was changed."""
    _logger.error("%s %s failed: %s", request.method, request.path, error)
    return problems.make("unavailable", headers={"Retry-After": str(error.retry_after)})


def failed(error: Exception) -> Response:
    """Answer when a view of ours met a fault of the database beside the verbs."""
    return unavailable(current_extension.fault_of(error))


def limit_reached(error: SessionLimitReached) -> Response:
    """Answer a sign-in that met ``LIMIT_POLICY="refuse"``."""
    return problems.make("limit-reached", str(error))


def too_many_attempts(error: TooManyAttempts) -> Response:
    """Answer an attempt beyond ``LOGIN_RATE_LIMIT``: the same for unknown accounts."""
    headers = {"Retry-After": str(error.retry_after)}
    return problems.make("too-many-attempts", str(error), headers=headers)


def bound_body() -> None:
    """Read no more than a body of ours can have, whatever the app allows elsewhere."""
    limits = (BODY_BYTES, current_app.config.get("MAX_CONTENT_LENGTH") or BODY_BYTES)
    request.max_content_length = min(limits)


def refuse_method() -> Response | None:
    """Answer a method that one of our URLs does not have; such a request has no blueprint."""
    error = request.routing_exception
    if not isinstance(error, MethodNotAllowed) or not error.valid_methods:
        return None
    return http_error(error) if _is_ours(next(iter(error.valid_methods))) else None


def _is_ours(method: str) -> bool:
    """Whether this URL, with that method, is one of this API's."""
    adapter = current_app.create_url_adapter(request)
    try:
        endpoint = adapter and adapter.match(method=method)[0]
    except HTTPException:  # a URL that redirects
        return False
    return bool(endpoint) and str(endpoint).startswith(f"{API}.")


def keep_private(response: Response) -> Response:
    """Let no cache keep an answer, and no browser guess at its type."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    vary(response)
    return response
