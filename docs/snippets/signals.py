"""Hear of what happens: each signal is sent after the commit."""

from flask import Flask
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash

from flask_device_sessions import DeviceSessions, device_first_seen, session_ended

db = SQLAlchemy()
device_sessions = DeviceSessions()


class User(UserMixin, db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]

    def check_password(self, password):
        return check_password_hash(self.password_hash, password)


def on_first_seen(app, device, session, **extra):
    app.logger.warning("%s signed in on a new device: %s", session.user.email, session.device_name)


def on_ended(app, session, reason, **extra):
    app.logger.warning("Session %s ended: %s", session.id, reason)


def create_app(config=None):
    app = Flask(__name__)
    app.config.from_mapping(config or {})
    db.init_app(app)
    device_sessions.init_app(app)
    device_first_seen.connect(on_first_seen, sender=app)
    session_ended.connect(on_ended, sender=app)
    return app
