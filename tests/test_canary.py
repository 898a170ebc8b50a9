"""The canary hears what it should."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, redirect, request

from flask_device_sessions import DeviceSessions
from flask_device_sessions.notifications import Mail, Outbox
from flask_device_sessions.store import Store
from flask_device_sessions.testing import Browser
from tests.canary import Canary
from tests.support import PASSWORD, User, jar_of, sign_in

_logger = logging.getLogger("tests.leak")

Leak = Callable[[Browser, str], object]


def _say(browser: Browser, secret: str) -> None:
    browser.get("/say", headers={"X-Leak": secret})


def _redirect(browser: Browser, secret: str) -> None:
    browser.get("/go", headers={"X-Leak": secret})


def _log(browser: Browser, secret: str) -> None:
    _logger.warning("it is %s", secret)


def _fail(browser: Browser, secret: str) -> None:
    try:
        raise ValueError(secret)
    except ValueError:
        _logger.exception("failed")


def _mail(browser: Browser, secret: str) -> None:
    outbox = Outbox()
    with browser.application.app_context():
        outbox.post("leak", Mail("ada@example.com", "Hello", "", f"<p>{secret}"), lambda _: None)
        assert outbox.flush(60)


def _record(browser: Browser, secret: str) -> None:
    nothing: Any = None
    with pytest.raises(AttributeError):
        Store.add_events(nothing, [{"detail": secret}])


@pytest.mark.parametrize("leak", [_say, _redirect, _log, _fail, _mail, _record])
@pytest.mark.parametrize("kind", ["password", "cookie", "browser cookie", "digest"])
def test_a_leak_is_heard(
    app: Flask,
    extension: DeviceSessions,
    ada: User,
    laptop: Browser,
    listening: Canary,
    leak: Leak,
    kind: str,
) -> None:
    """Each credential, in each place where one could be found (ASVS V14.2, V16.2.5)."""
    app.add_url_rule("/say", "say", lambda: request.headers["X-Leak"])
    app.add_url_rule("/go", "go", lambda: redirect(f"/?leak={request.headers['X-Leak']}"))
    sign_in(laptop)
    secrets = {
        "password": PASSWORD,
        "cookie": jar_of(laptop)["device_session"],
        "browser cookie": jar_of(laptop)["device_session_browser"],
        "digest": extension.sessions_of(ada)[0].token_digest,
    }
    before = listening.sing()

    leak(laptop, secrets[kind])

    assert before == []
    assert len(listening.sing()) >= 1
    listening.said.clear()


def test_an_access_token_may_be_said_once(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, listening: Canary
) -> None:
    """The answer that hands it out may hold it; the second is a leak, and so is its digest."""
    app.add_url_rule("/say", "say", lambda: request.headers["X-Leak"])
    issued = extension.issue_token(ada, name="CI")

    _say(laptop, issued.token)
    once = listening.sing()
    _say(laptop, issued.token)
    twice = listening.sing()
    _say(laptop, issued.session.token_digest)

    assert once == []
    assert len(twice) >= 1
    assert len(listening.sing()) > len(twice)
    listening.said.clear()
