"""Fixtures: an app on each engine, its people, their browsers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from flask_device_sessions import DeviceSessions
from flask_device_sessions.store import Store
from flask_device_sessions.testing import IPHONE, Browser
from tests import canary, engines
from tests.support import User, add_user, db, empty_tables, make_app

hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

_absent = {name: engines.why_absent(name) for name in engines.NAMES}


#: Only when named: they take minutes, and servers of their own.
collect_ignore = ["clusters"]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say loudly what the run leaves out."""
    engines = [
        f"NOT TESTED: {name}, because it does not answer ({why}). `make services` starts it."
        for name, why in _absent.items()
        if why is not None
    ]
    is_named = any("clusters" in argument for argument in config.args)
    return engines if is_named else [*engines, "NOT TESTED: clusters. `make test-clusters` does."]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the contract: what runs unchanged on each engine that was asked for.

    A database in memory is one connection of one app: what needs a second one is not for it.
    """
    beside: list[pytest.Item] = []
    for item in items:
        name = _engine_of(item)
        needs_another = name == "sqlite-memory" and item.get_closest_marker("connections")
        if needs_another or (name and name not in engines.NAMES):
            beside.append(item)
        elif name and all(
            "engine" not in mark.args[0] for mark in item.iter_markers("parametrize")
        ):
            item.add_marker("contract")
            item.user_properties.append(("contract", name))
    if beside:
        items[:] = [item for item in items if item not in beside]
        config.hook.pytest_deselected(items=beside)


def _engine_of(item: pytest.Item) -> str | None:
    """Return which of the engines a test is for."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("engine")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the contract, engine by engine; with ``-s``, show each fault and what happened."""
    reports = terminalreporter.getreports("passed")
    told = [value for report in reports for value in report.user_properties]
    counts = Counter(engine for name, engine in told if name == "contract")
    if counts:
        terminalreporter.section("the contract, tests passed")
        for name in filter(counts.get, engines.NAMES):
            terminalreporter.line(f"{counts[name]:6} {name}")
    rows = [tuple(value) for name, value in told if name == "fault"]
    if rows and terminalreporter.config.getoption("capture") == "no":
        terminalreporter.section("faults")
        for fault, how, what in sorted(rows):
            terminalreporter.line(f"| {fault} | {how} | {what} |")


@pytest.fixture(scope="session", params=engines.NAMES)
def engine(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
) -> Iterator[engines.Engine]:
    """An engine with an empty database of this worker's own."""
    name: str = request.param
    if why := _absent[name]:
        assert not engines.IS_COMPLETE, f"{name} must be there: {why}"
        pytest.skip(f"{name} does not answer")
    prepared = engines.prepare(name, worker_id, tmp_path_factory.mktemp(name))
    yield prepared
    engines.remove(prepared)


@pytest.fixture(scope="session")
def schema(engine: engines.Engine) -> engines.Engine:
    """The engine with the tables in it."""
    app = make_app(engine.uri)
    with app.app_context():
        db.create_all()
        db.engine.dispose()
    return engine


@pytest.fixture
def config() -> dict[str, Any]:
    """Settings of the app; a test class or module overrides it."""
    return {}


@pytest.fixture
def app(schema: engines.Engine, config: dict[str, Any]) -> Iterator[Flask]:
    """An app with the extension, on each engine in turn, its tables empty."""
    app = make_app(schema.uri, **config)
    if schema.is_in_memory:
        with app.app_context():
            db.create_all()
    yield app
    empty_tables(app)


@pytest.fixture
def context(app: Flask) -> Iterator[None]:
    """The app's context, for tests that look at rows."""
    with app.app_context():
        yield


@pytest.fixture
def extension(app: Flask) -> DeviceSessions:
    """The extension of the app."""
    extension: DeviceSessions = app.extensions["device_sessions"]
    return extension


@pytest.fixture
def store(extension: DeviceSessions, context: None) -> Store:
    """The store of the app."""
    return extension._state.store


@pytest.fixture
def ada(app: Flask, context: None) -> User:
    """A person with an account."""
    return add_user()


@pytest.fixture
def laptop(app: Flask) -> Browser:
    """A browser on a Linux PC."""
    return Browser(app)


@pytest.fixture
def phone(app: Flask) -> Browser:
    """A browser on an iPhone, at another address."""
    return Browser(app, IPHONE, ip="198.51.100.7")


@pytest.fixture(autouse=True)
def _connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test's apps left open; an unclosed connection is a warning, so an error.

    Without an event of SQLAlchemy's: with a listener on all engines, no engine would be silent.
    SQLAlchemy remembers that there was one, so that it has to be forgotten after each test.
    """
    monkeypatch.setattr(sa.Engine, "_has_events", False)
    seen: set[sa.Engine] = set()
    original = sa.Engine.raw_connection

    def raw_connection(engine: sa.Engine) -> Any:
        seen.add(engine)
        return original(engine)

    monkeypatch.setattr(sa.Engine, "raw_connection", raw_connection)
    yield
    for engine in seen:
        engine.dispose()


@pytest.fixture(autouse=True)
def _cookies_are_well_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at every Set-Cookie of ours that any test receives (ASVS V3.3.1 to V3.3.4)."""
    original = FlaskClient.open

    def open_and_look(client: FlaskClient, *args: Any, **values: Any) -> Any:
        response = original(client, *args, **values)
        for header in response.headers.getlist("Set-Cookie"):
            if "device_session" in header.partition("=")[0]:
                _check_cookie(header, response.headers)
        return response

    monkeypatch.setattr(FlaskClient, "open", open_and_look)


def _check_cookie(header: str, headers: Any) -> None:
    cookie: SimpleCookie = SimpleCookie()
    cookie.load(header)
    ((name, morsel),) = cookie.items()
    assert morsel["httponly"], header
    assert morsel["samesite"] in ("Lax", "Strict", "None"), header
    assert len(header) < 200, header
    assert "no-store" in headers["Cache-Control"], header
    if name.startswith("__Host-"):
        assert morsel["secure"], header
        assert morsel["path"] == "/", header
        assert not morsel["domain"], header


@pytest.fixture(autouse=True)
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[canary.Canary]:
    """Find no credential in logs, events, mails, pages or URLs (ASVS V14.2, V16.2.5)."""
    listening = canary.Canary()
    listener = canary.watch(monkeypatch, listening)
    yield listening
    logging.getLogger().removeHandler(listener)
    assert listening.sing() == []
