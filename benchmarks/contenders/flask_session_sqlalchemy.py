"""Flask-Login with Flask's session kept by Flask-Session in the app's database.

https://flask-session.readthedocs.io/en/latest/config.html#sqlalchemy, everything else at its
default: msgpack, permanent sessions, refreshed by each request.
"""

from __future__ import annotations

from flask_session import Session
from flask_sqlalchemy import SQLAlchemy

from . import Contender
from ._flask import make_app, recording
from .flask_login_alone import add_login


def make(uri: str) -> Contender:
    """Return the app."""
    app, db = make_app(uri, SESSION_TYPE="sqlalchemy"), SQLAlchemy()
    db.init_app(app)
    app.config["SESSION_SQLALCHEMY"] = db
    Session(app)
    add_login(app, db)
    return Contender(app, recording)
