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
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.pool.base import ResetStyle

Processor = Callable[[Any], Any]


class _Plan:
    """The statement as one engine's driver takes it.

    Args:
        text: the SQL.
        bind: makes the driver's parameters of the key.
        error: the driver's class of errors.
        needs_autocommit: whether a lone SELECT would have BEGIN and ROLLBACK around it, which are
            round trips of their own.

    Attributes:
        decoders: what makes Python values of the driver's, for the columns that need it; known
            with the first row, by the types that the driver says it has.
    """

    def __init__(
        self,
        text: str,
        bind: Callable[[Any], Any],
        error: type[Exception],
        needs_autocommit: bool,
    ) -> None:
        self.text = text
        self.bind = bind
        self.error = error
        self.needs_autocommit = needs_autocommit
        self.decoders: _Decoders | None = None


class _Decoders(NamedTuple):
    """Columns and what is done with them: those of the first columns, then the others."""

    first: list[tuple[int, Processor]]
    others: list[tuple[int, Processor]]


class Row:
    """What the driver returned, as Python values; those past the first ones once one is asked.

    Args:
        values: as they came; changed here.
        decoders: by column.
        first: how many of the columns are asked of every row.
    """

    __slots__ = ("_first", "_others", "_values")

    def __init__(self, values: list[Any], decoders: _Decoders, first: int) -> None:
        self._values = values
        self._first = first
        self._others: Sequence[tuple[int, Processor]] = decoders.others
        self._decode(decoders.first)

    def __getitem__(self, place: Any) -> Any:
        stop = place.stop if isinstance(place, slice) else place + 1
        if self._others and (stop is None or stop > self._first):
            self._decode(self._others)
            self._others = ()
        return self._values[place]

    def _decode(self, decoders: Sequence[tuple[int, Processor]]) -> None:
        values = self._values
        for place, decode in decoders:
            values[place] = decode(values[place])


def is_silent(engine: sa.Engine, ours: Collection[object] = ()) -> bool:
    """Whether nobody could tell that a statement went past SQLAlchemy.

    Not so with listeners (query counters, tracing, row-level security), with ``echo``, with
    options such as ``schema_translate_map``, and with a pool that ends no transactions.

    Args:
        engine: the engine.
        ours: listeners for errors that do not count.
    """
    is_heard = getattr(engine, "_has_events", True) or engine.logger.isEnabledFor(logging.INFO)
    is_kept = getattr(engine.pool, "_reset_on_return", None) is not ResetStyle.reset_rollback
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
        first: how many of the columns, the first ones, are asked of every row.
    """

    def __init__(
        self,
        statement: sa.Select[Any],
        columns: list[sa.Column[Any]],
        key: sa.Column[Any],
        is_lost: Callable[[sa.Dialect, Exception, Any], bool],
        first: int = 0,
    ) -> None:
        self._is_lost = is_lost
        self._first = first
        self._statement = statement
        self._columns = columns
        self._key = key
        self._key_places = [place for place, column in enumerate(columns) if column is key]
        self._plans: WeakKeyDictionary[sa.Engine, _Plan] = WeakKeyDictionary()

    def first(self, engine: sa.Engine, key: Any) -> Row | None:
        """Return the row with this key.

        Raises:
            sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError: as a connection of SQLAlchemy's
                would; one that was lost takes the idle ones of its pool along.
        """
        plan = self._plans.get(engine) or self._make_plan(engine)
        try:
            connection = engine.raw_connection()
        except plan.error as error:
            raise self._explain(engine, None, plan, error) from error
        driver: Any = connection.dbapi_connection
        try:
            is_alone = plan.needs_autocommit and _begin_alone(driver, plan.error)
            cursor = driver.cursor()
            cursor.execute(plan.text, plan.bind(key))
            row = cursor.fetchone()
            if row is not None and plan.decoders is None:
                plan.decoders = self._decoders(engine.dialect, cursor.description)
            cursor.close()
            if is_alone:
                driver.autocommit = False
        except plan.error as error:
            raise self._explain(engine, connection, plan, error) from error
        except BaseException:
            connection.invalidate()  # a timeout, say: nobody knows how far the driver has come
            raise
        connection.close()
        if row is None or plan.decoders is None:
            return None
        values = list(row)
        for place in self._key_places:
            values[place] = key  # the row has this one: it need not be decoded
        return Row(values, plan.decoders, self._first)

    def _make_plan(self, engine: sa.Engine) -> _Plan:
        dialect = engine.dialect
        compiled = self._statement.compile(dialect=dialect)
        (name,) = compiled.params
        process = self._key.type.dialect_impl(dialect).bind_processor(dialect) or _as_it_is
        bind: Callable[[Any], Any] = lambda key: {name: process(key)}  # noqa: E731
        if dialect.positional:
            bind = lambda key: (process(key),)  # noqa: E731
        error = dialect.loaded_dbapi.Error
        plan = _Plan(str(compiled), bind, error, dialect.name == "postgresql")
        self._plans[engine] = plan
        return plan

    def _decoders(self, dialect: sa.Dialect, description: Any) -> _Decoders:
        decoders = _Decoders([], [])
        for place, column in enumerate(self._columns):
            decode = column.type.dialect_impl(dialect).result_processor(
                dialect, description[place][1]
            )
            if decode is not None and place not in self._key_places:
                (decoders.first if place < self._first else decoders.others).append((place, decode))
        return decoders

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
            plan.error,
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
