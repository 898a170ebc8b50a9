"""A database that cannot work: one clear error at its first use, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions.testing import Browser
from tests import engines
from tests.support import add_user, db, make_app, sign_in, who

on_servers = pytest.mark.parametrize("engine", ["postgresql", "mariadb"], indirect=True)
on_mariadb = pytest.mark.parametrize("engine", ["mariadb"], indirect=True)
on_postgresql = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)

NAME = "日本のパソコン"


def _told(app: Flask, caplog: pytest.LogCaptureFixture) -> str:
    """Sign in, which fails; return what the log says of it."""
    answer = sign_in(Browser(app))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    (record,) = (one for one in caplog.records if "POST /login failed" in one.getMessage())
    return record.getMessage()


def test_a_file_that_cannot_be_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that is not there."""
    app = make_app(f"sqlite:///{tmp_path / 'nowhere' / 'x.sqlite'}")

    assert "unable to open database file" in _told(app, caplog)


@on_servers
def test_a_database_that_does_not_exist(
    engine: engines.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The name of the database is wrong: create it, or correct the URL."""
    uri = sa.make_url(engine.uri).set(database="no_such_database")
    app = make_app(uri.render_as_string(hide_password=False))

    told = _told(app, caplog)

    assert "no_such_database" in told
    if engine.name == "mariadb":  # psycopg gives no SQLSTATE while connecting
        assert "Create it, or correct the database URL." in told


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_server_that_is_not_there(driver: str, caplog: pytest.LogCaptureFixture) -> None:
    """The port is wrong: the driver says where nobody answers."""
    app = make_app(f"{driver}://root@127.0.0.1:1/x")

    told = _told(app, caplog)

    assert "127.0.0.1" in told
    assert "refused" in told


@on_mariadb
def test_an_account_that_may_not_log_in(
    engine: engines.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The account in the URL is wrong, and the log has no password."""
    uri = sa.make_url(engine.uri).set(username="nobody", password="a-password")
    app = make_app(uri.render_as_string(hide_password=False))

    told = _told(app, caplog)

    assert "Correct the account or the password in the database URL." in told
    assert "a-password" not in told


def test_a_driver_that_is_missing() -> None:
    """The app does not start, and the error names the module to install."""
    with pytest.raises(ImportError, match="aiopg|cx_Oracle|oracledb"):
        make_app("oracle+cx_oracle://x@127.0.0.1/x")


@on_servers
def test_an_account_that_may_only_read(
    app: Flask, engine: engines.Engine, laptop: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """People are known; who signs in is told 503, and the log which rights are missing."""
    with app.app_context():
        add_user()
    sign_in(laptop)

    with _reader_of(engine) as uri:
        reading = make_app(uri)
        browser = Browser(reading)
        for cookie in (laptop._cookies or {}).values():
            browser.set_cookie(cookie.key, cookie.value)
        known = who(browser)
        told = _told(reading, caplog)
        with reading.app_context():
            db.engine.dispose()

    assert known == "ada@example.com"
    assert "Let the app's account SELECT, INSERT, UPDATE and DELETE" in told


@contextmanager
def _reader_of(engine: engines.Engine) -> Iterator[str]:
    """Make an account that may only read; yield the URI."""
    url = sa.make_url(engine.uri)
    name = f"reader_{url.database}"[-60:]
    begin = {
        "postgresql": [
            f"CREATE ROLE {name} LOGIN",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
        ],
        "mariadb": [
            f"CREATE USER {name}@'%'",
            f"GRANT SELECT ON {url.database}.* TO {name}@'%'",
        ],
    }
    end = {
        "postgresql": [f"DROP OWNED BY {name}", f"DROP ROLE {name}"],
        "mariadb": [f"DROP USER {name}@'%'"],
    }
    admin = sa.create_engine(engine.uri, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for statement in begin[engine.name]:
            connection.exec_driver_sql(statement.replace("%", "%%"))
        yield url.set(username=name).render_as_string(hide_password=False)
        for statement in end[engine.name]:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    admin.dispose()


@on_mariadb
def test_a_character_set_that_cannot_hold_a_name(
    app: Flask, laptop: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """In tables of latin1: nothing is stored cut or garbled, and the log says what to convert."""
    with app.app_context():
        add_user()
    sign_in(laptop)
    with app.app_context():
        extension = app.extensions["device_sessions"]
        device = db.session.query(extension.device_model).one()
        path = f"/devices/{device.id}/rename"
    with _charset(app, "latin1"):
        refused = laptop.post(path, data={"name": NAME}).status_code
    accepted = laptop.post(path, data={"name": NAME}).status_code

    assert (refused, accepted) == (503, 303)
    assert "convert the tables to utf8mb4" in caplog.text
    assert NAME in laptop.get("/devices/").text


@contextmanager
def _charset(app: Flask, name: str) -> Iterator[None]:
    """Convert the table of devices for a while."""
    with app.app_context():
        for charset in (name, "utf8mb4"):
            table = "device_session_devices"
            convert = f"ALTER TABLE {table} CONVERT TO CHARACTER SET {charset}"
            db.session.execute(sa.text(convert))
            db.session.commit()
            db.session.remove()
            if charset == name:
                yield


@on_postgresql
@pytest.mark.parametrize("encoding", ["latin1", "utf8"])
def test_an_encoding_that_cannot_hold_a_name(
    engine: engines.Engine, caplog: pytest.LogCaptureFixture, encoding: str
) -> None:
    """In a database of LATIN1, driver or server refuses: the log says which encoding it takes."""
    url = sa.make_url(engine.uri)
    name = f"{url.database}_latin1"
    admin = sa.create_engine(engine.uri, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        older = make_app(
            url.set(database=name).render_as_string(hide_password=False),
            SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"client_encoding": encoding}},
        )
        with older.app_context():
            db.create_all()
            add_user()
        browser = Browser(older, user_agent="Mozilla/5.0 (日本)")
        status = sign_in(browser).status_code
        with older.app_context():
            db.engine.dispose()
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()

    assert status == 503
    assert "a database whose encoding is UTF8" in caplog.text
