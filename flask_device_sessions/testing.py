"""What the tests of apps use: browsers, sign-ins without a password, rows in any state.

Needs the extra ``testing`` for :class:`DeviceSessionFactory` (factory_boy).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import factory
from blinker import Signal
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.http import dump_cookie, parse_cookie

from .ambient import utc_now
from .ids import new_id
from .proxies import current_extension
from .tokens import SessionToken

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Safari/605.1.15"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
PIXEL = (
    "Mozilla/5.0 (Linux; Android 15; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/138.0.0.0 Mobile Safari/537.36"
)


class Browser(FlaskClient):
    """A test client that is a device: cookies, user agent and address of its own.

    Args:
        app: the app to visit.
        user_agent: the text it sends.
        ip: the address it comes from.
    """

    def __init__(self, app: Flask, user_agent: str = FIREFOX, ip: str = "192.0.2.1") -> None:
        super().__init__(app, app.response_class, use_cookies=True)
        self.environ_base = {"REMOTE_ADDR": ip, "HTTP_USER_AGENT": user_agent}


def login(client: FlaskClient, user: Any, **columns: Any) -> Any:
    """Sign a test client in without a password.

    Args:
        client: any Flask test client; its cookies are set.
        user: the user, from the app's database session.
        **columns: values for the session's row, such as ``last_active_at``.

    Returns:
        The ``DeviceSession``.
    """
    app = client.application
    with app.app_context():
        environ = _environ_of(client)
    with app.test_request_context(environ_overrides=environ):
        session = current_extension.login(user, method="test", commit=not columns)
        for name, value in columns.items():
            setattr(session, name, value)
        current_extension.database_session.commit()
        response = app.process_response(app.make_response(""))
        _take_cookies(client, response.headers.getlist("Set-Cookie"))
    return session


def _environ_of(client: FlaskClient) -> dict[str, Any]:
    name = current_extension.browser_cookie_name
    cookie = client.get_cookie(name)
    header = {"HTTP_COOKIE": dump_cookie(name, cookie.value)} if cookie else {}
    return {**client.environ_base, **header}


def _take_cookies(client: FlaskClient, headers: list[str]) -> None:
    for header in headers:
        name, value = next(iter(parse_cookie(header).items()))
        client.set_cookie(name, value)


@contextmanager
def listen_to(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    """Collect what a signal says while the block runs: one dict of its keywords a time."""
    heard: list[dict[str, Any]] = []

    def hear(sender: Any, **facts: Any) -> None:
        heard.append(facts)

    with signal.connected_to(hear):
        yield heard


class DeviceSessionFactory(factory.Factory[Any]):
    """Makes rows of ``device_sessions`` in any state, in the running app's database session.

    ``user`` must be given. The rows are flushed, not committed. Traits: ``expired``, ``idle``,
    ``stale`` (due for a touch), ``ended``, ``mobile``, ``android``, ``token``.
    """

    class Meta:
        """The model is the running app's."""

        model = dict

    id = factory.LazyFunction(new_id)
    kind = "browser"
    token_digest = factory.LazyAttribute(lambda row: SessionToken.issue(row.id).digest)
    user_agent = FIREFOX
    ip_address = "192.0.2.1"
    last_ip_address = factory.SelfAttribute("ip_address")
    created_at = factory.LazyFunction(utc_now)
    authenticated_at = factory.SelfAttribute("created_at")
    last_active_at = factory.SelfAttribute("created_at")
    expires_at = factory.LazyAttribute(lambda row: _later(row, current_extension.settings.lifetime))

    class Params:
        """The traits."""

        expired = factory.Trait(
            created_at=factory.LazyFunction(lambda: _ago(current_extension.settings.lifetime)),
            last_active_at=factory.LazyFunction(lambda: utc_now() - timedelta(minutes=1)),
        )
        idle = factory.Trait(
            last_active_at=factory.LazyFunction(
                lambda: _ago(current_extension.settings.idle_timeout)
            )
        )
        stale = factory.Trait(
            last_active_at=factory.LazyFunction(
                lambda: utc_now() - current_extension.settings.touch_interval * 2
            )
        )
        ended = factory.Trait(ended_at=factory.LazyFunction(utc_now), end_reason="logout")
        mobile = factory.Trait(user_agent=IPHONE)
        android = factory.Trait(user_agent=PIXEL)
        token = factory.Trait(kind="token", name="CI", auth_method="token", user_agent="curl/8.0")

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **columns: Any) -> Any:
        row = current_extension.session_model(**columns)
        session = current_extension.database_session
        session.add(row)
        session.flush()
        return row


def _ago(span: timedelta | None) -> Any:
    return utc_now() - (span or timedelta(days=365)) - timedelta(seconds=1)


def _later(row: Any, span: timedelta | None) -> Any:
    return None if span is None else row.created_at + span
