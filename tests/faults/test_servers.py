"""A database server that is killed, frozen, restarted, read-only or slow."""

from __future__ import annotations

import signal

import pytest
from flask import Flask

from tests.faults.conftest import Note
from tests.faults.servers import Database
from tests.faults.watch import ALL_DOWN, PEOPLE, Watch, age_sessions
from tests.support import db

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]


def test_a_server_that_was_killed(near: Flask, server: Database, note: Note) -> None:
    """Down at restore, login, logout and revoke: 503, all or nothing, and again by itself."""
    watch = Watch(near)
    server.kill()

    down = watch.everything()
    server.start()
    soon = watch.recovers()

    assert down == ALL_DOWN
    assert watch.nothing_was_lost()
    note("database down", f"{server.name} kill -9", f"all 503; works again after {soon:.2f} s")


def test_a_server_that_freezes(near: Flask, server: Database, note: Note) -> None:
    """Connections stay open and nothing answers: 503 after the timeouts, never a hang."""
    watch = Watch(near)
    server.freeze()

    frozen = {"restore": watch.restore("ada@example.com"), "sign-in": watch.sign_in()}
    longest = watch.longest
    server.thaw()
    soon = watch.recovers()

    assert frozen == {"restore": 503, "sign-in": 503}
    assert longest < 10
    assert watch.nothing_was_lost()
    what = f"503 after {longest:.1f} s at most; works again after {soon:.2f} s"
    note("database frozen", f"{server.name} SIGSTOP", what)


def test_a_server_that_is_restarted(near: Flask, server: Database, note: Note) -> None:
    """What an upgrade of the server does: the pool is full of dead connections, nobody is out."""
    watch = Watch(near)

    server.stop(signal.SIGTERM if server.name == "mariadb" else signal.SIGINT)
    server.start()
    first = [watch.restore(email) for email in PEOPLE]
    soon = watch.recovers()

    assert first == [200, 200]
    assert watch.nothing_was_lost()
    note("database restarted", f"{server.name} stop, start", f"200 at once; all after {soon:.2f} s")


def test_a_server_that_only_reads(near: Flask, server: Database, note: Note) -> None:
    """After a failover to a standby people are known, and what would write says 503."""
    watch = Watch(near)
    with near.app_context():
        db.engine.dispose()  # MariaDB asks at each statement, PostgreSQL when a transaction begins
    server.be_read_only(True)

    seen = watch.everything()
    server.be_read_only(False)
    soon = watch.recovers()

    reads = dict.fromkeys(("restore", "list", "activity", "api", "open"), 200)
    assert seen == ALL_DOWN | reads
    assert watch.nothing_was_lost()
    note("database read-only", f"{server.name} read_only", f"reads 200, writes 503; {soon:.2f} s")


def test_a_touch_on_a_server_that_only_reads(
    near: Flask, server: Database, note: Note, caplog: pytest.LogCaptureFixture
) -> None:
    """Activity that cannot be noted costs a request nothing, and one warning a minute."""
    watch = Watch(near)
    age_sessions(near)
    server.be_read_only(True)

    seen = [watch.restore(email) for email in PEOPLE * 5]

    assert seen == [200] * 10
    told = [r for r in caplog.records if "Activity could not be noted" in r.getMessage()]
    assert len(told) <= 1
    note("touch, read-only", f"{server.name} read_only", f"200; {len(told)} warning")
