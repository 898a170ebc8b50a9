"""The database engines of the suite: where they are, and a database for each worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

IS_COMPLETE = os.environ.get("DEVICE_SESSIONS_TEST") == "all"

NAMES = ("sqlite", "postgresql", "mariadb")

_SERVERS = {
    "postgresql": (
        "DEVICE_SESSIONS_TEST_POSTGRESQL",
        "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    ),
    "mariadb": ("DEVICE_SESSIONS_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/"),
}


class Engine(NamedTuple):
    """One engine and the URI of an empty database on it."""

    name: str
    uri: str


def why_absent(name: str) -> str | None:
    """Return why an engine cannot be used here, or ``None`` when it answers."""
    if name == "sqlite":
        return None
    engine = sa.create_engine(_server(name), connect_args={"connect_timeout": 2})
    try:
        engine.connect().close()
    except sa.exc.SQLAlchemyError as error:
        return str(error).partition("\n")[0]
    finally:
        engine.dispose()
    return None


def prepare(name: str, worker: str, folder: Path) -> Engine:
    """Make an empty database for this worker; two runs at once do not meet."""
    if name == "sqlite":
        return Engine(name, f"sqlite:///{folder / 'suite.db'}")
    database = f"device_sessions_test_{os.getpid()}_{worker}"
    _on_server(name, f"CREATE DATABASE {database}")
    uri = sa.make_url(_server(name)).set(database=database)
    return Engine(name, uri.render_as_string(hide_password=False))


def remove(engine: Engine) -> None:
    """Drop what :func:`prepare` made."""
    if engine.name != "sqlite":
        database = sa.make_url(engine.uri).database
        force = " WITH (FORCE)" if engine.name == "postgresql" else ""
        _on_server(engine.name, f"DROP DATABASE {database}{force}")


def _on_server(name: str, command: str) -> None:
    server = sa.create_engine(_server(name), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(command)
    server.dispose()


def _server(name: str) -> str:
    variable, default = _SERVERS[name]
    return os.environ.get(variable, default)
