"""Find the account in the app's own way: here by email in any case, or by user name."""

import sqlalchemy as sa
from flask import Flask, redirect, request
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
    username: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]

    def check_password(self, password):
        return check_password_hash(self.password_hash, password)


@device_sessions.authenticator
def find_account(identifier):
    is_match = sa.or_(sa.func.lower(User.email) == identifier.lower(), User.username == identifier)
    return db.session.scalars(sa.select(User).where(is_match)).one_or_none()


def create_app(config=None):
    app = Flask(__name__)
    app.config.from_mapping(config or {})
    db.init_app(app)
    device_sessions.init_app(app)
    app.add_url_rule("/sign-in", "sign_in", sign_in, methods=["POST"])
    return app


def sign_in():
    user = device_sessions.authenticate(request.form["name"], request.form["password"])
    if user is None:
        return "No.", 401
    device_sessions.login(user, remember=True)  # or login_user(user, remember=True)
    return redirect("/")
