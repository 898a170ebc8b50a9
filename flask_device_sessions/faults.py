"""What a failure of the database means: passing, lost connection, or a schema that is behind.

Recognised by SQLSTATE and error number, never by a message that a locale may translate; SQLite
alone has only its words.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event, exc

from .errors import SchemaError, StoreUnavailable

#: Every way in which asking the database can fail, for ``except``. (The last is a driver's, for a
#: text that the connection's character set does not have.)
STORE_FAULTS = (exc.DBAPIError, exc.TimeoutError, UnicodeEncodeError)

#: MySQL and MariaDB: deadlock, lock wait, record changed, not ready (Galera), commit refused by
#: certification; too many connections, shutting down, killed; read-only; lost connections.
_TRANSIENT_NUMBERS = frozenset(
    {1213, 1205, 1020, 1047, 1180, 1040, 1053, 1927, 1290, 1836, 2003, 2006, 2013, 2055, 4031}
)

#: SQLSTATE: serialization failure, deadlock, lock not available, read-only after a failover.
_TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "25006"})

#: SQLSTATE classes: connection exception, operator intervention (a server going down).
_TRANSIENT_CLASSES = ("08", "57P")

#: A Galera node that is not in its cluster (any more): it refuses all work, also a rollback.
_OUT_OF_CLUSTER = frozenset({1047, 1180})
_GRANT = "Let the app's account SELECT, INSERT, UPDATE and DELETE in the device_session* tables."
_CREATE = "Create it, or correct the database URL."
_LOG_IN = "Correct the account or the password in the database URL."
_PRIMARY = "Is it a standby? Let the database URL lead to the primary."
_CHARSET = (
    "Its character set cannot hold this text: convert the tables to utf8mb4 (MariaDB), or move to "
    "a database whose encoding is UTF8 (PostgreSQL)."
)

#: What to do, by error number or SQLSTATE.
_ADVICE: dict[int | str | None, str] = {
    1142: _GRANT,
    "42501": _GRANT,
    1049: _CREATE,
    "3D000": _CREATE,
    1044: _LOG_IN,
    1045: _LOG_IN,
    1698: _LOG_IN,
    "28000": _LOG_IN,
    "28P01": _LOG_IN,
    1290: _PRIMARY,
    1836: _PRIMARY,
    "25006": _PRIMARY,
    1366: _CHARSET,
    "22P05": _CHARSET,
}

_SCHEMA_NUMBERS = frozenset({1146, 1054})
_SCHEMA_STATES = frozenset({"42P01", "42703"})
_SQLITE_SCHEMA_WORDS = ("no such table", "no such column", "has no column named")
_SQLITE_TRANSIENT_WORDS = ("database is locked", "database table is locked")


_watched: WeakSet[sa.Engine] = WeakSet()


def watch(engine: sa.Engine) -> None:
    """Count a Galera node that has left its cluster as a lost connection, which it does not.

    It still answers pings, so a pool would stay with it while the other nodes work. A second
    call changes nothing.
    """
    if engine.dialect.name in ("mysql", "mariadb") and engine not in _watched:
        _watched.add(engine)
        event.listen(engine, "handle_error", on_error)


def on_error(context: sa.ExceptionContext) -> None:
    """Tell SQLAlchemy that the connection is lost."""
    error = context.sqlalchemy_exception
    if isinstance(error, exc.DBAPIError) and _number(error) in _OUT_OF_CLUSTER:
        context.is_disconnect = True


def is_lost(dialect: sa.Dialect, error: Exception, connection: Any) -> bool:
    """Whether a driver's error means that its connection is of no use any more."""
    is_disconnected = dialect.is_disconnect(error, connection, None)  # type: ignore[arg-type]
    return is_disconnected or _code(error) in _OUT_OF_CLUSTER


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed when it is done again from its start."""
    if not isinstance(error, exc.DBAPIError):
        return isinstance(error, exc.TimeoutError)
    if error.connection_invalidated or _number(error) in _TRANSIENT_NUMBERS:
        return True
    state = _state(error)
    if state is None and isinstance(error, exc.OperationalError):
        return _says(error, _SQLITE_TRANSIENT_WORDS) or _is_psycopg(error)
    return state in _TRANSIENT_STATES or (state or "").startswith(_TRANSIENT_CLASSES)


def is_conflict(error: BaseException) -> bool:
    """Whether somebody else wrote the same key first: another try sees their row."""
    return isinstance(error, exc.IntegrityError)


def translate(error: Exception, engine: sa.Engine, tables: list[sa.Table]) -> StoreUnavailable:
    """Return the error of ours that says what ``error`` means to the person who can mend it."""
    if isinstance(error, exc.DBAPIError) and _is_schema(error):
        return SchemaError(_missing_parts_if_known(engine, tables))
    said = f"The database did not do its part: {_first_line(error)}"
    return StoreUnavailable(" ".join([said, *_advice(error)]))


def _advice(error: Exception) -> list[str]:
    """Return what a person can do about it, where that is known."""
    if isinstance(error, UnicodeEncodeError):
        return [_CHARSET]
    if not isinstance(error, exc.DBAPIError):
        return []
    codes = (_number(error), _state(error))
    return [_ADVICE[code] for code in codes if code in _ADVICE]


def _missing_parts_if_known(engine: sa.Engine, tables: list[sa.Table]) -> list[str]:
    try:
        return missing_parts(engine, tables)
    except STORE_FAULTS:  # such as a pool of one whose connection the app holds
        return []


def missing_parts(engine: sa.Engine, tables: list[sa.Table]) -> list[str]:
    """Return what of ``tables`` the database lacks, such as ``"column device_sessions.kind"``."""
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        return [part for table in tables for part in _missing_of(inspector, table)]


def _missing_of(inspector: sa.Inspector, table: sa.Table) -> list[str]:
    if not inspector.has_table(table.name, schema=table.schema):
        return [f"table {table.fullname}"]
    present = {column["name"] for column in inspector.get_columns(table.name, table.schema)}
    return [f"column {table.fullname}.{c.name}" for c in table.columns if c.name not in present]


def _is_schema(error: exc.DBAPIError) -> bool:
    return (
        _number(error) in _SCHEMA_NUMBERS
        or _state(error) in _SCHEMA_STATES
        or (isinstance(error, exc.OperationalError) and _says(error, _SQLITE_SCHEMA_WORDS))
    )


def _state(error: exc.DBAPIError) -> str | None:
    """Return the SQLSTATE as psycopg (``sqlstate``) or psycopg2 (``pgcode``) gives it."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def _number(error: exc.DBAPIError) -> int | None:
    """Return MySQL's error number, the first argument of its drivers' exceptions."""
    return _code(error.orig)


def _code(error: BaseException | None) -> int | None:
    arguments = getattr(error, "args", ())
    return arguments[0] if arguments and type(arguments[0]) is int else None


def _is_psycopg(error: exc.DBAPIError) -> bool:
    """Whether psycopg raised it: without an SQLSTATE that is a connection that failed."""
    return type(error.orig).__module__.startswith("psycopg")


def _says(error: exc.DBAPIError, words: tuple[str, ...]) -> bool:
    text = str(error.orig)
    return any(word in text for word in words)


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
