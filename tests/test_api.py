"""The JSON API: its routes, its errors, and that ``openapi.json`` tells the truth about them."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_wtf import CSRFProtect
from flask_wtf.csrf import generate_csrf
from werkzeug.test import TestResponse

from flask_device_sessions import DeviceSessions, SessionLimitReached, session_started
from flask_device_sessions.ambient import utc_now
from flask_device_sessions.api import ID, URLS
from flask_device_sessions.errors import NoSuchUser, StoreUnavailable
from flask_device_sessions.notifications import Notifier
from flask_device_sessions.problems import KINDS, TYPE_PREFIX
from flask_device_sessions.testing import Browser, listen_to, login
from tests.shapes import misfits, resolve
from tests.support import PASSWORD, User, add_user, db, jar_of, make_app, sign_in, statements

CREDENTIALS = {"identifier": "ada@example.com", "password": PASSWORD}
JSON = "application/json"


@pytest.fixture
def program(app: Flask) -> FlaskClient:
    """A client without cookies, where the laptop is."""
    client = app.test_client(use_cookies=False)
    client.environ_base["REMOTE_ADDR"] = "192.0.2.1"
    return client


@pytest.fixture
def bearer(extension: DeviceSessions, ada: User) -> dict[str, str]:
    """Headers with an access token of Ada's."""
    return headers_of(extension.issue_token(ada, name="CI", scopes=["notes:read"]).token)


def headers_of(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def body_of(answer: TestResponse) -> dict[str, Any]:
    """Return the JSON object of an answer that nobody may keep."""
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert {"Authorization", "Cookie"} <= set(answer.vary)
    assert isinstance(answer.json, dict)
    return answer.json


def problem_of(answer: TestResponse) -> str:
    """Return the end of the type of a well-made problem."""
    body = body_of(answer)
    assert answer.mimetype == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["title"]
    assert body["detail"]
    name = str(body["type"]).removeprefix(TYPE_PREFIX)
    assert KINDS[name].status == answer.status_code
    return name


def age(extension: DeviceSessions) -> None:
    """Let the last password checks have been an hour ago."""
    an_hour_ago = utc_now() - timedelta(hours=1)
    db.session.execute(db.update(extension.session_model).values(authenticated_at=an_hour_ago))
    db.session.commit()


# -- Signing in ------------------------------------------------------------------------------------


def test_a_program_signs_in(program: FlaskClient, ada: User, extension: DeviceSessions) -> None:
    """The answer carries the token, what it is good for, and where its session is."""
    answer = program.post("/api/session", json=CREDENTIALS | {"name": "Ada's phone"})
    body = body_of(answer)
    (session,) = extension.sessions_of(ada)

    assert answer.status_code == 201
    assert answer.headers["Location"] == "/api/session"
    assert body["token_type"] == "Bearer"
    assert body["user"] == {"id": ada.id}
    assert body["session"]["id"] == str(session.id)
    assert body["session"]["name"] == "Ada's phone"
    assert body["session"]["is_current"]
    assert body["expires_at"] == session.expires_at.isoformat()
    assert session.kind == "token"
    assert "Set-Cookie" not in answer.headers


def test_a_program_without_a_name_is_called_after_its_user_agent(
    program: FlaskClient, ada: User
) -> None:
    """The list says something in any case."""
    names = [
        program.post("/api/session", json=CREDENTIALS, headers={"User-Agent": agent}).json
        for agent in ("curl/8.5.0", "")
    ]

    assert [body and body["session"]["name"] for body in names] == ["curl", "Unknown device"]


def test_a_sign_in_of_a_program_is_audited_and_told_like_a_browsers(
    program: FlaskClient,
    ada: User,
    extension: DeviceSessions,
    laptop: Browser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Event, signal, mail about the new device; the same program is known again."""
    mailed: list[Any] = []
    monkeypatch.setattr(
        Notifier, "new_device", lambda _, user, session, **links: mailed.append(session.id)
    )
    sign_in(laptop)

    with listen_to(session_started) as heard:
        for _ in range(2):
            program.post("/api/session", json=CREDENTIALS | {"name": "phone"})

    actions = [event.action for event in extension.events_of(ada)]
    assert [fact["new_device"] for fact in heard] == [True, False]
    assert [str(fact["session"].id) for fact in heard][:1] == [str(one) for one in mailed]
    assert actions[:3] == ["session_started", "session_started", "device_first_seen"]
    assert len(extension.sessions_of(ada)) == 3


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_MAX_PER_USER": 1}])
def test_programs_take_no_place_of_the_limit(
    program: FlaskClient, ada: User, extension: DeviceSessions, laptop: Browser
) -> None:
    """MAX_PER_USER counts browsers."""
    sign_in(laptop)
    for _ in range(3):
        assert program.post("/api/session", json=CREDENTIALS).status_code == 201
    extension.issue_token(ada, name="CI")

    kinds = sorted(session.kind for session in extension.sessions_of(ada))
    assert kinds == ["browser"] + ["token"] * 4


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_TOKEN_SCOPES": ["notes:read", "notes"]}])
def test_a_password_gives_all_scopes(program: FlaskClient, ada: User) -> None:
    """Who signs in with the password may do all that could be given to a token."""
    answer = program.post("/api/session", json=CREDENTIALS)

    assert body_of(answer)["session"]["scopes"] == ["notes:read", "notes"]


def test_wrong_credentials_get_one_answer(app: Flask, program: FlaskClient, ada: User) -> None:
    """Unknown, wrong, disabled, no password: the same bytes (ASVS V6.3.8)."""
    add_user("off@example.com", is_enabled=False)
    add_user("none@example.com", password_hash=None)
    tries = [
        CREDENTIALS | {"password": "wrong"},
        CREDENTIALS | {"identifier": "nobody@example.com"},
        CREDENTIALS | {"identifier": "off@example.com"},
        CREDENTIALS | {"identifier": "none@example.com"},
        CREDENTIALS | {"identifier": "\x00"},
        CREDENTIALS | {"password": "\ud800"},
        CREDENTIALS | {"password": "é" * 4096},
    ]

    answers = [program.post("/api/session", json=tried) for tried in tries]

    assert {problem_of(answer) for answer in answers} == {"wrong-credentials"}
    assert len({answer.get_data() for answer in answers}) == 1
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {'Bearer realm="api"'}


def test_a_person_who_is_deleted_meanwhile_gets_the_same_answer(
    program: FlaskClient, ada: User, extension: DeviceSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the password and the session, too."""

    def gone(*_: Any) -> None:
        raise NoSuchUser("gone")

    monkeypatch.setattr(DeviceSessions, "sign_in_program", gone)

    assert problem_of(program.post("/api/session", json=CREDENTIALS)) == "wrong-credentials"


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_LOGIN_RATE_LIMIT": "2 per minute"}])
def test_too_many_passwords_are_told_to_wait(program: FlaskClient, ada: User) -> None:
    """429 with Retry-After, the same for accounts that do not exist (ASVS V6.3.1)."""
    for name in ("ada@example.com", "nobody@example.com"):
        tried = {"identifier": name, "password": "wrong"}
        answers = [program.post("/api/session", json=tried) for _ in range(3)]

        assert problem_of(answers[2]) == "too-many-attempts"
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 60


def test_a_deep_object_is_a_clear_problem(program: FlaskClient) -> None:
    """Python 3.13 reads deeper than those before it; none of them falls."""
    body = b'{"a": ' * 9_000 + b"1" + b"}" * 9_000

    answer = program.post("/api/session", data=body, content_type=JSON)

    assert problem_of(answer) in ("malformed-body", "invalid-fields")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "malformed-body"),
        (b"0", "malformed-body"),
        (b"null", "malformed-body"),
        (b"true", "malformed-body"),
        (b"[]", "malformed-body"),
        (b'"text"', "malformed-body"),
        (b"{", "malformed-body"),
        (b'{"a": NaN}', "malformed-body"),
        (b'{"a": 1, "a": 2}', "malformed-body"),
        (b'{"a": "\xff"}', "malformed-body"),
        (b"[" * 60_000, "malformed-body"),
        (b'{"a": ' + b"9" * 60_000 + b"}", "malformed-body"),
        (b" " * 1_000_000, "too-large"),
        (b"{}", "invalid-fields"),
        (b'{"identifier": null, "password": null}', "invalid-fields"),
        (b'{"identifier": 1, "password": [], "name": {}}', "invalid-fields"),
        (b'{"identifier": "", "password": "x"}', "invalid-fields"),
    ],
)
def test_what_is_no_sign_in_is_a_clear_problem(
    program: FlaskClient, body: bytes, problem: str
) -> None:
    """Wrong JSON, wrong types, too much of it: never 500, and nothing of it comes back."""
    answer = program.post("/api/session", data=body, content_type=JSON)

    assert problem_of(answer) == problem


def test_each_wrong_field_is_named(program: FlaskClient) -> None:
    """One answer says all that is wrong."""
    answer = program.post("/api/session", json={"identifier": 5, "name": ["x"]})

    fields = [error["field"] for error in body_of(answer)["errors"]]
    assert fields == ["identifier", "password", "name"]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "x"])
def test_only_json_is_taken(program: FlaskClient, kind: str) -> None:
    """What a form of another site can send is refused (ASVS V3.5.2)."""
    answer = program.post("/api/session", data=b"{}", content_type=kind)

    assert problem_of(answer) == "unsupported-media-type"


# -- The caller's session --------------------------------------------------------------------------


def test_the_token_shows_and_ends_its_session(
    program: FlaskClient, ada: User, extension: DeviceSessions
) -> None:
    """Signing out is at once, and the next answer says why (RFC 6750 3.1)."""
    token = body_of(program.post("/api/session", json=CREDENTIALS))["token"]
    shown = body_of(program.get("/api/session", headers=headers_of(token)))

    ended = program.delete("/api/session", headers=headers_of(token))
    after = program.get("/api/session", headers=headers_of(token))

    assert shown["is_current"]
    assert (ended.status_code, ended.get_data()) == (204, b"")
    assert problem_of(after) == "invalid-token"
    assert after.headers["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'
    assert extension.sessions_of(ada, ended=True)[0].end_reason == "logout"


def test_nobody_gets_a_challenge(program: FlaskClient) -> None:
    """Without a credential the challenge has no error (RFC 6750 3.1)."""
    answer = program.get("/api/session")

    assert problem_of(answer) == "unauthenticated"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_REQUIRE_LOGIN": True}])
def test_require_login_leaves_the_answers_to_the_api(program: FlaskClient, ada: User) -> None:
    """Signing in and the document need no session, the rest answers as JSON."""
    assert program.post("/api/session", json=CREDENTIALS).status_code == 201
    assert program.get("/api/openapi.json").status_code == 200
    assert problem_of(program.get("/api/session")) == "unauthenticated"


def test_a_browser_may_use_its_cookie(ada: User, laptop: Browser) -> None:
    """The page's own script, for example."""
    sign_in(laptop)

    session = body_of(laptop.get("/api/session"))

    assert session["kind"] == "browser"
    assert session["device"]["type"] == "desktop"
    assert session["name"] == "Linux PC"
    assert laptop.delete("/api/session").status_code == 204
    assert "device_session" not in jar_of(laptop)


# -- Lists -----------------------------------------------------------------------------------------


def test_sessions_are_listed_page_by_page(
    program: FlaskClient, ada: User, extension: DeviceSessions, bearer: dict[str, str]
) -> None:
    """Each once, the last begun first, browsers beside programs."""
    for number in range(4):
        extension.issue_token(ada, name=f"CI {number}")
    seen: list[str] = []
    cursor: str | None = ""

    while cursor is not None:
        body = body_of(program.get(f"/api/sessions?limit=2{cursor}", headers=bearer))
        seen += [session["name"] for session in body["sessions"]]
        cursor = body["next"] and f"&cursor={body['next']}"

    assert seen == ["CI 3", "CI 2", "CI 1", "CI 0", "CI"]


def test_tokens_are_listed_without_browsers(
    program: FlaskClient, ada: User, laptop: Browser, bearer: dict[str, str]
) -> None:
    """And no list ever carries a token or a digest; the canary looks."""
    sign_in(laptop)

    tokens = body_of(program.get("/api/tokens", headers=bearer))
    sessions = body_of(program.get("/api/sessions", headers=bearer))

    assert [token["name"] for token in tokens["tokens"]] == ["CI"]
    assert {session["kind"] for session in sessions["sessions"]} == {"browser", "token"}
    assert tokens["next"] is sessions["next"] is None


def test_events_are_listed_page_by_page(
    program: FlaskClient, ada: User, extension: DeviceSessions, bearer: dict[str, str]
) -> None:
    """Each once, newest first."""
    for number in range(4):
        extension.issue_token(ada, name=f"CI {number}")
    seen: list[str] = []
    cursor: str | None = ""

    while cursor is not None:
        body = body_of(program.get(f"/api/events?limit=2{cursor}", headers=bearer))
        seen += [event["id"] for event in body["events"]]
        cursor = body["next"] and f"&cursor={body['next']}"

    assert seen == [str(event.id) for event in extension.events_of(ada)]


@pytest.mark.parametrize("path", ["/api/sessions", "/api/tokens", "/api/events"])
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "limit=%D9%A1", "cursor=", "cursor=x"]
    + ["limit=9" + "9" * 5000, "cursor=9" + "9" * 30, "cursor=%00", "cursor=%ff"],
)
def test_a_query_that_makes_no_sense_is_a_clear_problem(
    program: FlaskClient, bearer: dict[str, str], path: str, query: str
) -> None:
    """It is not guessed at."""
    answer = program.get(f"{path}?{query}", headers=bearer)

    assert problem_of(answer) == "invalid-fields"


# -- Ending ----------------------------------------------------------------------------------------


def test_one_session_is_ended(
    program: FlaskClient, ada: User, laptop: Browser, bearer: dict[str, str]
) -> None:
    """The browser is out at its next request."""
    sign_in(laptop)
    session_id = body_of(laptop.get("/api/session"))["id"]

    answer = program.delete(f"/api/sessions/{session_id}", headers=bearer)

    assert answer.status_code == 204
    assert problem_of(laptop.get("/api/session")) == "unauthenticated"


def test_one_token_is_ended(
    program: FlaskClient, ada: User, extension: DeviceSessions, bearer: dict[str, str]
) -> None:
    """By the id that the list gives."""
    issued = extension.issue_token(ada, name="other")

    answer = program.delete(f"/api/tokens/{issued.session.id}", headers=bearer)

    assert answer.status_code == 204
    assert problem_of(program.get("/api/session", headers=headers_of(issued.token)))


def test_the_others_are_ended(
    program: FlaskClient, ada: User, extension: DeviceSessions, bearer: dict[str, str]
) -> None:
    """All but the caller's, and the answer counts them."""
    for _ in range(3):
        extension.issue_token(ada, name="other")

    answer = program.post("/api/sessions/revoke-others", headers=bearer)

    assert body_of(answer) == {"revoked": 3}
    assert program.get("/api/session", headers=bearer).status_code == 200


@pytest.mark.parametrize("route", ["sessions", "tokens"])
def test_what_is_not_ones_own_is_not_there(
    program: FlaskClient,
    ada: User,
    extension: DeviceSessions,
    bearer: dict[str, str],
    laptop: Browser,
    route: str,
) -> None:
    """Another's, unknown, malformed, ended: the same bytes (ASVS V8.2.2)."""
    bob = extension.issue_token(add_user("bob@example.com"), name="Bob's").session
    gone = extension.issue_token(ada, name="gone").session
    extension.revoke(gone)
    ids = [bob.id, gone.id, uuid.uuid4(), "x", "%00", str(bob.id).upper(), bob.id.hex, "9" * 5000]
    if route == "tokens":
        ids.append(login(laptop, ada).id)

    answers = [program.delete(f"/api/{route}/{one}", headers=bearer) for one in ids]

    assert {problem_of(answer) for answer in answers} == {"not-found"}
    assert len({answer.get_data() for answer in answers}) == 1
    assert bob.ended_at is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/sessions/revoke-others"),
        ("DELETE", "/api/sessions/{other}"),
        ("DELETE", "/api/tokens/{other}"),
        ("POST", "/api/tokens"),
    ],
)
def test_what_an_intruder_would_do_needs_a_fresh_password(
    program: FlaskClient,
    ada: User,
    extension: DeviceSessions,
    bearer: dict[str, str],
    method: str,
    path: str,
) -> None:
    """Too old, and nothing is done; the challenge is that of RFC 9470 (ASVS V7.5.2)."""
    other = extension.issue_token(ada, name="other").session
    age(extension)

    answer = program.open(
        path.format(other=other.id), method=method, headers=bearer, json={"name": "x"}
    )

    assert problem_of(answer) == "confirmation-required"
    assert answer.headers["WWW-Authenticate"] == (
        'Bearer realm="api", error="insufficient_user_authentication", max_age="600"'
    )
    assert len(extension.sessions_of(ada)) == 2


def test_ones_own_session_is_ended_without_a_fresh_password(
    program: FlaskClient, ada: User, extension: DeviceSessions, bearer: dict[str, str]
) -> None:
    """Nobody is kept from signing out."""
    age(extension)
    (session,) = extension.sessions_of(ada)

    answer = program.delete(f"/api/sessions/{session.id}", headers=bearer)

    assert answer.status_code == 204


# -- Making tokens ---------------------------------------------------------------------------------


def test_a_token_is_made_and_shown_once(
    program: FlaskClient, ada: User, bearer: dict[str, str]
) -> None:
    """Name, scopes and days as asked for; the canary looks for the token elsewhere."""
    wanted = {"name": " backup ", "scopes": ["notes:read", "notes:read"], "expires_in": 3.0}
    answer = program.post("/api/tokens", json=wanted, headers=bearer)
    body = body_of(answer)
    shown = body_of(program.get("/api/session", headers=headers_of(body["token"])))

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/tokens/{body['session']['id']}"
    assert (shown["name"], shown["scopes"]) == ("backup", ["notes:read"])
    assert not body["session"]["is_current"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": None},
        {"name": " \u202e"},
        {"name": 5},
        {"name": "x" * 101},
        {"name": "x", "scopes": "notes:read"},
        {"name": "x", "scopes": ["two words"]},
        {"name": "x", "scopes": [5]},
        {"name": "x", "scopes": ["a"] * 51},
        {"name": "x", "expires_in": 0},
        {"name": "x", "expires_in": 3651},
        {"name": "x", "expires_in": 1.5},
        {"name": "x", "expires_in": 1e300},
        {"name": "x", "expires_in": True},
        {"name": "x", "expires_in": "30"},
    ],
)
def test_a_token_that_cannot_be_is_a_clear_problem(
    program: FlaskClient, bearer: dict[str, str], fields: dict[str, Any]
) -> None:
    """It is not guessed at."""
    answer = program.post("/api/tokens", json=fields, headers=bearer)

    assert problem_of(answer) == "invalid-fields"


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_TOKEN_SCOPES": ["notes:read"]}])
def test_only_scopes_that_the_app_offers_are_given(
    ada: User, program: FlaskClient, bearer: dict[str, str]
) -> None:
    """TOKEN_SCOPES is the list."""
    answers = [
        program.post("/api/tokens", json={"name": "x", "scopes": [scope]}, headers=bearer)
        for scope in ("notes:read", "admin")
    ]

    assert [answer.status_code for answer in answers] == [201, 422]


def test_an_issued_token_gives_no_more_than_it_has(
    program: FlaskClient, bearer: dict[str, str]
) -> None:
    """A token of a script is no way to a mightier one."""
    answer = program.post("/api/tokens", json={"name": "x", "scopes": ["admin"]}, headers=bearer)

    assert problem_of(answer) == "insufficient-scope"
    assert (
        answer.headers["WWW-Authenticate"]
        == 'Bearer realm="api", error="insufficient_scope", scope="admin"'
    )


def test_who_signed_in_with_the_password_gives_any_scope(
    program: FlaskClient, ada: User, laptop: Browser
) -> None:
    """By bearer token or by cookie."""
    signed_in = body_of(program.post("/api/session", json=CREDENTIALS))
    sign_in(laptop)
    wanted = {"name": "x", "scopes": ["admin"]}

    by_token = program.post("/api/tokens", json=wanted, headers=headers_of(signed_in["token"]))
    by_cookie = laptop.post("/api/tokens", json=wanted)

    assert (by_token.status_code, by_cookie.status_code) == (201, 201)


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_TOKEN_LIFETIME": None}])
def test_a_token_may_live_for_ever(
    program: FlaskClient, ada: User, extension: DeviceSessions, bearer: dict[str, str]
) -> None:
    """Where the app wants it so."""
    assert body_of(program.get("/api/session", headers=bearer))["expires_at"] is None


# -- CSRF ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [{"WTF_CSRF_ENABLED": True}])
@pytest.mark.parametrize("is_app_protected", [True, False])
def test_a_cookie_needs_the_csrf_token_and_a_bearer_does_not(
    app: Flask, ada: User, laptop: Browser, bearer: dict[str, str], is_app_protected: bool
) -> None:
    """With and without CSRFProtect on the app (ASVS V3.5.1)."""
    if is_app_protected:
        CSRFProtect(app)
    app.add_url_rule("/csrf", "csrf", generate_csrf)
    login(laptop, ada)
    token = laptop.get("/csrf").text
    path = "/api/sessions/revoke-others"

    without = laptop.post(path)
    forged = laptop.post(path, headers={"X-CSRFToken": "x"})
    with_bearer = app.test_client(use_cookies=False).post(path, headers=bearer)
    login(laptop, ada)
    good = laptop.post(path, headers={"X-CSRFToken": token})
    reading = laptop.get("/api/sessions")

    assert problem_of(without) == problem_of(forged) == "csrf-token-missing"
    assert with_bearer.status_code == 200
    assert good.status_code == reading.status_code == 200


@pytest.mark.parametrize("config", [{"WTF_CSRF_ENABLED": True}])
def test_signing_in_a_program_needs_no_csrf_token(
    app: Flask, ada: User, program: FlaskClient
) -> None:
    """It reads no cookie and sets none."""
    CSRFProtect(app)

    assert program.post("/api/session", json=CREDENTIALS).status_code == 201


# -- What can go wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "FOO"])
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/session", {"GET", "HEAD", "POST", "DELETE", "OPTIONS"}),
        ("/api/sessions/x", {"DELETE", "OPTIONS"}),
        ("/api/sessions/revoke-others", {"POST", "OPTIONS"}),
        ("/api/openapi.json", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_is_not_there_is_a_problem(
    program: FlaskClient, method: str, path: str, allowed: set[str]
) -> None:
    """405, with those that are."""
    answer = program.open(path, method=method)

    assert problem_of(answer) == "method-not-allowed"
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_the_methods_of_the_app_are_its_own(app: Flask, program: FlaskClient) -> None:
    """Its 404 and 405 stay what they are."""
    app.add_url_rule("/api/notes", "notes", lambda: "notes", methods=["GET"])
    app.add_url_rule("/old", "old", lambda: "old", methods=["POST"], redirect_to="/api/notes")

    assert program.post("/api/notes").mimetype == "text/html"
    assert program.get("/old").status_code == 405
    assert program.get("/api/nothing").mimetype == "text/html"


def test_a_database_that_does_not_answer_is_a_problem(
    program: FlaskClient,
    ada: User,
    extension: DeviceSessions,
    bearer: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 with Retry-After, whichever step meets it: nobody is signed out."""

    def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(DeviceSessions, "revoke_others", fail)
        later = program.post("/api/sessions/revoke-others", headers=bearer)
    with monkeypatch.context() as patch:
        patch.setattr("flask_device_sessions.store.Store.find", fail)
        at_once = program.get("/api/session", headers=bearer)

    for answer in (later, at_once):
        assert problem_of(answer) == "unavailable"
        assert answer.headers["Retry-After"] == "5"
    assert program.get("/api/session", headers=bearer).status_code == 200


def test_an_app_that_counts_programs_answers_409(
    program: FlaskClient, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit that a listener of the app sets, for example."""

    def refuse(*_: Any) -> None:
        raise SessionLimitReached(ada, 5, [])

    monkeypatch.setattr(DeviceSessions, "sign_in_program", refuse)

    assert problem_of(program.post("/api/session", json=CREDENTIALS)) == "limit-reached"


def test_an_error_of_the_app_is_a_problem_too(
    app: Flask, program: FlaskClient, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 says nothing of what happened."""

    def fail(*_: Any) -> None:
        raise ValueError("secret")

    app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setattr(DeviceSessions, "authenticate", fail)

    answer = program.post("/api/session", json=CREDENTIALS)

    assert problem_of(answer) == "internal-error"
    assert "secret" not in answer.text


def test_the_api_can_be_left_out() -> None:
    """API off registers none of it."""
    app = make_app(DEVICE_SESSIONS_API=False)

    assert not [rule for rule in app.url_map.iter_rules() if "api" in rule.endpoint]


def test_the_api_can_live_elsewhere() -> None:
    """API_URL_PREFIX; the document says where."""
    client = make_app(DEVICE_SESSIONS_API_URL_PREFIX="/v1/account").test_client()

    assert client.get("/api/openapi.json").status_code == 404
    assert body_of(client.get("/v1/account/openapi.json"))["servers"] == [{"url": "/v1/account"}]


# -- The document ----------------------------------------------------------------------------------


@pytest.fixture
def document(program: FlaskClient) -> dict[str, Any]:
    """The OpenAPI document as it is served."""
    return body_of(program.get("/api/openapi.json"))


def test_the_document_lists_the_routes(document: dict[str, Any]) -> None:
    """Each route and method, no other; the operation is the endpoint in camel case."""
    documented = {
        (path.replace("{session_id}", ID), method.upper(), operation["operationId"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }

    names = {"openapi": "getOpenapi"}
    assert documented == {
        (rule, method, names.get(endpoint, re.sub("_(.)", lambda m: m[1].upper(), endpoint)))
        for rule, endpoint, method, _, _ in URLS
    }


def test_the_document_names_the_cookie_of_the_app(document: dict[str, Any]) -> None:
    """Over HTTPS and over HTTP it has different names."""
    secure = make_app(DEVICE_SESSIONS_COOKIE_SECURE=True).test_client().get("/api/openapi.json")

    names = [
        one["components"]["securitySchemes"]["cookie"]["name"]
        for one in (document, body_of(secure))
    ]
    assert names == ["device_session", "__Host-device_session"]


def test_the_document_says_who_may_call(document: dict[str, Any]) -> None:
    """Two operations are for everybody."""
    is_open = {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if not operation["security"]
    }

    assert is_open == {"createSession", "getOpenapi"}


def test_the_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    """Each example is one, and each problem has the status that its type has."""
    contents = list(_contents(document))

    assert len(contents) >= 20
    for content in contents:
        assert misfits(document, content["schema"], content["example"]) == []
    for answer in document["components"]["responses"].values():
        example = answer["content"]["application/problem+json"]["example"]
        kind = KINDS[example["type"].removeprefix(TYPE_PREFIX)]
        assert (kind.status, kind.title) == (example["status"], example["title"])


def _contents(part: Any) -> Any:
    if isinstance(part, dict):
        if "schema" in part and "example" in part and "required" not in part:
            yield part
        for item in part.values():
            yield from _contents(item)


def test_real_answers_fit_the_document(
    program: FlaskClient, ada: User, laptop: Browser, document: dict[str, Any]
) -> None:
    """Every operation, good and bad, answers what it promises."""
    sign_in(laptop)
    token = body_of(program.post("/api/session", json=CREDENTIALS))["token"]
    bearer = headers_of(token)
    made = body_of(program.post("/api/tokens", json={"name": "x"}, headers=bearer))
    calls = [
        ("POST", "/session", CREDENTIALS, {}),
        ("POST", "/session", CREDENTIALS | {"password": "no"}, {}),
        ("POST", "/session", {}, {}),
        ("GET", "/session", None, bearer),
        ("GET", "/session", None, {}),
        ("GET", "/sessions", None, bearer),
        ("GET", "/sessions?limit=0", None, bearer),
        ("GET", "/tokens", None, bearer),
        ("GET", "/events?limit=3", None, bearer),
        ("POST", "/tokens", {"name": "y"}, bearer),
        ("POST", "/tokens", {"name": ""}, bearer),
        ("POST", "/tokens", {"name": "y", "scopes": ["a"]}, headers_of(made["token"])),
        ("DELETE", f"/tokens/{made['session']['id']}", None, bearer),
        ("DELETE", f"/sessions/{made['session']['id']}", None, bearer),
        ("POST", "/sessions/revoke-others", None, bearer),
        ("DELETE", "/session", None, bearer),
    ]

    for method, path, body, headers in calls:
        answer = program.open(f"/api{path}", method=method, json=body, headers=headers)
        assert _documented(document, method, path, answer) == []


def _documented(
    document: dict[str, Any], method: str, path: str, answer: TestResponse
) -> list[str]:
    bare = re.sub(r"/[0-9a-f-]{36}", "/{session_id}", path.partition("?")[0])
    responses = document["paths"][bare][method.lower()]["responses"]
    promised = responses[str(answer.status_code)]
    promised = resolve(document, promised["$ref"]) if "$ref" in promised else promised
    if "content" not in promised:
        return [] if answer.get_data() == b"" else ["a body"]
    return misfits(document, promised["content"][answer.mimetype]["schema"], answer.json)


def test_a_sign_in_costs_no_more_than_a_browsers(
    app: Flask, program: FlaskClient, ada: User
) -> None:
    """One commit; beside a browser's statements, those that read what is answered."""
    with statements(app) as seen:
        program.post("/api/session", json=CREDENTIALS)

    assert len([one for one in seen if one != "COMMIT"]) <= 10
    assert seen.count("COMMIT") == 1


def test_the_document_names_the_scopes_that_the_app_offers() -> None:
    """Else whoever goes by it is refused (RFC 6749 3.3)."""
    app = make_app(DEVICE_SESSIONS_TOKEN_SCOPES=["notes:read", "notes:write"])

    document = app.test_client().get("/api/openapi.json").get_json()

    scopes = document["components"]["schemas"]["TokenRequest"]["properties"]["scopes"]
    assert scopes["items"] == {"type": "string", "enum": ["notes:read", "notes:write"]}


def test_a_foreign_id_is_noted(
    app: Flask, extension: DeviceSessions, ada: User, program: FlaskClient
) -> None:
    """As on the pages: once a minute, in the trail of who tried."""
    token = extension.issue_token(ada, name="script").token
    for _ in range(3):
        program.delete(
            f"/api/sessions/{uuid.uuid4()}", headers={"Authorization": f"Bearer {token}"}
        )

    actions = [event.action for event in extension.events_of(ada)]
    assert actions.count("foreign_id_tried") == 1
