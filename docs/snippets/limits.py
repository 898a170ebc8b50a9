"""At most two devices for most people, ten for members; a third device is refused."""

from datetime import timedelta

from flask import Flask
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash

from flask_device_sessions import DeviceSessions

db = SQLAlchemy()
device_sessions = DeviceSessions()


class User(UserMixin, db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    is_member: Mapped[bool] = mapped_column(default=False)

    def check_password(self, password):
        return check_password_hash(self.password_hash, password)


def create_app(config=None):
    app = Flask(__name__)
    app.config.from_mapping(
        DEVICE_SESSIONS_MAX_PER_USER=lambda user: 10 if user.is_member else 2,
        DEVICE_SESSIONS_LIMIT_POLICY="refuse",
        DEVICE_SESSIONS_IDLE_TIMEOUT=timedelta(hours=8),
    )
    app.config.from_mapping(config or {})
    db.init_app(app)
    device_sessions.init_app(app)
    return app
