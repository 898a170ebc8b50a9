"""The SELECT of every request, past SQLAlchemy: the same answers, the same errors."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.faults import is_lost, on_error
from flask_device_sessions.ids import new_id
from flask_device_sessions.prepared import Lookup, is_silent
from flask_device_sessions.store import Store
from flask_device_sessions.testing import Browser
from tests.support import User, db, sign_in, statements, who


def _core(store: Store, session_id: Any) -> Any:
    with store.engine.connect() as connection:
        return connection.execute(store._find, {"id": session_id}).first()


def test_it_finds_what_sqlalchemy_finds(
    store: Store, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Every column, by each engine's own types."""
    sign_in(laptop)
    (session,) = extension.sessions_of(ada)

    row = store._lookup.first(store.engine, session.id)

    assert row is not None
    assert row[:] == list(_core(store, session.id))
    assert row[0] == session.id


def test_what_is_not_there_is_none(store: Store, ada: User) -> None:
    """Also as the first that is looked up, before the driver has described a row."""
    assert store._lookup.first(store.engine, new_id()) is None


def test_columns_of_any_type_are_read(store: Store) -> None:
    """Drivers say what came; PostgreSQL's numbers need to be told apart by that."""
    table = sa.Table(
        "prepared_numbers",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("price", sa.Numeric(10, 2)),
        sa.Column("tags", sa.JSON),
    )
    with store.engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), {"id": 1, "price": Decimal("9.50"), "tags": ["a"]})
    find = sa.select(*table.c).where(table.c.id == sa.bindparam("id"))

    row = Lookup(find, list(table.c), table.c.id, is_lost).first(store.engine, 1)

    with store.engine.begin() as connection:
        table.drop(connection)
    assert row is not None
    assert row[:] == [1, Decimal("9.50"), ["a"]]


def test_an_error_is_sqlalchemys(store: Store) -> None:
    """So that what knows errors knows these; the connection is as good as new, or gone."""
    table = sa.Table("prepared_nowhere", sa.MetaData(), sa.Column("id", sa.Integer))
    find = sa.select(table.c.id).where(table.c.id == sa.bindparam("id"))
    lookup = Lookup(find, [table.c.id], table.c.id, is_lost)

    with pytest.raises(sa.exc.DBAPIError) as caught:
        lookup.first(store.engine, 1)

    assert "prepared_nowhere" in str(caught.value)
    assert not caught.value.connection_invalidated
    assert _core(store, new_id()) is None


@pytest.mark.connections
def test_no_connection_is_kept(store: Store) -> None:
    """Nor is one left in a transaction, or without one for those who want it."""
    store._lookup.first(store.engine, new_id())

    assert store.engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    connection = store.engine.raw_connection()
    autocommit = getattr(connection.dbapi_connection, "autocommit", False)
    connection.close()
    assert autocommit is not True


class _Interrupted(BaseException):
    """A timeout, say, that comes from outside."""


class _Connection:
    """A driver's connection that is interrupted, or that a pool's listener has used already."""

    def __init__(self, driver: Any, broken: str) -> None:
        self.driver, self.broken = driver, broken

    def __getattr__(self, name: str) -> Any:
        if name == "cursor" and self.broken == "interrupted":
            raise _Interrupted
        return getattr(self.driver, name)

    @property
    def autocommit(self) -> bool:
        return self.broken == "in autocommit"

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        raise sqlite3.ProgrammingError("There is a transaction.")


def _lookup_on(broken: str) -> tuple[Lookup, sa.Engine]:
    """Return a look-up on an engine that says it is PostgreSQL."""

    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        return _Connection(sqlite3.connect(":memory:"), broken)

    engine = sa.create_engine("sqlite://", poolclass=sa.QueuePool)
    sa.event.listen(engine, "do_connect", connect)
    engine.dialect.name = "postgresql"
    column: sa.Column[Any] = sa.Column("one", sa.Integer)
    statement = sa.select(column).where(column == sa.bindparam("one"))
    lookup = Lookup(statement, [column], column, is_lost)
    lookup._make_plan(engine).text = "SELECT 1 WHERE 1 = ?"
    return lookup, engine


def test_a_connection_whose_select_was_interrupted_is_given_up() -> None:
    """Nobody knows how far the driver has come, and who gets it next must not find out."""
    lookup, engine = _lookup_on("used")
    with closing(engine.raw_connection()) as connection:
        connection.dbapi_connection.broken = "interrupted"  # type: ignore[union-attr]

    with pytest.raises(_Interrupted):
        lookup.first(engine, 1)

    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    kept = engine.pool._pool.queue  # type: ignore[attr-defined]
    assert [record for record in kept if record.dbapi_connection is not None] == []


@pytest.mark.parametrize("state", ["used", "in autocommit"])
def test_a_connection_that_cannot_be_switched_to_autocommit_is_used(state: str) -> None:
    """A pool's listener has begun something, such as for a search path; or autocommit is on."""
    lookup, engine = _lookup_on(state)

    row = lookup.first(engine, 1)

    assert row is not None
    assert row[0] == 1


def test_a_null_is_made_a_value_by_its_type() -> None:
    """As SQLAlchemy does: a list of roles is empty then, not nothing."""

    class Words(sa.types.TypeDecorator[list[str]]):
        impl = sa.String
        cache_ok = True

        def process_result_value(self, value: str | None, dialect: sa.Dialect) -> list[str]:
            return value.split() if value else []

    table = sa.Table(
        "people", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("roles", Words)
    )
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), {"id": 1})
    find = sa.select(*table.c).where(table.c.id == sa.bindparam("id"))

    row = Lookup(find, list(table.c), table.c.id, is_lost).first(engine, 1)

    engine.dispose()
    assert row is not None
    assert (row[1], row[:]) == ([], [1, []])


@pytest.mark.parametrize("event", ["do_execute", "handle_error"])
def test_who_stands_between_the_dialect_and_the_driver_is_not_passed_by(event: str) -> None:
    """A wrapper of statements, or one who tells which errors are lost connections."""
    engine = sa.create_engine("sqlite://")

    def listener(*_: Any) -> None:
        """Do nothing."""

    sa.event.listen(engine, event, listener)

    assert not is_silent(engine)
    assert is_silent(engine, ours=[listener])


def test_a_pool_that_ends_no_transactions_is_not_passed_by() -> None:
    """Else a SELECT would see, for ever, what the first one saw."""
    assert not is_silent(sa.create_engine("sqlite://", pool_reset_on_return=None))


@pytest.mark.parametrize("event", ["before_cursor_execute", "engine_connect", "begin"])
def test_an_engine_that_somebody_listens_to_is_not_passed_by(store: Store, event: str) -> None:
    """Query counters, tracing and row-level security see every statement."""
    before = is_silent(store.engine, ours=[on_error])

    sa.event.listen(store.engine, event, lambda *_: None)

    assert before
    assert not is_silent(store.engine, ours=[on_error])


def test_an_engine_that_echoes_is_not_passed_by(store: Store) -> None:
    """Who reads SQLAlchemy's log reads all of it."""
    logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)
    try:
        assert not is_silent(sa.create_engine("sqlite://"))
    finally:
        logging.getLogger("sqlalchemy.engine").setLevel(logging.NOTSET)


def test_an_engine_with_options_is_not_passed_by(store: Store) -> None:
    """Such as ``schema_translate_map``, which changes the statement."""
    assert not is_silent(store.engine.execution_options(schema_translate_map={None: "other"}))


def test_both_ways_name_the_same_person(app: Flask, ada: User, laptop: Browser) -> None:
    """With somebody listening and without."""
    sign_in(laptop)
    db.session.remove()

    quietly = who(laptop)
    with statements(app) as seen:
        aloud = who(laptop)

    assert quietly == aloud == "ada@example.com"
    assert len(seen) == 1
