"""The views of the JSON API. Each asks the extension; none knows SQL."""

from __future__ import annotations

import uuid
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from flask import Response, abort, json, jsonify, url_for

from .. import problems
from ..errors import NoSuchUser
from ..proxies import current_extension, current_session, current_user
from ..tokens import IssuedToken
from . import schemas
from .guards import need_fresh

_NOTHING = ("", 204)


# -- The session of the caller ---------------------------------------------------------------------


def create_session() -> Response:
    """Sign a program in with a password."""
    fields = schemas.Body()
    identifier = fields.text("identifier")
    password = fields.text("password")
    name = fields.text("name", is_optional=True)
    fields.check()
    user = current_extension.authenticate(identifier, password)
    if user is None:
        return problems.wrong_credentials()
    try:
        issued = current_extension.sign_in_program(user, name)
    except NoSuchUser:
        return problems.wrong_credentials()
    owner = {"id": schemas.key(issued.session.user_id)}
    return _created(issued, url_for(".get_session"), user=owner)


def get_session() -> Response:
    """Show the session of the caller."""
    return jsonify(_shown([current_session._get_current_object()])[0])


def delete_session() -> Any:
    """End the session of the caller."""
    current_extension.logout()
    return _NOTHING


# -- All of a person's sessions --------------------------------------------------------------------


def list_sessions() -> Response:
    """List a person's live sessions."""
    return _sessions_page("sessions")


def list_tokens() -> Response:
    """List those that have a bearer token."""
    return _sessions_page("tokens", kind="token")


def revoke_session(session_id: str) -> Any:
    """End one session; the caller's own without a fresh password."""
    return _revoke(_live_or_404(session_id))


def revoke_token(session_id: str) -> Any:
    """End one session that has a bearer token."""
    session = _live_or_404(session_id)
    if session.kind != "token":
        abort(404)
    return _revoke(session)


def revoke_others() -> Response:
    """End every session but the caller's."""
    need_fresh()
    return jsonify(revoked=current_extension.revoke_others())


def create_token() -> Response:
    """Make a bearer token for another program."""
    fields = schemas.Body()
    name = fields.name("name")
    scopes = fields.scopes("scopes", current_extension.settings.token_scopes)
    days = fields.days("expires_in")
    fields.check()
    need_fresh()
    if not current_extension.may_grant(scopes):
        return problems.insufficient_scope(scopes)
    span = None if days is None else timedelta(days=days)
    user = current_user._get_current_object()
    issued = current_extension.issue_token(user, name=name, scopes=scopes, expires_in=span)
    return _created(issued, url_for(".revoke_token", session_id=issued.session.id))


def list_events() -> Response:
    """List what happened to a person's account."""
    query = schemas.Query()
    limit, before = query.limit(), query.number("cursor")
    query.check()
    events = current_extension.page_of_events(current_user, limit=limit + 1, before=before)
    shown = events[:limit]
    cursor = str(shown[-1].sequence) if len(events) > limit else None
    return jsonify(events=[schemas.event(row) for row in shown], next=cursor)


# -- What this API is ------------------------------------------------------------------------------


def openapi() -> Response:
    """Describe this API as an OpenAPI 3.1 document."""
    document = json.loads(_document())
    document["servers"] = [{"url": url_for(".openapi").removesuffix("/openapi.json")}]
    cookie = document["components"]["securitySchemes"]["cookie"]
    cookie["name"] = current_extension.session_cookie_name
    if offered := current_extension.settings.token_scopes:
        wanted = document["components"]["schemas"]["TokenRequest"]["properties"]["scopes"]
        wanted["items"] = {"type": "string", "enum": list(offered)}
    return jsonify(document)


@cache
def _document() -> str:
    return files(__package__).joinpath("openapi.json").read_text("utf-8")


# -- Inside ----------------------------------------------------------------------------------------


def _created(issued: IssuedToken, location: str, **more: Any) -> Response:
    """Return the one answer that carries the token."""
    (session,) = _shown([issued.session])
    response = jsonify(
        token=issued.token,
        token_type="Bearer",
        expires_at=session["expires_at"],
        session=session,
        **more,
    )
    response.status_code = 201
    response.headers["Location"] = location
    return response


def _sessions_page(name: str, kind: str | None = None) -> Response:
    query = schemas.Query()
    limit, before = query.limit(), query.row_id("cursor")
    query.check()
    sessions = current_extension.page_of_sessions(
        current_user, limit=limit + 1, kind=kind, before=before
    )
    shown = _shown(sessions[:limit])
    cursor = shown[-1]["id"] if len(sessions) > limit else None
    return jsonify({name: shown, "next": cursor})


def _shown(sessions: list[Any]) -> list[dict[str, Any]]:
    current_extension.load_devices(sessions)
    return [schemas.session(session) for session in sessions]


def _live_or_404(text: str) -> Any:
    """Return the person's live session; ended, unknown, malformed, another's: the same 404."""
    session_id = schemas.parse_id(text) or uuid.UUID(int=0)
    session = current_extension.find_session(current_user, session_id)
    if session is None:
        current_extension.note_foreign_id("session", session_id)
    return session if session is not None and session.is_active else abort(404)


def _revoke(session: Any) -> Any:
    if not session.is_current:
        need_fresh()
    current_extension.revoke(session)
    return _NOTHING
