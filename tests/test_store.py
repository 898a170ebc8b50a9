"""Statements and their row counts: the guards that hold when two do something at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, g
from flask_login import UserMixin, current_user
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as UsualSession
from sqlalchemy.orm import Mapped, mapped_column

from flask_device_sessions import DeviceSessions, StoreUnavailable
from flask_device_sessions.store import Store
from flask_device_sessions.testing import Browser, DeviceSessionFactory, login
from tests.engines import Engine
from tests.support import User, add_user, bare_app, db, make_app, sign_in, statements, who

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
EARLIER = NOW - timedelta(minutes=5)


def _add_session(user: User, **columns: Any) -> Any:
    session = DeviceSessionFactory(user=user, **columns)
    db.session.commit()
    return session


@pytest.fixture
def session(ada: User, store: Store) -> Any:
    """A live session of Ada's, last active an hour ago."""
    return _add_session(ada, created_at=NOW - timedelta(hours=1))


def _lost() -> Exception:
    """Return what is raised when a connection is of no use any more."""
    return sa.exc.OperationalError("SELECT", {}, Exception("gone"), connection_invalidated=True)


@contextmanager
def _row_locked(store: Store, session_id: uuid.UUID) -> Iterator[None]:
    """Hold the lock that a sign-in or a revocation holds, from another connection."""
    table = store.models.session.__table__
    with store.engine.connect() as other, other.begin():
        other.execute(sa.update(table).where(table.c.id == session_id).values(name="held"))
        yield


# -- touch -------------------------------------------------------------------------------------


def test_touch_writes_when_due(store: Store, session: Any) -> None:
    """A session that was last active before the due time is written."""
    touched = store.touch(session.id, NOW, EARLIER, {"last_ip_address": "192.0.2.9"})

    assert touched
    assert session.last_active_at == NOW
    assert session.last_ip_address == "192.0.2.9"


def test_touch_never_brings_an_ended_session_back(store: Store, ada: User) -> None:
    """An ended row is left as it is, whatever is touched."""
    session = _add_session(ada, created_at=NOW - timedelta(hours=1), ended=True)

    touched = store.touch(session.id, NOW, EARLIER, {})

    assert not touched
    assert session.ended_at is not None
    assert session.last_active_at == NOW - timedelta(hours=1)


def test_touch_never_moves_time_backwards(store: Store, session: Any) -> None:
    """A worker whose clock is behind changes nothing."""
    store.touch(session.id, NOW, EARLIER, {})
    behind = NOW - timedelta(minutes=3)

    touched = store.touch(session.id, behind, behind - timedelta(minutes=5), {})

    assert not touched
    assert session.last_active_at == NOW


def test_a_touch_is_due_after_the_interval_not_at_its_end(store: Store, session: Any) -> None:
    """Of two requests at one time, one writes."""
    written = [store.touch(session.id, NOW, NOW - timedelta(hours=1), {}) for _ in range(2)]

    assert written == [False, False]
    assert store.touch(session.id, NOW, NOW - timedelta(minutes=59), {})


@pytest.mark.connections
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_who_comes_after_a_touch_waits_again(store: Store, session: Any) -> None:
    """The connection goes back to the pool with the patience that it had."""
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1234")

    touched = store.touch(session.id, NOW, EARLIER, {})

    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1234
    assert touched


@pytest.mark.connections
def test_touch_does_not_wait_for_a_lock(store: Store, session: Any) -> None:
    """While somebody else holds the row, a touch gives way at once."""
    session_id = session.id
    db.session.rollback()
    gave_way = False

    with _row_locked(store, session_id):
        try:
            gave_way = not store.touch(session_id, NOW, EARLIER, {})
        except sa.exc.OperationalError:
            gave_way = True

    assert gave_way
    assert store.touch(session_id, NOW, EARLIER, {})


def test_a_touch_that_fails_leaves_the_request_alone(
    app: Flask, ada: User, laptop: Browser, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A touch that cannot be written is a log line, not an error, and the view can still write."""
    sign_in(laptop)
    session_id = store.session.scalars(sa.select(store.models.session.id)).one()
    table = store.models.session.__table__
    an_hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    db.session.execute(sa.update(table).values(last_active_at=an_hour_ago))
    db.session.commit()

    with _row_locked(store, session_id):
        signed_in_as = who(laptop)

    assert signed_in_as == ada.email


def _person(number: int, name: object = "x") -> Any:
    return sa.insert(User).values(id=number, email=f"{name}@example.com", is_enabled=True)


# -- run ---------------------------------------------------------------------------------------


def test_a_unit_is_done_again_after_a_conflict(store: Store, ada: User) -> None:
    """Somebody else took the same sequence number first: the unit runs again and succeeds."""
    tries: list[int] = []

    def unit() -> str:
        tries.append(len(tries))
        number = ada.id if len(tries) == 1 else ada.id + 1
        db.session.execute(_person(number, len(tries)))
        return "done"

    result = store.run(unit)

    assert result == "done"
    assert tries == [0, 1]


def test_a_unit_is_not_done_again_over_the_apps_unsaved_work(store: Store, ada: User) -> None:
    """What the app had pending is gone with the rollback, so the app hears of it."""
    tries: list[int] = []
    store.session.add(User(email="pending@example.com"))
    number = ada.id

    def unit() -> None:
        tries.append(len(tries))
        db.session.execute(_person(number))

    with pytest.raises(StoreUnavailable):
        store.run(unit)

    assert tries == [0]


def test_a_unit_that_keeps_failing_is_given_up(
    store: Store, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After four tries the failure is reported, and the session is usable.

    The pauses between them grow, to half a second at most: somebody waits.
    """
    tries: list[int] = []
    pauses: list[float] = []
    number = ada.id
    monkeypatch.setattr("random.uniform", lambda least, most: most - least)
    monkeypatch.setattr("time.sleep", pauses.append)

    def unit() -> None:
        tries.append(len(tries))
        db.session.execute(_person(number))

    with pytest.raises(StoreUnavailable):
        store.run(unit)

    assert len(tries) == 4
    assert pauses == [0.02, 0.1, 0.5]
    assert db.session.get(User, number) is not None


@pytest.mark.parametrize(("seconds", "tried"), [(4.9, 4), (5.1, 1)])
def test_a_unit_that_failed_slowly_is_not_repeated(
    store: Store, ada: User, monkeypatch: pytest.MonkeyPatch, seconds: float, tried: int
) -> None:
    """Somebody waits for the answer: after five seconds no other try is begun (slow locks)."""
    tries: list[int] = []
    number = ada.id
    clock = [1000.0]
    monkeypatch.setattr("time.sleep", lambda pause: None)

    def unit() -> None:
        tries.append(len(tries))
        clock[0] = 1000.0 + seconds
        db.session.execute(_person(number))

    with monkeypatch.context() as patch:
        patch.setattr("flask_device_sessions.store.time.monotonic", lambda: clock[0])
        with pytest.raises(StoreUnavailable):
            store.run(unit)

    assert len(tries) == tried


def test_a_unit_that_fails_for_good_is_not_repeated(store: Store, ada: User) -> None:
    """A statement that can never work is reported at once."""
    tries: list[int] = []

    def unit() -> None:
        tries.append(len(tries))
        db.session.execute(sa.text("SELECT * FROM no_such_thing"))

    with pytest.raises(StoreUnavailable):
        store.run(unit)

    assert tries == [0]


def test_a_unit_that_refuses_leaves_nothing_behind(store: Store, ada: User) -> None:
    """What it had written is rolled back, if the app had nothing unsaved."""

    def unit() -> None:
        db.session.execute(_person(99))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.run(unit)

    assert db.session.get(User, 99) is None


@pytest.mark.connections
def test_a_unit_sees_what_is_there_now(store: Store, session: Any) -> None:
    """Not what was there when the app read first in this transaction (REPEATABLE READ)."""
    table = store.models.session.__table__
    db.session.scalar(sa.select(table.c.name))
    with store.engine.begin() as other:
        other.execute(sa.update(table).values(name="newer"))

    name = store.run(lambda: db.session.scalar(sa.select(table.c.name)))

    assert name == "newer"


# -- look and locks ----------------------------------------------------------------------------


def test_a_question_is_asked_again_on_a_new_connection(store: Store, ada: User) -> None:
    """One that died while idle is replaced once."""
    db.session.rollback()
    answers: list[Any] = [_lost(), "yes"]

    def question() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert store.look(question) == "yes"
    assert answers == []


@pytest.mark.parametrize(
    "error", [sa.exc.TimeoutError("no connection"), sa.exc.OperationalError("", {}, Exception())]
)
def test_other_failures_of_a_question_are_reported_at_once(
    store: Store, ada: User, error: Exception
) -> None:
    """Who has waited for a connection waits no second time."""
    db.session.rollback()
    asked: list[int] = []

    def question() -> None:
        asked.append(1)
        raise error

    with pytest.raises(StoreUnavailable):
        store.look(question)

    assert asked == [1]


def test_a_question_beside_unsaved_work_is_asked_once(store: Store, ada: User) -> None:
    """A second try would need a rollback, and that would lose the work."""
    db.session.rollback()
    pending = User(email="pending@example.com")
    db.session.add(pending)
    asked: list[int] = []

    def question() -> None:
        asked.append(1)
        raise _lost()

    with pytest.raises(StoreUnavailable):
        store.look(question)

    assert asked == [1]
    assert pending in db.session.new


def test_after_a_failed_question_the_session_works(store: Store, ada: User) -> None:
    """PostgreSQL refuses everything after a failed statement until there is a rollback."""
    number = ada.id
    db.session.rollback()

    with pytest.raises(StoreUnavailable):
        store.look(lambda: db.session.execute(sa.text("SELECT * FROM no_such_thing")))

    assert db.session.get(User, number) is not None


def test_after_a_failure_is_given_up_the_session_works(store: Store, ada: User) -> None:
    """The caller reports it, and may go on."""
    number = ada.id
    with pytest.raises(sa.exc.DBAPIError) as caught:
        db.session.execute(sa.text("SELECT * FROM no_such_thing"))

    explained = store.give_up(caught.value)

    assert isinstance(explained, StoreUnavailable)
    assert db.session.get(User, number) is not None


@pytest.mark.connections
def test_a_person_is_locked_for_every_other_change(store: Store, ada: User) -> None:
    """Another connection cannot lock them too; on a server, it can lock somebody else."""
    bob = add_user("bob@example.com")
    ids = ada.id, bob.id
    db.session.commit()
    store.lock_user(ids[0])
    is_sqlite = store.engine.dialect.name == "sqlite"
    lock = "BEGIN IMMEDIATE" if is_sqlite else "SELECT id FROM {} WHERE id = {} FOR UPDATE NOWAIT"
    quoted = store.engine.dialect.identifier_preparer.format_table(User.__table__)
    free = []
    for number in ids:
        with store.engine.connect() as other:
            if is_sqlite:
                other.exec_driver_sql("PRAGMA busy_timeout = 0")
            try:
                other.exec_driver_sql(lock.format(quoted, number))
                free.append(number)
            except sa.exc.DBAPIError:
                other.invalidate()

    assert free == ([] if is_sqlite else [ids[1]])


@pytest.mark.connections
def test_behind_the_lock_a_read_is_of_now(store: Store, session: Any) -> None:
    """Although the app has read before in this transaction, what others ended has ended."""
    user_id, session_id = session.user_id, session.id
    db.session.rollback()
    table = store.models.session.__table__
    db.session.scalar(sa.select(table.c.name))
    with store.engine.begin() as other:
        other.execute(sa.update(table).values(ended_at=NOW, end_reason="logout"))
    store.lock_user(user_id)

    live = store.lock_live(user_id)

    assert live == []
    assert store.find_session(session_id) is not None


def test_a_table_that_is_missing_is_named(context: None) -> None:
    """The sessions table, too."""
    app = make_app()
    with app.app_context():
        User.__table__.create(db.engine)
        store = app.extensions["device_sessions"]._state.store

        with pytest.raises(StoreUnavailable, match="device_sessions"):
            store.find(uuid.uuid4())


def test_a_failure_inside_the_apps_transaction_is_the_apps(store: Store, ada: User) -> None:
    """With commit=False nothing is rolled back here: the app decides."""

    def unit() -> None:
        db.session.execute(sa.text("SELECT * FROM no_such_thing"))

    with pytest.raises(StoreUnavailable):
        store.run(unit, commit=False)

    db.session.rollback()
    assert store.run(lambda: "fine", commit=False) == "fine"


def test_a_refusal_leaves_the_apps_unsaved_work_alone(store: Store, ada: User) -> None:
    """A unit that says no, such as at a limit, takes nothing of the app's with it."""
    pending = User(email="pending@example.com")
    store.session.add(pending)

    def refuse() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.run(refuse)

    assert pending in store.session.new


@pytest.mark.connections
def test_a_rollback_that_is_refused_leaves_a_usable_session(
    store: Store, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Galera node without quorum refuses even that (error 1047): the connection is given up."""
    user_id = ada.id

    def refuse(session: Any) -> None:
        raise sa.exc.OperationalError("ROLLBACK", {}, Exception("no quorum"))

    with monkeypatch.context() as patch:
        patch.setattr(type(db.session()), "rollback", refuse)
        store.roll_back()

    assert db.session.get(User, user_id) is not None


# -- find --------------------------------------------------------------------------------------


def test_a_connection_killed_while_idle_costs_nobody_a_sign_out(
    app: Flask, schema: Engine, ada: User, laptop: Browser, store: Store
) -> None:
    """The pool's dead connection is replaced once, and the request goes on."""
    sign_in(laptop)
    db.session.rollback()
    _kill_all_connections(schema)

    signed_in_as = who(laptop)

    assert signed_in_as == "ada@example.com"


def _kill_all_connections(schema: Engine) -> None:
    killer = sa.create_engine(schema.uri, isolation_level="AUTOCOMMIT")
    with killer.connect() as connection:
        if schema.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        elif schema.name == "mariadb":
            own = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
            others = connection.exec_driver_sql(
                "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
            ).scalars()
            for number in [number for number in others if number != own]:
                connection.exec_driver_sql(f"KILL {number}")
    killer.dispose()


def test_an_expired_object_is_filled_from_the_row(app: Flask, ada: User, laptop: Browser) -> None:
    """Objects that a commit expired in an outer app context cost no more SQL than new ones."""
    sign_in(laptop)
    db.session.commit()

    with statements(app) as seen:
        signed_in_as = who(laptop)

    assert signed_in_as == "ada@example.com"
    assert len(seen) == 1


def test_what_a_view_has_committed_is_newer_than_the_row_that_was_read(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Who asks for the session after that is told what is there now."""

    @app.get("/renamed")
    def renamed() -> str:
        (session,) = extension.sessions_of(current_user)
        session.name = "Work"
        db.session.commit()
        return str(g.current_session.name)

    sign_in(laptop)
    db.session.remove()

    assert laptop.get("/renamed").text == "Work"


def test_an_app_that_routes_its_queries_itself_routes_ours() -> None:
    """A ``get_bind`` of the app's own says where sessions live, for the restore as for the rest."""
    asked: list[Any] = []

    class Routing(UsualSession):
        def get_bind(self, mapper: Any = None, *others: Any, **values: Any) -> Any:
            asked.append(mapper)
            return super().get_bind(mapper, *others, **values)

    own = SQLAlchemy(session_options={"class_": Routing})

    class Reader(UserMixin, own.Model):  # type: ignore[name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str]

    app = bare_app()
    own.init_app(app)
    extension = DeviceSessions(app, user_model=Reader)
    with app.app_context():
        store = extension._state.store

        assert store.engine is own.engine

    assert asked == [store.models.session]


def test_the_object_the_app_holds_wins(ada: User, laptop: Browser) -> None:
    """Restoring a session does not undo what the app has changed on the user meanwhile."""
    sign_in(laptop)
    ada.email = "countess@example.com"

    signed_in_as = who(laptop)

    assert signed_in_as == "countess@example.com"


def test_a_restored_user_is_a_persistent_object(app: Flask, ada: User, laptop: Browser) -> None:
    """What a view changes on current_user is saved by the app's commit."""

    @app.post("/move")
    def move() -> str:
        current_user.email = "countess@example.com"
        same = db.session.get(User, current_user.id) is current_user._get_current_object()
        db.session.commit()
        return str(same)

    sign_in(laptop)

    answer = laptop.post("/move")

    assert answer.text == "True"
    assert who(laptop) == "countess@example.com"


def test_users_of_an_inheriting_model_are_loaded_by_the_orm() -> None:
    """A user model over several tables is no simple row, and still is the current user."""
    own = SQLAlchemy()

    class Person(UserMixin, own.Model):  # type: ignore[name-defined]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(sa.String(20))
        email: Mapped[str] = mapped_column(sa.String(200))

    class Admin(Person):
        __mapper_args__ = {"polymorphic_identity": "admin"}
        id: Mapped[int] = mapped_column(sa.ForeignKey(Person.id), primary_key=True)
        level: Mapped[int] = mapped_column(default=3)

    app = bare_app(DEVICE_SESSIONS_USER_MODEL="Person")
    own.init_app(app)
    DeviceSessions(app)

    @app.get("/level")
    def level() -> str:
        user = g.current_session.user
        return f"{type(user).__name__} {user.level} {user is current_user._get_current_object()}"

    with app.app_context():
        own.create_all()
        boss = Admin(email="boss@example.com")
        own.session.add(boss)
        own.session.commit()
        browser = Browser(app)
        login(browser, boss)

        answer = browser.get("/level")

    assert answer.text == "Admin 3 True"


@pytest.mark.parametrize(
    ("error", "words", "asked"),
    [(_lost(), "gone", 2), (sa.exc.TimeoutError("no connection is free"), "no connection", 1)],
)
def test_a_database_that_stays_away_is_reported(
    store: Store,
    session: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
    asked: int,
) -> None:
    """One retry of a connection that was lost, not two.

    None without a connection: who has waited thirty seconds waits no more.
    """
    tries: list[int] = []

    def fail(*_: Any) -> Any:
        tries.append(1)
        raise error

    monkeypatch.setattr(store, "_read", fail)

    with pytest.raises(StoreUnavailable, match=words):
        store.find(session.id)

    assert len(tries) == asked


def test_what_is_written_later_is_noted_on_what_was_found(store: Store, session: Any) -> None:
    """The rest of the request sees it: on the row, on the object the app holds, on a new one."""
    found = store.find(session.id)
    assert found is not None
    found.note(country="FR", last_active_at=NOW)
    held = session.country
    db.session.expunge_all()

    made = found.session()

    assert (found.country, found.last_active_at) == ("FR", NOW)
    assert held == "FR"
    assert (made.country, made.last_active_at) == ("FR", NOW)


def test_a_session_comes_with_its_user(app: Flask, store: Store, session: Any) -> None:
    """Both were read at once, and each column is what it was on whoever asks twice."""
    session_id, agent = session.id, session.user_agent
    db.session.remove()
    found = store.find(session_id)
    assert found is not None

    with statements(app) as seen:
        made = found.session()
        user = made.user

    assert user.email == "ada@example.com"
    assert user is found.user()
    assert [found.user_agent, found.user_agent, made.user_agent] == [agent] * 3
    assert seen == []


def test_what_the_app_has_not_committed_yet_is_found(store: Store, session: Any) -> None:
    """On the connection that the app holds: another could wait for this one's locks."""
    session.name = "not committed"
    db.session.flush()

    found = store.find(session.id)

    assert found is not None
    assert found.name == "not committed"


def test_a_person_who_is_not_added_yet_has_a_number(store: Store, ada: User) -> None:
    """The app may have given it; of anybody else it is the one of the row."""
    assert store.id_of(User(id=7)) == 7
    assert store.id_of(ada) == sa.inspect(ada).identity[0]


def test_what_was_found_has_the_columns_of_a_session_only(store: Store, session: Any) -> None:
    """A mistyped name is an AttributeError, as on any object."""
    found = store.find(session.id)

    assert found is not None
    assert found.kind == "browser"
    assert not hasattr(found, "colour")


def test_a_person_who_is_not_flushed_yet_can_sign_in(
    app: Flask, context: None, extension: DeviceSessions
) -> None:
    """Registration and sign-in in one transaction: the key is asked for first."""
    user = User(email="new@example.com", password_hash="none")

    with app.test_request_context():
        db.session.add(user)
        session = extension.login(user)

    assert session.user_id == user.id


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_sessions_are_ended_by_their_ids(app: Flask, store: Store, ada: User) -> None:
    """Not by a walk through all that live, which SQLite takes for shorter."""
    sessions = [_add_session(ada) for _ in range(5)]
    with statements(app) as seen:
        ended = store.end(dict.fromkeys(sessions, "logout"), NOW)
    (update,) = (sql for sql in seen if sql.startswith("UPDATE"))
    with store.engine.connect() as connection:
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {update}", ("x",) * update.count("?")
        )

    assert ended == 5
    assert "(id=?)" in str(plan.all())


# -- erasing with the user -----------------------------------------------------------------------


def test_nothing_of_a_deleted_person_is_left(
    ada: User, laptop: Browser, store: Store, extension: DeviceSessions
) -> None:
    """Deleting a user through the ORM deletes sessions, devices and events (ASVS V14.2)."""
    sign_in(laptop)
    db.session.delete(ada)
    db.session.commit()

    rows = [
        db.session.scalar(sa.select(sa.func.count()).select_from(model))
        for model in store.models[1:]
    ]

    assert rows == [0, 0, 0]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_number_that_is_given_again_comes_without_a_past(store: Store, session: Any) -> None:
    """SQLite gives a deleted person's number to the next one, and may keep no foreign keys."""
    number = session.user_id
    db.session.execute(sa.delete(User).where(User.id == number))
    db.session.commit()
    left = db.session.scalar(sa.select(sa.func.count()).select_from(store.models.session))

    db.session.add(User(id=number, email="next@example.com"))
    db.session.commit()

    assert left == 1
    assert store.list_sessions(number) == []


def test_people_can_be_added_before_the_migration_ran() -> None:
    """On SQLite, clearing leftovers does not need our tables to exist."""
    app = make_app()
    with app.app_context():
        User.__table__.create(db.engine)

        user = add_user()

        assert user.id == 1


def test_a_number_from_outside_that_is_none_finds_nobody(store: Store, ada: User) -> None:
    """A key that cannot be written like one is no error."""
    assert store.find_user("not a number") is None
    assert store.find_user(str(ada.id)) is ada
