"""Flask-Login with Flask's session kept by Flask-Session in Redis.

https://flask-session.readthedocs.io/en/latest/config.html#redis. The user is in the database, so
one statement is left.
"""

from __future__ import annotations

import atexit
import os
from datetime import timedelta

import redis
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy

from ..databases import REDIS
from . import Contender
from ._flask import make_app, recording
from .flask_login_alone import add_login


def make(uri: str) -> Contender:
    """Return the app; its keys in Redis go when this process ends."""
    client = redis.from_url(REDIS)
    prefix = f"bench_{os.getpid()}:"
    app = make_app(
        uri,
        SESSION_TYPE="redis",
        SESSION_REDIS=client,
        SESSION_KEY_PREFIX=prefix,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=1),
    )
    db = SQLAlchemy()
    db.init_app(app)
    Session(app)
    add_login(app, db)
    atexit.register(lambda: [client.delete(key) for key in client.scan_iter(f"{prefix}*")])
    return Contender(app, recording)
