"""The database engines of the suite: where they are, and a database for each worker."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

IS_COMPLETE = os.environ.get("DEVICE_SESSIONS_TEST") == "all"

USUAL = ("sqlite", "postgresql", "mariadb")

#: The engines with other drivers, journals and character sets: `make test-engines`.
VARIANTS = ("sqlite-wal", "sqlite-memory", "postgresql-psycopg2", "mariadb-latin1")

_SETS = {"all": (*USUAL, *VARIANTS), "variants": VARIANTS}


def _chosen() -> tuple[str, ...]:
    names = os.environ.get("DEVICE_SESSIONS_TEST_ENGINES", ",".join(USUAL))
    return _SETS.get(names) or tuple(names.split(","))


NAMES = _chosen()

_DRIVERS = {
    "postgresql-psycopg2": "postgresql+psycopg2",
    "mariadb-mysqlclient": "mysql+mysqldb",
}

_SERVERS = {
    "postgresql": (
        "DEVICE_SESSIONS_TEST_POSTGRESQL",
        "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    ),
    "mariadb": ("DEVICE_SESSIONS_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/"),
}


class Engine(NamedTuple):
    """One engine and the URI of an empty database on it.

    Attributes:
        name: ``"sqlite"``, ``"postgresql"`` or ``"mariadb"``.
        uri: for SQLAlchemy.
        variant: of :data:`NAMES`: the same, or with its driver, journal or character set.
    """

    name: str
    uri: str
    variant: str

    @property
    def is_in_memory(self) -> bool:
        """Whether each app has a database of its own, which is gone with it."""
        return self.uri == "sqlite://"


def why_absent(name: str) -> str | None:
    """Return why an engine cannot be used here, or ``None`` when it answers."""
    if family_of(name) == "sqlite":
        return None
    try:
        engine = sa.create_engine(_server(name), connect_args={"connect_timeout": 2})
    except ImportError as error:
        return str(error)
    try:
        engine.connect().close()
    except sa.exc.SQLAlchemyError as error:
        return str(error).partition("\n")[0]
    finally:
        engine.dispose()
    return None


def prepare(name: str, worker: str, folder: Path) -> Engine:
    """Make an empty database for this worker; two runs at once do not meet."""
    family = family_of(name)
    if family == "sqlite":
        return Engine(family, _sqlite_uri(name, folder / "suite.db"), name)
    database = f"device_sessions_test_{os.getpid()}_{worker}".lower()
    charset = ""
    if family == "mariadb":
        charset = f" CHARACTER SET {'latin1' if name.endswith('latin1') else 'utf8mb4'}"
    _on_server(name, f"CREATE DATABASE {database}{charset}")
    uri = sa.make_url(_server(name)).set(database=database)
    return Engine(family, uri.render_as_string(hide_password=False), name)


def family_of(name: str) -> str:
    """Return ``"sqlite"``, ``"postgresql"`` or ``"mariadb"``."""
    return name.partition("-")[0]


def _sqlite_uri(name: str, file: Path) -> str:
    if name == "sqlite-memory":
        return "sqlite://"
    if name == "sqlite-wal":
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = wal")  # the file remembers
    return f"sqlite:///{file}"


def remove(engine: Engine) -> None:
    """Drop what :func:`prepare` made."""
    if engine.name != "sqlite":
        database = sa.make_url(engine.uri).database
        force = " WITH (FORCE)" if engine.name == "postgresql" else ""
        _on_server(engine.variant, f"DROP DATABASE {database}{force}")


def _on_server(name: str, command: str) -> None:
    server = sa.create_engine(_server(name), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(command)
    server.dispose()


def _server(name: str) -> str:
    variable, default = _SERVERS[family_of(name)]
    uri = sa.make_url(os.environ.get(variable, default))
    uri = uri.set(drivername=_DRIVERS.get(name, uri.drivername))
    return uri.render_as_string(hide_password=False)
