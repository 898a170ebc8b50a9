"""The factory pattern: extensions made once, put into each app; tables by migrations."""

from flask import Flask, g
from flask_login import UserMixin, login_required
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash

from flask_device_sessions import DeviceSessions

db = SQLAlchemy()
migrate = Migrate()
device_sessions = DeviceSessions()


class User(UserMixin, db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]

    def check_password(self, password):
        return check_password_hash(self.password_hash, password)


def create_app(config=None):
    app = Flask(__name__)
    app.config.from_prefixed_env()  # FLASK_SECRET_KEY, FLASK_SQLALCHEMY_DATABASE_URI
    app.config.from_mapping(config or {})
    db.init_app(app)  # before device_sessions, which looks for it
    migrate.init_app(app, db)
    device_sessions.init_app(app)
    app.add_url_rule("/", "index", index)
    return app


@login_required
def index():
    session = g.current_session
    return {"user": session.user.email, "device": session.device_name}
