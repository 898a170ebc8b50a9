"""Cookies in and out: names, attributes, signatures, and what forged ones are worth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
import time_machine
from flask import Flask, Request, Response, g, make_response, stream_with_context
from flask_login import current_user
from itsdangerous import TimestampSigner
from werkzeug.http import parse_date
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_device_sessions import DeviceSessions, transport
from flask_device_sessions.config import Settings
from flask_device_sessions.ids import new_id
from flask_device_sessions.signing import Purpose, Signatures
from flask_device_sessions.testing import Browser
from flask_device_sessions.tokens import SessionToken
from flask_device_sessions.transport import COOKIE_AGE, Transport
from flask_device_sessions.visit import Outgoing
from tests.engines import Engine
from tests.support import (
    PASSWORD,
    User,
    add_views,
    bare_app,
    db,
    jar_of,
    make_app,
    replay,
    sign_in,
    statements,
    who,
)

SESSION = "device_session"
BROWSER = "device_session_browser"


def _transport(**settings: Any) -> Transport:
    return Transport(Settings(**settings))


def _app(*, debug: bool = False, testing: bool = False) -> Flask:
    app = bare_app(TESTING=testing)
    app.debug = debug
    return app


def _everything() -> Outgoing:
    return Outgoing(token=SessionToken.issue(new_id()), browser_id=b"0123456789abcdef")


def _written(transport: Transport, app: Flask, outgoing: Outgoing) -> Response:
    response = app.response_class("")
    transport.write(app, response, outgoing)
    return response


def _cookies(response: Any) -> dict[str, Morsel[str]]:
    cookies: dict[str, Morsel[str]] = {}
    for header in response.headers.getlist("Set-Cookie"):
        cookies.update(SimpleCookie(header))
    return cookies


def _attributes(morsel: Morsel[str]) -> dict[str, Any]:
    names = ("path", "domain", "secure", "httponly", "samesite")
    return {name: morsel[name] for name in names if morsel[name]}


# -- Names and attributes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "__Host-device_session"),
        ({"cookie_secure": True}, "__Host-device_session"),
        ({"cookie_secure": False}, "device_session"),
        ({"cookie_path": "/app"}, "device_session"),
        ({"cookie_domain": "example.com"}, "device_session"),
        ({"cookie_name": "sid"}, "sid"),
        ({"cookie_name": "sid", "cookie_domain": "example.com"}, "sid"),
    ],
)
def test_the_cookie_has_the_host_prefix_wherever_browsers_allow_it(
    settings: dict[str, Any], name: str
) -> None:
    """Secure, path "/" and no domain give a ``__Host-`` name; a name of the app's own stays."""
    transport = _transport(**settings)

    assert transport.cookie_name(_app()) == name
    assert transport.browser_cookie_name(_app()) == f"{name}_browser"


@pytest.mark.parametrize(
    ("settings", "mode", "is_secure"),
    [
        ({}, {}, True),
        ({}, {"debug": True}, False),
        ({}, {"testing": True}, False),
        ({"cookie_secure": True}, {"debug": True, "testing": True}, True),
        ({"cookie_secure": False}, {}, False),
    ],
)
def test_cookies_are_for_https_unless_in_debug_or_testing(
    settings: dict[str, Any], mode: dict[str, bool], is_secure: bool
) -> None:
    """COOKIE_SECURE decides; left alone, it follows the app's mode (ASVS V3.3.1)."""
    response = _written(_transport(**settings), _app(**mode), _everything())

    assert [bool(morsel["secure"]) for morsel in _cookies(response).values()] == [is_secure] * 2


@pytest.mark.parametrize("mode", ["debug", "testing"])
def test_a_mode_that_is_set_after_init_app_is_honoured(mode: str) -> None:
    """``app.debug = True`` or ``app.testing = True`` after the extension came still counts."""
    app = make_app(TESTING=False)
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        before = (extension.is_cookie_secure, extension.browser_cookie_name)

    setattr(app, mode, True)

    with app.app_context():
        assert before == (True, "__Host-device_session_browser")
        assert not extension.is_cookie_secure
        assert extension.browser_cookie_name == BROWSER


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"path": "/", "secure": True, "httponly": True, "samesite": "Lax"}),
        (
            {"cookie_samesite": "Strict", "cookie_path": "/shop", "cookie_secure": False},
            {"path": "/shop", "httponly": True, "samesite": "Strict"},
        ),
        (
            {"cookie_samesite": "None", "cookie_domain": "example.com"},
            {
                "path": "/",
                "domain": "example.com",
                "secure": True,
                "httponly": True,
                "samesite": "None",
            },
        ),
    ],
)
def test_a_deleting_cookie_carries_the_same_attributes(
    settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    """What set the cookie also deletes it; otherwise the browser keeps it (ASVS V3.3)."""
    app, transport = _app(), _transport(**settings)

    setting = _cookies(_written(transport, app, _everything()))
    deleting = _cookies(_written(transport, app, Outgoing(is_clearing=True)))

    name = transport.cookie_name(app)
    assert list(deleting) == [name]
    assert deleting[name].value == ""
    assert deleting[name]["expires"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    for morsel in (*setting.values(), *deleting.values()):
        assert _attributes(morsel) == expected


def test_a_sign_out_can_clear_what_the_site_has_left() -> None:
    """CLEAR_SITE_DATA is sent with the deleting cookie, and only then (ASVS V14.3.1)."""
    transport = _transport(clear_site_data=("cookies", "storage"))

    clearing = _written(transport, _app(), Outgoing(is_clearing=True))
    other = _written(transport, _app(), _everything())

    assert clearing.headers["Clear-Site-Data"] == '"cookies", "storage"'
    assert "Clear-Site-Data" not in other.headers
    assert (
        "Clear-Site-Data" not in _written(_transport(), _app(), Outgoing(is_clearing=True)).headers
    )


@pytest.mark.parametrize("setting", [{"cookie_name": "__Host-sid"}, {"cookie_samesite": "None"}])
@pytest.mark.parametrize("mode", ["debug", "testing"])
def test_what_browsers_take_with_secure_only_is_secure_in_every_mode(
    setting: dict[str, Any], mode: str
) -> None:
    """A ``__Host-`` name or SameSite=None without Secure would be dropped (ASVS V3.3.1, V3.3.3)."""
    response = _written(_transport(**setting), _app(**{mode: True}), _everything())

    assert all(morsel["secure"] for morsel in _cookies(response).values())


def test_only_a_remembered_session_gets_an_expiry() -> None:
    """Without one the browser forgets the cookie when it closes."""
    end = datetime(2031, 5, 4, 3, 2, 1, tzinfo=timezone.utc)
    token, transport, app = SessionToken.issue(new_id()), _transport(), _app(testing=True)

    short = _cookies(_written(transport, app, Outgoing(token=token)))[SESSION]
    long = _cookies(_written(transport, app, Outgoing(token=token, expires_at=end)))[SESSION]

    assert short["expires"] == short["max-age"] == ""
    assert parse_date(long["expires"]) == end


def test_the_browser_is_recognised_as_long_as_browsers_allow() -> None:
    """Its cookie lives 400 days, whether or not the session is remembered."""
    now = datetime(2030, 1, 1, tzinfo=timezone.utc)
    with time_machine.travel(now, tick=False):
        response = _written(_transport(), _app(testing=True), Outgoing(browser_id=b"x" * 16))

    assert parse_date(_cookies(response)[BROWSER]["expires"]) == now + COOKIE_AGE
    assert timedelta(days=400) == COOKIE_AGE


def test_cookies_stay_small() -> None:
    """Each Set-Cookie is under 200 bytes, also when it has an expiry (ASVS V3.3)."""
    transport = _transport(cookie_samesite="Strict")
    end = datetime(2031, 5, 4, tzinfo=timezone.utc)
    outgoing = Outgoing(SessionToken.issue(new_id()), end, True, b"0123456789abcdef")

    headers = _written(transport, _app(), outgoing).headers.getlist("Set-Cookie")

    assert len(headers) == 3
    assert max(len(header) for header in headers) < 200


# -- Caches ------------------------------------------------------------------------------------


def test_an_answer_with_a_cookie_is_never_stored() -> None:
    """Even where the view allowed caches to keep it (ASVS V14.3.2)."""
    app, response = _app(), Response("")
    response.cache_control.public = True
    response.cache_control.max_age = 60

    _transport().write(app, response, _everything())

    assert response.headers["Cache-Control"] == "no-store"


def test_an_answer_varies_by_cookie_whatever_keeps_flasks_session() -> None:
    """Flask says so only where its own session was asked; we always ask ours (ASVS V14.3.2)."""
    app, response = _app(), Response("")

    _transport().write(app, response, Outgoing())

    assert set(response.vary) == {"Authorization", "Cookie"}


def test_a_stream_varies_for_it_may_ask_yet(app: Flask, ada: User, phone: Browser) -> None:
    """Its headers are sent before its body is made."""

    @app.get("/stream")
    def stream() -> Response:
        return Response(stream_with_context(str(bool(current_user)) for _ in range(1)))

    assert set(phone.get("/stream").vary) == {"Authorization", "Cookie"}


def test_an_answer_varies_if_somebody_asks_after_the_view(engine: Engine) -> None:
    """Also a hook that was there before the extension."""
    app = bare_app(engine.uri)

    @app.after_request
    def say_who(response: Response) -> Response:
        response.headers["X-Who"] = str(current_user.is_authenticated)
        return response

    db.init_app(app)
    DeviceSessions(app)
    add_views(app)

    answer = Browser(app).get("/open")

    assert answer.headers["X-Who"] == "False"
    assert set(answer.vary) == {"Authorization", "Cookie"}


@pytest.mark.parametrize("asks", [True, False], ids=["asks", "does not ask"])
def test_an_answer_varies_if_a_credential_came_or_somebody_asked_for_one(
    app: Flask, ada: User, laptop: Browser, phone: Browser, asks: bool
) -> None:
    """A shared cache must not give one person's page to another; what a view says stays."""

    @app.get("/cached")
    def cached() -> Response:
        response = make_response("for one" if asks and g.current_session else "for everybody")
        response.vary.add("Accept-Language")
        response.headers["Cache-Control"] = "max-age=60"
        return response

    sign_in(laptop)

    signed_in, anonymous = laptop.get("/cached"), phone.get("/cached")

    assert set(signed_in.vary) == {"Accept-Language", "Authorization", "Cookie"}
    assert set(anonymous.vary) == (set(signed_in.vary) if asks else {"Accept-Language"})
    for answer in (signed_in, anonymous):
        assert answer.headers["Cache-Control"] == "max-age=60"
        assert "Set-Cookie" not in answer.headers


# -- Bad credentials ---------------------------------------------------------------------------


def test_what_was_written_is_read_again() -> None:
    """A token and a browser's name come back as they went out."""
    app, transport, outgoing = _app(testing=True), _transport(), _everything()
    cookies = _cookies(_written(transport, app, outgoing))
    header = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())

    with app.test_request_context(headers={"Cookie": header}) as context:
        request: Request = context.request

        assert transport.read_token(app, request) == outgoing.token
        assert transport.read_browser_id(app, request) == outgoing.browser_id


Forge = Callable[[dict[str, str], Signatures], str]


def _text(jar: dict[str, str]) -> str:
    return jar[SESSION].rpartition(".")[0]


def _flip(text: str, place: int) -> str:
    other = "A" if text[place] != "A" else "B"
    return text[:place] + other + text[place:][1:]


FORGERIES: dict[str, Forge] = {
    "empty": lambda jar, keys: "",
    "junk": lambda jar, keys: "junk",
    "dots": lambda jar, keys: "....",
    "percent and quotes": lambda jar, keys: '"%00%FF\\"',
    "truncated by one": lambda jar, keys: jar[SESSION][:-1],
    "truncated in the middle": lambda jar, keys: jar[SESSION][:30],
    "no signature": lambda jar, keys: _text(jar),
    "signature alone": lambda jar, keys: jar[SESSION][len(_text(jar)) :],
    "changed content": lambda jar, keys: _flip(jar[SESSION], 20),
    "changed signature": lambda jar, keys: _flip(jar[SESSION], 50),
    "longer by one": lambda jar, keys: jar[SESSION] + "A",
    "twice": lambda jar, keys: jar[SESSION] * 2,
    "re-signed with another key": lambda jar, keys: Signatures("another secret key").sign(
        Purpose.SESSION, _text(jar)
    ),
    "signed for another purpose": lambda jar, keys: keys.sign(Purpose.LIMIT, _text(jar)),
    "the browser's cookie": lambda jar, keys: jar[BROWSER],
    "signed with a time": lambda jar, keys: (
        TimestampSigner("a secret of the test suite").sign(_text(jar)).decode()
    ),
    "signed, of another version": lambda jar, keys: keys.sign(
        Purpose.SESSION, "2" + _text(jar)[1:]
    ),
    "signed, cut": lambda jar, keys: keys.sign(Purpose.SESSION, _text(jar)[:-4]),
    "not ASCII": lambda jar, keys: "ä€\U0001f600" + jar[SESSION],
    "64 kilobytes": lambda jar, keys: jar[SESSION] * 600,
    "a megabyte": lambda jar, keys: "a" * 2**20,
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_credential_is_anonymous_without_any_sql(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, forge: Forge
) -> None:
    """No SQL, no Set-Cookie, no error: as if there were no cookie (ASVS V7.2.1, V9.1.1, V9.2.4)."""
    sign_in(laptop)
    jar = jar_of(laptop)
    header = f"{SESSION}={forge(jar, extension.signatures)}; {BROWSER}={jar[BROWSER]}"
    thief = {"HTTP_COOKIE": header.encode().decode("latin-1")}

    with statements(app) as seen:
        answer = app.test_client(use_cookies=False).get("/whoami", environ_overrides=thief)

    assert answer.status_code == 200
    assert answer.json == {"user": None, "session": None, "proxy": True}
    assert seen == []
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(("path", "varies"), [("/open", False), ("/whoami", True)])
def test_a_forged_cookie_is_none(app: Flask, path: str, varies: bool) -> None:
    """It is no credential: a view that asks nothing has one answer for everybody."""
    answer = replay(app, {SESSION: "forged"}).get(path)

    assert answer.status_code == 200
    assert ("Cookie" in answer.vary) is varies


@pytest.mark.parametrize("value", [b"\xff\xfe", b"\x80\x00;;=;=", b"a=b" * 5000, b"\xed\xa0\x80"])
def test_bytes_that_are_no_text_are_anonymous(app: Flask, value: bytes) -> None:
    """A Cookie header in no encoding at all is no error (ASVS V7.2.1)."""
    raw = b"device_session=" + value

    answer = Browser(app).get("/whoami", environ_overrides={"HTTP_COOKIE": raw.decode("latin-1")})

    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["user"] is None


@pytest.mark.parametrize("signed_at_all", [True, False])
def test_session_and_browser_cookie_do_not_swap(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, signed_at_all: bool
) -> None:
    """One salt per purpose: neither is accepted in the other's place (ASVS V9.2.4)."""
    sign_in(laptop)
    jar = jar_of(laptop)
    swapped = {SESSION: jar[BROWSER], BROWSER: jar[SESSION] if signed_at_all else "junk"}
    thief = replay(app, swapped)

    sign_in(thief)

    assert len(extension.devices_of(ada)) == 2
    assert jar_of(thief)[BROWSER] not in (*jar.values(), *swapped.values())


def test_a_signed_browser_name_that_is_no_base64_names_nobody() -> None:
    """Whatever was signed, what is no base64url text names no browser."""
    app, transport = _app(testing=True), _transport()
    signed = transport.signatures(app).sign(Purpose.BROWSER, "a")

    with app.test_request_context(headers={"Cookie": f"{BROWSER}={signed}"}) as context:
        assert transport.read_browser_id(app, context.request) is None
        assert transport.client_from(app, context.request).browser_digest is None


@pytest.mark.parametrize("is_known", [True, False])
def test_a_well_signed_credential_needs_its_row_and_its_secret(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, is_known: bool
) -> None:
    """Holding SECRET_KEY is not enough: id and secret must fit a row (ASVS V7.2.1, V7.2.3)."""
    sign_in(laptop)
    session_id = extension.sessions_of(ada)[0].id if is_known else new_id()
    forged = extension.signatures.sign(Purpose.SESSION, SessionToken.issue(session_id).text())
    thief = replay(app, {SESSION: forged})

    with statements(app) as seen:
        name = who(thief)

    assert name is None
    assert len(seen) == 1
    assert who(laptop) == ada.email


# -- SECRET_KEY --------------------------------------------------------------------------------


def test_a_rotated_secret_key_with_its_fallback_keeps_everyone(
    app: Flask, ada: User, laptop: Browser
) -> None:
    """Cookies under the old key go on working, and new ones are under the new key."""
    sign_in(laptop)
    old_key, old_jar = app.secret_key, jar_of(laptop)
    app.config.update(SECRET_KEY="the new secret key", SECRET_KEY_FALLBACKS=[old_key])

    kept = who(laptop)
    sign_in(laptop)

    assert kept == ada.email
    app.config["SECRET_KEY_FALLBACKS"] = []
    assert who(laptop) == ada.email
    assert jar_of(laptop)[BROWSER] != old_jar[BROWSER]


def test_a_rotated_secret_key_without_fallback_signs_everyone_out(
    app: Flask, ada: User, laptop: Browser
) -> None:
    """They are anonymous without SQL, and nothing fails."""
    sign_in(laptop)
    app.config["SECRET_KEY"] = "the new secret key"

    with statements(app) as seen:
        name = who(laptop)

    assert name is None
    assert seen == []


def test_a_rotated_secret_key_still_recognises_the_browser(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """With the fallback, the same browser is no new device."""
    sign_in(laptop)
    app.config.update(SECRET_KEY="the new secret key", SECRET_KEY_FALLBACKS=[app.secret_key])

    sign_in(laptop)

    assert len(extension.devices_of(ada)) == 1


# -- Who is calling ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP", "X-Client-IP"]
)
def test_headers_that_anybody_can_send_name_no_address(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, header: str
) -> None:
    """``remote_addr`` is the caller's address, whatever X-Forwarded-For says."""
    form = {"identifier": ada.email, "password": "correct horse battery staple"}

    laptop.post("/login", data=form, headers={header: "203.0.113.9"})

    (session,) = extension.sessions_of(ada)
    assert session.ip_address == "192.0.2.1"


def test_behind_a_proxy_the_address_is_what_proxy_fix_found(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Werkzeug's ProxyFix decides whom to believe."""
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    form = {"identifier": ada.email, "password": "correct horse battery staple"}

    laptop.post("/login", data=form, headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9"})

    (session,) = extension.sessions_of(ada)
    assert session.ip_address == "203.0.113.9"


@pytest.mark.parametrize("address", [None, "", "unix:", "not an address", "\x00"])
def test_a_caller_without_an_address_can_sign_in(
    app: Flask, extension: DeviceSessions, ada: User, address: str | None
) -> None:
    """Behind a Unix socket there is none, and none is stored."""
    browser = Browser(app)
    environ: dict[str, Any] = {"REMOTE_ADDR": address, "HTTP_USER_AGENT": "curl/8.0"}
    browser.environ_base = environ

    sign_in(browser)

    (session,) = extension.sessions_of(ada)
    assert session.ip_address is None
    assert who(browser) == ada.email


@pytest.mark.parametrize(
    "user_agent",
    ["", "x" * 65536, "A\x00B\x1b[31m", "\udcff\ud800", "\xff\xfe\x80", "\u202eevil", "%s{0}"],
    ids=["empty", "64 KB", "control", "surrogates", "invalid UTF-8", "bidi", "format"],
)
def test_any_user_agent_can_sign_in_and_be_shown(
    app: Flask, extension: DeviceSessions, ada: User, user_agent: str
) -> None:
    """Whatever was sent, what is stored is clean and cut, and the page shows it."""
    browser = Browser(app, user_agent)

    sign_in(browser)
    page = browser.get("/devices/")

    (session,) = extension.sessions_of(ada)
    assert page.status_code == 200
    assert len(session.user_agent) <= 512
    assert not any(ord(character) < 32 for character in session.user_agent)


def test_a_caller_without_a_user_agent_is_an_unknown_device(
    app: Flask, extension: DeviceSessions, ada: User
) -> None:
    """What was not sent is stored as nothing."""
    browser = Browser(app)
    browser.environ_base = {"REMOTE_ADDR": "192.0.2.1"}
    form = {"identifier": ada.email, "password": PASSWORD}

    browser.post("/login", data=form, headers={"User-Agent": ""})
    with app.test_request_context("/whoami"):
        client = extension.visit().client

    (session,) = extension.sessions_of(ada)
    assert session.user_agent == ""
    assert client.user_agent == ""


def test_forged_cookies_are_a_line_a_minute_in_the_log_of_events() -> None:
    """Strangers fill neither the table nor the log (ASVS V16.3.3)."""
    assert transport._junk._logger.name == "flask_device_sessions.audit"
    assert transport._junk._interval == 60


def test_two_hundred_cookies_are_no_trouble(app: Flask, ada: User, laptop: Browser) -> None:
    """Ours is found among those of others."""
    sign_in(laptop)
    for number in range(200):
        laptop.set_cookie(f"tracker_{number}", "x" * 20)

    assert who(laptop) == ada.email


def test_two_apps_sign_apart(ada: User, app: Flask, laptop: Browser) -> None:
    """A cookie of one app is junk to another with its own key."""
    sign_in(laptop)
    other = make_app(SECRET_KEY="the secret of another app")

    assert who(replay(other, jar_of(laptop))) is None


def test_remembering_lasts_as_long_as_the_session(app: Flask, ada: User, laptop: Browser) -> None:
    """The cookie of a remembered session ends with it, on the server's clock."""
    now = datetime(2030, 1, 1, tzinfo=timezone.utc)
    with time_machine.travel(now, tick=False):
        cookies = _cookies(sign_in(laptop, remember="y"))

    assert parse_date(cookies[SESSION]["expires"]) == now + timedelta(days=30)


@pytest.mark.parametrize(
    ("config", "is_remembered"),
    [
        ({"DEVICE_SESSIONS_REMEMBER": True}, True),
        ({"DEVICE_SESSIONS_REMEMBER": False}, False),
        ({"DEVICE_SESSIONS_REMEMBER": True, "DEVICE_SESSIONS_LIFETIME": None}, True),
    ],
)
def test_the_app_may_decide_about_remembering(
    app: Flask, ada: User, laptop: Browser, is_remembered: bool
) -> None:
    """REMEMBER other than "ask" overrules what the browser sent."""
    now = datetime(2030, 1, 1, tzinfo=timezone.utc)
    with time_machine.travel(now, tick=False):
        cookies = _cookies(sign_in(laptop, remember="" if is_remembered else "y"))

    assert bool(cookies[SESSION]["expires"]) is is_remembered
