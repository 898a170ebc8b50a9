"""What the contenders on Flask-SQLAlchemy share: an app, a person, the statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from . import EMAIL, PERSON_ID, SECRET_KEY


def make_app(uri: str, **config: Any) -> Flask:
    """Return an app with a key and a database URI."""
    app = Flask("benchmarks")
    app.config.update(SECRET_KEY=SECRET_KEY, SQLALCHEMY_DATABASE_URI=uri, **config)
    return app


def make_user_model(db: SQLAlchemy) -> type[Any]:
    """Map the person as Flask-Login's and Flask-SQLAlchemy's documentation do."""

    class User(UserMixin, db.Model):  # type: ignore[name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str] = mapped_column(sa.String(200), unique=True)
        password_hash: Mapped[str] = mapped_column(sa.String(200))

    return User


def fill(app: Flask, db: SQLAlchemy, user_model: type[Any], **columns: Any) -> None:
    """Make the tables, and the person, where they are not there yet."""
    with app.app_context():
        db.create_all()
        db.session.merge(user_model(id=PERSON_ID, email=EMAIL, **columns))
        db.session.commit()


@contextmanager
def recording() -> Iterator[list[str]]:
    """Collect what any SQLAlchemy engine of this process sends."""
    seen: list[str] = []

    def on_execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", on_execute)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", on_execute)
