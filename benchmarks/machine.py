"""Under what the figures were measured: versions, not names or paths."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib import metadata

from . import databases

_DISTRIBUTIONS = (
    "Flask",
    "Flask-Login",
    "Flask-SQLAlchemy",
    "SQLAlchemy",
    "Flask-Session",
    "Flask-Security",
    "Django",
    "django-user-sessions",
    "django-allauth",
    "psycopg",
)


def describe() -> str:
    """Return a sentence on when, on what, and with which versions."""
    versions = ", ".join(f"{name} {v}" for name in _DISTRIBUTIONS if (v := _version(name)))
    today = datetime.now(timezone.utc).date()
    return (
        f"Measured {today} on {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, {versions}{_servers()}."
    )


def busy() -> str | None:
    """Return a sentence if others worked on the machine too: a run keeps two processes busy."""
    load = os.getloadavg()[0]
    if load <= 2:
        return None
    return f"The machine was busy with other work meanwhile (load {load:.0f}): wide spreads."


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _servers() -> str:
    import sqlite3

    servers = f", SQLite {sqlite3.sqlite_version}"
    if databases.why_absent("postgresql") is None:
        connection = databases.connect(databases.POSTGRESQL)
        version = connection.execute("SHOW server_version").fetchone()[0].split()[0]
        connection.close()
        servers += f", PostgreSQL {version}"
    return servers
