"""Tables in another database of the app's, by Flask-SQLAlchemy's ``__bind_key__``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash

from flask_device_sessions import ConfigError, DeviceSessionMixin, DeviceSessions
from flask_device_sessions.testing import Browser
from tests import engines
from tests.support import add_views, bare_app, hash_of, sign_in, who

db = SQLAlchemy()


class Person(UserMixin, db.Model):  # type: ignore[name-defined]
    """Somebody whose account is in the second database."""

    __bind_key__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(200), unique=True)
    password_hash: Mapped[str] = mapped_column(sa.String(200))

    def check_password(self, password: str) -> bool:
        """Whether this is their password."""
        return check_password_hash(self.password_hash, password)


@pytest.fixture
def app(engine: engines.Engine, tmp_path: Path, worker_id: str) -> Iterator[Flask]:
    """An app whose own tables are in SQLite, and people and sessions on the engine."""
    prepared = engines.prepare(engine.variant, f"{worker_id}_binds", tmp_path)
    app = bare_app(
        f"sqlite:///{tmp_path / 'own.sqlite'}",
        SQLALCHEMY_BINDS={"people": prepared.uri},
        DEVICE_SESSIONS_USER_MODEL="Person",
    )
    db.init_app(app)
    DeviceSessions(app)
    add_views(app)
    with app.app_context():
        db.create_all()
        db.session.add(Person(email="ada@example.com", password_hash=hash_of("pass")))
        db.session.commit()
    yield app
    with app.app_context():
        for one in db.engines.values():
            one.dispose()
    engines.remove(prepared)


def test_sessions_live_beside_their_people(app: Flask) -> None:
    """The tables follow the user model's bind; everything works there."""
    laptop, phone = Browser(app), Browser(app)
    for browser in (laptop, phone):
        sign_in(browser, password="pass")

    known = who(laptop), who(phone)
    laptop.post("/devices/revoke-others")

    assert known == ("ada@example.com", "ada@example.com")
    assert (who(laptop), who(phone)) == ("ada@example.com", None)
    with app.app_context():
        assert "device_sessions" in sa.inspect(db.engines["people"]).get_table_names()
        assert sa.inspect(db.engine).get_table_names() == []
        assert app.extensions["device_sessions"].verify_audit()


def test_sessions_apart_from_their_people_are_refused() -> None:
    """One SELECT finds session and person, so both must be in one database: said at the start."""
    apart = SQLAlchemy()

    class User(UserMixin, apart.Model):  # type: ignore[name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(sa.String(200))

    app = bare_app(SQLALCHEMY_BINDS={"sessions": "sqlite://"})
    apart.init_app(app)

    class Session(DeviceSessionMixin, apart.Model):  # type: ignore[name-defined]
        __bind_key__ = "sessions"
        __user_model__ = User

    with pytest.raises(ConfigError, match="set __bind_key__ = None on it"):
        DeviceSessions(app, session_model=Session)
