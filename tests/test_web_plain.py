"""Apps without our pages: their own views still get an HTTP answer."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask_login import login_user

from flask_device_sessions.testing import Browser
from tests.support import User, add_user, db, make_app, who


@pytest.fixture
def config() -> dict[str, Any]:
    """No pages, and room for one browser."""
    return {
        "DEVICE_SESSIONS_PAGES": False,
        "DEVICE_SESSIONS_MAX_PER_USER": 1,
        "DEVICE_SESSIONS_LIMIT_POLICY": "refuse",
    }


@pytest.fixture
def path(app: Flask, ada: User) -> str:
    """A view of the app's own that signs Ada in."""
    user_id = ada.id

    @app.post("/enter")
    def enter() -> str:
        login_user(db.session.get(User, user_id))
        return "in"

    return "/enter"


def test_the_limit_is_a_conflict(path: str, laptop: Browser, phone: Browser) -> None:
    """409 in plain words, and nobody is signed in."""
    phone.post(path)

    answer = laptop.post(path)

    assert answer.status_code == 409
    assert "end one of them first" in answer.text
    assert who(laptop) is None


def test_a_missing_table_is_503() -> None:
    """With Retry-After, and no cookie."""
    app = make_app(DEVICE_SESSIONS_PAGES=False)

    @app.post("/enter")
    def enter() -> str:
        login_user(db.session.get(User, 1))
        return "in"

    with app.app_context():
        User.__table__.create(db.engine)
        add_user(id=1)

        answer = Browser(app).post("/enter")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "device_session=" not in str(answer.headers)
