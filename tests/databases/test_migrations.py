"""Flask-Migrate on an app that adds the extension: three tables, and then no difference."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from flask_device_sessions import DeviceSessions
from tests import engines
from tests.support import bare_app

pytestmark = [
    pytest.mark.connections,
    # Flask-Migrate's own env.py asks Flask-SQLAlchemy the old way first.
    pytest.mark.filterwarnings("ignore:'get_engine' is deprecated:DeprecationWarning"),
]

TABLES = {"device_sessions", "device_session_devices", "device_session_events"}

_KEYS: dict[str, Any] = {"int": sa.Integer, "uuid": sa.Uuid, "str": sa.String(36)}


@pytest.fixture(scope="module")
def empty(
    engine: engines.Engine, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[engines.Engine]:
    """A second database on each engine, for migrations alone."""
    folder = tmp_path_factory.mktemp("migrations")
    prepared = engines.prepare(engine.variant, f"{worker_id}_migrations", folder)
    yield prepared
    engines.remove(prepared)


@pytest.fixture(autouse=True)
def _loggers_survive() -> Iterator[None]:
    """Alembic's logging set-up switches off every logger that exists."""
    yield
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


def _make_app(uri: str, key: str, *, with_extension: bool) -> Flask:
    db = SQLAlchemy()

    class User(UserMixin, db.Model):  # type: ignore[name-defined]
        id: Mapped[Any] = mapped_column(_KEYS[key], primary_key=True)
        email: Mapped[str] = mapped_column(sa.String(200), unique=True)

    app = bare_app(uri)
    db.init_app(app)
    flask_migrate.Migrate(app, db, render_as_batch=uri.startswith("sqlite"))
    if with_extension:
        DeviceSessions(app)
    return app


def _tables(app: Flask) -> set[str]:
    engine = app.extensions["sqlalchemy"].engine
    names = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    return names


def _differences(app: Flask) -> list[Any]:
    """Return what `flask db check` would complain about."""
    db = app.extensions["sqlalchemy"]
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, db.metadata))


@pytest.mark.parametrize("key", _KEYS)
def test_a_migration_adds_three_tables_and_nothing_is_left_to_do(
    empty: engines.Engine, key: str, tmp_path: Path
) -> None:
    """`flask db migrate` finds exactly our tables; after `upgrade` there is no difference."""
    folder = str(tmp_path / "migrations")
    with _make_app(empty.uri, key, with_extension=False).app_context():
        flask_migrate.init(folder)
        flask_migrate.migrate(folder, message="the app")
        flask_migrate.upgrade(folder)
    app = _make_app(empty.uri, key, with_extension=True)
    with app.app_context():
        before = _tables(app)
        flask_migrate.migrate(folder, message="device sessions")
        flask_migrate.upgrade(folder)
        after = _tables(app)

        differences = _differences(app)
        flask_migrate.downgrade(folder)

        assert after - before == TABLES
        assert differences == []
        assert _tables(app) == before
        flask_migrate.downgrade(folder, revision="base")
        app.extensions["sqlalchemy"].session.execute(sa.text("DROP TABLE alembic_version"))
        app.extensions["sqlalchemy"].session.commit()
