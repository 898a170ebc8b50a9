"""One request's state, and what stands in for it when nobody can tell."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from flask import Flask
from werkzeug.exceptions import ServiceUnavailable

from flask_device_sessions.clients import Client
from flask_device_sessions.errors import StoreUnavailable
from flask_device_sessions.ids import new_id
from flask_device_sessions.lifecycle import Refused
from flask_device_sessions.notifications import Mail
from flask_device_sessions.parts import Parts
from flask_device_sessions.tokens import IssuedToken, SessionToken, new_browser_id
from flask_device_sessions.visit import Outgoing, Visit, unavailable


def _visit(**state: Any) -> Visit:
    with Flask("tests").test_request_context(
        headers={"Cookie": "device_session=s3cret"}
    ) as context:
        visit = Visit(context.request, None, Client, datetime.now(timezone.utc))
    vars(visit).update(state)
    return visit


@pytest.mark.parametrize(
    ("outgoing", "expected"),
    [
        (Outgoing(), False),
        (Outgoing(expires_at=datetime.now(timezone.utc)), False),
        (Outgoing(token=SessionToken.issue(new_id())), True),
        (Outgoing(is_clearing=True), True),
        (Outgoing(browser_id=b"x"), True),
    ],
)
def test_there_is_something_to_send_when_a_cookie_changes(
    outgoing: Outgoing, expected: bool
) -> None:
    """An expiry alone is no cookie."""
    assert bool(outgoing) is expected


@pytest.mark.parametrize(
    ("refused", "reason"),
    [(None, None), (Refused(), None), (Refused("revoked"), "revoked")],
)
def test_a_visit_knows_why_its_session_ended(refused: Refused | None, reason: str | None) -> None:
    """A credential that never was one has no reason."""
    assert _visit(refused=refused).ended_because == reason


def test_entering_and_leaving_changes_all_of_who_is_there() -> None:
    """Session, ids and user change together."""
    visit, session_id = _visit(), new_id()

    visit.enter("session", session_id, 7, "user")

    assert (visit.session, visit.session_id, visit.user_id, visit.user) == (
        "session",
        session_id,
        7,
        "user",
    )


def test_a_visit_shows_no_secret() -> None:
    """Its repr, and that of what goes out, may land in a log (ASVS V14.2.1, V16.2.5)."""
    token, browser_id = SessionToken.issue(new_id()), new_browser_id()
    outgoing = Outgoing(token=token, browser_id=browser_id)

    text = repr(outgoing) + repr(_visit(outgoing=outgoing))

    assert "s3cret" not in text
    assert repr(token.secret) not in text
    assert token.text() not in text
    assert repr(browser_id) not in text


@pytest.mark.parametrize("kind", [IssuedToken, Mail, Outgoing, Parts, SessionToken, Visit])
def test_what_holds_a_secret_is_no_tuple(kind: type[Any]) -> None:
    """Error trackers write down what is in a tuple, whatever its repr hides (ASVS V16.2.5)."""
    assert not issubclass(kind, tuple)


@pytest.mark.parametrize(
    "ask",
    [
        bool,
        str,
        lambda user: user.is_authenticated,
        lambda user: user.id,
        lambda user: user == "ada",
        lambda user: user != "ada",
        lambda user: user in ["ada"],
    ],
    ids=["bool", "str", "is_authenticated", "id", "equal", "unequal", "in"],
)
def test_whoever_asks_an_unavailable_user_gets_503(ask: Any) -> None:
    """Nobody is taken for anonymous because the store is away."""
    fault = StoreUnavailable("The database did not answer.")
    stand_in = unavailable(fault)

    with pytest.raises(ServiceUnavailable) as caught:
        ask(stand_in)

    assert caught.value.__cause__ is fault
    assert dict(caught.value.get_headers())["Retry-After"] == "5"
