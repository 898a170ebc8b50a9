"""What the tests of apps use: browsers, sign-ins without a password, rows in any state."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from flask import Flask

from flask_device_sessions import DeviceSessions, session_ended, session_started
from flask_device_sessions.testing import (
    FIREFOX,
    IPHONE,
    PIXEL,
    SAFARI,
    Browser,
    DeviceSessionFactory,
    listen_to,
    login,
)
from tests.support import User, add_user, db, jar_of, make_app, who

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)


# -- login ---------------------------------------------------------------------------------------


def test_login_signs_a_browser_in(extension: DeviceSessions, ada: User, laptop: Browser) -> None:
    """Without a password, as the client that it is, in one line."""
    session = login(laptop, ada)

    assert who(laptop) == ada.email
    assert extension.sessions_of(ada) == [session]
    assert (session.user_agent, session.ip_address) == (FIREFOX, "192.0.2.1")
    assert session.auth_method == "test"


def test_login_takes_any_flask_test_client(app: Flask, ada: User) -> None:
    """It need not be a Browser."""
    client: Any = app.test_client()

    login(client, ada)

    assert who(client) == ada.email


def test_login_twice_is_the_same_device(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The client keeps its name, as a browser does."""
    login(laptop, ada)
    login(laptop, ada)

    assert len(extension.devices_of(ada)) == 1
    assert len(extension.sessions_of(ada)) == 1


def test_login_takes_columns_of_the_row(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """So that a test can start with a session of any age."""
    an_hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)

    session = login(laptop, ada, authenticated_at=an_hour_ago, city="Berlin")

    assert (session.authenticated_at, session.location) == (an_hour_ago, "Berlin")
    assert not session.is_fresh
    assert who(laptop) == ada.email


def test_two_clients_are_two_devices(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """Each has its own cookies, user agent and address."""
    login(laptop, ada)
    login(phone, ada)

    sessions = extension.sessions_of(ada)

    assert {s.device_name for s in sessions} == {"Linux PC", "iPhone"}
    assert {s.ip_address for s in sessions} == {"192.0.2.1", "198.51.100.7"}
    assert jar_of(laptop) != jar_of(phone)


def test_login_needs_no_app_context(app: Flask, laptop: Browser) -> None:
    """The client knows its app; a user that was loaded before will do."""
    with app.app_context():
        user = add_user()

    login(laptop, user)

    assert who(laptop) == "ada@example.com"


@pytest.mark.connections
def test_login_uses_the_clients_app_whichever_is_running(app: Flask, ada: User) -> None:
    """In a test with two apps, the browser's own one names its cookies."""
    other = make_app(
        app.config["SQLALCHEMY_DATABASE_URI"], DEVICE_SESSIONS_COOKIE_NAME="other_session"
    )
    browser = Browser(other)

    for _ in range(2):
        login(browser, ada)

    extension: DeviceSessions = other.extensions["device_sessions"]
    with other.app_context():
        assert len(extension.devices_of(db.session.get(User, ada.id))) == 1


# -- Browser -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [(FIREFOX, "Linux PC"), (SAFARI, "Mac"), (IPHONE, "iPhone"), (PIXEL, "Pixel 8")],
)
def test_a_browser_is_the_device_it_says(app: Flask, ada: User, user_agent: str, name: str) -> None:
    """The ready user agents are those of devices that people know."""
    session = login(Browser(app, user_agent, ip="2001:db8::1"), ada)

    assert (session.device_name, session.ip_address) == (name, "2001:db8::1")


# -- listen_to -----------------------------------------------------------------------------------


def test_a_listener_hears_while_its_block_runs(ada: User, laptop: Browser, phone: Browser) -> None:
    """One dict of keywords a time, of that signal only."""
    with listen_to(session_started) as started, listen_to(session_ended) as ended:
        session = login(laptop, ada)
    login(phone, ada)

    assert started == [{"session": session, "new_device": True}]
    assert ended == []


# -- DeviceSessionFactory ------------------------------------------------------------------------


def _make(user: User, **traits: Any) -> Any:
    return DeviceSessionFactory.create(user_id=user.id, **traits)


@pytest.mark.parametrize(
    ("trait", "expected"),
    [
        ({}, {"is_active": True, "is_fresh": True, "kind": "browser"}),
        ({"expired": True}, {"is_active": False, "is_expired": True, "is_idle": False}),
        ({"idle": True}, {"is_active": False, "is_expired": False, "is_idle": True}),
        ({"stale": True}, {"is_active": True, "is_expired": False, "is_idle": False}),
        ({"ended": True}, {"is_active": False, "end_reason": "logout"}),
        ({"mobile": True}, {"device_name": "iPhone"}),
        ({"android": True}, {"device_name": "Pixel 8"}),
        ({"token": True}, {"kind": "token", "name": "CI", "auth_method": "token"}),
        ({"ended": True, "mobile": True}, {"is_active": False, "device_name": "iPhone"}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_a_trait_makes_a_row_in_that_state(
    context: None, ada: User, trait: dict[str, bool], expected: dict[str, Any]
) -> None:
    """Each by itself, and together."""
    row = _make(ada, **trait)

    assert {name: getattr(row, name) for name in expected} == expected
    assert row.user is ada


def test_a_stale_row_is_due_for_a_touch(app: Flask, ada: User, laptop: Browser) -> None:
    """The next request writes its activity."""
    stale = _make(ada, stale=True)
    session = login(laptop, ada, last_active_at=stale.last_active_at)

    who(laptop)

    db.session.refresh(session)
    assert session.last_active_at > stale.last_active_at


@pytest.mark.parametrize(
    "config", [{"DEVICE_SESSIONS_LIFETIME": None, "DEVICE_SESSIONS_IDLE_TIMEOUT": None}]
)
def test_without_limits_a_row_has_no_end(context: None, ada: User) -> None:
    """The factory follows the running app's settings; there an old row is a live one."""
    with time_machine.travel(NOON, tick=False):
        expired, idle = _make(ada, expired=True), _make(ada, idle=True)

        assert expired.expires_at is idle.expires_at is None
        assert expired.is_active
        assert idle.is_active


def test_rows_are_flushed_and_not_committed(app: Flask, ada: User) -> None:
    """The test's own transaction decides."""
    row = _make(ada)
    row_id = row.id

    db.session.rollback()

    extension: DeviceSessions = app.extensions["device_sessions"]
    assert db.session.get(extension.session_model, row_id) is None
