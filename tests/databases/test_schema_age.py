"""A database made by the first version of the schema, and code of two ages on one database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask

from example_app import create_app
from example_app.extensions import db
from flask_device_sessions import DeviceSessions
from flask_device_sessions.ids import new_id
from flask_device_sessions.models import TIME_TYPE, UUID_TYPE
from flask_device_sessions.testing import FIREFOX, Browser
from flask_device_sessions.tokens import SessionToken
from tests import engines

pytestmark = [
    pytest.mark.connections,
    # Flask-Migrate's own env.py asks Flask-SQLAlchemy the old way first.
    pytest.mark.filterwarnings("ignore:'get_engine' is deprecated:DeprecationWarning"),
]

#: The migration that added the three tables, as it landed first.
FIRST = "9a957cd32e0b"


@pytest.fixture
def app(engine: engines.Engine, tmp_path: Path, worker_id: str) -> Iterator[Flask]:
    """The example app on an empty database of its own."""
    prepared = engines.prepare(engine.variant, f"{worker_id}_age", tmp_path)
    config = {"SQLALCHEMY_DATABASE_URI": prepared.uri, "WTF_CSRF_ENABLED": False, "TESTING": True}
    app = create_app(config, instance_path=str(tmp_path))
    yield app
    with app.app_context():
        db.engine.dispose()
    engines.remove(prepared)
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False  # Alembic's logging set-up switches off every one


def _insert(table: str, **values: Any) -> None:
    """Insert a row as code that knows only these columns does."""
    types = {"id": UUID_TYPE, "device_id": UUID_TYPE, "session_id": UUID_TYPE}
    columns = [
        sa.column(
            name,
            TIME_TYPE
            if name.endswith("_at")
            else sa.JSON()
            if name in ("scopes", "detail")
            else types.get(name)
            if table != "user"
            else None,
        )
        for name in values
    ]
    db.session.execute(sa.insert(sa.table(table, *columns)).values(**values))
    db.session.commit()


def _add_ada() -> int:
    _insert(
        "user",
        id=1,
        name="Ada",
        email="ada@example.com",
        password_hash="x",
        joined_on="2026-01-01",
    )
    return 1


def _add_session(user_id: int) -> SessionToken:
    """Insert a session with the columns of the first version; return its credential."""
    now = datetime.now(timezone.utc)
    token = SessionToken.issue(new_id())
    _insert(
        "device_sessions",
        id=token.id,
        user_id=user_id,
        kind="browser",
        token_digest=token.digest,
        scopes=[],
        user_agent=FIREFOX,
        auth_method="password",
        remembered=False,
        created_at=now,
        authenticated_at=now,
        last_active_at=now,
        expires_at=now + timedelta(days=1),
    )
    return token


def _is_known(app: Flask, token: SessionToken) -> bool:
    """Whether the first version's cookie still shows Ada her devices."""
    extension: DeviceSessions = app.extensions["device_sessions"]
    browser = Browser(app)
    with app.app_context():
        name, signed = extension.session_cookie_name, _signed(extension, app, token)
    browser.set_cookie(name, signed)
    return browser.get("/devices/").status_code == 200


def _signed(extension: DeviceSessions, app: Flask, token: SessionToken) -> str:
    with app.test_request_context():
        response = app.make_response("")
        extension.visit().send(token=token)
        app.process_response(response)
        header = response.headers.getlist("Set-Cookie")[0]
    return header.partition("=")[2].partition(";")[0]


def _count(table: str) -> int:
    return int(db.session.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())


def _differences() -> list[Any]:
    """Return what `flask db check` would complain about."""
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, db.metadata))


def test_a_database_of_the_first_version_upgrades_and_downgrades(app: Flask) -> None:
    """Its rows are kept both ways, its cookies work, and `flask db check` finds nothing."""
    with app.app_context():
        flask_migrate.upgrade(revision=FIRST)
        token = _add_session(_add_ada())

        flask_migrate.upgrade()
        differences, upgraded = _differences(), _count("device_sessions")
        db.session.remove()
    is_known = _is_known(app, token)
    with app.app_context():
        flask_migrate.downgrade(revision=FIRST)
        downgraded = _count("device_sessions")
        columns = {c["name"] for c in sa.inspect(db.engine).get_columns("device_sessions")}
        db.session.remove()
        flask_migrate.upgrade()
    is_known_again = _is_known(app, token)

    assert differences == []
    assert (upgraded, downgraded) == (1, 1)
    assert "rotated_at" not in columns
    assert (is_known, is_known_again) == (True, True)


def test_code_of_two_ages_works_on_one_database(app: Flask) -> None:
    """In a rolling deploy the schema goes first: new code takes the rows that old code writes."""
    with app.app_context():
        flask_migrate.upgrade()
        token = _add_session(_add_ada())

    assert _is_known(app, token)


def test_code_that_is_newer_than_the_schema_says_what_to_do(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """Deployed before `flask db upgrade`: 503 with the columns that are missing, nobody is out."""
    with app.app_context():
        flask_migrate.upgrade(revision=FIRST)
        token = _add_session(_add_ada())
    logging.getLogger("flask_device_sessions").disabled = False

    early = _is_known(app, token)
    told = caplog.text
    with app.app_context():
        flask_migrate.upgrade()

    assert not early
    assert "column device_sessions.previous_digest" in told
    assert "`flask db upgrade`" in told
    assert _is_known(app, token)
