"""The SELECT of every request, past SQLAlchemy: the same answers, the same errors."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.faults import is_lost
from flask_device_sessions.ids import new_id
from flask_device_sessions.prepared import Lookup, is_silent
from flask_device_sessions.store import Store
from flask_device_sessions.testing import Browser
from tests.support import User, db, sign_in, statements, who


@pytest.fixture
def store(extension: DeviceSessions, context: None) -> Store:
    """The store of the app."""
    return extension._state.store


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


def test_no_connection_is_kept(store: Store) -> None:
    """Nor is one left in a transaction, or without one for those who want it."""
    store._lookup.first(store.engine, new_id())

    assert store.engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    connection = store.engine.raw_connection()
    autocommit = getattr(connection.dbapi_connection, "autocommit", False)
    connection.close()
    assert autocommit is not True


@pytest.mark.parametrize("event", ["before_cursor_execute", "engine_connect", "begin"])
def test_an_engine_that_somebody_listens_to_is_not_passed_by(store: Store, event: str) -> None:
    """Query counters, tracing and row-level security see every statement."""
    before = is_silent(store.engine)

    sa.event.listen(store.engine, event, lambda *_: None)

    assert before
    assert not is_silent(store.engine)


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
