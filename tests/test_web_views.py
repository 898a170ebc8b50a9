"""The pages: what each does, for whom, and what it answers to everyone else."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from flask_login import LoginManager
from flask_wtf import CSRFProtect

from flask_device_sessions import DeviceSessions, current_user_id
from flask_device_sessions.ids import new_id
from flask_device_sessions.signing import Purpose
from flask_device_sessions.testing import Browser, DeviceSessionFactory
from flask_device_sessions.testing import login as sign_in_without_password
from flask_device_sessions.tokens import SessionToken
from tests.support import (
    PASSWORD,
    User,
    add_user,
    bare_app,
    db,
    hash_of,
    make_app,
    sign_in,
    statements,
    who,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)

ADA = "ada@example.com"

#: An id of nothing; the same in every process that collects these tests.
UNKNOWN = uuid.UUID("01234567-89ab-7cde-8f01-23456789abcd")

#: Every unsafe route, filled with ids of nothing.
UNSAFE = [
    "/login",
    "/logout",
    "/confirm",
    f"/devices/{UNKNOWN}/rename",
    f"/devices/{UNKNOWN}/revoke",
    f"/devices/sessions/{UNKNOWN}/revoke",
    "/devices/revoke-others",
    "/devices/revoke-all",
]

#: What browsers read as another place, or as no place.
EVIL = [
    "https://evil.example/",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/ /evil.example",
    "http:evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    "open",
    "?next=/open",
    "@evil.example",
    "/\x00",
    "/x\r\nSet-Cookie: a=b",
    "/" + "x" * 2048,
    "",
]

GOOD = ["/open", "/open?a=b&next=//x", "/a%5Cb", "/ä€", "/@evil.example", "/.//evil.example#x"]


@pytest.fixture
def alone(config: dict[str, Any]) -> Iterator[Browser]:
    """A browser on an app in memory with one person in it, for what no engine can change."""
    app = make_app(**config)
    with app.app_context():
        db.create_all()
        add_user()
        yield Browser(app)


def _ada() -> User:
    return db.session.scalars(sa.select(User)).one()


def _extension(browser: Browser) -> DeviceSessions:
    extension: DeviceSessions = browser.application.extensions["device_sessions"]
    return extension


def _post(browser: Browser, path: str, **fields: Any) -> Any:
    return browser.post(path, data=fields)


def _token_in(page: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found is not None
    return found[1]


# -- Login ---------------------------------------------------------------------------------------


def test_the_right_password_leads_to_after_login(ada: User, laptop: Browser) -> None:
    """Without ``next``, there; by See Other, so that a reload sends nothing again."""
    answer = sign_in(laptop)

    assert (answer.status_code, answer.location) == (303, "/whoami")


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_AFTER_LOGIN": "open"}])
def test_after_login_may_name_an_endpoint(alone: Browser) -> None:
    """Or a path."""
    assert sign_in(alone).location == "/open"


@pytest.mark.parametrize(
    ("identifier", "password"),
    [
        (ADA, "wrong"),
        ("nobody@example.com", PASSWORD),
        ("off@example.com", PASSWORD),
        ("sso@example.com", PASSWORD),
        (ADA, ""),
        ("", ""),
        (ADA, "x" * 5000),
        ("\x00", "\x00"),
        ("x" * 100_000, "y"),
    ],
)
def test_every_refusal_says_the_same(
    ada: User, laptop: Browser, phone: Browser, identifier: str, password: str
) -> None:
    """Unknown, wrong, disabled, without a password: the same bytes but what was typed (6.3.8)."""
    add_user("off@example.com", is_enabled=False)
    add_user("sso@example.com", password_hash=None)
    usual = sign_in(phone, "nobody-at-all@example.com", password="wrong")

    answer = sign_in(laptop, identifier, password=password)

    assert answer.status_code == usual.status_code == 401
    assert _without_value(answer.text) == _without_value(usual.text)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    assert "The name or the password is wrong." in answer.text
    assert "Set-Cookie" not in answer.headers


def _without_value(page: str) -> str:
    return re.sub(r'(id="identifier"[^>]*?) value="[^"]*"', r"\1", page)


def test_the_form_keeps_what_was_typed_but_the_password(alone: Browser) -> None:
    """The name, the box and ``next`` stay; all are escaped (ASVS V1.2.1)."""
    answer = sign_in(alone, '"><b>x', password="s3cret!", remember="y", next="/open")

    assert 'value="&#34;&gt;&lt;b&gt;x"' in answer.text
    assert re.search(r"<input[^>]*checked[^>]*>", answer.text)
    assert 'value="/open"' in answer.text
    assert "s3cret!" not in answer.text


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"identifier": "\xff'),
        ("application/json", b'{"identifier": ["a"], "password": {"$ne": 1}, "remember": 7}'),
        ("application/json", b"[1, 2]"),
        ("application/json", b'"text"'),
        ("application/json", b"null"),
        ("text/plain", b"identifier=ada@example.com"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n"),
        ("application/x-www-form-urlencoded", b"identifier=%ff%00&password=%ed%a0%80&=&&"),
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout", "/devices/revoke-others"])
def test_a_body_that_is_no_form_is_no_trouble(
    alone: Browser, path: str, content_type: str, body: bytes
) -> None:
    """It is refused like an empty form, and never an error of the server."""
    alone.application.config["PROPAGATE_EXCEPTIONS"] = False

    answer = alone.post(path, data=body, content_type=content_type)

    refusals = (400, 401) if path == "/login" else (302, 303, 400, 401)  # 401: JSON for JSON
    assert answer.status_code in refusals
    assert who(alone) is None


def test_fields_that_come_twice_count_once(alone: Browser) -> None:
    """The first of each; a second password is no second try."""
    fields = {"identifier": [ADA, "x"], "password": ["wrong", PASSWORD]}

    assert alone.post("/login", data=fields).status_code == 401


@pytest.mark.parametrize("place", GOOD)
def test_next_is_kept_through_the_form(alone: Browser, place: str) -> None:
    """From the link to the form and on to the place, also after a mistake."""
    page = alone.get("/login", query_string={"next": place})
    sign_in(alone, password="wrong", next=place)
    answer = sign_in(alone, next=place)

    assert page.text.count('name="next"') == 1
    assert answer.status_code == 303
    assert answer.location is not None
    assert answer.location.startswith("/")
    assert not answer.location.startswith("//")


@pytest.mark.parametrize("place", EVIL)
def test_next_never_leads_elsewhere(alone: Browser, place: str) -> None:
    """The browser's reading of a URL decides: this site, or nowhere (ASVS V3.7.2)."""
    page = alone.get("/login", query_string={"next": place})
    mistake = sign_in(alone, password="wrong", next=place)
    answer = sign_in(alone, next=place)
    later = alone.get("/login", query_string={"next": place})

    assert answer.location == later.location == "/whoami"
    for text in (page.text, mistake.text):
        assert re.search(r'<input[^>]*name="next"[^>]*value=""', text)


def test_who_is_signed_in_is_sent_on(alone: Browser) -> None:
    """The login page is for strangers."""
    sign_in(alone)

    assert alone.get("/login").location == "/whoami"
    assert alone.get("/login?next=/open").location == "/open"


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("revoked", "You were signed out from another device."),
        ("admin", "You were signed out by an administrator."),
        ("password_changed", "because the password was changed"),
    ],
)
def test_an_ended_sessions_visitor_is_told_why_once(
    extension: DeviceSessions, ada: User, laptop: Browser, reason: str, sentence: str
) -> None:
    """The page says it and deletes the dead cookie."""
    sign_in(laptop)
    extension.revoke(extension.sessions_of(ada)[0], reason=reason)

    first, second = laptop.get("/login"), laptop.get("/login")

    assert sentence in first.text
    assert "device_session=;" in first.headers["Set-Cookie"]
    assert sentence not in second.text
    assert "Set-Cookie" not in second.headers


@pytest.mark.parametrize(
    ("passed", "sentence"),
    [(timedelta(days=14), "away for a long time"), (timedelta(days=30), "has expired")],
)
def test_a_session_that_ended_by_itself_says_so(
    extension: DeviceSessions, ada: User, laptop: Browser, passed: timedelta, sentence: str
) -> None:
    """At the limit, to the second; and the row has its reason (ASVS V7.3.1, V7.3.2)."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        clock.shift(passed)
        page = laptop.get("/login").text

    assert sentence in page
    assert extension.sessions_of(ada, ended=True)[0].end_reason in ("idle", "expired")


def test_somebody_elses_junk_cookie_tells_nothing(alone: Browser) -> None:
    """Who never was signed in was not signed out."""
    alone.set_cookie("device_session", "junk")

    assert "signed out" not in alone.get("/login").text


# -- Logout --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({}, "/login"),
        ({"DEVICE_SESSIONS_AFTER_LOGOUT": "/open"}, "/open"),
        ({"DEVICE_SESSIONS_AFTER_LOGOUT": "open"}, "/open"),
    ],
)
def test_logout_leads_to_after_logout(config: dict[str, Any], alone: Browser, place: str) -> None:
    """The login page, unless the app says otherwise (ASVS V7.4.1)."""
    sign_in(alone)

    answer = alone.post("/logout")

    assert (answer.status_code, answer.location) == (303, place)
    assert who(alone) is None


def test_logout_of_a_stranger_is_no_error(alone: Browser) -> None:
    """As after a second click."""
    assert alone.post("/logout").location == "/login"


# -- CSRF ----------------------------------------------------------------------------------------


CSRF: dict[str, Any] = {"WTF_CSRF_ENABLED": True}


@pytest.fixture(params=[False, True], ids=["ours alone", "CSRFProtect"])
def guarded(request: pytest.FixtureRequest) -> Flask:
    """An app in memory with CSRF protection: of our pages alone, or of the whole app besides."""
    app = make_app(**CSRF)
    if request.param:
        CSRFProtect(app)
    with app.app_context():
        db.create_all()
        add_user()
    return app  # no context stays open: Flask-WTF keeps a request's token in it


@pytest.mark.parametrize("path", UNSAFE)
@pytest.mark.parametrize("token", [None, "forged"])
def test_no_unsafe_route_acts_without_its_token(
    guarded: Flask, path: str, token: str | None
) -> None:
    """With Flask-WTF's CSRFProtect on the app and without it (ASVS V3.5.1)."""
    laptop, phone = Browser(guarded), Browser(guarded)
    with guarded.app_context():
        for browser in (laptop, phone):
            sign_in_without_password(browser, _ada())
    fields = {"identifier": ADA, "password": PASSWORD}

    answer = laptop.post(path, data=fields | ({"csrf_token": token} if token else {}))

    assert answer.status_code == 400
    assert [who(laptop), who(phone)] == [ADA] * 2


#: The forms of the page, each before the ones that would end what it needs.
ORDER = ("/rename", "/revoke", "/revoke-others", "/revoke-all", "/logout")


def test_every_form_works_as_it_is_shown(guarded: Flask) -> None:
    """With the token that its page carries, from login to logout (ASVS V3.5.1)."""
    laptop, phone = Browser(guarded), Browser(guarded)
    for browser in (laptop, phone):
        token = _token_in(browser.get("/login").text)
        _post(browser, "/login", identifier=ADA, password=PASSWORD, csrf_token=token)
    page = laptop.get("/devices/").text
    actions = set(re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"', page))

    for action in sorted(actions, key=lambda path: ORDER.index(f"/{path.rpartition('/')[2]}")):
        answer = _post(laptop, action, csrf_token=_token_in(page), name="mine")

        assert answer.status_code == 303, action

    assert {f"/{action.rpartition('/')[2]}" for action in actions} == set(ORDER)
    assert [who(laptop), who(phone)] == [None, None]
    assert page.count("<form") == page.count('name="csrf_token"')


@pytest.mark.parametrize("config", [CSRF | {"WTF_CSRF_FIELD_NAME": "crumb"}])
def test_the_csrf_field_has_the_name_that_the_app_gave_it(alone: Browser) -> None:
    """WTF_CSRF_FIELD_NAME is honoured on our pages."""
    page = alone.get("/login").text
    crumb = page.partition('name="crumb"')[2].partition('value="')[2].partition('"')[0]

    answer = sign_in(alone, crumb=crumb)

    assert 'name="csrf_token"' not in page
    assert answer.status_code == 303


@pytest.mark.parametrize("config", [CSRF])
@pytest.mark.parametrize("path", ["/logout", "/devices/revoke-all", "/confirm"])
def test_an_expired_form_says_that_nothing_was_changed(alone: Browser, path: str) -> None:
    """In words, with the headers of our pages."""
    sign_in_without_password(alone, _ada())

    answer = alone.post(path)

    assert answer.status_code == 400
    assert "Nothing was changed." in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("config", [CSRF])
@pytest.mark.parametrize("fields", [{}, {"ticket": "x", "end_session": "y"}])
def test_an_expired_login_form_can_be_sent_again(alone: Browser, fields: dict[str, str]) -> None:
    """Strangers are protected, too: nobody can sign them in elsewhere (ASVS V3.5.1)."""
    answer = sign_in(alone, **fields)

    assert answer.status_code == 400
    assert "open for too long" in answer.text
    assert who(alone) is None


# -- Safe methods --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_change_nothing(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser, method: str
) -> None:
    """On every route, for somebody who is signed in: no row differs, nothing is set (3.5.3)."""
    sign_in(laptop)
    sign_in(phone)
    session = next(s for s in extension.sessions_of(ada) if s.device_name == "iPhone")
    paths = [path for path in UNSAFE if "sessions" not in path and "/devices/0" not in path]
    paths += [
        "/devices/",
        f"/devices/{session.device_id}/rename?name=x",
        f"/devices/{session.device_id}/revoke",
        f"/devices/sessions/{session.id}/revoke",
    ]
    before = _rows(extension)

    for path in paths:
        answer = laptop.open(path, method=method)

        assert answer.status_code < 500
        assert "Set-Cookie" not in answer.headers

    assert _rows(extension) == before
    assert [who(laptop), who(phone)] == [ada.email] * 2


def _rows(extension: DeviceSessions) -> list[Any]:
    models = (extension.session_model, extension.device_model, extension.event_model)
    return [sorted(map(repr, db.session.execute(sa.select(m.__table__)))) for m in models]


@pytest.mark.parametrize("config", [{}, CSRF])
@pytest.mark.parametrize("path", ["/login", "/confirm", "/devices/"])
def test_head_is_get_without_a_body(config: dict[str, Any], alone: Browser, path: str) -> None:
    """A monitor that asks for the head sees a page that works (RFC 9110 9.3.2)."""
    if path != "/login":
        sign_in_without_password(alone, _ada())

    assert alone.get(path).status_code == 200
    assert alone.head(path).status_code == 200


@pytest.mark.parametrize("path", [path for path in UNSAFE if path not in ("/login", "/confirm")])
def test_a_link_cannot_act(alone: Browser, path: str) -> None:
    """What changes something takes POST alone (ASVS V3.5.3)."""
    sign_in(alone)

    assert alone.get(path).status_code == 405


# -- Devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/devices/", "/confirm"])
def test_strangers_are_sent_to_the_login_page(alone: Browser, path: str) -> None:
    """And come back afterwards."""
    answer = alone.get(path)

    assert answer.status_code == 302
    assert answer.location.startswith("/login?next=")


@pytest.mark.parametrize("path", UNSAFE[3:])
def test_strangers_change_nothing(alone: Browser, path: str) -> None:
    """Whatever they send."""
    assert alone.post(path).status_code == 302


def test_the_list_leads_to_the_other_pages(ada: User, laptop: Browser) -> None:
    """Also under a layout of the app's own, which knows nothing of them."""
    sign_in(laptop)

    text = laptop.get("/devices/").text.partition("<main")[2]

    assert 'href="/devices/activity"' in text
    assert 'href="/devices/tokens"' in text


def test_the_list_is_of_ones_own_sessions(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """Nobody sees another's (ASVS V8.2.2)."""
    add_user("bob@example.com")
    sign_in(laptop)
    sign_in(phone, "bob@example.com")

    page = laptop.get("/devices/").text

    assert "iPhone" not in page
    assert "No other device is signed in." in page


def test_this_device_comes_first(app: Flask, ada: User, laptop: Browser, phone: Browser) -> None:
    """Whichever was active last."""
    sign_in(laptop)
    sign_in(phone)

    page = laptop.get("/devices/").text

    assert page.index("Linux PC") < page.index("iPhone")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/devices/{}/rename", "device"),
        ("/devices/{}/revoke", "device"),
        ("/devices/sessions/{}/revoke", "session"),
    ],
)
def test_ids_of_others_of_nothing_and_of_no_shape_are_the_same_404(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser, path: str, what: str
) -> None:
    """The same bytes for all, and nothing happened (ASVS V8.2.2)."""
    bob = add_user("bob@example.com")
    sign_in(phone, bob.email)
    sign_in(laptop)
    (session,) = extension.sessions_of(bob)
    foreign = {"session": session.id, "device": session.device_id}[what]
    wrong_kind = {"session": session.device_id, "device": session.id}[what]
    ids = [
        foreign,
        wrong_kind,
        new_id(),
        uuid.UUID(int=0),
        "1",
        "x" * 500,
        "%00",
        str(foreign)[:-1],
    ]

    answers = [laptop.post(path.format(row_id), data={"name": "mine"}) for row_id in ids]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.data for answer in answers}) == 1
    assert who(phone) == bob.email
    assert extension.devices_of(bob)[0].name is None


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Kitchen", "Kitchen"),
        ("  Kitchen\x00\n ", "Kitchen"),
        ("", None),
        ("\u202e\x07", None),
        ("x" * 101, "x" * 100),
        ("<b>&", "<b>&"),
        ("مطبخ 📱", "مطبخ 📱"),
    ],
)
def test_a_name_is_cleaned_cut_and_escaped(alone: Browser, typed: str, kept: str | None) -> None:
    """The person's own words, made safe to store and to show (ASVS V1.2.1, V2.2.1)."""
    sign_in(alone)
    (device,) = _extension(alone).devices_of(_ada())

    _post(alone, f"/devices/{device.id}/rename", name=typed)
    page = alone.get("/devices/").text

    db.session.refresh(device)
    assert device.name == kept
    assert "<b>&" not in page


def test_a_rename_without_a_name_takes_it_away(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """A form without its field is like an empty one."""
    sign_in(laptop)
    (device,) = extension.devices_of(ada)
    _post(laptop, f"/devices/{device.id}/rename", name="Kitchen")

    answer = laptop.post(f"/devices/{device.id}/rename")

    db.session.refresh(device)
    assert answer.location == "/devices/"
    assert device.name is None


@pytest.mark.parametrize("path", ["/devices/revoke-all", "/devices/sessions/{}/revoke"])
def test_who_signs_themselves_out_is_sent_to_the_login_page(
    extension: DeviceSessions, ada: User, laptop: Browser, path: str
) -> None:
    """With a word on what happened."""
    sign_in(laptop)
    (session,) = extension.sessions_of(ada)

    answer = laptop.post(path.format(session.id))

    assert answer.location == "/login"
    assert "1 device was signed out." in laptop.get("/login").text


def test_a_second_click_says_that_it_was_done_already(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """Revoking twice is no error."""
    sign_in(phone)
    sign_in(laptop)
    session = next(s for s in extension.sessions_of(ada) if s.device_name == "iPhone")
    path = f"/devices/sessions/{session.id}/revoke"

    laptop.post(path)
    page = laptop.post(path, follow_redirects=True).text

    assert "That device was signed out already." in page


@pytest.mark.parametrize("number", [1, 5])
def test_the_device_page_costs_the_same_for_one_device_and_for_five(
    app: Flask, ada: User, laptop: Browser, number: int
) -> None:
    """Three statements after the look-up of the request, however many devices there are."""
    for _ in range(number - 1):
        sign_in_without_password(Browser(app), ada)
    sign_in_without_password(laptop, ada)

    with statements(app) as seen:
        page = laptop.get("/devices/").text

    assert f"Signed in on {number} device" in page
    assert [s.split()[0] for s in seen] == ["SELECT"] * 4


def test_sessions_that_ended_on_other_devices_cost_nothing_more(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """No statement per row: the ended ones on the page, each of a device of its own."""
    counts = []
    for _ in range(4):
        gone = Browser(app)
        extension.revoke(sign_in_without_password(gone, ada))
        sign_in_without_password(laptop, ada)
        db.session.expunge_all()
        with statements(app) as seen:
            laptop.get("/devices/")
        counts.append(len(seen))

    assert len(set(counts)) == 1, counts


def test_a_thousand_ended_sessions_behind_it_change_nothing(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The page shows the last few of them, with the same number of statements."""
    for _ in range(300):
        DeviceSessionFactory.create(user_id=ada.id, ended=True)
    db.session.commit()
    sign_in_without_password(laptop, ada)
    db.session.expunge_all()

    with statements(app) as seen:
        page = laptop.get("/devices/").text

    assert len(seen) == 4
    assert page.count("Signed out there.") == 5


# -- Confirm -------------------------------------------------------------------------------------


def test_the_confirm_page_keeps_next(alone: Browser) -> None:
    """From the link to the form, through a wrong password, and on."""
    sign_in(alone)

    page = alone.get("/confirm?next=/open").text
    mistake = _post(alone, "/confirm", password="wrong", next="/open")
    answer = _post(alone, "/confirm", password=PASSWORD, next="/open")

    assert 'value="/open"' in page
    assert mistake.status_code == 401
    assert "The password is wrong." in mistake.text
    assert 'value="/open"' in mistake.text
    assert answer.location == "/open"


@pytest.mark.parametrize("place", EVIL)
def test_the_confirm_page_never_leads_elsewhere(alone: Browser, place: str) -> None:
    """As the login page (ASVS V3.7.2)."""
    sign_in(alone)

    assert _post(alone, "/confirm", password=PASSWORD, next=place).location == "/whoami"


@pytest.mark.parametrize("action", ["junk", "x" * 5000, "a.b.c"])
def test_an_action_that_we_did_not_sign_does_nothing(alone: Browser, action: str) -> None:
    """Even with the right password (ASVS V9.1.1)."""
    sign_in(alone)

    answer = _post(alone, "/confirm", password=PASSWORD, action=action)

    assert answer.status_code == 400
    assert "Nothing was changed." in answer.text


# -- What can go wrong ---------------------------------------------------------------------------


@pytest.fixture
def broken() -> Iterator[Flask]:
    """An app whose database has people and none of our tables."""
    yield from _without_our_tables(make_app())


def _without_our_tables(app: Flask) -> Iterator[Flask]:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with app.app_context():
        User.__table__.create(db.engine)
        db.session.add(User(email=ADA, password_hash=hash_of(PASSWORD)))
        db.session.commit()
    yield app


def test_a_missing_table_is_named_to_the_developer(broken: Flask) -> None:
    """503, the table, and what to run."""
    answer = sign_in(Browser(broken))

    assert answer.status_code == 503
    assert "device_sessions" in answer.text
    assert "flask db upgrade" in answer.text
    assert answer.headers["Retry-After"] == "5"
    assert "Set-Cookie" not in answer.headers


def test_a_missing_table_is_not_named_to_visitors(
    broken: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """They read a plain sentence; the log has the rest (ASVS V16.5.1)."""
    broken.testing = False

    answer = sign_in(Browser(broken))

    assert answer.status_code == 503
    assert "Signing in and out is not possible now." in answer.text
    assert "flask db upgrade" not in answer.text
    assert "flask db upgrade" in caplog.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_who_has_a_cookie_is_not_taken_for_a_stranger(
    broken: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """Views that ask who is calling answer 503, the others run, and the cookie stays."""
    broken.add_url_rule("/who", "who", lambda: str(current_user_id()))
    browser = _with_a_cookie(broken)
    paths = ("/whoami", "/who", "/private", "/devices/", "/open")

    answers = {path: browser.get(path) for path in paths}

    assert [answer.status_code for answer in answers.values()] == [503, 503, 503, 503, 200]
    assert answers["/whoami"].headers["Retry-After"] == "5"
    assert all("Set-Cookie" not in answer.headers for answer in answers.values())
    assert "flask db upgrade" in caplog.text


def _with_a_cookie(app: Flask) -> Browser:
    """Return a browser with a well-signed credential."""
    browser = Browser(app)
    token = SessionToken.issue(new_id()).text()
    with app.app_context():
        signed = _extension(browser).signatures.sign(Purpose.SESSION, token)
    browser.set_cookie("device_session", signed)
    return browser


@pytest.mark.parametrize("has_cookie", [False, True])
@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_the_page_about_a_missing_table_needs_no_user(path: str, has_cookie: bool) -> None:
    """Also where the app has a LoginManager whose templates ask for one: 503, never 500."""
    app = bare_app()
    db.init_app(app)
    LoginManager(app)
    DeviceSessions(app)
    (app,) = _without_our_tables(app)
    browser = _with_a_cookie(app) if has_cookie else Browser(app)

    answer = browser.post(path, data={"identifier": ADA, "password": PASSWORD})

    if path == "/logout" and not has_cookie:
        assert answer.status_code == 303
    else:
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert "device_sessions" in answer.text


@pytest.mark.parametrize("problem", ["table", "limit"])
def test_an_app_without_our_pages_is_answered_too(problem: str) -> None:
    """With PAGES off, a verb that cannot do its part is 503 or 409 all the same, never 500."""
    app = bare_app(
        DEVICE_SESSIONS_PAGES=False,
        DEVICE_SESSIONS_MAX_PER_USER=1,
        DEVICE_SESSIONS_LIMIT_POLICY="refuse",
    )
    db.init_app(app)
    extension = DeviceSessions(app)

    @app.post("/enter")
    def enter() -> str:
        extension.login(db.session.scalars(sa.select(User)).one())
        return "in"

    (app,) = _without_our_tables(app)
    if problem == "limit":
        with app.app_context():
            db.create_all()
            user = db.session.scalars(sa.select(User)).one()
            sign_in_without_password(Browser(app), user)

    answer = Browser(app).post("/enter")

    assert answer.status_code == {"table": 503, "limit": 409}[problem]


@pytest.mark.parametrize(
    ("config", "base_url", "is_warned"),
    [
        ({"DEVICE_SESSIONS_COOKIE_SECURE": True}, "http://localhost", True),
        ({"DEVICE_SESSIONS_COOKIE_SECURE": True}, "https://localhost", False),
        ({}, "http://localhost", False),
    ],
)
def test_a_cookie_that_a_browser_may_drop_is_warned_of(
    config: dict[str, Any],
    app: Flask,
    ada: User,
    laptop: Browser,
    caplog: pytest.LogCaptureFixture,
    base_url: str,
    is_warned: bool,
) -> None:
    """A sign-in over HTTP with a cookie for HTTPS only leads nowhere: the log says why."""
    form = {"identifier": ada.email, "password": PASSWORD}
    with caplog.at_level(logging.WARNING):
        laptop.post("/login", data=form, base_url=base_url)

    assert ("COOKIE_SECURE = False" in caplog.text) is is_warned
    assert PASSWORD not in caplog.text


class TestAnAppThatAsksForMore:
    """What the app hangs into our pages may meet a fault of the database, too."""

    @pytest.fixture
    def config(self) -> dict[str, Any]:
        """Who is an administrator is asked of a table that is not there."""

        def is_admin(user: User) -> bool:
            return bool(db.session.execute(sa.text("SELECT 1 FROM no_such_table")).scalar())

        return {"DEVICE_SESSIONS_ADMIN": is_admin}

    def test_a_fault_beside_the_verbs_is_503(self, ada: User, laptop: Browser) -> None:
        """With Retry-After, as if it were ours; the next page works."""
        sign_in(laptop)

        answer = laptop.get("/devices/?user=0")

        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert laptop.get("/devices/").status_code == 200
