"""An app that uses Flask-Login, as its documentation shows."""

from flask import Flask, redirect, request
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash

db = SQLAlchemy()
login_manager = LoginManager()
login_manager.login_view = "sign_in"


class User(UserMixin, db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]


@login_manager.user_loader
def load_user(user_id):
    return db.session.get(User, int(user_id))


def create_app(config=None):
    app = Flask(__name__)
    app.config.from_mapping(config or {})
    db.init_app(app)
    login_manager.init_app(app)
    app.add_url_rule("/", "index", index)
    app.add_url_rule("/sign-in", "sign_in", sign_in, methods=["GET", "POST"])
    app.add_url_rule("/sign-out", "sign_out", sign_out, methods=["POST"])
    return app


@login_required
def index():
    return f"Hello {current_user.email}"


def sign_in():
    if request.method == "GET":
        return "<form method=post> ... </form>"
    user = db.session.query(User).filter_by(email=request.form["email"]).one_or_none()
    if user is None or not check_password_hash(user.password_hash, request.form["password"]):
        return "No.", 401
    login_user(user, remember=True)
    return redirect("/")


def sign_out():
    logout_user()
    return redirect("/")
