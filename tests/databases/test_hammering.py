"""Thirty at once, in two processes, at one database: what must hold holds all the time.

A second and a half each, so that they cost little. For longer:
``DEVICE_SESSIONS_TEST_SECONDS=25 pytest tests/databases/test_hammering.py -s``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions, StoreUnavailable
from tests.databases.hammering import CONFIG, KINDS, LIMIT, PEOPLE, PROCESSES, THREADS, Seen, hammer
from tests.engines import Engine
from tests.support import add_user, db

SECONDS = float(os.environ.get("DEVICE_SESSIONS_TEST_SECONDS", "1.5"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + SECONDS)]


@pytest.fixture
def config() -> dict[str, Any]:
    """As the processes have it."""
    return CONFIG


@pytest.fixture
def people(app: Flask) -> Iterator[list[int]]:
    """Everyone whom the processes sign in; their keys."""
    with app.app_context():
        yield [add_user(email).id for email in PEOPLE]


def _count(app: Flask, user_id: int) -> int:
    """Return how many sessions live; 0 while SQLite's writers let no reader in."""
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        try:
            return len(extension.sessions_of(extension.find_user(str(user_id))))
        except (sa.exc.DBAPIError, StoreUnavailable):
            return 0
        finally:
            db.session.remove()


@pytest.mark.parametrize("kind", KINDS)
def test_it_holds_under_hammering(app: Flask, schema: Engine, people: list[int], kind: str) -> None:
    """Never one session too many, never one that lives again, never one lost (ASVS 15.4.1)."""
    extension: DeviceSessions = app.extensions["device_sessions"]
    most: list[int] = []

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(hammer, kind, schema.uri, SECONDS)
        while wait([work], timeout=0.05).not_done:
            most.append(_count(app, people[0]))
        seen: Seen = work.result()

    print(f"\n{schema.name}, {kind}, {SECONDS} s: {dict(seen)}")  # noqa: T201
    assert [what for what in seen if "wrong" in what or " 500" in what] == []
    assert seen["sign-in 303"] >= PROCESSES * THREADS - 1  # one of them may purge
    assert max(most) <= LIMIT
    assert extension.verify_audit()
