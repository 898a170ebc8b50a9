"""Commonplace: a small app that keeps passages worth keeping, with Flask-Device-Sessions in it.

Run it with ``python -m example_app``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from . import demo, views
from .extensions import csrf, db, device_sessions, migrate


def create_app(
    config: Mapping[str, Any] | None = None, *, instance_path: str | None = None
) -> Flask:
    """Return the app.

    Args:
        config: settings that win over those below.
        instance_path: folder of the database and the secret key; default: Flask's.
    """
    app = Flask(__name__, instance_path=instance_path)
    app.config.update(
        SQLALCHEMY_DATABASE_URI="sqlite:///commonplace.sqlite",
        # This app is served over plain HTTP on loopback. Over HTTPS, leave this line out.
        DEVICE_SESSIONS_COOKIE_SECURE=False,
        DEVICE_SESSIONS_AFTER_LOGIN="views.notes",
        DEVICE_SESSIONS_TOKEN_SCOPES=["notes:read"],
    )
    app.config.update(config or {})
    app.config["SECRET_KEY"] = app.config["SECRET_KEY"] or _secret_key(Path(app.instance_path))

    db.init_app(app)
    migrate.init_app(app, db)
    csrf.init_app(app)
    device_sessions.init_app(app)
    app.register_blueprint(views.blueprint)
    app.cli.add_command(demo.reset_demo)
    return app


def _secret_key(folder: Path) -> str:
    """Return the secret key of this installation, made at the first start."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "secret_key"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text("ascii")
    with open(descriptor, "w", encoding="ascii") as new:
        new.write(secrets.token_hex())
    return file.read_text("ascii")
