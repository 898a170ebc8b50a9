"""This checkout, as its README sets it up: nothing but defaults."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import abort, g
from flask_login import current_user, login_required, login_user
from flask_sqlalchemy import SQLAlchemy

from flask_device_sessions import DeviceSessions, current_user_id

from . import EMAIL, PERSON_ID, Contender
from ._flask import fill, make_app, make_user_model, recording


def make(uri: str, **config: Any) -> Contender:
    """Return the app; ``config`` is for modes that need another one."""
    app, db = make_app(uri, **config), SQLAlchemy()
    db.init_app(app)
    user_model = make_user_model(db)
    extension = DeviceSessions(app, user_model=user_model)

    @app.get("/")
    @login_required
    def index() -> str:
        assert g.current_session.user_id == current_user.id
        return str(current_user.email)

    @app.get("/who")
    def who() -> str:
        person_id = current_user_id()
        return str(person_id) if person_id is not None else abort(401)

    @app.get("/session")
    def session() -> str:
        live = g.current_session
        return str(live.user_id) if live is not None else abort(401)

    @app.get("/open")
    def open_to_all() -> str:
        return EMAIL

    @app.get("/enter")
    def enter() -> str:
        login_user(db.session.get(user_model, PERSON_ID))
        # The minutes after a password are not the steady state: it was typed an hour ago.
        g.current_session.authenticated_at -= timedelta(hours=1)
        db.session.commit()
        return ""

    fill(app, db, user_model, password_hash="-")
    return Contender(app, recording, extension)
