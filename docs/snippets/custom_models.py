"""Tables with columns of the app's own."""

import sqlalchemy as sa
from flask import Flask, redirect, request
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash

from flask_device_sessions import DeviceMixin, DeviceSessionMixin, DeviceSessions

db = SQLAlchemy()


class User(UserMixin, db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]

    def check_password(self, password):
        return check_password_hash(self.password_hash, password)


class LoginSession(DeviceSessionMixin, db.Model):
    __tablename__ = "login_sessions"

    tenant: Mapped[str] = mapped_column(sa.String(50), default="main")


class Device(DeviceMixin, db.Model):
    is_trusted: Mapped[bool] = mapped_column(default=False)


device_sessions = DeviceSessions(session_model=LoginSession, device_model=Device)


def create_app(config=None):
    app = Flask(__name__)
    app.config.from_mapping(config or {})
    db.init_app(app)
    device_sessions.init_app(app)
    app.add_url_rule("/<tenant>/sign-in", "sign_in", sign_in, methods=["POST"])
    return app


def sign_in(tenant):
    user = device_sessions.authenticate(request.form["email"], request.form["password"])
    if user is None:
        return "No.", 401
    session = device_sessions.login(user, commit=False)
    session.tenant = tenant
    db.session.commit()  # now the session exists, and the cookie goes out
    return redirect("/devices/")
