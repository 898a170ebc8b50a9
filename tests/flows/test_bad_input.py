"""Whatever is sent, to every route of ours: a clear answer, nothing stored uncut, nobody fooled.

The routes are read from the app, so that a new one is tried without being named here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote_plus

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.routing import Rule

from flask_device_sessions import DeviceSessions
from flask_device_sessions.testing import Browser
from tests.support import PASSWORD, User, db, sign_in, who

#: Every field of every form, and some that are none.
FIELDS = (
    *("identifier", "password", "remember", "next", "action", "ticket", "end_session"),
    *("name", "scopes", "expires_in", "page", "csrf_token", "user_id", "__class__"),
)

MEGABYTE = 2**20

FORM = "application/x-www-form-urlencoded"

VALUES: dict[str, list[str | bytes]] = {
    "nothing": [""],
    "a megabyte": ["a" * MEGABYTE],
    "longer than any column": ["ä" * 2000],
    "NUL": ["a\x00b"],
    "lone surrogates": [b"\xed\xa0\x80\xed\xbf\xbf"],
    "no UTF-8": [b"\xff\xfe\x80"],
    "CRLF": ["a\r\nSet-Cookie: device_session=evil\r\n\r\n<script>"],
    "right to left": ["\u202eevil\u2066\u200f"],
    "arrays": ["1", "2", "' OR 1=1 --"],
    "numbers": ["-1", "1e309", "9" * 400, "NaN"],
    "templates": ["{{ 7*7 }}", "%(x)s %s %n", "${7*7}"],
}

BODIES = {
    "no type": (None, b"a=b"),
    "JSON": ("application/json", b'{"identifier": [1], "password": {"a": null}}'),
    "JSON of no object": ("application/json", b"[]"),
    "broken JSON": ("application/json", b'{"identifier": '),
    "JSON of a great depth": ("application/json", b"[" * 100_000),
    "XML": ("application/xml", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"),
    "broken multipart": ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-da"),
    "multipart without a boundary": ("multipart/form-data", b"--x--"),
    "an unknown character set": ("application/x-www-form-urlencoded; charset=evil", b"name=a"),
    "a thousand fields more": (FORM, b"&".join([b"a=b"] * 1001)),
    "a type that is none": ("/;/;=;\xff", b"name=a"),
}


@pytest.fixture
def config() -> dict[str, Any]:
    """No login limits: more is sent here than a person may."""
    return {"DEVICE_SESSIONS_LOGIN_RATE_LIMIT": None}


def _rules(app: Flask) -> list[Rule]:
    ours = [r for r in app.url_map.iter_rules() if r.endpoint.startswith("device_sessions")]
    return [rule for rule in ours if not rule.endpoint.endswith(".static")]


def _paths(app: Flask, user: User) -> list[tuple[str, str]]:
    """Return method and path of every route, with ids that are the person's."""
    extension: DeviceSessions = app.extensions["device_sessions"]
    session = extension.sessions_of(user)[0]
    ids = {"session_id": session.id, "device_id": session.device_id, "id": session.id}
    known: dict[str, Any] = {"signed": "signed"} | ids
    adapter = app.url_map.bind("localhost")
    return [
        (method, adapter.build(rule.endpoint, known, method=method, append_unknown=False))
        for rule in _rules(app)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def _send(browser: Browser, method: str, path: str, **request: Any) -> None:
    answer = browser.open(path, method=method, **request)
    answer.close()
    assert answer.status_code < 500, (method, path)


def _nothing_is_uncut(app: Flask) -> None:
    """Look at every text of every row: cut to its column, and fit to be shown."""
    extension: DeviceSessions = app.extensions["device_sessions"]
    for model in (extension.session_model, extension.device_model, extension.event_model):
        for row in db.session.execute(sa.select(model.__table__)).mappings():
            for column in model.__table__.columns:
                if isinstance(column.type, sa.String) and row[column.name]:
                    _is_clean(row[column.name], column.type.length or 0)
            if "detail" in row:
                for value in row["detail"].values():
                    _is_clean(str(value), 512)


def _is_clean(text: str, length: int) -> None:
    assert len(text) <= length
    assert not {unicodedata.category(character) for character in text} & {"Cc", "Cs", "Zl", "Zp"}
    assert "\u202e" not in text


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_no_value_of_any_field_is_an_error_or_stored_uncut(
    app: Flask, ada: User, laptop: Browser, values: list[str | bytes]
) -> None:
    """Every field of every form, filled in wrongly, all and one at a time (ASVS V2.2.1)."""
    good: dict[str, str | list[str | bytes]] = {"identifier": ada.email, "password": PASSWORD}
    sign_in(laptop)
    for method, path in _paths(app, ada):
        sign_in(laptop)
        _send_fields(laptop, method, path, dict.fromkeys(FIELDS, values))
        for field in FIELDS if len(values[0]) < MEGABYTE else ():  # which is refused unread
            _send_fields(laptop, method, path, {**good, field: values})

    _nothing_is_uncut(app)


def _send_fields(
    browser: Browser, method: str, path: str, fields: Mapping[str, str | list[str | bytes]]
) -> None:
    several = {k: [v] if isinstance(v, str) else v for k, v in fields.items()}
    text = "&".join(f"{name}={_quoted(v)}" for name, values in several.items() for v in values)
    if method == "GET":
        _send(browser, method, f"{path}?{text}")
    else:
        _send(browser, method, path, data=text, content_type=FORM)


@cache
def _quoted(value: str | bytes) -> str:
    return quote_plus(value)


@pytest.mark.parametrize(("content_type", "body"), BODIES.values(), ids=BODIES)
def test_no_body_of_any_type_is_an_error(
    app: Flask, ada: User, laptop: Browser, content_type: str | None, body: bytes
) -> None:
    """A body that is no form, or only half of one, is refused or ignored (ASVS V4.1.1)."""
    sign_in(laptop)
    for method, path in _paths(app, ada):
        sign_in(laptop)
        _send(laptop, method, path, data=body, content_type=content_type)
        _send(Browser(app), method, path, data=body, content_type=content_type)

    _nothing_is_uncut(app)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "BREW"])
def test_no_other_method_changes_anything(
    app: Flask, ada: User, laptop: Browser, phone: Browser, method: str
) -> None:
    """Only POST acts, whatever stands in a header or field about another (ASVS V3.5.3)."""
    sign_in(phone)
    sign_in(laptop)
    pretence = {
        "X-HTTP-Method-Override": "POST",
        "X-HTTP-Method": "POST",
        "X-Method-Override": "POST",
    }
    before = _rows(app)

    for _, path in _paths(app, ada):
        if path.startswith("/api/") and method == "DELETE":
            continue  # theirs to act on, with a CSRF token
        _send(laptop, method, f"{path}?_method=POST", headers=pretence, data={"_method": "POST"})

    assert _rows(app) == before


def _rows(app: Flask) -> list[Any]:
    extension: DeviceSessions = app.extensions["device_sessions"]
    models = (extension.session_model, extension.device_model, extension.event_model)
    return [db.session.execute(sa.select(m.__table__)).all() for m in models]


HEADERS = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "//evil.example",
    "X-Forwarded-Server": "evil.example",
    "X-Original-URL": "/devices/revoke-all",
    "X-Rewrite-URL": "/devices/revoke-all",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=https",
    "Referer": "https://evil.example/",
    "Origin": "null",
}


@pytest.mark.parametrize(("name", "value"), HEADERS.items(), ids=HEADERS)
def test_no_header_from_outside_gets_into_a_page_or_decides(
    app: Flask, ada: User, laptop: Browser, phone: Browser, name: str, value: str
) -> None:
    """Host, X-Forwarded-…, Referer and the like name no place and move nobody (ASVS V4.1.3)."""
    sign_in(phone)
    headers = {name: value}
    form = {"identifier": ada.email, "password": PASSWORD, "next": "/private"}

    answers = [
        laptop.get("/devices/", headers=headers),
        laptop.get("/login", headers=headers),
        laptop.post("/login", data=form, headers=headers),
        laptop.get("/login?next=/private", headers=headers),
        laptop.get("/devices/", headers=headers),
        laptop.post("/confirm", data={"password": PASSWORD}, headers=headers),
        laptop.post("/logout", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [302, 200, 303, 303, 200, 303, 303]
    assert [a.headers["Location"] for a in answers if "Location" in a.headers] == [
        "/login?next=%2Fdevices%2F",
        "/private",
        "/private",
        "/whoami",
        "/login",
    ]
    assert not any("evil.example" in answer.text for answer in answers)
    assert who(phone) == ada.email


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://localhost", ""])
def test_a_forged_request_does_nothing_whatever_its_origin_says(
    app: Flask, ada: User, laptop: Browser, origin: str
) -> None:
    """No origin stands for the form's own token, on no route (ASVS V3.5.1)."""
    sign_in(laptop)
    app.config["WTF_CSRF_ENABLED"] = True
    before = _rows(app)
    posts = [path for method, path in _paths(app, ada) if method == "POST"]
    form = {"identifier": ada.email, "password": PASSWORD, "name": "evil"}

    answers = [laptop.post(path, data=form, headers={"Origin": origin}) for path in posts]

    assert {answer.status_code for answer in answers} <= {400, 404, 415}
    assert _rows(app) == before


@pytest.mark.parametrize(
    "signed", ["", ".", "a.b.c", "\x00", "x" * 4000, "%ED%A0%80", "..%2f..", "8d0a17a7-972d"]
)
def test_what_is_no_signed_value_signs_nobody_in(
    app: Flask, ada: User, laptop: Browser, signed: str
) -> None:
    """In each place where a signed value is read: refused in words, and nothing is changed."""
    cookies = ("device_session", "device_session_browser")
    for name in cookies:
        laptop.set_cookie(name, signed)

    answer = laptop.get("/whoami")
    ticket = laptop.post("/login", data={"ticket": signed, "end_session": signed})

    assert answer.json is not None
    assert answer.json["user"] is None
    assert ticket.status_code == 303
    assert ticket.headers["Location"] == "/login"
