"""The app behind a load, for gunicorn: ``gunicorn tests.load.site:app``.

``SITE`` in the environment is JSON: the arguments of :func:`make_site`.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from flask import Flask, redirect, request
from flask_login import current_user, login_required

from docs.snippets.databases.galera import pool_over
from flask_device_sessions.proxies import current_extension
from tests.support import db, hash_of, make_app

_CONFIG: dict[str, Any] = {
    "TESTING": False,
    "DEVICE_SESSIONS_COOKIE_SECURE": False,
    "DEVICE_SESSIONS_LOGIN_RATE_LIMIT": None,
    "DEVICE_SESSIONS_MAX_PER_USER": None,
    "DEVICE_SESSIONS_NOTIFY_NEW_DEVICE": False,
    "DEVICE_SESSIONS_FRESHNESS": timedelta(days=1),
    "SQLALCHEMY_ENGINE_OPTIONS": {"pool_pre_ping": True},
}


def make_site(
    uri: str, nodes: list[list[Any]] | None = None, touch: float = 1, **config: Any
) -> Flask:
    """Return the app.

    Args:
        uri: its database.
        nodes: those of a Galera cluster, in the order in which they are tried.
        touch: how many seconds old "last active" may get.
        config: more of the app's settings.
    """
    if nodes is not None:
        addresses = [(str(host), int(port)) for host, port in nodes]
        options = pool_over(addresses, user="root", database="site", charset="utf8mb4")
        config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    config["DEVICE_SESSIONS_TOUCH_INTERVAL"] = timedelta(seconds=touch)
    app = make_app(uri, **_CONFIG | config)
    app.add_url_rule("/password", "password", login_required(_change_password), methods=["POST"])
    return app


def _change_password() -> Any:
    current_user.password_hash = hash_of(request.form["password"])
    current_extension.password_changed(current_user)
    db.session.commit()
    return redirect("/whoami", 303)


if "SITE" in os.environ:
    app = make_site(**json.loads(os.environ["SITE"]))
