"""The storage of the login limits: a Redis that dies, freezes and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.testing import Browser
from tests.faults.conftest import Note
from tests.faults.servers import Redis
from tests.faults.watch import PEOPLE, Watch
from tests.support import db, make_app, sign_in

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A Redis of this test's own."""
    server = Redis()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def app(redis: Redis, tmp_path: Path) -> Flask:
    """An app that counts tries to sign in there: ten a minute."""
    app = make_app(
        f"sqlite:///{tmp_path / 'app.sqlite'}",
        DEVICE_SESSIONS_LOGIN_RATE_LIMIT="10 per minute",
        DEVICE_SESSIONS_RATE_LIMIT_STORAGE_URI=redis.uri,
    )
    with app.app_context():
        db.create_all()
    return app


def _events(app: Flask) -> int:
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        events = extension.recent_events(limit=100)
        return sum(event.action == "throttle_storage_down" for event in events)


@pytest.mark.parametrize("fault", [Redis.kill, Redis.freeze])
def test_sign_ins_go_on_and_guesses_are_still_counted(
    app: Flask, redis: Redis, note: Note, fault: object
) -> None:
    """Limits in process, never unlimited, an event, and no sign-in that hangs."""
    watch = Watch(app)
    assert callable(fault)
    fault(redis)

    entered = watch.sign_in()
    guesses = [
        watch.ask(
            Browser(app, ip="203.0.113.50"),
            "POST",
            "/login",
            data={"identifier": PEOPLE[1], "password": "wrong"},
        ).status_code
        for _ in range(15)
    ]
    longest, told = watch.longest, _events(app)
    if fault is Redis.freeze:
        redis.thaw()
    else:
        redis.start()

    assert entered == 303
    assert guesses.count(401) <= 10
    assert guesses[-1] == 429
    assert told == 1
    assert longest < 3
    assert sign_in(Browser(app), PEOPLE[0]).status_code == 303
    what = f"sign-in 303 after {longest:.1f} s at most, {guesses.count(401)} guesses, an event"
    note("limiter storage down", f"Redis, {getattr(fault, '__name__', '')}", what)
