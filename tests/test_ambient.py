"""What is current, asked from where no Flask is known."""

from __future__ import annotations

import importlib.util
from datetime import datetime, timedelta, timezone

import pytest
import time_machine
from flask import Flask

from flask_device_sessions.ambient import ambient, utc_now
from flask_device_sessions.config import Settings
from flask_device_sessions.testing import Browser
from tests.support import User, bare_app, make_app, sign_in


def test_outside_an_app_the_defaults_hold() -> None:
    """A script that looks at a row needs no app: default settings, no current session."""
    assert ambient.settings() == Settings()
    assert ambient.session_id() is None


def test_in_an_app_without_the_extension_the_defaults_hold() -> None:
    """Another app in the same process is no reason to fail."""
    with bare_app(DEVICE_SESSIONS_FRESHNESS=timedelta(seconds=1)).app_context():
        assert ambient.settings() == Settings()
        assert ambient.session_id() is None


def test_in_an_app_its_own_settings_hold() -> None:
    """Each app asks its own, side by side in one process."""
    strict = make_app(DEVICE_SESSIONS_FRESHNESS=timedelta(seconds=1))
    lax = make_app(DEVICE_SESSIONS_FRESHNESS=timedelta(days=1))

    with strict.app_context():
        assert ambient.settings().freshness == timedelta(seconds=1)
        with lax.app_context():
            assert ambient.settings().freshness == timedelta(days=1)
        assert ambient.settings().freshness == timedelta(seconds=1)


def test_in_a_request_the_current_session_is_known(
    app: Flask, ada: User, laptop: Browser, phone: Browser
) -> None:
    """It is the caller's own, and nobody's for a stranger."""
    app.add_url_rule("/ambient", view_func=lambda: {"id": str(ambient.session_id())})
    sign_in(laptop)

    seen = {browser: browser.get("/ambient").get_json()["id"] for browser in (laptop, phone)}

    assert seen[laptop] == laptop.get("/whoami").get_json()["session"]
    assert seen[phone] == "None"


def test_before_the_edge_is_loaded_the_answers_are_the_defaults() -> None:
    """The module stands alone: nothing has to fill it in first."""
    spec = importlib.util.find_spec("flask_device_sessions.ambient")
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up by name: the real one answers for this copy.
    spec.loader.exec_module(fresh)

    assert fresh.ambient.settings() == Settings()
    assert fresh.ambient.session_id() is None


@pytest.mark.parametrize("hours", [-11, 0, 5.5, 14])
def test_the_clock_is_aware_and_in_utc(hours: float) -> None:
    """Wherever the machine stands, the time is UTC and says so, to the microsecond."""
    moment = datetime(2026, 3, 29, 1, 30, 0, 123456, timezone(timedelta(hours=hours)))

    with time_machine.travel(moment, tick=False):
        now = utc_now()

    assert now == moment
    assert now.tzinfo is timezone.utc
    assert now.microsecond == 123456
