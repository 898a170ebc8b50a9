"""Purging what is old, erasing a person, exporting what is kept of one."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from flask_login import current_user

from flask_device_sessions import (
    ConfigError,
    DeviceSessions,
    Purged,
    StoreUnavailable,
    housekeeping,
    records,
    retention,
)
from flask_device_sessions.ambient import utc_now
from flask_device_sessions.audit import Entry
from flask_device_sessions.clients import Client
from flask_device_sessions.config import Settings
from flask_device_sessions.ids import new_id
from flask_device_sessions.testing import Browser, DeviceSessionFactory
from tests.engines import Engine
from tests.support import User, add_user, db, make_app, sign_in, statements, who

DAY = timedelta(days=1)
OLD = timedelta(days=200)
RETENTION = timedelta(days=180)
PAGE = Path(__file__).parents[1] / "docs/retention.md"


def add_session(user: User, **columns: Any) -> Any:
    """Insert a session and commit it."""
    session = DeviceSessionFactory(user=user, **columns)
    db.session.commit()
    return session


def ids_of(model: Any) -> set[Any]:
    """Return the ids of all rows there are."""
    db.session.rollback()
    return set(db.session.scalars(sa.select(model.id)))


def sign_in_and_out(browser: Browser, ago: timedelta, times: int = 1) -> None:
    """Sign in and out, so long ago."""
    with time_machine.travel(utc_now() - ago, tick=True):
        for _ in range(times):
            sign_in(browser)
            browser.post("/logout")


def sequences_of(extension: DeviceSessions, user: User) -> list[Any]:
    """Return the numbers of a person's events, lowest first."""
    db.session.rollback()
    return [event.sequence for event in extension.events_of(user)][::-1]


@contextmanager
def killed_after(extension: DeviceSessions, batches: int) -> Iterator[Callable[[int], None]]:
    """Kill a purge when it has deleted so many batches."""
    seen: list[int] = []

    def progress(number: int) -> None:
        seen.append(number)
        if len(seen) == batches:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        yield progress
    db.session.rollback()


# -- Sessions ----------------------------------------------------------------------------------


def test_purge_deletes_what_ended_before_the_retention(
    extension: DeviceSessions, ada: User
) -> None:
    """Sessions that ended longer ago than RETENTION go; later ones and live ones stay."""
    old = {"created_at": utc_now() - OLD}
    add_session(ada, **old, ended_at=utc_now() - RETENTION - DAY, end_reason="logout")
    kept = {
        add_session(ada, **old, ended_at=utc_now() - RETENTION + DAY, end_reason="logout").id,
        add_session(ada, **old, last_active_at=utc_now(), expires_at=utc_now() + DAY).id,
        add_session(ada).id,
    }

    purged = extension.purge()

    assert purged == Purged(sessions=1)
    assert ids_of(extension.session_model) == kept


def test_purge_takes_the_age_it_is_given(extension: DeviceSessions, ada: User) -> None:
    """``older_than`` wins over RETENTION."""
    add_session(ada, ended_at=utc_now() - DAY, end_reason="logout")

    untouched = extension.purge()
    purged = extension.purge(older_than=timedelta(hours=1))

    assert (untouched.sessions, purged.sessions) == (0, 1)


def test_purge_deletes_sessions_whose_end_nobody_wrote_down(
    extension: DeviceSessions, ada: User
) -> None:
    """A session that expired or idled out before the cutoff is over, if nobody came back."""
    long_ago = utc_now() - RETENTION
    add_session(ada, created_at=long_ago - 40 * DAY, expires_at=long_ago - DAY)
    add_session(ada, last_active_at=long_ago - 15 * DAY, expires_at=None)
    kept = {
        add_session(ada, last_active_at=long_ago, expires_at=long_ago + DAY).id,
        add_session(ada, last_active_at=long_ago - 13 * DAY, expires_at=None).id,
    }

    purged = extension.purge(batch_size=1)

    assert purged.sessions == 2
    assert ids_of(extension.session_model) >= kept


class TestWithoutAnIdleLimit:
    @pytest.fixture
    def config(self) -> dict[str, Any]:
        """Sessions may rest as long as they like, and nothing is old by itself."""
        return {"DEVICE_SESSIONS_IDLE_TIMEOUT": None, "DEVICE_SESSIONS_RETENTION": None}

    def test_nothing_idles_out(self, extension: DeviceSessions, ada: User) -> None:
        """A session without activity for years is live."""
        add_session(ada, last_active_at=utc_now() - 10 * OLD, expires_at=None)

        assert extension.purge(older_than=DAY) == Purged()

    def test_an_age_must_be_given(self, extension: DeviceSessions, ada: User) -> None:
        """Without RETENTION the error says how to give one."""
        with pytest.raises(ConfigError, match=r"RETENTION is None.*older_than=.*--days"):
            extension.purge()


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"older_than": -DAY}])
def test_purge_refuses_nonsense(extension: DeviceSessions, ada: User, wrong: Any) -> None:
    """A batch of nothing, and the future, are mistakes."""
    with pytest.raises(ValueError, match=r"at least 1|negative"):
        extension.purge(**wrong)


def test_purge_works_in_batches(app: Flask, extension: DeviceSessions, ada: User) -> None:
    """Each batch is a transaction of its own, and no larger than asked for."""
    for _ in range(5):
        add_session(ada, ended_at=utc_now() - OLD, end_reason="logout")
    seen: list[int] = []

    with statements(app) as ran:
        purged = extension.purge(batch_size=2, progress=seen.append)

    assert purged.sessions == 5
    assert seen == [2, 2, 1]
    deletes = [n for n, sql in enumerate(ran) if sql.startswith("DELETE")]
    assert [ran[n + 1] for n in deletes] == ["COMMIT"] * 3


def test_batches_are_small_where_writers_wait(app: Flask, extension: DeviceSessions) -> None:
    """On SQLite, whose one writer a sign-in may be waiting for, a batch is 200 at most."""
    with app.app_context():
        rows = extension._state.housekeeping.rows
        is_sqlite = db.engine.dialect.name == "sqlite"

        assert rows.batch(1000) == (200 if is_sqlite else 1000)
        assert rows.batch(7) == 7


def test_purge_says_when_the_database_refuses() -> None:
    """Without tables it is the error that names the migration."""
    app = make_app()

    with app.app_context(), pytest.raises(StoreUnavailable, match="flask db upgrade"):
        app.extensions["device_sessions"].purge()


def test_a_purge_leaves_room_for_other_writers(
    app: Flask, extension: DeviceSessions, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite, half of the time: a sign-in that looks now and then finds the place free."""
    for _ in range(3):
        add_session(ada, ended_at=utc_now() - OLD, end_reason="logout")
    is_sqlite = db.engine.dialect.name == "sqlite"
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)

    purged = extension.purge(batch_size=1)

    assert purged.sessions == 3
    assert len(pauses) >= 3 if is_sqlite else pauses == []
    assert all(pause > 0 for pause in pauses)


@pytest.fixture
def busy(schema: Engine, ada: User) -> Iterator[sqlite3.Connection]:
    """A connection that goes on writing to an SQLite file, in which an old session is due."""
    add_session(ada, ended_at=utc_now() - OLD, end_reason="logout")
    connection = sqlite3.connect(str(sa.make_url(schema.uri).database), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


@pytest.mark.connections
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_purge_looks_often_for_a_moment_in_which_nobody_writes(
    extension: DeviceSessions, busy: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own look each 0.1 s finds the place taken, beside sign-ins one after the other."""
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            busy.execute("ROLLBACK")

    monkeypatch.setattr("time.sleep", sleep)
    purged = extension.purge()

    assert purged == Purged(sessions=1)
    assert all(0.001 <= seconds <= 0.01 for seconds in looks[:3])


@pytest.mark.connections
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_purge_outlasts_who_is_in_its_way(
    schema: Engine,
    busy: sqlite3.Connection,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After its patience it says in the log what it waits for, and goes on waiting."""
    app = make_app(schema.uri, SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 0.01}})
    monkeypatch.setattr(housekeeping, "_PATIENCE", 0.02)

    class LetGo(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if busy.in_transaction:
                busy.execute("ROLLBACK")
            return True

    monkeypatch.setattr(caplog.handler, "filters", [LetGo()])
    with app.app_context():
        purged = app.extensions["device_sessions"].purge()

    assert purged == Purged(sessions=1)
    (told,) = caplog.messages
    assert "database is locked" in told


def test_a_purge_keeps_what_the_app_has_not_committed(
    app: Flask, extension: DeviceSessions, ada: User
) -> None:
    """It waits for its turn as everybody does, then, and the app's change is committed with it."""
    add_session(ada, ended_at=utc_now() - OLD, end_reason="logout")
    db.session.execute(sa.update(User).values(email="new@example.com"))

    purged = extension.purge()

    assert purged.sessions == 1
    db.session.rollback()
    assert db.session.scalars(sa.select(User.email)).all() == ["new@example.com"]


# -- Devices -----------------------------------------------------------------------------------


def test_purge_deletes_devices_out_of_use(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """A device goes when it was last seen before the cutoff and no session is left of it."""
    sign_in_and_out(laptop, OLD)
    sign_in_and_out(phone, OLD)
    sign_in(phone)
    add_user("bob@example.com")
    bobs = Browser(app)
    sign_in(bobs, "bob@example.com")

    purged = extension.purge(batch_size=1)

    assert purged[:2] == (2, 1)
    assert len(ids_of(extension.device_model)) == 2
    assert who(phone) == "ada@example.com"


def test_a_purge_looks_through_whole_tables_in_parts(
    app: Flask, extension: DeviceSessions, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No statement looks at more rows than a window has, and no row between two is missed."""
    monkeypatch.setattr(retention, "_WINDOW", 2)
    idle = {"last_active_at": utc_now() - OLD - 15 * DAY, "expires_at": None}
    kept = set()
    for _ in range(3):
        add_session(ada, **idle)
        kept.add(add_session(ada).id)

    purged = extension.purge()

    assert purged.sessions == 3
    assert ids_of(extension.session_model) == kept


def test_a_device_that_comes_back_meanwhile_stays(
    extension: DeviceSessions, ada: User, laptop: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the choice of a batch and its deletion somebody signs in on a device of it."""
    sign_in_and_out(laptop, OLD)
    rows = extension._state.housekeeping.rows
    find = rows.list_unused_devices

    def find_then_sign_in(*arguments: Any) -> list[Any]:
        found = find(*arguments)
        db.session.rollback()
        if found:
            sign_in(laptop)
        return found

    monkeypatch.setattr(rows, "list_unused_devices", find_then_sign_in)

    purged = extension.purge()

    assert purged[:2] == (1, 0)
    assert len(ids_of(extension.device_model)) == 1
    assert who(laptop) == "ada@example.com"


# -- Events ------------------------------------------------------------------------------------


@pytest.fixture
def old_trail(extension: DeviceSessions, ada: User, laptop: Browser) -> list[Any]:
    """Seven old events of Ada's and one new; gives their numbers."""
    sign_in_and_out(laptop, OLD, times=3)
    sign_in(laptop)
    return sequences_of(extension, ada)


def test_purge_leaves_a_whole_chain(
    extension: DeviceSessions, ada: User, old_trail: list[Any]
) -> None:
    """The trail verifies after its old events are gone, also against an older anchor."""
    before = extension.verify_audit()

    purged = extension.purge(batch_size=2)

    assert old_trail == [1, 2, 3, 4, 5, 6, 7, 8]
    assert purged.events == 7
    assert sequences_of(extension, ada) == [8, 9]
    assert extension.events_of(ada)[0].action == "events_purged"
    assert before
    assert extension.verify_audit()
    assert extension.verify_audit(anchor=before.anchor)


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
def test_a_purge_that_is_killed_leaves_a_whole_chain(
    extension: DeviceSessions, ada: User, old_trail: list[Any], batches: int
) -> None:
    """Half-way the trail verifies, and the next purge goes on from there."""
    with killed_after(extension, batches + 2) as progress:
        extension.purge(batch_size=2, progress=progress)
    left = sequences_of(extension, ada)
    half_way = extension.verify_audit()

    extension.purge(batch_size=2)

    assert left[0] == min(8, 1 + 2 * batches)
    assert half_way
    assert sequences_of(extension, ada)[0] == 8
    assert extension.verify_audit()


def test_the_purge_is_announced_before_anything_goes(
    app: Flask, extension: DeviceSessions, ada: User, old_trail: list[Any]
) -> None:
    """The event that announces it is committed first."""
    with statements(app) as ran:
        extension.purge()

    table = extension.event_model.__tablename__
    insert = next(n for n, sql in enumerate(ran) if sql.startswith(f"INSERT INTO {table}"))
    delete = next(n for n, sql in enumerate(ran) if sql.startswith(f"DELETE FROM {table}"))
    assert ran[insert + 1] == "COMMIT"
    assert insert < delete


def test_a_beginning_that_somebody_else_took_is_still_missed(
    extension: DeviceSessions, ada: User, old_trail: list[Any]
) -> None:
    """After a purge, one event more than it announced is a finding (ASVS V16.4.2)."""
    extension.purge()
    event = extension.event_model
    db.session.execute(sa.delete(event).where(event.sequence == 8))
    db.session.commit()

    report = extension.verify_audit()

    assert [finding.problem for finding in report.findings] == ["missing"]


def test_a_damaged_trail_is_not_purged(
    app: Flask,
    extension: DeviceSessions,
    ada: User,
    old_trail: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The evidence stays, a warning says whose; other people's old events go (ASVS V16.4.2)."""
    event = extension.event_model
    db.session.execute(sa.update(event).where(event.sequence == 2).values(action="ip_changed"))
    db.session.commit()
    bob = add_user("bob@example.com")
    with time_machine.travel(utc_now() - OLD):
        sign_in(Browser(app), "bob@example.com")

    with caplog.at_level(logging.WARNING, "flask_device_sessions"):
        purged = extension.purge()

    assert sequences_of(extension, ada) == old_trail
    assert purged.events == 2
    assert [e.action for e in extension.events_of(bob)] == ["events_purged"]
    assert f"user {ada.id!r} stay" in caplog.text


def test_a_mark_alone_is_not_replaced(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Of somebody who never came back one mark stays, however often a purge runs."""
    sign_in_and_out(laptop, 2 * OLD)
    with time_machine.travel(utc_now() - OLD):
        first = extension.purge()

    second = extension.purge()

    assert (first.events, second.events) == (3, 0)
    assert sequences_of(extension, ada) == [4]
    assert extension.verify_audit()


def test_old_marks_go_with_the_next_purge(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """A mark is an event like others once there is something after it."""
    sign_in_and_out(laptop, 2 * OLD)
    with time_machine.travel(utc_now() - OLD - DAY, tick=True):
        extension.purge()
        sign_in(laptop)

    purged = extension.purge()

    assert purged.events == 3
    assert [e.action for e in extension.events_of(ada)] == ["events_purged"]
    assert extension.verify_audit()


def test_nobodys_events_go_by_age(extension: DeviceSessions, ada: User) -> None:
    """They stand in no chain: the old ones are deleted, without a mark."""
    rules = extension._state.lifecycle
    entry = Entry("login_failed", detail={"reason": "unknown"})
    for ago in (OLD, OLD, DAY):
        rules.note(None, entry, Client(), utc_now() - ago)
        db.session.commit()

    purged = extension.purge(batch_size=1)

    assert purged == Purged(events=2)
    assert len(ids_of(extension.event_model)) == 1
    assert extension.verify_audit()


@pytest.mark.parametrize("rival", ["purge", "delete"])
def test_a_person_who_is_dealt_with_meanwhile_is_left_out(
    extension: DeviceSessions,
    ada: User,
    old_trail: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    rival: str,
) -> None:
    """Another purge, or the person's deletion, was quicker: there is nothing left to do."""
    rows = extension._state.housekeeping.rows
    choose, ada_id = rows.list_old_chains, ada.id

    def choose_too_late(before: Any) -> list[Any]:
        chosen = choose(before)
        monkeypatch.setattr(rows, "list_old_chains", choose)
        if rival == "purge":
            extension.purge()
        else:
            # In bulk, beside the ORM: SQLite without foreign keys leaves the events.
            db.session.execute(sa.delete(User).where(User.id == ada_id))
            db.session.commit()
        return chosen

    monkeypatch.setattr(rows, "list_old_chains", choose_too_late)

    purged = extension.purge()

    assert purged.events == 0
    assert extension.verify_audit()


# -- The documentation -------------------------------------------------------------------------


def test_the_code_of_the_page_runs(extension: DeviceSessions, ada: User, laptop: Browser) -> None:
    """What docs/retention.md shows can be pasted."""
    sign_in(laptop)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)

    for block in blocks:
        exec(block, {"device_sessions": extension, "user": ada, "timedelta": timedelta})

    assert len(blocks) == 2
    assert extension.events_of(ada) == []


def test_the_page_states_the_default() -> None:
    """RETENTION is what the page says (ASVS V14.1.2)."""
    days = Settings().retention

    assert days is not None
    assert f"`RETENTION` ({days.days} days)" in PAGE.read_text("utf-8")


# -- Indexes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_batches_are_found_by_an_index(
    app: Flask, extension: DeviceSessions, ada: User, old_trail: list[Any]
) -> None:
    """No statement of a purge has to read a table from its beginning for each batch."""
    add_session(ada, ended_at=utc_now() - OLD, end_reason="logout")
    seen: list[tuple[str, Any]] = []

    def on_execute(connection: Any, cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if sql.startswith(("SELECT", "DELETE")) and "GROUP BY" not in sql:
            seen.append((sql, parameters))

    sa.event.listen(db.engine, "before_cursor_execute", on_execute)
    extension.purge()
    sa.event.remove(db.engine, "before_cursor_execute", on_execute)
    with db.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plans = [
            "\n".join(connection.exec_driver_sql(f"EXPLAIN {sql}", parameters).scalars())
            for sql, parameters in seen
        ]

    assert sum(sql.startswith("DELETE") for sql, _ in seen) >= 2
    assert [plan for plan in plans if "Seq Scan" in plan] == []


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_old_events_are_found_by_their_age(
    app: Flask, extension: DeviceSessions, ada: User, old_trail: list[Any]
) -> None:
    """Not by a walk through the trails of all people, which SQLite takes for shorter."""
    rows = extension._state.housekeeping.rows
    with statements(app) as seen:
        found = rows.list_old_chains(utc_now() - RETENTION)
    (select,) = (sql for sql in seen if "GROUP BY" in sql)
    with db.engine.connect() as connection:
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {select}", ("x",) * select.count("?")
        ).all()

    assert [(row.user_id, row.through) for row in found] == [(ada.id, old_trail[-2])]
    assert "created_at<?" in str(plan)


# -- Erasing -----------------------------------------------------------------------------------


def test_erase_leaves_nothing_of_a_person(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """Sessions, devices and events go, and one event of nobody's says so (ASVS V14.2.4)."""
    sign_in(laptop)
    bob = add_user("bob@example.com")
    sign_in(phone, "bob@example.com")
    anchor = extension.verify_audit().anchor

    erased = extension.erase(ada)

    assert erased == Purged(sessions=1, devices=1, events=2)
    assert who(laptop) is None
    assert who(phone) == "bob@example.com"
    assert list(extension.export(ada).values())[2:] == [[], [], []]
    assert len(extension.events_of(bob)) == 2
    (left,) = [e for e in extension.recent_events(limit=9) if e.user_id is None]
    assert (left.action, left.detail) == ("user_erased", {"user": str(ada.id)})
    assert extension.verify_audit(anchor=anchor)


def test_who_is_erased_in_their_own_request_is_out_of_it(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """An app's "delete my account" needs no second step: the cookie is cleared."""

    def erase_me() -> dict[str, Any]:
        counts = extension.erase(current_user)
        return {"sessions": counts.sessions, "out": not current_user.is_authenticated}

    app.add_url_rule("/erase", view_func=erase_me, methods=["POST"])
    sign_in(laptop)

    answer = laptop.post("/erase")

    assert answer.json == {"sessions": 1, "out": True}
    assert laptop.get_cookie("device_session") is None


def test_erasing_another_leaves_the_request_alone(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Who erases somebody else stays signed in."""
    bob_id = add_user("bob@example.com").id

    def erase_bob() -> str:
        return str(extension.erase(db.session.get(User, bob_id)).sessions)

    app.add_url_rule("/erase", view_func=erase_bob)
    sign_in(laptop)

    answer = laptop.get("/erase")

    assert answer.text == "0"
    assert who(laptop) == "ada@example.com"


def test_erase_can_join_the_apps_transaction(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """With ``commit=False`` a rollback of the app's brings everything back."""
    sign_in(laptop)

    extension.erase(ada, commit=False)
    db.session.rollback()

    assert who(laptop) == "ada@example.com"
    assert len(extension.events_of(ada)) == 2


# -- Exporting ---------------------------------------------------------------------------------


def test_export_gives_everything_but_secrets(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """All rows of the person as JSON, and no digest or MAC in it (ASVS V14.2.6)."""
    sign_in_and_out(laptop, OLD)
    sign_in(laptop)
    sign_in(phone)
    extension.purge()

    exported = extension.export(ada)

    text = json.dumps(exported)
    assert exported["user"] == str(ada.id)
    assert [len(exported[k]) for k in ("sessions", "devices", "events")] == [2, 2, 5]
    assert {row["user_id"] for k in ("sessions", "devices", "events") for row in exported[k]} == {
        ada.id
    }
    for secret in secrets_of(extension):
        assert secret not in text


def secrets_of(extension: DeviceSessions) -> set[str]:
    """Return every digest and MAC that is stored."""
    models = extension._state.store.models
    found = {
        value
        for model in (models.session, models.device, models.event)
        for row in db.session.scalars(sa.select(model))
        for name, value in vars(row).items()
        if name.endswith(("digest", "mac")) and value
    }
    marks = {e.detail["mac"] for e in extension.recent_events(limit=99) if "mac" in e.detail}
    return found | marks


def test_every_column_is_exported_or_a_secret(extension: DeviceSessions, ada: User) -> None:
    """A new column of ours is exported, or named here."""
    models = extension._state.store.models
    ours = {
        f"{part}.{column}"
        for part in ("session", "device", "event")
        for column in getattr(models, part).__table__.columns.keys()  # noqa: SIM118
    }

    exported = {
        f"{part}.{name}"
        for part in ("session", "device", "event")
        for name in getattr(records, part.upper())
    }

    assert ours - exported == {
        "session.token_digest",
        "session.previous_digest",
        "session.previous_ended_at",
        "device.browser_digest",
        "event.mac",
    }
    assert exported <= ours


def test_a_detail_of_a_wrong_type_is_exported_as_it_is() -> None:
    """Whatever somebody wrote into the database, the export does not fail."""
    row = dict.fromkeys(records.EVENT) | {"id": new_id(), "detail": ["x"]}

    exported = records.event(type("Row", (), row))

    assert exported["detail"] == ["x"]
    assert exported["id"] == str(row["id"])


def test_who_erases_themselves_leaves_no_address(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The event that stays names neither their network nor their browser (ASVS V14.2.7)."""
    sign_in(laptop)
    with laptop:
        laptop.get("/whoami")
        extension.erase(ada)

    (left,) = db.session.scalars(sa.select(extension.event_model)).all()
    assert (left.ip_address, left.user_agent) == (None, "")
