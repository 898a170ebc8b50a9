"""Errors for programs: problem details (RFC 9457), with the challenges of RFC 6750.

``type`` names the problem and never changes; ``title`` and ``detail`` are for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flask import Response, json, request

from . import messages
from .proxies import current_extension, current_visit
from .transport import is_bearer, vary

MEDIA_TYPE = "application/problem+json"

#: What stands before each name in ``type``.
TYPE_PREFIX = "urn:flask-device-sessions:problem:"


class Kind(NamedTuple):
    """A problem's status, and its title in English."""

    status: int
    title: str


#: What the challenges are for (RFC 6750 3 asks for a parameter).
REALM = "api"

#: Every problem by the end of its ``type``.
KINDS = {
    "malformed-body": Kind(400, "The body is not a JSON object"),
    "csrf-token-missing": Kind(400, "With a cookie, this needs a CSRF token"),
    "bad-request": Kind(400, "The request cannot be read"),
    "unauthenticated": Kind(401, "Sign in first"),
    "wrong-credentials": Kind(401, "The name or the password is wrong"),
    "invalid-token": Kind(401, "This access token is not valid"),
    "confirmation-required": Kind(401, "The password was checked too long ago"),
    "insufficient-scope": Kind(403, "The token may not do this"),
    "forbidden": Kind(403, "This is not allowed"),
    "not-found": Kind(404, "There is nothing here"),
    "method-not-allowed": Kind(405, "This cannot be done here"),
    "limit-reached": Kind(409, "There are too many sessions"),
    "too-large": Kind(413, "The body is too large"),
    "unsupported-media-type": Kind(415, "The body must be application/json"),
    "invalid-fields": Kind(422, "Something in the request is not as it should be"),
    "too-many-attempts": Kind(429, "Too many attempts"),
    "internal-error": Kind(500, "Something went wrong"),
    "unavailable": Kind(503, "Try again in a moment"),
}


def make(
    name: str,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return the answer for a problem.

    Args:
        name: which one of :data:`KINDS`.
        detail: what is wrong this time; default: the title.
        headers: more headers.
        **members: more members of the JSON object.
    """
    status, title = KINDS[name]
    body = {
        "type": TYPE_PREFIX + name,
        "title": title,
        "status": status,
        "detail": detail or title + ".",
        **members,
    }
    response = Response(json.dumps(body), status, mimetype=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    vary(response)
    response.headers.update(headers or {})
    return response


def is_wanted() -> bool:
    """Whether the client reads JSON rather than pages: what it sends and accepts says so."""
    if is_bearer(request) or request.is_json:
        return True
    best = request.accept_mimetypes.best_match(("text/html", "application/json", MEDIA_TYPE))
    return best not in (None, "text/html")


def unauthenticated() -> Response:
    """Answer somebody who is not signed in: 401, with why if their credential once was good."""
    reason = current_visit().ended_because
    detail = "" if reason is None else messages.why_you_are_out(reason)
    if not current_visit().is_bearer:
        return make("unauthenticated", detail, headers=_challenge())
    return make("invalid-token", detail, headers=_challenge(error="invalid_token"))


def wrong_credentials() -> Response:
    """Answer an identifier and a password that do not fit."""
    return make("wrong-credentials", headers=_challenge())


def confirmation_required() -> Response:
    """Answer somebody whose password check is too old (RFC 9470)."""
    age = int(current_extension.settings.freshness.total_seconds())
    headers = _challenge(error="insufficient_user_authentication", max_age=str(age))
    return make("confirmation-required", "Sign in again for this.", headers=headers)


def insufficient_scope(scopes: Sequence[str]) -> Response:
    """Answer a token that lacks scopes; the challenge names all that are needed."""
    needed = " ".join(scopes)
    headers = _challenge(error="insufficient_scope", scope=needed)
    return make("insufficient-scope", f"This needs the scopes: {needed}.", headers=headers)


def _challenge(**values: str) -> dict[str, str]:
    facts = {"realm": REALM, **values}
    parts = ", ".join(f'{name}="{value}"' for name, value in facts.items())
    return {"WWW-Authenticate": f"Bearer {parts}"}
