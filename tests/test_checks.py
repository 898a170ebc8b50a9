"""What ``check`` says about a deployment."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_migrate import Migrate, stamp, upgrade
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_device_sessions import DeviceSessions
from flask_device_sessions.checks import CHECKS, HINT, OK, PROBLEM, Finding
from tests import geography
from tests.support import bare_app, db, make_app

GOOD_KEY = "0f6b7a92c4d83e15" * 4
MIGRATIONS = Path(__file__).parents[1] / "example_app/migrations"
DOCS = Path(__file__).parents[1] / "docs"

Look = Callable[..., Finding]


def finding(app: Flask, name: str) -> Finding:
    """Return what one check finds."""
    with app.app_context():
        found: list[Finding] = app.extensions["device_sessions"].check()
    return next(one for one in found if one.name == name)


def level(name: str, **config: Any) -> str:
    """Return the level of one check in an app with this config."""
    return finding(make_app(**config), name).level


def test_every_check_says_something(app: Flask, extension: DeviceSessions, context: None) -> None:
    """In order, each with a level and a sentence, and none with a secret."""
    found = extension.check()

    assert [f.name for f in found] == list(CHECKS)
    assert {f.level for f in found} <= {OK, HINT, PROBLEM}
    assert all(f.sentence.endswith((".", "())'", "share.")) for f in found)
    assert str(app.secret_key) not in str(found)


def test_the_page_lists_every_check() -> None:
    """With when it is a problem, and when a hint."""
    table = (DOCS / "cli.md").read_text("utf-8").partition("| check |")[2]

    assert [line.split("`")[1] for line in table.splitlines()[2:]] == list(CHECKS)


# -- Secret key --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (GOOD_KEY, OK),
        (bytes(range(32)), OK),
        ("0f6b7a92c4d83e15", HINT),
        ("dev", PROBLEM),
        ("a" * 64, PROBLEM),
        ("ababab" * 10, PROBLEM),
        ("please-CHANGE-ME-in-production-now", PROBLEM),
        ("my super secret key that is very long", PROBLEM),
        (b'_5#y2L"F4Q8z\n\xec]/' * 2, PROBLEM),
        ("192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf", PROBLEM),
    ],
)
def test_secret_key(key: str | bytes, expected: str) -> None:
    """Short, poor, and known from a tutorial are what others can guess (ASVS V11.2.3)."""
    assert level("secret-key", SECRET_KEY=key) == expected


def test_a_fallback_is_a_key_too() -> None:
    """Cookies that are signed with an earlier key still work: it must not be guessed either."""
    config = {"SECRET_KEY": GOOD_KEY, "SECRET_KEY_FALLBACKS": ["dev"]}

    assert level("secret-key", **config) == PROBLEM


# -- Cookie ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"DEVICE_SESSIONS_COOKIE_SECURE": True}, OK),
        ({"TESTING": False}, OK),
        ({}, PROBLEM),
        ({"TESTING": False, "DEBUG": True}, PROBLEM),
        ({"TESTING": False, "DEVICE_SESSIONS_COOKIE_SECURE": False}, PROBLEM),
    ],
)
def test_cookie(config: dict[str, Any], expected: str) -> None:
    """It must be for HTTPS only (ASVS V3.3.1)."""
    assert level("cookie", **{"SECRET_KEY": GOOD_KEY} | config) == expected


# -- Tables and migrations ---------------------------------------------------------------------


def test_tables(app: Flask) -> None:
    """They are there, or each that is missing is named."""
    assert finding(app, "tables").level == OK
    missing = finding(make_app(), "tables")

    assert missing.level == PROBLEM
    assert "table device_session_events" in missing.sentence
    assert "`flask db upgrade`" in missing.sentence


def test_a_missing_column_is_named(app: Flask, extension: DeviceSessions, context: None) -> None:
    """The tables of an earlier version lack some."""
    table = extension.session_model.__table__
    extra = sa.Column("extra_of_this_test", sa.Integer)
    table.append_column(extra)
    try:
        sentence = finding(app, "tables").sentence
    finally:
        table._columns.remove(extra)

    assert "column device_sessions.extra_of_this_test" in sentence


@pytest.mark.parametrize("name", ["tables", "migrations"])
def test_a_database_that_is_away(tmp_path: Path, name: str) -> None:
    """Is a problem of these checks; the others still run."""
    app = make_app(f"sqlite:///{tmp_path / 'missing' / 'suite.sqlite'}")
    Migrate(app, db, directory=str(MIGRATIONS))

    found = finding(app, name)

    assert found.level == PROBLEM
    assert found.sentence.startswith("The database did not do its part")
    assert finding(app, "audit-key").level == HINT


def test_without_flask_migrate_nothing_can_be_said() -> None:
    """An app may bring its tables by other means."""
    assert level("migrations") == HINT


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Flask]:
    """An app with the example's migrations and an empty database."""
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    app = make_app(f"sqlite:///{tmp_path / 'suite.sqlite'}")
    Migrate(app, db, directory=str(tmp_path / "migrations"), version_table="our_versions")
    yield app
    with app.app_context():
        db.engine.dispose()


def test_migrations_in_step(migrated: Flask) -> None:
    """The database's revision is the newest, in the table that the app calls it by."""
    before = finding(migrated, "migrations")
    with migrated.app_context():
        upgrade()
        after = finding(migrated, "migrations")
        stamp(revision="base")
        behind = finding(migrated, "migrations")

    assert (before.level, after.level, behind.level) == (PROBLEM, OK, PROBLEM)
    assert "is at revision none" in before.sentence


def test_migrations_that_cannot_be_read(tmp_path: Path) -> None:
    """The folder is not there, or the command runs somewhere else."""
    app = make_app()
    Migrate(app, db, directory=str(tmp_path / "missing"))

    found = finding(app, "migrations")

    assert found.level == PROBLEM
    assert "cannot be read" in found.sentence


# -- Login limits ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("storage", "workers", "expected"),
    [
        ("memory://", None, HINT),
        ("memory://", "1", HINT),
        ("memory://", "four", HINT),
        ("memory://", "4", PROBLEM),
        ("redis://127.0.0.1:1/0", "4", OK),
    ],
)
def test_login_limits(
    storage: str, workers: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that count alone let each one's limit through (ASVS V6.3.1)."""
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    if workers is not None:
        monkeypatch.setenv("WEB_CONCURRENCY", workers)

    assert level("login-limits", DEVICE_SESSIONS_RATE_LIMIT_STORAGE_URI=storage) == expected


def test_no_login_limit() -> None:
    """Without one, passwords may be guessed; another may limit them."""
    assert level("login-limits", DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None) == HINT


# -- Proxy -------------------------------------------------------------------------------------


class Middleware:
    """Some other middleware."""

    def __init__(self, app: Any) -> None:
        self.wsgi_app = app


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        (lambda wsgi: wsgi, HINT),
        (Middleware, HINT),
        (ProxyFix, OK),
        (lambda wsgi: Middleware(ProxyFix(wsgi)), OK),
        (lambda wsgi: Middleware(Middleware(ProxyFix(wsgi))), OK),
    ],
)
def test_proxy(wrap: Callable[[Any], Any], expected: str) -> None:
    """Whether there is a proxy only the operator knows: a hint, never a problem."""
    app = make_app()
    app.wsgi_app = wrap(app.wsgi_app)  # type: ignore[method-assign]

    assert finding(app, "proxy").level == expected


# -- Mails, places, audit key ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mailer", "base_url", "expected"),
    [
        (None, None, HINT),
        (print, None, PROBLEM),
        (print, "https://example.com", OK),
    ],
)
def test_links_in_mails(mailer: Any, base_url: str | None, expected: str) -> None:
    """Mails without links cannot lead to the page that helps."""
    app = bare_app(DEVICE_SESSIONS_BASE_URL=base_url)
    db.init_app(app)
    DeviceSessions(app, mailer=mailer)

    assert finding(app, "mail-links").level == expected


def test_places(tmp_path: Path) -> None:
    """The file was good at the start, and may be gone by now."""
    file = tmp_path / "cities.mmdb"
    geography.write_mmdb(file, {"192.0.2.0/24": geography.BERLIN_RECORD})
    app = make_app(DEVICE_SESSIONS_GEOIP_DATABASE=str(file))

    there = finding(app, "places")
    file.unlink()
    gone = finding(app, "places")

    assert level("places") == OK
    assert (there.level, gone.level) == (OK, PROBLEM)


def test_audit_key() -> None:
    """One of its own survives a rotation of SECRET_KEY."""
    assert level("audit-key") == HINT
    assert level("audit-key", DEVICE_SESSIONS_AUDIT_KEY=GOOD_KEY) == OK


# -- What is easily overlooked ---------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["-w 4", "-w4", "--bind :80 --workers=4", "--workers 4"])
def test_gunicorn_may_be_told_of_workers_by_its_arguments(
    monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    """They win over WEB_CONCURRENCY, as gunicorn reads them (ASVS V6.3.1)."""
    monkeypatch.setenv("WEB_CONCURRENCY", "1")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", arguments)

    assert level("login-limits") == PROBLEM


def test_a_proxy_fix_for_the_scheme_alone_tells_no_address() -> None:
    """With ``x_for=0`` everybody still comes from the proxy."""
    app = make_app()
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=1)  # type: ignore[method-assign]

    assert finding(app, "proxy").level == HINT


def test_a_chain_with_the_apps_own_key_is_a_hint() -> None:
    """A key in two places protects as one (ASVS V16.4.2)."""
    assert level("audit-key", DEVICE_SESSIONS_AUDIT_KEY=GOOD_KEY, SECRET_KEY=GOOD_KEY) == HINT
