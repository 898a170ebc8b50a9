"""Flask-Security: https://flask-security.readthedocs.io/en/stable/quickstart.html.

The quickstart for Flask-SQLAlchemy, with its models (``fsqla_v3``) and ``auth_required()``.
"""

from __future__ import annotations

from typing import Any

from flask_security import (
    Security,
    SQLAlchemyUserDatastore,
    auth_required,
    current_user,
    login_user,
)
from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy

from . import PERSON_ID, SECRET_KEY, Contender
from ._flask import fill, make_app, recording


def make(uri: str) -> Contender:
    """Return the app."""
    app, db = make_app(uri, SECURITY_PASSWORD_SALT=SECRET_KEY), SQLAlchemy()
    db.init_app(app)
    user_model, role_model = _map(db)
    Security(app, SQLAlchemyUserDatastore(db, user_model, role_model))

    @app.get("/")
    @auth_required()
    def index() -> str:
        return str(current_user.email)

    @app.get("/enter")
    def enter() -> str:
        login_user(db.session.get(user_model, PERSON_ID))
        return ""

    fill(app, db, user_model, active=True, fs_uniquifier="ada", password="-")
    return Contender(app, recording)


def _map(db: SQLAlchemy) -> tuple[type[Any], type[Any]]:
    fsqla_v3.FsModels.set_db_info(db)

    class Role(db.Model, fsqla_v3.FsRoleMixin):  # type: ignore[misc, name-defined]
        pass

    class User(db.Model, fsqla_v3.FsUserMixin):  # type: ignore[misc, name-defined]
        pass

    return User, Role
