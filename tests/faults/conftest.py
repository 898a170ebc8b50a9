"""Fixtures: servers that may be broken, and the app on them."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from psycopg.conninfo import make_conninfo

from tests.faults.proxy import Proxy
from tests.faults.servers import Database, MariaDB, PostgreSQL
from tests.support import db, empty_tables, make_app

Note = Callable[[str, str, str], None]

#: What each engine's driver is told, so that nothing waits for ever.
TIMEOUTS: dict[str, dict[str, Any]] = {
    "postgresql": {
        "connect_timeout": 2,  # the least that libpq takes
        "options": "-c lock_timeout=100ms -c deadlock_timeout=20ms",
    },
    "mariadb": {
        "connect_timeout": 1,
        "read_timeout": 1,
        "write_timeout": 1,
        "init_command": "SET innodb_lock_wait_timeout = 0",
    },
}

_PATIENCE = Path(__file__).parents[2] / "docs/snippets/databases/read_timeout.py"


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Write a row of the table of faults; ``pytest -s`` shows it at the end."""

    def write(fault: str, how: str, what: str) -> None:
        record_property("fault", (fault, how, what))

    return write


@pytest.fixture(scope="session", params=[PostgreSQL, MariaDB], ids=["postgresql", "mariadb"])
def running(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A server of this run's own, with the tables in it."""
    server: Database = request.param()
    try:
        server.start()
        app = make_app(server.uri)
        with app.app_context():
            db.create_all()
            db.engine.dispose()
        yield server
    finally:
        server.remove()


@pytest.fixture
def server(running: Database) -> Iterator[Database]:
    """The same, well at the start and at the end of each test, its tables empty."""
    yield running
    running.thaw()
    if not running.answers():
        running.kill()
        running.start()
    running.be_read_only(False)
    empty_tables(make_app(running.uri))


@pytest.fixture
def proxy(server: Database) -> Iterator[Proxy]:
    """A network between the app and the server."""
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def options() -> dict[str, Any]:
    """What more the engine is told; a test or module overrides it."""
    return {}


@pytest.fixture
def near(server: Database, options: dict[str, Any]) -> Flask:
    """An app that speaks to the server."""
    return app_on(server, server.port, **options)


@pytest.fixture
def far(server: Database, proxy: Proxy, options: dict[str, Any]) -> Flask:
    """An app that speaks to it over the network."""
    return app_on(server, proxy.port, **options)


def app_on(
    server: Database, port: int, config: dict[str, Any] | None = None, **options: Any
) -> Flask:
    """Return an app with timeouts, and without a limit of sign-ins.

    Args:
        server: whose database it is.
        port: where it is found.
        config: settings of the app.
        **options: of the engine.
    """
    uri = server.uri.replace(f":{server.port}/", f":{port}/")
    engine_options: dict[str, Any] = {"connect_args": TIMEOUTS[server.name]}
    if server.name == "postgresql":
        engine_options = _with_read_timeout(uri)
    return make_app(
        uri,
        SQLALCHEMY_ENGINE_OPTIONS={**engine_options, **options},
        DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None,
        **{"DEVICE_SESSIONS_MAX_PER_USER": None, **(config or {})},
    )


def _with_read_timeout(uri: str) -> dict[str, Any]:
    """Return engine options as the documentation shows them."""
    snippet = runpy.run_path(str(_PATIENCE))
    snippet["Impatient"].patience = 0.5
    plain = uri.replace("postgresql+psycopg", "postgresql")
    options: dict[str, Any] = snippet["engine_options"](
        make_conninfo(plain, **TIMEOUTS["postgresql"])
    )
    return options
