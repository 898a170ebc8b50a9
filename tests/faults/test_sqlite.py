"""SQLite's file: locked, full, read-only, replaced, without our tables."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import files
from tests.faults.conftest import Note
from tests.faults.watch import ALL_DOWN, PEOPLE, Watch, age_sessions
from tests.support import db, make_app

pytestmark = pytest.mark.faults

ADA = PEOPLE[0]
READS = dict.fromkeys(("restore", "list", "activity", "api", "open"), 200)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "app.sqlite"


@pytest.fixture(params=["delete", "wal"])
def app(request: pytest.FixtureRequest, file: Path) -> Flask:
    """An app on it, in either journal mode."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA journal_mode = {request.param}")
    return _app_on(file)


def _app_on(file: Path) -> Flask:
    app = make_app(
        f"sqlite:///{file}",
        SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 0.05}},
        DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None,
        DEVICE_SESSIONS_MAX_PER_USER=None,
    )
    with app.app_context():
        db.create_all()
    return app


def _mode(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


_HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN " + sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def _locked(file: Path, kind: str) -> Iterator[None]:
    """Let another process hold the lock."""
    command = [sys.executable, "-c", _HOLDER, str(file), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.kill()


@contextmanager
def _pragma(app: Flask, text: str) -> Iterator[None]:
    """Give every connection of the app a PRAGMA, as it is taken from the pool."""

    def on_checkout(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA {text}")

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "checkout", on_checkout)
    yield
    sa.event.remove(engine, "checkout", on_checkout)
    engine.dispose()


def test_a_file_that_another_process_writes(app: Flask, file: Path, note: Note) -> None:
    """Reads go on, changes say 503 within two seconds, and work once the other is done."""
    watch = Watch(app)

    with _locked(file, "IMMEDIATE"):
        seen = watch.everything()
        longest = watch.longest
    soon = watch.recovers()

    assert seen == ALL_DOWN | READS
    assert longest < 5
    assert watch.nothing_was_lost()
    what = f"reads 200, changes 503 after {longest:.1f} s at most; {soon:.2f} s"
    note("SQLite locked", f"{_mode(file)}, BEGIN IMMEDIATE in another process", what)


def test_a_touch_on_a_file_that_another_process_writes(app: Flask, file: Path, note: Note) -> None:
    """Activity is not waited for: the answer comes at once."""
    watch = Watch(app)
    age_sessions(app)

    with _locked(file, "IMMEDIATE"):
        seen = [watch.restore(email) for email in PEOPLE]

    assert seen == [200, 200]
    assert watch.longest < 2
    note("touch, locked", f"SQLite {_mode(file)}", f"200 after {watch.longest:.2f} s at most")


def test_a_file_that_another_process_keeps_to_itself(app: Flask, file: Path, note: Note) -> None:
    """Not even reads, but in WAL mode: 503, and nobody is signed out."""
    watch = Watch(app)

    with _locked(file, "EXCLUSIVE"):
        seen = watch.everything()
    soon = watch.recovers()

    assert seen == (ALL_DOWN | READS if _mode(file) == "wal" else ALL_DOWN)
    assert watch.nothing_was_lost()
    told = "503" if seen["restore"] == 503 else "reads 200, changes 503"
    note(
        "SQLite locked",
        f"{_mode(file)}, BEGIN EXCLUSIVE in another process",
        f"{told}; {soon:.2f} s",
    )


def test_a_disk_that_is_full(app: Flask, file: Path, note: Note) -> None:
    """Reads go on and what needs room says 503; once there is room it works."""
    watch = Watch(app)

    with _pragma(app, "max_page_count = 1"):  # SQLite takes the pages there are
        sign_ins = [watch.sign_in() for _ in range(40)]
        seen = watch.restore(ADA), watch.ask(watch.laptops[ADA], "GET", "/devices/").status_code
    soon = watch.recovers()

    assert set(sign_ins) <= {303, 503}
    assert sign_ins[-1] == 503
    assert seen == (200, 200)
    assert watch.nothing_was_lost()
    told = f"reads 200, sign-ins 503 when full; {soon:.2f} s"
    note("SQLite full", f"{_mode(file)}, PRAGMA max_page_count", told)


def test_a_file_that_may_not_be_written(app: Flask, file: Path, note: Note) -> None:
    """Reads go on, touches too, and changes say 503."""
    watch = Watch(app)
    age_sessions(app)

    with _pragma(app, "query_only = 1"):
        seen = watch.everything()
    soon = watch.recovers()

    assert seen == ALL_DOWN | READS
    assert watch.nothing_was_lost()
    note(
        "SQLite read-only",
        f"{_mode(file)}, PRAGMA query_only",
        f"reads 200, changes 503; {soon:.2f} s",
    )


def test_a_file_that_is_replaced(
    app: Flask, file: Path, tmp_path: Path, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored backup counts within a second, without a restart."""
    monkeypatch.setattr(files, "INTERVAL", 0.0)  # the second has passed
    watch = Watch(app)
    backup = tmp_path / "backup.sqlite"
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
        target.execute("UPDATE device_sessions SET ended_at = created_at, end_reason = 'admin'")
        target.commit()

    for leftover in ("-wal", "-shm", "-journal"):
        Path(f"{file}{leftover}").unlink(missing_ok=True)
    backup.replace(file)
    answers = [watch.ask(browser, "GET", "/whoami") for browser in watch.laptops.values()]
    signed_in = watch.sign_in()

    assert [answer.json["user"] for answer in answers] == [None, None]
    assert signed_in == 303
    note(
        "SQLite replaced",
        f"{_mode(file)}, another file in its place",
        "the new file decides, within a second",
    )


def test_a_file_that_is_away(app: Flask, file: Path, note: Note) -> None:
    """Between the old file and the new one, connections stay with what they have opened."""
    watch, mode = Watch(app), _mode(file)
    file.rename(file.with_suffix(".away"))

    seen = [watch.restore(email) for email in PEOPLE]

    assert seen == [200, 200]
    assert not file.exists()
    note("SQLite file away", f"{mode}, renamed", "reads 200")


def test_a_database_without_our_tables(
    file: Path, note: Note, caplog: pytest.LogCaptureFixture
) -> None:
    """Sign-ins say 503 and which command helps; after it, everything works without a restart."""
    app = _app_on(file)
    watch = Watch(app)
    kept = shutil.copy(file, file.with_suffix(".kept"))
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("DROP TABLE device_sessions; DROP TABLE device_session_events")

    seen = watch.everything()
    told = caplog.text
    with closing(sqlite3.connect(kept)) as source, closing(sqlite3.connect(file)) as target:
        source.backup(target)
    soon = watch.recovers()

    assert seen == ALL_DOWN
    assert "lacks table device_sessions, table device_session_events" in told
    assert "`flask db upgrade`" in told
    note("schema missing", "SQLite, tables dropped", f"503 that names the command; {soon:.2f} s")
