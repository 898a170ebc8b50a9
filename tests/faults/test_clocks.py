"""Clocks that differ between workers, and one that is set."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.testing import Browser
from tests.engines import Engine
from tests.faults.conftest import Note
from tests.support import User, db, jar_of, replay, sign_in, who

pytestmark = pytest.mark.faults

NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
LIFETIME = timedelta(hours=8)

STEPS = [timedelta(seconds=s) for s in (-300, -60, -1, 1, 60, 300)]


@pytest.fixture
def config() -> dict[str, Any]:
    """Short limits, and a new secret every ten minutes."""
    return {
        "DEVICE_SESSIONS_LIFETIME": LIFETIME,
        "DEVICE_SESSIONS_IDLE_TIMEOUT": timedelta(hours=1),
        "DEVICE_SESSIONS_ROTATE_INTERVAL": timedelta(minutes=10),
    }


def _told(step: timedelta) -> str:
    return f"{step.total_seconds():+.0f} s"


def _row(app: Flask) -> Any:
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        return db.session.query(extension.session_model).one()


@pytest.mark.parametrize("step", STEPS, ids=_told)
def test_workers_whose_clocks_differ(
    app: Flask, schema: Engine, ada: User, laptop: Browser, note: Note, step: timedelta
) -> None:
    """Requests go to and fro between two workers: nobody is out, and no limit moves."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        end = _row(app).expires_at
        seen = []
        for minute in range(0, 30, 6):
            for offset in (timedelta(0), step):
                clock.move_to(NOON + timedelta(minutes=minute) + offset)
                seen.append(who(laptop))
        row = _row(app)
        clock.move_to(NOON + LIFETIME + abs(step))
        late = who(laptop)

    assert seen == [ada.email] * len(seen)
    assert row.expires_at == end == NOON + LIFETIME
    assert late is None
    note(
        "clocks apart",
        f"{schema.name}, two workers {_told(step)} apart",
        "nobody out, the limit unmoved",
    )


@pytest.mark.parametrize("step", [timedelta(hours=-2), timedelta(minutes=40)], ids=_told)
def test_a_clock_that_is_set(
    app: Flask, schema: Engine, ada: User, laptop: Browser, note: Note, step: timedelta
) -> None:
    """An NTP step while people are signed in: they stay, activity never goes back in time."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        active = [_row(app).last_active_at]
        for minute in (5, 10, 15):
            clock.move_to(NOON + timedelta(minutes=minute) + (step if minute > 5 else timedelta(0)))
            assert who(laptop) == ada.email
            active.append(_row(app).last_active_at)
        end = _row(app).expires_at

    assert active == sorted(active)
    assert end == NOON + LIFETIME
    note("clock set", f"{schema.name}, by {_told(step)}", "still signed in, the limit unmoved")


def test_a_secret_is_no_more_alive_on_a_slow_clock(app: Flask, ada: User, laptop: Browser) -> None:
    """What ended on one worker has ended on another, whose clock is behind."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        copy = replay(app, jar_of(laptop))
        laptop.post("/logout")
        clock.move_to(NOON - timedelta(minutes=5))

        assert who(copy) is None
