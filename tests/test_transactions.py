"""Effects leave after the commit they belong to, and never without it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from flask_device_sessions import transactions
from flask_device_sessions.transactions import after_commit, has_connection, is_clean, listen


class Base(DeclarativeBase):
    """The registry of this module's one table."""


class Note(Base):
    """Something an app writes."""

    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(unique=True)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    """A database file with one note in it."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'notes.db'}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(Note).values(text="first"))
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(database: sa.Engine) -> Iterator[scoped_session[Session]]:
    """A registry that is listened to, as ``db.session`` is."""
    sessions = scoped_session(sessionmaker(database))
    listen(sessions)
    yield sessions
    sessions.remove()


@pytest.fixture
def session(sessions: scoped_session[Session]) -> Session:
    """This thread's session."""
    return sessions()


class Log(list[str]):
    """What happened, in order."""

    def put(self, session: Session, name: str) -> None:
        """Hand in an effect that says ``name``, or ``not name`` when it is undone."""
        after_commit(session, partial(self.append, name), partial(self.append, f"not {name}"))


@pytest.fixture
def log() -> Log:
    """Nothing has happened yet."""
    return Log()


def _write(session: Session, text: str) -> None:
    session.add(Note(text=text))
    session.flush()


def _texts(database: sa.Engine) -> list[str]:
    with database.connect() as connection:
        return list(connection.scalars(sa.select(Note.text).order_by(Note.id)))


def _fail(text: str) -> None:
    raise RuntimeError(text)


# -- The outermost transaction -----------------------------------------------------------------


def test_an_effect_waits_for_the_commit(session: Session, log: Log) -> None:
    """Nothing leaves while the rows may still be taken back."""
    _write(session, "second")
    log.put(session, "mail")
    session.flush()

    assert log == []
    session.commit()
    assert log == ["mail"]


def test_an_effect_sees_what_was_committed(session: Session, database: sa.Engine) -> None:
    """When it runs, every other connection sees the rows."""
    seen: list[list[str]] = []
    _write(session, "second")
    after_commit(session, lambda: seen.append(_texts(database)))

    session.commit()

    assert seen == [["first", "second"]]


def test_effects_run_in_the_order_they_came(session: Session, log: Log) -> None:
    """What was said first is heard first."""
    _write(session, "second")
    for name in "abc":
        log.put(session, name)

    session.commit()

    assert log == ["a", "b", "c"]


def test_an_effect_runs_once(session: Session, log: Log) -> None:
    """A later commit has effects of its own."""
    _write(session, "second")
    log.put(session, "a")
    session.commit()
    _write(session, "third")
    log.put(session, "b")
    session.commit()
    session.commit()

    assert log == ["a", "b"]


def test_a_rollback_undoes_the_last_first(session: Session, log: Log) -> None:
    """What was built up is taken down the other way round, and the effect is forgotten."""
    _write(session, "second")
    log.put(session, "a")
    log.put(session, "b")
    session.rollback()
    session.commit()

    assert log == ["not b", "not a"]


def test_a_session_that_is_closed_undoes_the_last_first(session: Session, log: Log) -> None:
    """An app that forgets its commit has rolled back."""
    _write(session, "second")
    log.put(session, "a")
    log.put(session, "b")
    session.close()

    assert log == ["not b", "not a"]


def test_a_session_that_is_removed_undoes(
    sessions: scoped_session[Session], session: Session, log: Log
) -> None:
    """So does the end of an app context."""
    _write(session, "second")
    log.put(session, "a")
    sessions.remove()
    sessions().commit()

    assert log == ["not a"]


def test_a_connection_that_is_given_up_undoes(session: Session, log: Log) -> None:
    """Invalidating is the rollback of a session whose database is gone."""
    _write(session, "second")
    log.put(session, "a")
    session.invalidate()

    assert log == ["not a"]


def test_an_undo_may_be_left_out(session: Session, log: Log) -> None:
    """An effect that prepared nothing has nothing to take back."""
    _write(session, "second")
    after_commit(session, partial(log.append, "a"))
    session.rollback()

    assert log == []


def test_a_commit_that_fails_undoes(session: Session, database: sa.Engine, log: Log) -> None:
    """The flush inside a commit may fail: then nothing leaves."""
    log.put(session, "before")
    session.add(Note(text="first"))
    log.put(session, "mail")

    with pytest.raises(sa.exc.IntegrityError):
        session.commit()
    session.rollback()

    assert sorted(log) == ["not before", "not mail"]
    assert _texts(database) == ["first"]


def test_after_a_failed_statement_the_session_works_again(session: Session, log: Log) -> None:
    """A rollback clears the way: new work has its own effects."""
    session.add(Note(text="first"))
    with pytest.raises(sa.exc.IntegrityError):
        session.flush()
    session.rollback()
    _write(session, "second")
    log.put(session, "a")
    session.commit()

    assert log == ["a"]


def test_an_effect_without_any_work_leaves_with_the_next_commit(session: Session, log: Log) -> None:
    """A transaction that never reached the database commits like any other."""
    session.begin()
    log.put(session, "a")
    session.commit()

    assert log == ["a"]


def test_reading_alone_carries_an_effect_too(session: Session, log: Log) -> None:
    """What the transaction did does not matter, only that it committed."""
    session.scalars(sa.select(Note)).all()
    log.put(session, "a")
    session.commit()

    assert log == ["a"]


# -- While effects run -------------------------------------------------------------------------


def test_an_effect_may_use_the_session(session: Session, database: sa.Engine, log: Log) -> None:
    """A signal's receiver reads, writes and commits as it likes."""

    def effect() -> None:
        log.append(str(session.scalar(sa.select(sa.func.count(Note.id)))))
        _write(session, "of the effect")
        session.commit()

    _write(session, "second")
    after_commit(session, effect)
    log.put(session, "next")
    session.commit()

    assert log == ["2", "next"]
    assert _texts(database) == ["first", "second", "of the effect"]


def test_an_effect_may_have_effects(session: Session, log: Log) -> None:
    """They wait for the commit of what the first one wrote."""

    def effect() -> None:
        _write(session, "of the effect")
        log.put(session, "inner")
        log.append("outer")

    _write(session, "second")
    after_commit(session, effect)
    session.commit()

    assert log == ["outer"]
    session.commit()
    assert log == ["outer", "inner"]


def test_an_effect_that_rolls_back_harms_no_other(
    session: Session, database: sa.Engine, log: Log
) -> None:
    """What was committed stays, and the other effects run."""
    _write(session, "second")
    log.put(session, "a")
    after_commit(session, session.rollback)
    log.put(session, "b")
    session.commit()

    assert log == ["a", "b"]
    assert _texts(database) == ["first", "second"]


def test_an_effect_that_fails_reaches_whoever_commits(
    session: Session, database: sa.Engine, log: Log
) -> None:
    """It is no secret, the rows are committed all the same, and the session can be used."""
    _write(session, "second")
    after_commit(session, partial(_fail, "receiver"), partial(log.append, "undone"))

    with pytest.raises(RuntimeError, match="receiver"):
        session.commit()

    assert log == []
    assert _texts(database) == ["first", "second"]
    assert is_clean(session)
    _write(session, "third")
    session.commit()
    assert _texts(database)[-1] == "third"


# -- Savepoints --------------------------------------------------------------------------------


def test_a_released_savepoint_commits_nothing_yet(session: Session, log: Log) -> None:
    """Its effect waits for the outermost commit."""
    _write(session, "second")
    with session.begin_nested():
        _write(session, "third")
        log.put(session, "a")

    assert log == []
    session.commit()
    assert log == ["a"]


def test_a_released_savepoint_is_undone_with_the_whole(
    session: Session, database: sa.Engine, log: Log
) -> None:
    """Released and then rolled back is rolled back."""
    _write(session, "second")
    with session.begin_nested():
        _write(session, "third")
        log.put(session, "a")
    session.rollback()

    assert log == ["not a"]
    assert _texts(database) == ["first"]


def test_a_savepoint_rolled_back_takes_its_own_effects_only(
    session: Session, database: sa.Engine, log: Log
) -> None:
    """What stood before it and comes after it leaves with the commit."""
    _write(session, "second")
    log.put(session, "before")
    savepoint = session.begin_nested()
    _write(session, "third")
    log.put(session, "inside")
    savepoint.rollback()
    log.put(session, "after")

    assert log == ["not inside"]
    session.commit()
    assert log == ["not inside", "before", "after"]
    assert _texts(database) == ["first", "second"]


def test_an_exception_in_a_savepoint_undoes_it(session: Session, log: Log) -> None:
    """The ``with`` block rolls back, and an app that goes on commits the rest."""
    _write(session, "second")

    def work() -> None:
        with session.begin_nested():
            log.put(session, "inside")
            _fail("app")

    with pytest.raises(RuntimeError, match="app"):
        work()
    log.put(session, "after")
    session.commit()

    assert log == ["not inside", "after"]


def test_an_inner_savepoint_rolled_back_leaves_the_outer_one(session: Session, log: Log) -> None:
    """Each savepoint answers for itself."""
    _write(session, "second")
    with session.begin_nested():
        log.put(session, "outer")
        inner = session.begin_nested()
        log.put(session, "inner")
        inner.rollback()
        log.put(session, "outer again")
    session.commit()

    assert log == ["not inner", "outer", "outer again"]


def test_an_outer_savepoint_rolled_back_takes_the_inner_one_too(session: Session, log: Log) -> None:
    """Released inside, undone outside: last first."""
    _write(session, "second")
    log.put(session, "kept")
    outer = session.begin_nested()
    log.put(session, "outer")
    with session.begin_nested():
        log.put(session, "inner")
    outer.rollback()
    session.commit()

    assert log == ["not inner", "not outer", "kept"]


def test_a_commit_with_a_savepoint_open_commits_all(session: Session, log: Log) -> None:
    """``session.commit()`` releases what is open, once."""
    _write(session, "second")
    log.put(session, "a")
    session.begin_nested()
    session.begin_nested()
    log.put(session, "b")
    session.commit()

    assert log == ["a", "b"]


def test_a_rollback_with_a_savepoint_open_undoes_all(session: Session, log: Log) -> None:
    """``session.rollback()`` of the root takes everything, once."""
    _write(session, "second")
    log.put(session, "a")
    session.begin_nested()
    log.put(session, "b")
    root = session.get_transaction()
    assert root is not None
    root.rollback()
    session.commit()

    assert sorted(log) == ["not a", "not b"]


# -- Listening ---------------------------------------------------------------------------------


def test_listening_twice_changes_nothing(
    sessions: scoped_session[Session], session: Session, log: Log
) -> None:
    """Two apps may share one ``db``: no effect runs twice."""
    listen(sessions)
    _write(session, "second")
    log.put(session, "a")
    session.commit()

    assert log == ["a"]


def test_a_registry_in_the_place_of_one_that_is_gone_is_listened_to(
    database: sa.Engine, log: Log
) -> None:
    """Apps come and go in a test suite: memory that is used again does not confuse them."""
    for number in range(50):
        sessions = scoped_session(sessionmaker(database))
        listen(sessions)
        session = sessions()
        session.begin()
        log.put(session, str(number))
        session.commit()
        sessions.remove()

    assert log == [str(number) for number in range(50)]


def test_sessions_keep_their_effects_apart(
    sessions: scoped_session[Session], session: Session, log: Log
) -> None:
    """The commit of one is not the commit of another."""
    with sessions.session_factory() as other:
        session.begin()
        log.put(session, "a")
        log.put(other, "b")
        other.commit()
        assert log == ["b"]
        session.rollback()

    assert log == ["b", "not a"]


def test_a_session_of_another_registry_is_left_alone(database: sa.Engine) -> None:
    """Nothing is noted of sessions that the extension does not use."""
    with Session(database) as foreign:
        _write(foreign, "second")

        assert not has_connection(foreign)
        assert not foreign.info


def test_nothing_is_kept_after_the_end(session: Session, log: Log) -> None:
    """The ledger goes with its transaction: a long-lived session does not grow."""
    _write(session, "second")
    log.put(session, "a")
    session.commit()
    session.close()

    assert transactions._KEY not in session.info


# -- Whose transaction is it -------------------------------------------------------------------


def _read(session: Session) -> None:
    session.scalars(sa.select(Note)).all()


def _change(session: Session) -> None:
    session.scalars(sa.select(Note)).one().text = "changed"


def _delete(session: Session) -> None:
    session.delete(session.scalars(sa.select(Note)).one())


def _add(session: Session) -> None:
    session.add(Note(text="second"))


def _insert(session: Session) -> None:
    session.execute(sa.insert(Note).values(text="second"))


def _sql(text: str) -> Any:
    def run(session: Session) -> None:
        session.execute(sa.text(text))

    return run


def _nothing(session: Session) -> None:
    pass


def _begin(session: Session) -> None:
    session.begin()


def _flush(session: Session) -> None:
    _write(session, "second")


@pytest.mark.parametrize(
    ("work", "clean", "connected"),
    [
        (_nothing, True, False),
        (_begin, True, False),
        (_read, True, True),
        (_sql("  \n select 1"), True, True),
        (_add, False, False),
        (_change, False, True),
        (_delete, False, True),
        (_flush, False, True),
        (_insert, False, True),
        (_sql("UPDATE notes SET text = 'changed'"), False, True),
        (_sql("DELETE FROM notes WHERE 1 = 0"), False, True),
        (_sql("WITH one AS (SELECT 1) INSERT INTO notes (text) SELECT 'x' FROM one"), False, True),
        (_sql("/* SELECT */ DELETE FROM notes"), False, True),
    ],
    ids=[
        "nothing",
        "begin",
        "read",
        "lower-case-select",
        "add",
        "change",
        "delete",
        "flush",
        "insert",
        "update",
        "delete-no-row",
        "insert-from-select",
        "comment",
    ],
)
def test_a_session_is_clean_while_a_rollback_would_lose_nothing(
    session: Session, work: Any, clean: bool, connected: bool
) -> None:
    """Reading leaves it clean; anything written, or waiting to be, does not."""
    work(session)

    assert is_clean(session) is clean
    assert has_connection(session) is connected


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_a_session_is_clean_again_after_its_end(session: Session, end: str) -> None:
    """Whatever was open is settled, and the connection is given back."""
    _write(session, "second")
    session.add(Note(text="third"))
    getattr(session, end)()

    assert is_clean(session)
    assert not has_connection(session)


def test_a_pool_of_one_is_free_while_effects_run(database: sa.Engine, log: Log) -> None:
    """The connection went back first: an effect may take it."""
    one = sa.create_engine(
        database.url, poolclass=sa.QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.1
    )
    sessions = scoped_session(sessionmaker(one))
    listen(sessions)
    session = sessions()
    _write(session, "second")
    after_commit(session, lambda: log.extend(_texts(one)))
    session.commit()
    sessions.remove()
    one.dispose()

    assert log == ["first", "second"]


def test_work_in_a_savepoint_is_work(session: Session) -> None:
    """Written inside and released: a rollback of the whole would lose it."""
    _read(session)
    with session.begin_nested():
        _write(session, "second")

    assert not is_clean(session)
    assert has_connection(session)


def test_the_next_transaction_starts_clean(session: Session) -> None:
    """A connection that comes back from the pool carries no memory of what it wrote."""
    for text in ("second", "third"):
        _write(session, text)
        session.commit()
        _read(session)
        assert is_clean(session)
        session.rollback()
