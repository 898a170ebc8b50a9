"""A new secret now and then: it signs nobody out, and an old one that comes back is a theft."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask, g

from flask_device_sessions import DeviceSessions, session_ended, session_rotated
from flask_device_sessions.testing import Browser, listen_to
from tests.support import PASSWORD, User, db, jar_of, replay, sign_in, statements, who

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


@pytest.fixture
def config() -> dict[str, Any]:
    """A new secret each hour."""
    return {"DEVICE_SESSIONS_ROTATE_INTERVAL": HOUR}


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands still until it is moved."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def due(clock: time_machine.Traveller, ada: User, laptop: Browser) -> Browser:
    """A browser that signed in an hour ago."""
    sign_in(laptop)
    clock.shift(HOUR)
    return laptop


def _reasons(extension: DeviceSessions, user: User) -> list[str]:
    return [session.end_reason for session in extension.sessions_of(user, ended=True)]


def test_the_secret_is_new_after_the_interval(
    due: Browser, clock: time_machine.Traveller, extension: DeviceSessions, ada: User
) -> None:
    """Not before, and once: then it rests for another interval (ASVS V7.2.4)."""
    clock.shift(-timedelta(seconds=1))
    first = jar_of(due)
    who(due)
    before = jar_of(due)
    clock.shift(timedelta(seconds=1))

    with listen_to(session_rotated) as heard:
        who(due)
        after = jar_of(due)
        who(due)

    assert before == first
    assert after["device_session"] != before["device_session"]
    assert jar_of(due) == after
    assert len(heard) == 1
    assert [e.action for e in extension.events_of(ada)].count("session_rotated") == 1
    assert who(due) == "ada@example.com"


def test_a_lost_answer_signs_nobody_out(
    app: Flask, due: Browser, clock: time_machine.Traveller
) -> None:
    """Until the new secret was seen, the old one works; an interval later it is replaced again."""
    lost = replay(app, jar_of(due))
    who(due)  # the answer with the new secret, which never arrives at the other
    names = [who(lost) for _ in range(3)]
    kept = jar_of(lost)
    clock.shift(HOUR)

    again = who(lost)

    assert names == ["ada@example.com"] * 3
    assert again == "ada@example.com"
    assert jar_of(lost) != kept
    assert who(lost) == "ada@example.com"


def test_parallel_tabs_sign_nobody_out(app: Flask, due: Browser) -> None:
    """Several requests left with the old secret: one answer brings the new one."""
    tabs = [replay(app, jar_of(due)) for _ in range(4)]

    names = [who(tab) for tab in tabs]
    new = [jar_of(tab) for tab in tabs if jar_of(tab) != jar_of(due)]

    assert names == ["ada@example.com"] * 4
    assert len(new) == 1
    assert who(replay(app, new[0])) == "ada@example.com"


def test_an_old_secret_after_the_new_one_was_seen_is_a_theft(
    app: Flask, due: Browser, extension: DeviceSessions, ada: User
) -> None:
    """The copy is refused, the session ends for both, and the owner reads why (ASVS V7.2.4)."""
    copy = replay(app, jar_of(due))
    who(due)
    who(due)

    with listen_to(session_ended) as heard:
        thief = who(copy)

    assert thief is None
    assert who(due) is None
    assert _reasons(extension, ada) == ["reused"]
    assert [event["reason"] for event in heard] == ["reused"]
    assert "a copy of your session was used elsewhere" in due.get("/login").text


def test_a_thief_who_is_first_is_found_out_by_the_owner(
    app: Flask, due: Browser, extension: DeviceSessions, ada: User
) -> None:
    """Whoever of the two comes second with the old secret ends it."""
    thief = replay(app, jar_of(due))
    who(thief)
    who(thief)

    assert who(due) is None
    assert who(thief) is None
    assert _reasons(extension, ada) == ["reused"]


def test_a_theft_while_nothing_can_be_written_is_refused_all_the_same(
    app: Flask, due: Browser, extension: DeviceSessions, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is marked when it can be."""
    copy = replay(app, jar_of(due))
    who(due)
    who(due)
    with monkeypatch.context() as patch:
        patch.setattr("flask_device_sessions.store.Store.run", _fail)
        refused = who(copy)

    assert refused is None
    assert _reasons(extension, ada) == []
    assert who(copy) is None
    assert _reasons(extension, ada) == ["reused"]


def test_what_cannot_be_written_keeps_the_old_secret(
    due: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request goes on; no cookie without a row."""
    before = jar_of(due)
    with monkeypatch.context() as patch:
        patch.setattr("flask_device_sessions.store.Store.run", _fail)
        during = who(due)

    assert during == "ada@example.com"
    assert jar_of(due) == before
    assert who(due) == "ada@example.com"
    assert jar_of(due) != before


def _fail(*_: Any, **__: Any) -> Any:
    from flask_device_sessions import StoreUnavailable

    raise StoreUnavailable


def test_of_two_that_are_due_at_once_one_rotates(
    app: Flask, due: Browser, extension: DeviceSessions, ada: User
) -> None:
    """The other one finds the secret changed, and gets no cookie."""
    parts = extension._states[app]
    with due:
        due.get("/open")
    session = extension.sessions_of(ada)[0]
    session.rotated_at = None
    db.session.commit()
    with app.test_request_context():
        from flask_device_sessions.tokens import SessionToken

        found = parts.store.find(session.id)
        assert found is not None
        db.session.execute(sa.update(extension.session_model).values(token_digest="0" * 64))
        db.session.commit()
        presented = SessionToken.issue(session.id)
        client, now = extension._caller()

        rotated = parts.store.run(
            lambda: parts.lifecycle.rotate_on_clock(presented, found, client, now)
        )

    assert rotated is None


def test_a_secret_that_another_request_renewed_is_not_sent_again(
    due: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a new credential there is no cookie."""
    before = jar_of(due)
    monkeypatch.setattr(
        "flask_device_sessions.lifecycle.Lifecycle.rotate_on_clock", lambda *_: None
    )

    assert who(due) == "ada@example.com"
    assert jar_of(due) == before


def test_confirming_kills_the_old_secret_at_once(app: Flask, due: Browser) -> None:
    """It is not one that works until the new one was seen (ASVS V7.2.4)."""
    who(due)
    copy = replay(app, jar_of(due))

    due.post("/confirm", data={"password": PASSWORD})

    assert who(copy) is None
    assert who(due) == "ada@example.com"


def test_a_new_secret_costs_one_unit_and_then_nothing(app: Flask, due: Browser) -> None:
    """One more UPDATE when the new one is first seen; the steady state is 1 SELECT."""
    with statements(app) as rotating:
        who(due)
    with statements(app) as seeing:
        who(due)
    with statements(app) as steady:
        who(due)

    assert rotating.count("COMMIT") == 2  # the unit, and the touch that was due
    assert [line.split()[0] for line in seeing[::2]] == ["SELECT", "COMMIT"]
    assert "UPDATE device_sessions SET previous_ended_at" in seeing[1]
    assert [line.split()[0] for line in steady] == ["SELECT"]


def test_a_view_sees_the_session_with_its_new_secret(
    app: Flask, clock: time_machine.Traveller, ada: User, laptop: Browser
) -> None:
    """What is bound to the secret, such as a step that waits for the password, stays bound."""
    digests: list[str] = []

    @app.get("/digest")
    def digest() -> str:
        digests.append(g.current_session.token_digest)
        db.session.refresh(g.current_session)
        digests.append(g.current_session.token_digest)
        return ""

    sign_in(laptop)
    clock.shift(HOUR)

    laptop.get("/digest")

    assert digests[0] == digests[1]


def test_the_cookie_of_a_new_secret_lasts_as_long_as_the_old_one(
    clock: time_machine.Traveller, ada: User, laptop: Browser
) -> None:
    """One that outlives the browser still does; activity never extends it (ASVS V7.3.2)."""
    sign_in(laptop, remember="1")
    cookie = laptop.get_cookie("device_session")
    assert cookie is not None
    clock.shift(HOUR)
    who(laptop)
    rotated = laptop.get_cookie("device_session")

    assert rotated is not None
    assert rotated.expires == cookie.expires
