"""One SELECT by primary key, worked out once for each engine and run on the bare driver.

SQLAlchemy's own way through a statement costs more than the database does: it finds the compiled
text again, makes a context, a result and a row, and asks the driver to describe each column. All
of that comes out the same for each request. Connections still come from the engine's pool, with
all that hangs on it, and values go through SQLAlchemy's types.

An engine that somebody listens to, or that changes statements on their way, is not passed by:
:func:`is_silent` says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

Processor = Callable[[Any], Any]


@dataclass
class _Plan:
    """The statement as one engine's driver takes it.

    Attributes:
        text: the SQL.
        bind: makes the driver's parameters of the key.
        needs_autocommit: whether a lone SELECT would have BEGIN and ROLLBACK around it, which are
            round trips of their own.
        processors: what makes Python values of the driver's, column by column; known with the
            first row, by the types that the driver says it has.
    """

    text: str
    bind: Callable[[Any], Any]
    needs_autocommit: bool
    processors: list[Processor | None] | None = None


class Row:
    """What the driver returned; a value is made of it when somebody asks, as with SQLAlchemy's."""

    __slots__ = ("_processors", "_values")

    def __init__(self, values: Sequence[Any], processors: Sequence[Processor | None]) -> None:
        self._values = values
        self._processors = processors

    def __getitem__(self, place: Any) -> Any:
        value, process = self._values[place], self._processors[place]
        if isinstance(place, slice):
            return [
                one if process_one is None else process_one(one)
                for one, process_one in zip(value, process, strict=True)
            ]
        return value if process is None else process(value)


def is_silent(engine: sa.Engine, ours: Collection[object] = ()) -> bool:
    """Whether nobody could tell that a statement went past SQLAlchemy.

    Not so with listeners (query counters, tracing, row-level security), with ``echo``, with
    options such as ``schema_translate_map``, and with a pool that ends no transactions.

    Args:
        engine: the engine.
        ours: listeners for errors that do not count.
    """
    is_heard = getattr(engine, "_has_events", True) or engine.logger.isEnabledFor(logging.INFO)
    is_kept = str(getattr(engine.pool, "_reset_on_return", "")) != "ResetStyle.reset_rollback"
    return not (is_heard or is_kept or engine.get_execution_options()) and not _is_driven(
        engine.dialect, ours
    )


def _is_driven(dialect: Any, ours: Collection[object]) -> bool:
    """Whether somebody listens to what the dialect does with the driver."""
    if not getattr(dialect, "_has_events", True):
        return False
    events = dialect.dispatch
    heard = (*events.handle_error, *events.do_execute, *events.do_execute_no_params)
    return any(listener not in ours for listener in heard)


class Lookup:
    """A SELECT of one row.

    Args:
        statement: it has a single parameter.
        columns: what it selects, in order.
        key: the column that the parameter is compared with.
        is_lost: whether a driver's error means that its connection is of no use any more.
    """

    def __init__(
        self,
        statement: sa.Select[Any],
        columns: list[sa.Column[Any]],
        key: sa.Column[Any],
        is_lost: Callable[[sa.Dialect, Exception, Any], bool],
    ) -> None:
        self._is_lost = is_lost
        self._statement = statement
        self._columns = columns
        self._key = key
        self._plans: WeakKeyDictionary[sa.Engine, _Plan] = WeakKeyDictionary()

    def first(self, engine: sa.Engine, key: Any) -> Row | None:
        """Return the row with this key.

        Raises:
            sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError: as a connection of SQLAlchemy's
                would; one that was lost takes the idle ones of its pool along.
        """
        plan = self._plans.get(engine) or self._make_plan(engine)
        driver_error = engine.dialect.loaded_dbapi.Error
        try:
            connection = engine.raw_connection()
        except driver_error as error:
            raise self._explain(engine, None, plan, error) from error
        driver: Any = connection.dbapi_connection
        try:
            is_alone = plan.needs_autocommit and _begin_alone(driver, driver_error)
            cursor = connection.cursor()
            cursor.execute(plan.text, plan.bind(key))
            row = cursor.fetchone()
            if row is not None and plan.processors is None:
                plan.processors = self._processors(engine.dialect, cursor.description)
            cursor.close()
            if is_alone:
                driver.autocommit = False
        except driver_error as error:
            raise self._explain(engine, connection, plan, error) from error
        except BaseException:
            connection.invalidate()  # a timeout, say: nobody knows how far the driver has come
            raise
        connection.close()
        return None if plan.processors is None or row is None else Row(row, plan.processors)

    def _make_plan(self, engine: sa.Engine) -> _Plan:
        dialect = engine.dialect
        compiled = self._statement.compile(dialect=dialect)
        (name,) = compiled.params
        process = self._key.type.dialect_impl(dialect).bind_processor(dialect) or _as_it_is
        bind: Callable[[Any], Any] = lambda key: {name: process(key)}  # noqa: E731
        if dialect.positional:
            bind = lambda key: (process(key),)  # noqa: E731
        plan = _Plan(str(compiled), bind, dialect.name == "postgresql")
        self._plans[engine] = plan
        return plan

    def _processors(self, dialect: sa.Dialect, description: Any) -> list[Processor | None]:
        return [
            column.type.dialect_impl(dialect).result_processor(dialect, described[1])
            for column, described in zip(self._columns, description, strict=True)
        ]

    def _explain(
        self,
        engine: sa.Engine,
        connection: sa.PoolProxiedConnection | None,
        plan: _Plan,
        error: Any,
    ) -> Exception:
        """Give the connection up, whatever state it is in; return SQLAlchemy's error."""
        driver = connection and connection.dbapi_connection
        is_lost = self._is_lost(engine.dialect, error, driver)
        if connection is not None:
            if is_lost:
                engine.pool._invalidate(connection, error)
            elif plan.needs_autocommit:
                connection.invalidate(error)
            else:
                connection.close()
        explained: Exception = sa.exc.DBAPIError.instance(
            plan.text,
            None,
            error,
            engine.dialect.loaded_dbapi.Error,
            connection_invalidated=is_lost,
            dialect=engine.dialect,
        )
        return explained


def _begin_alone(driver: Any, driver_error: type[Exception]) -> bool:
    """Switch autocommit on; false where it is on, or a listener of the pool has begun something."""
    if driver.autocommit:
        return False
    try:
        driver.autocommit = True
    except driver_error:
        return False
    return True


def _as_it_is(value: Any) -> Any:
    return value
