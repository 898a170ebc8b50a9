"""The app under test, and ways to look at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from flask import Flask, g
from flask_login import UserMixin, current_user, login_required
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash

from flask_device_sessions import DeviceSessions, current_session
from flask_device_sessions.testing import Browser

PASSWORD = "correct horse battery staple"

db = SQLAlchemy()


class User(UserMixin, db.Model):  # type: ignore[name-defined]
    """A person with an account, who can be disabled."""

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(200), unique=True)
    password_hash: Mapped[str | None] = mapped_column(sa.String(200))
    is_enabled: Mapped[bool] = mapped_column(default=True)

    @property
    def is_active(self) -> bool:
        """Whether they may be signed in."""
        return self.is_enabled

    def check_password(self, password: str) -> bool:
        """Whether this is their password."""
        return check_password_hash(self.password_hash or "", password)


def hash_of(password: str) -> str:
    """Return a hash that is quick to compute."""
    return generate_password_hash(password, method="pbkdf2:sha256:1")


def make_app(uri: str = "sqlite://", **config: Any) -> Flask:
    """Return a small app with the extension in it."""
    app = bare_app(uri, **config)
    db.init_app(app)
    DeviceSessions(app)
    add_views(app)
    return app


def bare_app(uri: str = "sqlite://", **config: Any) -> Flask:
    """Return an app with a config and nothing else."""
    app = Flask("tests")
    app.config.update(
        TESTING=True,
        SECRET_KEY="a secret of the test suite",
        SQLALCHEMY_DATABASE_URI=uri,
        WTF_CSRF_ENABLED=False,
        DEVICE_SESSIONS_AFTER_LOGIN="/whoami",
    )
    app.config.update(config)
    return app


def add_views(app: Flask) -> None:
    """Add views that ask who is calling, and one that does not."""
    app.add_url_rule("/whoami", "whoami", whoami)
    app.add_url_rule("/private", "private", login_required(whoami))
    app.add_url_rule("/open", "open", lambda: "open")


def whoami() -> dict[str, Any]:
    """Say who is signed in, by each way of asking."""
    session = g.current_session
    return {
        "user": current_user.email if current_user.is_authenticated else None,
        "session": str(session.id) if session else None,
        "proxy": bool(current_session) == bool(session),
    }


def empty_tables(app: Flask) -> None:
    """Delete all rows, and let go of all connections."""
    with app.app_context():
        for table in reversed(db.metadata.sorted_tables):
            db.session.execute(table.delete())
        db.session.commit()
        db.engine.dispose()


def add_user(email: str = "ada@example.com", **columns: Any) -> User:
    """Insert a person whose password is :data:`PASSWORD`."""
    user = User(email=email, **({"password_hash": hash_of(PASSWORD)} | columns))
    db.session.add(user)
    db.session.commit()
    return user


def sign_in(browser: Browser, email: str = "ada@example.com", **fields: Any) -> Any:
    """Send the login form."""
    form = {"identifier": email, "password": PASSWORD} | fields
    return browser.post("/login", data=form)


def who(browser: Browser) -> str | None:
    """Return the email of the person the browser is signed in as, or ``None``."""
    answer = browser.get("/whoami")
    assert answer.status_code == 200
    assert answer.json is not None
    return str(answer.json["user"]) if answer.json["user"] else None


def jar_of(browser: Browser) -> dict[str, str]:
    """Return all cookies of a browser by name."""
    return {cookie.key: cookie.value for cookie in (browser._cookies or {}).values()}


def replay(app: Flask, jar: dict[str, str]) -> Browser:
    """Return a new browser that holds copies of these cookies."""
    thief = Browser(app, ip="203.0.113.66")
    for name, value in jar.items():
        thief.set_cookie(name, value)
    return thief


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """Collect the SQL that the app's engine runs, and ``COMMIT`` for each commit."""
    seen: list[str] = []

    def on_execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(" ".join(statement.split()))

    def on_commit(connection: Any) -> None:
        seen.append("COMMIT")

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", on_execute)
    sa.event.listen(engine, "commit", on_commit)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", on_execute)
        sa.event.remove(engine, "commit", on_commit)
