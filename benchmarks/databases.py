"""Databases of the run: made empty, named ``bench_…``, dropped afterwards. Loopback only."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

#: The servers, named by the variables that the tests know, too.
POSTGRESQL = os.environ.get(
    "DEVICE_SESSIONS_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
)
REDIS = os.environ.get("DEVICE_SESSIONS_TEST_REDIS", "redis://127.0.0.1:6379/0")


@contextmanager
def database(engine: str, name: str) -> Iterator[str]:
    """Make an empty database for the block.

    Args:
        engine: ``sqlite`` or ``postgresql``.
        name: what it is for.

    Yields:
        Its URI, as SQLAlchemy writes it.
    """
    if engine == "sqlite":
        with tempfile.TemporaryDirectory(prefix="bench_") as folder:
            yield f"sqlite:///{Path(folder) / name}.db"
        return
    full_name = f"bench_{os.getpid()}_{name}"
    _on_server(f"CREATE DATABASE {full_name}")
    try:
        yield POSTGRESQL.rpartition("/")[0] + f"/{full_name}"
    finally:
        _on_server(f"DROP DATABASE {full_name} WITH (FORCE)")


def connect(uri: str) -> Any:
    """Open one connection of the bare driver, as the DBAPI has it: with transactions."""
    if uri.startswith("sqlite"):
        return sqlite3.connect(uri.removeprefix("sqlite:///"))
    import psycopg

    return psycopg.connect(uri.replace("+psycopg", ""))


def split(uri: str) -> dict[str, Any]:
    """Return a URI as Django's ``DATABASES`` writes it."""
    if uri.startswith("sqlite"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": uri.removeprefix("sqlite:///")}
    parts = urlsplit(uri)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.removeprefix("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
    }


def why_absent(engine: str) -> str | None:
    """Return why an engine cannot be used here, or ``None`` when it answers."""
    if engine == "sqlite":
        return None
    try:
        connect(POSTGRESQL).close()
    except Exception as error:
        return str(error).partition("\n")[0]
    return None


def _on_server(command: str) -> None:
    connection = connect(POSTGRESQL)
    connection.autocommit = True
    connection.execute(command)
    connection.close()
