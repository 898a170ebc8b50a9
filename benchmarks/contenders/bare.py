"""What every Flask app pays: one view that knows nobody."""

from __future__ import annotations

from contextlib import nullcontext

from flask import Flask

from . import EMAIL, Contender


def make(uri: str) -> Contender:
    """Return the app; it has no database."""
    app = Flask(__name__)
    app.add_url_rule("/", "index", lambda: EMAIL)
    app.add_url_rule("/enter", "enter", lambda: "")
    return Contender(app, lambda: nullcontext([]))
