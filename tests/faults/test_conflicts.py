"""Locks that are slow, deadlocks and serialization failures between us and the app's own work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.faults import is_transient
from flask_device_sessions.testing import Browser
from tests.faults.conftest import TIMEOUTS, Note, app_on
from tests.faults.servers import Database
from tests.faults.watch import ALL_DOWN, PEOPLE, Watch
from tests.support import User, add_user, db, sign_in, who

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]

ADA = PEOPLE[0]


@contextmanager
def _held(server: Database, statement: str) -> Iterator[sa.Connection]:
    """Run a statement in a transaction of somebody else's, which stays open."""
    engine = sa.create_engine(server.uri, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
        yield connection
        connection.rollback()


@contextmanager
def _faults(app: Flask) -> Iterator[list[BaseException]]:
    """Collect the failures of the app's statements that pass."""
    seen: list[BaseException] = []

    def on_error(context: Any) -> None:
        if is_transient(context.sqlalchemy_exception):
            seen.append(context.sqlalchemy_exception)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "handle_error", on_error)
    yield seen
    sa.event.remove(engine, "handle_error", on_error)


def test_a_person_whose_row_is_locked(near: Flask, server: Database, note: Note) -> None:
    """A job that holds everybody's row: reads go on, changes say 503 after the lock's timeout."""
    watch = Watch(near)

    with _held(server, f"UPDATE {_quoted(server, 'user')} SET is_enabled = is_enabled"):
        seen = watch.everything()
        longest = watch.longest
    soon = watch.recovers()

    reads = dict.fromkeys(("restore", "list", "activity", "api", "open"), 200)
    assert seen == ALL_DOWN | reads | {"rename": seen["rename"]}
    assert longest < 10
    assert watch.nothing_was_lost()
    what = f"reads 200, changes 503 after {longest:.1f} s at most; {soon:.2f} s"
    note("slow lock", f"{server.name}, a transaction holds every person's row", what)


def test_sessions_that_are_locked(near: Flask, server: Database, note: Note) -> None:
    """A touch does not wait for a locked row; whoever changes it waits no longer than it says."""
    watch = Watch(near)

    with _held(server, "UPDATE device_sessions SET name = 'held'"):
        seen = [watch.restore(email) for email in PEOPLE]
        touch = watch.longest
        refused = watch.ask(watch.laptops[ADA], "POST", "/devices/revoke-others").status_code
        longest = watch.longest

    assert seen == [200, 200]
    assert refused == 503
    assert watch.nothing_was_lost()
    what = f"restore 200 after {touch:.2f} s, revoke 503 after {longest:.1f} s"
    note("slow lock", f"{server.name}, a transaction holds every session", what)


def test_a_deadlock_with_the_app(near: Flask, server: Database, note: Note) -> None:
    """The app locks session, then person, we the other way round: we give way, and do it again."""
    patient = {**TIMEOUTS[server.name], "init_command": "SET innodb_lock_wait_timeout = 9"}
    app = near if server.name == "postgresql" else app_on(server, server.port, connect_args=patient)
    watch = Watch(app)
    laptop = watch.laptops[ADA]
    is_ours_waiting = threading.Event()

    def on_execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "device_sessions" in statement and "UPDATE" in statement:  # or FOR UPDATE
            is_ours_waiting.set()

    with app.app_context():
        engine = db.engine
    with _held(server, "UPDATE device_sessions SET name = 'held'") as theirs, _faults(app) as seen:
        _make_heavy(server, theirs)
        _be_patient(server, theirs)
        sa.event.listen(engine, "before_cursor_execute", on_execute)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(laptop.post, "/devices/revoke-others")
            assert is_ours_waiting.wait(10)
            theirs.exec_driver_sql(f"UPDATE {_quoted(server, 'user')} SET is_enabled = is_enabled")
            theirs.commit()
            status = answer.result().status_code
    sa.event.remove(engine, "before_cursor_execute", on_execute)

    assert status == 303
    assert any("deadlock" in str(error).lower() for error in seen)
    assert who(watch.phones[ADA]) is None
    assert who(laptop) == ADA
    note("deadlock", f"{server.name}, with a transaction of the app's", "done again, 303")


def _make_heavy(server: Database, connection: sa.Connection) -> None:
    """MariaDB lets the transaction win that has changed more."""
    rows = ", ".join(f"('heavy{number}', true)" for number in range(100))
    table = _quoted(server, "user")
    connection.exec_driver_sql(f"INSERT INTO {table} (email, is_enabled) VALUES {rows}")


def _be_patient(server: Database, connection: sa.Connection) -> None:
    """Let the other one look for deadlocks first: who looks, loses."""
    if server.name == "postgresql":
        connection.exec_driver_sql("SET deadlock_timeout = '20s'")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_isolation_that_refuses(server: Database, note: Note, level: str) -> None:
    """Eight sign-ins at once under a strict isolation: done again, or 503; the limit holds."""
    config = {"DEVICE_SESSIONS_MAX_PER_USER": 3}
    app = app_on(server, server.port, config, isolation_level=level, pool_size=8)
    with app.app_context():
        add_user(ADA)
    barrier = threading.Barrier(8)

    def enter(browser: Browser) -> int:
        barrier.wait()
        status: int = sign_in(browser, ADA).status_code
        return status

    browsers = [Browser(app) for _ in range(8)]
    with _faults(app) as seen, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(enter, browsers))
    people = {who(browser) for browser in browsers}
    alone = sign_in(Browser(app), ADA).status_code

    assert set(answers) <= {303, 503}
    assert people == {ADA, None}
    assert alone == 303
    with app.app_context():
        extension: DeviceSessions = app.extensions["device_sessions"]
        ada = db.session.query(User).filter_by(email=ADA).one()
        assert len(extension.sessions_of(ada)) == 3
        assert extension.verify_audit()
    told = f"{answers.count(303)} × 303, {answers.count(503)} × 503"
    how = f"{server.name} {level}, 8 sign-ins at once"
    note("serialization failure", how, f"{len(seen)} conflicts; {told}")


def _quoted(server: Database, name: str) -> str:
    return f'"{name}"' if server.name == "postgresql" else f"`{name}`"
