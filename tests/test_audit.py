"""What the app writes into the trail, and that a change to it is found."""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.audit import ACTIONS, ALARMING, Tail
from flask_device_sessions.logs import Throttled
from flask_device_sessions.testing import Browser
from tests.support import (
    PASSWORD,
    User,
    add_user,
    db,
    jar_of,
    make_app,
    replay,
    sign_in,
    statements,
    who,
)

Tamper = Callable[[Any], Any]


@pytest.fixture
def trail(extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser) -> Any:
    """Every action there is, done once; gives the events' table."""
    sign_in(laptop)
    sign_in(phone)
    laptop.post(f"/devices/{extension.devices_of(ada)[0].id}/rename", data={"name": "Télé"})
    laptop.post("/devices/revoke-others")
    laptop.post("/confirm", data={"password": PASSWORD})
    with laptop:
        laptop.get("/whoami")
        extension.password_changed(ada)
    return extension.event_model.__table__


@pytest.fixture
def everything(
    app: Flask, extension: DeviceSessions, ada: User, trail: Any, laptop: Browser
) -> set[str]:
    """The actions of every kind of thing that can happen, done once."""
    _spoil_the_network(extension, laptop)
    _try_passwords(app)
    _report(app, extension, ada)
    with app.test_request_context():
        extension.issue_token(ada, name="script")
    extension._states[app].accounts._note_storage_down()
    return _actions(extension)


def _spoil_the_network(extension: DeviceSessions, laptop: Browser) -> None:
    """Move to another network, try an id of nobody's, use a copy after the end."""
    sign_in(laptop)
    laptop.environ_base["REMOTE_ADDR"] = "203.0.113.5"
    laptop.get("/whoami")
    laptop.post(f"/devices/sessions/{uuid.uuid4()}/revoke")
    copy = replay(laptop.application, jar_of(laptop))
    laptop.post("/logout")
    copy.get("/whoami")


def _try_passwords(app: Flask) -> None:
    for _ in range(11):
        sign_in(Browser(app, ip="10.0.0.1"), password="wrong")


def _report(app: Flask, extension: DeviceSessions, ada: User) -> None:
    """Sign in unusually, and say that it was not oneself."""
    extension._states[app].accounts._throttle.clear("ada@example.com", None)
    sign_in(Browser(app, ip="198.51.100.99"))
    session = extension.sessions_of(ada)[0]
    with app.test_request_context():
        extension.report_not_me(extension.not_me_text(session))


def test_every_documented_action_is_seen_and_no_other(
    extension: DeviceSessions, ada: User, everything: set[str]
) -> None:
    """The list of actions is the list of what happens (ASVS V16.2)."""
    extension.purge(older_than=timedelta(microseconds=1))
    seen = everything | _actions(extension)
    extension.erase(ada)

    assert seen | _actions(extension) == set(ACTIONS)


def _actions(extension: DeviceSessions) -> set[str]:
    return set(db.session.scalars(sa.select(extension.event_model.action)))


def test_what_alarms_is_an_action() -> None:
    """A name that is mistyped there would be information only (ASVS V16.3.3)."""
    assert set(ACTIONS) >= ALARMING
    assert len(ALARMING) == 7


def test_an_event_of_a_session_names_its_device(
    extension: DeviceSessions, ada: User, trail: Any
) -> None:
    """Who reads "a session ended" can tell on which device (ASVS V16.2.1)."""
    devices = {s.id: s.device_id for s in extension.sessions_of(ada, ended=True)}
    devices |= {s.id: s.device_id for s in extension.sessions_of(ada)}

    events = [event for event in extension.events_of(ada) if event.session_id]

    assert {event.action for event in events} >= {"session_started", "session_ended"}
    assert all(event.device_id == devices[event.session_id] for event in events)


def test_an_untouched_trail_is_whole(extension: DeviceSessions, ada: User, trail: Any) -> None:
    """What the app wrote verifies on each engine, for one person and for all (ASVS V16.4)."""
    everybody = extension.verify_audit()
    one = extension.verify_audit(ada)

    assert everybody
    assert one
    assert one.events_checked == len(extension.events_of(ada))


TAMPERINGS: list[Tamper] = [
    lambda t: sa.update(t).where(t.c.sequence == 2).values(action="device_renamed"),
    lambda t: sa.update(t).where(t.c.sequence == 3).values(ip_address="203.0.113.9"),
    lambda t: sa.update(t).where(t.c.sequence == 4).values(detail={"reason": "logout"}),
    lambda t: sa.delete(t).where(t.c.sequence == 3),
    lambda t: sa.delete(t).where(t.c.sequence == 1),
]


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_a_change_in_the_database_is_found(
    extension: DeviceSessions, ada: User, trail: Any, tamper: Tamper
) -> None:
    """Whoever can write to the database but lacks the key is found out (ASVS V16.4.2)."""
    db.session.execute(tamper(trail))
    db.session.commit()

    report = extension.verify_audit(ada)

    assert not report
    assert report.findings[0].user_id == ada.id


def test_a_cut_off_end_is_found_with_an_anchor(
    extension: DeviceSessions, ada: User, trail: Any
) -> None:
    """The newest events can be missed only by somebody who remembers them."""
    anchor = extension.verify_audit().anchor
    newest = sa.select(sa.func.max(trail.c.sequence)).scalar_subquery()
    last = db.session.scalar(sa.select(newest))
    db.session.execute(sa.delete(trail).where(trail.c.sequence == last))
    db.session.commit()

    without = extension.verify_audit(ada)
    with_anchor = extension.verify_audit(ada, anchor=anchor)

    assert without
    assert [finding.problem for finding in with_anchor.findings] == ["truncated"]


@pytest.mark.connections
def test_the_chain_has_a_key_of_its_own(ada: User, app: Flask, trail: Any) -> None:
    """With AUDIT_KEY, neither SECRET_KEY nor an older key in the wrong place will do."""
    uri = app.config["SQLALCHEMY_DATABASE_URI"]
    other = make_app(uri, DEVICE_SESSIONS_AUDIT_KEY=["a key of the audit chain", b"k" * 16])

    with other.app_context():
        report = other.extensions["device_sessions"].verify_audit()

    assert not report


@pytest.mark.connections
def test_events_written_before_a_key_was_rotated_still_verify(app: Flask, ada: User) -> None:
    """Newest first: the new key writes, the old one is still believed where it was used."""
    uri = app.config["SQLALCHEMY_DATABASE_URI"]
    for keys in (
        ["the first key of the chain"],
        ["the next key of the chain", "the first key of the chain"],
    ):
        rotated = make_app(uri, DEVICE_SESSIONS_AUDIT_KEY=keys)
        sign_in(Browser(rotated))

    with rotated.app_context():
        report = rotated.extensions["device_sessions"].verify_audit()

    assert report
    assert report.events_checked == 4


def test_people_have_chains_of_their_own(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """Each person's events count from one, whoever signs in between."""
    bob = add_user("bob@example.com")
    sign_in(laptop)
    sign_in(phone, "bob@example.com")
    sign_in(laptop)

    numbers = [[e.sequence for e in extension.events_of(user)] for user in (ada, bob)]

    assert numbers == [[4, 3, 2, 1], [2, 1]]
    assert extension.verify_audit().users_checked == 2


def test_the_docs_list_every_action() -> None:
    """``docs/concepts.md`` names each event."""
    page = (Path(__file__).parents[1] / "docs" / "concepts.md").read_text(encoding="utf-8")

    assert set(re.findall(r"`([a-z]+_[a-z_]+)`", page)) >= set(ACTIONS)


@pytest.mark.parametrize(
    ("actions", "count"),
    [
        ((), 0),
        (("login_failed", "login_throttled", "login_failed"), 2),
        (("login_failed", "session_ended", "session_started", "login_failed"), 1),
        (("session_started", "login_failed"), 0),
    ],
)
def test_refused_passwords_are_counted_up_to_the_last_sign_in(
    actions: tuple[str, ...], count: int
) -> None:
    """Newest first: what was before somebody got in does not count (ASVS V6.3.5)."""
    tail = Tail(len(actions), "mac", actions)

    assert tail.failures == count


@pytest.mark.parametrize(
    ("sequence", "actions", "is_so"),
    [
        (0, (), True),
        (2, ("login_failed", "login_throttled"), True),
        (2, ("login_failed", "session_started"), False),
        (3, ("login_failed", "login_failed"), False),
    ],
)
def test_strangers_at_the_door_are_told_from_a_person_who_was_in(
    sequence: int, actions: tuple[str, ...], is_so: bool
) -> None:
    """Only refusals ever, each of them seen, mean that a sign-in is the first."""
    assert Tail(sequence, "mac", actions).has_only_failures is is_so


# -- The log ---------------------------------------------------------------------------------------


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [
        json.loads(record.getMessage())
        for record in caplog.records
        if record.name == "flask_device_sessions.audit"
    ]


def test_each_event_is_one_line_of_the_log(
    extension: DeviceSessions, ada: User, laptop: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """JSON in ASCII, with what the row says and without MACs (ASVS V16.2.1)."""
    caplog.set_level(logging.INFO, "flask_device_sessions.audit")

    sign_in(laptop)

    events = extension.events_of(ada)[::-1]
    lines = _lines(caplog)
    assert [line["id"] for line in lines] == [str(event.id) for event in events]
    assert lines[-1] | {"user_agent": ""} == {
        "id": str(events[-1].id),
        "user_id": ada.id,
        "session_id": str(events[-1].session_id),
        "device_id": str(events[-1].device_id),
        "action": "session_started",
        "created_at": str(events[-1].created_at),
        "ip_address": "192.0.2.1",
        "user_agent": "",
        "detail": {"method": "password", "new_device": True},
    }


def test_no_text_from_outside_makes_a_line_of_its_own(
    extension: DeviceSessions, ada: User, laptop: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """Line ends, terminal codes and right-to-left marks are escaped or gone (ASVS V16.4.1)."""
    caplog.set_level(logging.INFO, "flask_device_sessions.audit")
    sign_in(laptop)
    (device,) = extension.devices_of(ada)

    extension.rename_device(device, "A\nB\x1b[31m\u202e\u2028C é")

    message = caplog.records[-1].getMessage()
    assert message.isascii()
    assert message.isprintable()
    assert _lines(caplog)[-1]["detail"] == {"name": "AB[31mC é"}


def test_what_somebody_should_look_at_is_a_warning(
    ada: User, laptop: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused password is; a sign-in is not (ASVS V16.3.2)."""
    caplog.set_level(logging.INFO, "flask_device_sessions.audit")

    sign_in(laptop)
    sign_in(laptop, password="wrong")

    levels = {json.loads(r.getMessage())["action"]: r.levelname for r in caplog.records}
    assert levels["session_started"] == "INFO"
    assert levels["login_failed"] == "WARNING"


def test_what_is_rolled_back_is_not_logged(
    app: Flask, extension: DeviceSessions, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    """A line says that something has happened."""
    caplog.set_level(logging.INFO, "flask_device_sessions.audit")
    with app.test_request_context():
        extension.login(ada, commit=False)
        db.session.rollback()

    assert _lines(caplog) == []


# -- What is refused without SQL -------------------------------------------------------------------


@pytest.fixture
def unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings that no earlier test has used up."""
    from flask_device_sessions import transport
    from flask_device_sessions.web import views

    log = logging.getLogger("flask_device_sessions.audit")
    monkeypatch.setattr(transport, "_junk", Throttled(log, timedelta(minutes=1)))
    monkeypatch.setattr(views, "_forgeries", Throttled(log, timedelta(minutes=1)))


@pytest.mark.usefixtures("unthrottled")
def test_a_forged_cookie_costs_a_line_a_minute_and_no_sql(
    app: Flask, context: None, laptop: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """Strangers cannot fill the table, nor the log (ASVS V16.2)."""
    laptop.set_cookie("device_session", "forged.canary")

    with statements(app) as seen:
        for _ in range(5):
            laptop.get("/whoami")

    assert seen == []
    assert len(caplog.records) == 1
    assert "canary" not in caplog.text


@pytest.mark.usefixtures("unthrottled")
def test_a_form_without_its_token_costs_a_line_a_minute_and_no_sql(
    app: Flask, context: None, laptop: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """A forgery is told to the log with where it came to (ASVS V3.5.1)."""
    app.config["WTF_CSRF_ENABLED"] = True

    with statements(app) as seen:
        statuses = [sign_in(laptop).status_code for _ in range(5)]
        statuses.append(laptop.post("/logout").status_code)

    assert statuses == [400] * 6
    assert seen == []
    assert [record.getMessage() for record in caplog.records] == [
        "A form without a good CSRF token came to device_sessions.login "
        "(0 more since the last such line)"
    ]


# -- A credential that comes back ------------------------------------------------------------------


def test_an_ended_session_that_comes_back_is_noted(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Once an hour, with why it had ended (ASVS V7.4.1, V16.3)."""
    sign_in(laptop)
    copy = replay(app, jar_of(laptop))
    laptop.post("/logout")

    names = [who(copy) for _ in range(5)]

    event = extension.events_of(ada)[0]
    assert names == [None] * 5
    assert (event.action, event.detail) == ("ended_session_used", {"reason": "logout"})
    assert event.ip_address == "203.0.113.66"
    assert event.session_id is not None
    assert [e.action for e in extension.events_of(ada)].count("ended_session_used") == 1


def test_a_session_of_nobody_is_not_noted(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """A person who was deleted has no trail; the cookie is refused all the same."""
    sign_in(laptop)
    db.session.delete(ada)
    db.session.commit()

    assert who(laptop) is None
    assert extension.verify_audit()
