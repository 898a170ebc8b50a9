"""What the app writes into the trail, and that a change to it is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.audit import ACTIONS
from flask_device_sessions.testing import Browser
from tests.support import PASSWORD, User, add_user, db, make_app, sign_in

Tamper = Callable[[Any], Any]


@pytest.fixture
def trail(extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser) -> Any:
    """Every action there is, done once; gives the events' table."""
    sign_in(laptop)
    sign_in(phone)
    laptop.post(f"/devices/{extension.devices_of(ada)[0].id}/rename", data={"name": "Télé 📺"})
    laptop.post("/devices/revoke-others")
    laptop.post("/confirm", data={"password": PASSWORD})
    with laptop:
        laptop.get("/whoami")
        extension.password_changed(ada)
    return extension.event_model.__table__


def test_every_documented_action_is_seen_and_no_other(
    extension: DeviceSessions, ada: User, trail: Any
) -> None:
    """The list of actions is the list of what happens (ASVS 16.2)."""
    seen = {event.action for event in extension.events_of(ada)}

    assert seen == set(ACTIONS)


def test_an_untouched_trail_is_whole(extension: DeviceSessions, ada: User, trail: Any) -> None:
    """What the app wrote verifies on each engine, for one person and for all (ASVS 16.4)."""
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
    """Whoever can write to the database but lacks the key is found out (ASVS 16.4.2)."""
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


def test_the_chain_has_a_key_of_its_own(ada: User, app: Flask, trail: Any) -> None:
    """With AUDIT_KEY, neither SECRET_KEY nor an older key in the wrong place will do."""
    uri = app.config["SQLALCHEMY_DATABASE_URI"]
    other = make_app(uri, DEVICE_SESSIONS_AUDIT_KEY=["a key of the audit chain", b"k" * 16])

    with other.app_context():
        report = other.extensions["device_sessions"].verify_audit()

    assert not report


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
