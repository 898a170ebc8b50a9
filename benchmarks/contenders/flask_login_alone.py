"""Flask-Login over Flask-SQLAlchemy: https://flask-login.readthedocs.io/#how-it-works."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_login import LoginManager, current_user, login_required, login_user
from flask_sqlalchemy import SQLAlchemy

from . import PERSON_ID, Contender
from ._flask import fill, make_app, make_user_model, recording


def make(uri: str, **config: Any) -> Contender:
    """Return the app; ``config`` is for contenders that add something."""
    app, db = make_app(uri, **config), SQLAlchemy()
    db.init_app(app)
    add_login(app, db)
    return Contender(app, recording)


def add_login(app: Flask, db: SQLAlchemy) -> None:
    """Put Flask-Login, the person and the views into an app."""
    user_model = make_user_model(db)
    manager = LoginManager(app)

    @manager.user_loader
    def load_user(user_id: str) -> Any:
        return db.session.get(user_model, int(user_id))

    @app.get("/")
    @login_required
    def index() -> str:
        return str(current_user.email)

    @app.get("/enter")
    def enter() -> str:
        login_user(db.session.get(user_model, PERSON_ID))
        return ""

    fill(app, db, user_model, password_hash="-")
