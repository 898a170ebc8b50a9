"""A session that comes from another network, under each policy and each way to store addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, g
from flask_login import current_user

from flask_device_sessions import (
    DeviceSessions,
    StoreUnavailable,
    current_user_id,
    ip_changed,
    session_ended,
)
from flask_device_sessions.testing import Browser, listen_to
from tests.support import PASSWORD, User, add_user, db, make_app, sign_in, statements, who

HOME, NEIGHBOUR, CAFE = "192.0.2.1", "192.0.2.200", "203.0.113.5"

Make = Callable[..., Browser]


@pytest.fixture
def make() -> Any:
    """Make an app with these settings and a browser that is signed in there, at home."""
    contexts = []

    def make(**config: Any) -> Browser:
        app = make_app(**{f"DEVICE_SESSIONS_{name}": value for name, value in config.items()})
        context = app.app_context()
        context.push()
        contexts.append(context)
        db.create_all()
        add_user()
        browser = Browser(app, ip=HOME)
        sign_in(browser)
        return browser

    yield make
    for context in reversed(contexts):
        context.pop()


def _go(browser: Browser, address: str) -> str | None:
    browser.environ_base["REMOTE_ADDR"] = address
    return who(browser)


def _extension(browser: Browser) -> DeviceSessions:
    extension: DeviceSessions = browser.application.extensions["device_sessions"]
    return extension


def _ada() -> User:
    return db.session.query(User).one()


def _moves(browser: Browser) -> list[dict[str, Any]]:
    events = _extension(browser).events_of(_ada())[::-1]
    return [event.detail for event in events if event.action == "ip_changed"]


def test_a_move_is_an_event_and_a_signal(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """By default the session goes on, and the trail says from where to where (ASVS V16.3)."""
    sign_in(laptop)

    with listen_to(ip_changed) as heard:
        name = _go(laptop, CAFE)
        _go(laptop, CAFE)

    session = extension.sessions_of(ada)[0]
    assert name == "ada@example.com"
    assert heard == [{"session": session, "old": HOME, "new": CAFE}]
    assert _moves(laptop) == [{"old": HOME, "new": CAFE}]
    assert (session.ip_address, session.last_ip_address) == (HOME, CAFE)
    assert extension.verify_audit()


def test_who_moved_is_known_to_who_hears_of_it(app: Flask, ada: User, laptop: Browser) -> None:
    """The signal comes before the view, and the request is somebody's already."""
    heard = []

    def note(sender: Flask, **facts: Any) -> None:
        heard.append((current_user_id(), g.current_session.user_id, current_user.id))

    sign_in(laptop)
    with ip_changed.connected_to(note):
        _go(laptop, CAFE)

    assert heard == [(ada.id, ada.id, ada.id)]


@pytest.mark.parametrize(
    ("one", "other"),
    [(HOME, NEIGHBOUR), ("2001:db8::1", "2001:db8::ffff:1"), (HOME, f"::ffff:{NEIGHBOUR}")],
)
def test_inside_one_network_nothing_has_changed(make: Make, one: str, other: str) -> None:
    """A new address in the same /24 or /64 is an ordinary day."""
    browser = make(IP_CHANGE_POLICY="revoke")
    browser.environ_base["REMOTE_ADDR"] = one
    sign_in(browser)

    assert _go(browser, other) == "ada@example.com"
    assert _moves(browser) == []


def test_to_and_fro_is_one_event_a_network(make: Make) -> None:
    """A phone between two networks does not fill the table, nor write at each request."""
    browser = make()
    for _ in range(5):
        _go(browser, CAFE)
        _go(browser, HOME)

    with statements(browser.application) as seen:
        _go(browser, CAFE)

    assert len(_moves(browser)) == 2
    assert len(seen) == 1


def test_ignore_writes_nothing(make: Make) -> None:
    """The touch alone notes the address, when it is due."""
    browser = make(IP_CHANGE_POLICY="ignore")

    assert _go(browser, CAFE) == "ada@example.com"
    assert _moves(browser) == []


def test_confirm_asks_for_the_password_before_what_matters(make: Make) -> None:
    """The session goes on, but no check of the password counts for it any more (ASVS V7.5)."""
    browser = make(IP_CHANGE_POLICY="confirm")

    name = _go(browser, CAFE)
    asked = browser.post("/devices/revoke-all")
    browser.post("/confirm", data={"password": PASSWORD})
    done = browser.post("/devices/revoke-all")

    assert name == "ada@example.com"
    assert asked.status_code == 403
    assert done.status_code == 303


def test_confirm_asks_at_each_move(make: Make) -> None:
    """Also at one that was seen before: the thief's network may be one of them."""
    browser = make(IP_CHANGE_POLICY="confirm")
    for address in (CAFE, HOME, CAFE):
        browser.post("/confirm", data={"password": PASSWORD})
        _go(browser, address)

    assert browser.post("/devices/revoke-all").status_code == 403


def test_confirm_holds_while_nothing_can_be_written(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is not fresh, whatever the database says; the touch does not hide the move."""
    browser = make(IP_CHANGE_POLICY="confirm", FRESHNESS=_days(30))

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr("flask_device_sessions.store.Store.run", fail)
        browser.environ_base["REMOTE_ADDR"] = CAFE
        refused = browser.post("/devices/revoke-all")

    assert refused.status_code == 403
    assert browser.post("/devices/revoke-all").status_code == 403
    assert len(_moves(browser)) == 1


def _days(number: int) -> Any:
    from datetime import timedelta

    return timedelta(days=number)


def test_revoke_ends_the_session(make: Make) -> None:
    """A cookie that is carried elsewhere works no more, there or here, and the page says why."""
    browser = make(IP_CHANGE_POLICY="revoke")

    with listen_to(session_ended) as heard:
        moved = _go(browser, CAFE)

    assert moved is None
    assert _go(browser, HOME) is None
    assert [event["reason"] for event in heard] == ["ip_changed"]
    assert "because your network changed" in browser.get("/login").text


@pytest.mark.parametrize(
    ("storage", "stored"), [("truncate", "192.0.2.0/24"), ("none", None), ("full", HOME)]
)
def test_what_is_kept_of_an_address(make: Make, storage: str, stored: str | None) -> None:
    """In the session's row and in every event (ASVS V14.2)."""
    browser = make(IP_STORAGE=storage)
    extension = _extension(browser)

    session = extension.sessions_of(_ada())[0]

    assert (session.ip_address, session.last_ip_address) == (stored, stored)
    assert {event.ip_address for event in extension.events_of(_ada())} == {stored}


def test_hashed_addresses_tell_networks_apart_and_no_more(make: Make) -> None:
    """The same network has the same hash; another secret key has another."""
    browser = make(IP_STORAGE="hash", IP_CHANGE_POLICY="record")
    session = _extension(browser).sessions_of(_ada())[0]

    _go(browser, NEIGHBOUR)
    still = _moves(browser)
    _go(browser, CAFE)

    assert len(session.ip_address) == 32
    assert still == []
    assert len(_moves(browser)) == 1
    assert CAFE not in str(_moves(browser))


def test_without_addresses_nothing_moves(make: Make) -> None:
    """IP_STORAGE none: there is nothing to compare."""
    browser = make(IP_STORAGE="none", IP_CHANGE_POLICY="revoke")

    assert _go(browser, CAFE) == "ada@example.com"


def test_a_session_that_ended_meanwhile_does_not_move(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Between the look and the write it was ended elsewhere: no event, no signal."""
    sign_in(laptop)
    parts = extension._states[app]
    with app.test_request_context(environ_base={"REMOTE_ADDR": CAFE}):
        found = parts.store.find(extension.sessions_of(ada)[0].id)
        assert found is not None
        extension.revoke_all(ada)
        client, now = extension._caller()

        moved = parts.store.run(
            lambda: parts.lifecycle.move(found, {"last_ip_address": CAFE}, client, now)
        )

    assert moved == []


@pytest.mark.parametrize("storage", ["full", "truncate", "hash"])
def test_a_session_says_whether_an_address_is_new(make: Make, storage: str) -> None:
    """Whatever is kept of the last one; of none it cannot be told."""
    browser = make(IP_STORAGE=storage)
    session = _extension(browser).sessions_of(_ada())[0]

    assert not session.ip_changed(NEIGHBOUR)
    assert session.ip_changed(CAFE)
