"""At the limit, with ``LIMIT_POLICY="refuse"``: choose a device to sign out, and go on.

The password was right, so the page may show the devices. What it hands back is a ticket: who
that was, signed, good for ten minutes, in this browser, while the password stays what it is.
"""

from __future__ import annotations

import uuid
from typing import Any

from flask import Response, request
from flask_login import AnonymousUserMixin

from ..errors import BadToken, SessionLimitReached
from ..proxies import current_extension, current_visit
from ..redirects import safe_next
from ..signing import Purpose
from ..tokens import digest_of
from .pages import page

#: Seconds that a person may take to choose.
_TICKET_AGE = 600


def limit_page(error: SessionLimitReached) -> Response:
    """Offer the live sessions of the person who was refused."""
    facts = {
        "user": str(current_extension.id_of(error.user)),
        "bound": _binding(error.user, current_extension.know_browser()),
        **_wishes(),
    }
    ticket = current_extension.signatures.dump(Purpose.LIMIT, facts)
    current_extension.load_devices(error.sessions)
    values = {"sessions": error.sessions, "limit": error.limit, "ticket": ticket}
    return page("limit", 409, current_user=AnonymousUserMixin(), **values)


def open_ticket(ticket: str) -> dict[str, Any]:
    """Return what :func:`limit_page` signed.

    Raises:
        BadToken: forged, for another purpose, or older than ten minutes.
    """
    if current_extension.settings.limit_policy != "refuse":
        raise BadToken("This app gives no tickets.")
    facts = current_extension.signatures.load(Purpose.LIMIT, ticket, max_age=_TICKET_AGE)
    if current_visit().now.timestamp() - facts["since"] > _TICKET_AGE:
        raise BadToken("The password was typed too long ago.")
    return facts


def swap(facts: dict[str, Any], chosen: str) -> None:
    """End the chosen session and sign the person of the ticket in.

    Raises:
        BadToken: the person is gone or disabled, or the session is not theirs.
        SessionLimitReached: meanwhile somebody used the place up.
    """
    user = current_extension.find_user(facts["user"])
    if user is None or not user.is_active or facts["bound"] != _binding(user, _browser()):
        raise BadToken("The ticket does not lead anywhere any more.")
    session = current_extension.find_session(user, _uuid(chosen))
    if session is None:
        raise BadToken("This is not one of the person's sessions.")
    current_extension.revoke(session)
    current_extension.login(user, remember=facts["remember"])


def _binding(user: Any, browser_digest: str | None) -> str:
    """Name the browser and the password that were right, so that neither can be read from it."""
    bound = f"{browser_digest} {getattr(user, 'password_hash', '')}"
    return digest_of(bound.encode())[:32]


def _wishes() -> dict[str, Any]:
    """Return what was asked for and when, from the form or from the ticket that led here again."""
    try:
        facts = open_ticket(request.form.get("ticket", ""))
    except BadToken:
        return {
            "since": current_visit().now.timestamp(),
            "remember": bool(request.form.get("remember")),
            "next": safe_next(request.values.get("next")),
        }
    return {name: facts[name] for name in ("since", "remember", "next")}


def _browser() -> str | None:
    return current_visit().client.browser_digest


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise BadToken("This is not the id of a session.") from None
