"""The trail that cannot be written, and a purge of very many rows while people sign in."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.ambient import utc_now
from flask_device_sessions.ids import new_id
from flask_device_sessions.testing import FIREFOX
from tests.engines import Engine
from tests.faults.conftest import Note
from tests.faults.watch import ALL_DOWN, Watch
from tests.support import add_user, db

pytestmark = [pytest.mark.faults, pytest.mark.connections]

#: How many old sessions are purged.
OLD = int(os.environ.get("DEVICE_SESSIONS_TEST_OLD", "3000"))


@pytest.fixture
def config() -> dict[str, Any]:
    """Room for everybody."""
    return {"DEVICE_SESSIONS_LOGIN_RATE_LIMIT": None, "DEVICE_SESSIONS_MAX_PER_USER": None}


@contextmanager
def _without_trail(app: Flask) -> Iterator[None]:
    """Take the table of events away."""
    for pair in (("device_session_events", "kept"), ("kept", "device_session_events")):
        with app.app_context():
            db.session.execute(sa.text("ALTER TABLE {} RENAME TO {}".format(*pair)))
            db.session.commit()
        if pair[1] == "kept":
            yield


def _live(app: Flask) -> int:
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        return int(db.session.query(extension.session_model).filter_by(ended_at=None).count())


def test_a_trail_that_cannot_be_written(app: Flask, schema: Engine, note: Note) -> None:
    """Without its event no change is done: 503, and as many sessions live as before."""
    watch = Watch(app)
    before = _live(app)

    with _without_trail(app):
        seen = watch.everything()
        after = _live(app)
    soon = watch.recovers()

    reads = dict.fromkeys(("restore", "list", "api", "open"), 200)
    assert seen == ALL_DOWN | reads
    assert after == before
    assert watch.nothing_was_lost()
    what = f"reads 200, changes 503, none done; {soon:.2f} s"
    note("audit row cannot be written", f"{schema.name}, its table away", what)


def test_a_purge_beside_sign_ins(app: Flask, schema: Engine, note: Note) -> None:
    """Short transactions, one after the other: people sign in beside them, live rows stay."""
    watch = Watch(app)
    extension: DeviceSessions = app.extensions["device_sessions"]
    batches: list[int] = []
    with app.app_context():
        _add_old(extension)
        # Many: each sign-in looks at all the sessions that its person has.
        visitors = [add_user(f"visitor{number}@example.com").email for number in range(20)]
    purger = threading.Thread(target=_purge, args=(app, batches))
    purger.start()
    signed_in = [watch.sign_in(email) for email in visitors]
    while purger.is_alive():
        signed_in += [watch.sign_in(email) for email in visitors]

    assert set(signed_in) == {303}
    assert sum(batches) == OLD
    assert max(batches) <= 200
    assert watch.nothing_was_lost()
    longest = f"{len(signed_in)} sign-ins, the longest {watch.longest:.2f} s"
    note("purge beside sign-ins", f"{schema.name}, {OLD} rows in {len(batches)} batches", longest)


def _add_old(extension: DeviceSessions) -> None:
    """Insert sessions that ended long ago, of people who come no more."""
    long_ago = utc_now() - timedelta(days=400)
    user_ids = [add_user(f"gone{number}@example.com").id for number in range(100)]
    times = ("created_at", "authenticated_at", "last_active_at", "ended_at")
    row = {
        "kind": "browser",
        "token_digest": "0" * 64,
        "scopes": [],
        "user_agent": FIREFOX,
        "auth_method": "password",
        "remembered": False,
        "end_reason": "logout",
        **dict.fromkeys(times, long_ago),
    }
    insert = sa.insert(extension.session_model.__table__)
    for first in range(0, OLD, 10_000):
        numbers = range(first, min(first + 10_000, OLD))
        rows = [row | {"id": new_id(), "user_id": user_ids[n % 100]} for n in numbers]
        db.session.execute(insert, rows)
    db.session.commit()


def _purge(app: Flask, batches: list[int]) -> None:
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        extension.purge(batch_size=200, progress=batches.append)
