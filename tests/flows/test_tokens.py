"""Programs act for people: a bearer token in every view of the app, until it ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask, g, request
from flask.testing import FlaskClient
from flask_login import LoginManager, login_required, login_user, logout_user
from flask_wtf import CSRFProtect, FlaskForm

from flask_device_sessions import (
    DeviceSessions,
    IssuedToken,
    current_session,
    fresh_session_required,
    scopes_required,
    session_confirmed,
    session_ended,
    token_issued,
)
from flask_device_sessions.ambient import utc_now
from flask_device_sessions.models import NAME_LENGTH
from flask_device_sessions.testing import Browser, listen_to, login
from flask_device_sessions.tokens import AccessToken, SessionToken
from tests.support import (
    PASSWORD,
    User,
    add_user,
    bare_app,
    db,
    hash_of,
    jar_of,
    sign_in,
    statements,
    who,
)

INVALID = 'Bearer realm="api", error="invalid_token"'


@pytest.fixture
def issued(extension: DeviceSessions, ada: User) -> IssuedToken:
    """A token of Ada's."""
    return extension.issue_token(ada, name="CI", scopes=["notes:read"])


@pytest.fixture
def script(app: Flask, issued: IssuedToken) -> Browser:
    """A program that sends it."""
    return script_of(app, issued.token)


def script_of(app: Flask, token: str) -> Browser:
    """Return a program that sends a token."""
    script = Browser(app, "curl/8.5.0", ip="198.51.100.9")
    script.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return script


def is_refused(script: FlaskClient) -> bool:
    """Whether a view that needs a sign-in answers the challenge of a bad token."""
    answer = script.get("/private")
    return (answer.status_code, answer.headers.get("WWW-Authenticate")) == (401, INVALID)


# -- Made ------------------------------------------------------------------------------------------


def test_a_token_is_a_session(
    extension: DeviceSessions, ada: User, issued: IssuedToken, script: Browser
) -> None:
    """Listed, named, scoped, expiring, audited; every view knows whom it acts for."""
    (session,) = extension.sessions_of(ada)
    (event,) = extension.events_of(ada)

    assert session == issued.session
    assert (session.kind, session.name, session.scopes) == ("token", "CI", ["notes:read"])
    assert session.expires_at - session.created_at == timedelta(days=90)
    assert (event.action, event.detail) == (
        "token_issued",
        {"name": "CI", "scopes": ["notes:read"]},
    )
    assert who(script) == "ada@example.com"
    assert script.get("/private").json == {
        "user": "ada@example.com",
        "session": str(session.id),
        "proxy": True,
    }


def test_only_the_digest_is_kept(issued: IssuedToken) -> None:
    """A copy of the database signs nobody in (ASVS V7.2.3)."""
    token = AccessToken.parse(issued.token, "fds")

    assert issued.session.token_digest == token.digest
    assert issued.token not in repr(issued)


def test_the_signal_comes_after_the_commit(extension: DeviceSessions, ada: User) -> None:
    """And not at all if the app rolls back: then the token is worth nothing."""
    with listen_to(token_issued) as heard:
        extension.issue_token(ada, name="lost", commit=False)
        db.session.rollback()
        kept = extension.issue_token(ada, name="kept")

    assert [fact["session"] for fact in heard] == [kept.session]
    assert extension.sessions_of(ada) == [kept.session]


def test_a_token_knows_the_session_that_asked_for_it(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """And is as fresh as that one; another person's session does not count."""
    bob = add_user("bob@example.com")
    made: list[IssuedToken] = []

    @app.post("/issue")
    def issue() -> str:
        made.extend(extension.issue_token(user, name="x") for user in (ada, bob))
        return "made"

    an_hour_ago = utc_now() - timedelta(hours=1)
    session = login(laptop, ada, authenticated_at=an_hour_ago)
    laptop.post("/issue")
    hers, his = (token.session for token in made)

    assert (hers.issuer_id, hers.authenticated_at) == (session.id, an_hour_ago)
    assert (his.issuer_id, his.authenticated_at) == (None, his.created_at)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " \x00"},
        {"scopes": "notes:read"},
        {"scopes": ["two words"]},
        {"scopes": ["a"] * 51},
        {"expires_in": timedelta(0)},
        {"expires_in": timedelta(days=3651)},
    ],
)
def test_a_token_that_makes_no_sense_is_refused(
    extension: DeviceSessions, ada: User, wrong: dict[str, Any]
) -> None:
    """The error names the argument."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        extension.issue_token(ada, **{"name": "CI", **wrong})

    assert extension.sessions_of(ada) == []


def test_a_long_name_is_cut(extension: DeviceSessions, ada: User) -> None:
    """To what the column takes."""
    session = extension.issue_token(ada, name="x" * 500, expires_in=timedelta(days=1)).session

    assert session.name == "x" * NAME_LENGTH
    assert session.expires_at - session.created_at == timedelta(days=1)


# -- Used ------------------------------------------------------------------------------------------


def test_a_hook_of_the_app_may_say_where_the_token_is(
    app: Flask, extension: DeviceSessions, ada: User, issued: IssuedToken
) -> None:
    """In an address, for a feed: whoever asks later finds it, though our hook had seen nobody."""

    @app.before_request
    def take_from_address() -> None:
        if "token" in request.args:
            request.environ["HTTP_AUTHORIZATION"] = f"Bearer {request.args['token']}"

    reader = Browser(app)

    assert who(reader) is None
    assert reader.get(f"/whoami?token={issued.token}").get_json()["user"] == ada.email


def test_a_valid_token_costs_one_select(app: Flask, script: Browser) -> None:
    """As a cookie does: nothing is written."""
    with statements(app) as seen:
        script.get("/private")

    assert [one.partition(" ")[0] for one in seen] == ["SELECT"]


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "bearer x",
        "BEARER fds_",
        "Bearer {wrong}",
        "Bearer {token}, Bearer {token}",
        "Bearer {token} x",
        "Bearer Basic {token}",
        "Bearer {token},Basic QTpC",
        "Bearer é",
        "Bearer " + "x" * 64_000,
        "Bearer \x01",
    ],
)
def test_what_is_no_token_costs_no_sql(
    app: Flask, issued: IssuedToken, laptop: Browser, ada: User, header: str
) -> None:
    """A mistyped one, junk, two of them: 401 at once, also beside a good cookie."""
    sign_in(laptop)
    wrong = issued.token[:-1] + ("0" if issued.token[-1] != "0" else "1")
    text = header.format(token=issued.token, wrong=wrong)

    with statements(app) as seen:
        answer = laptop.get("/private", headers={"Authorization": text})

    assert seen == []
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, INVALID)


@pytest.mark.parametrize("header", ["", "Basic QTpC", "Bearertoken", "Token x"])
def test_another_scheme_leaves_the_cookie_alone(ada: User, laptop: Browser, header: str) -> None:
    """A password in front of a staging server, for example."""
    sign_in(laptop)

    assert laptop.get("/private", headers={"Authorization": header}).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer   "])
def test_the_scheme_is_read_as_the_standard_says(
    app: Flask, issued: IssuedToken, scheme: str
) -> None:
    """Its case is free, and so are spaces behind it (RFC 9110 11.4)."""
    headers = {"Authorization": f"{scheme} {issued.token}"}

    assert app.test_client().get("/private", headers=headers).status_code == 200


def test_the_token_decides_beside_a_cookie(
    app: Flask, extension: DeviceSessions, laptop: Browser, ada: User
) -> None:
    """The cookie is neither asked, nor set, nor cleared."""
    bob = add_user("bob@example.com")
    issued = extension.issue_token(bob, name="CI")
    headers = {"Authorization": f"Bearer {issued.token}"}
    sign_in(laptop)
    jar = jar_of(laptop)

    both = laptop.get("/whoami", headers=headers)
    extension.revoke(issued.session)
    ended = laptop.get("/whoami", headers=headers)

    assert both.json is not None
    assert ended.json is not None
    assert both.json["user"] == "bob@example.com"
    assert ended.json["user"] is None
    assert not both.headers.getlist("Set-Cookie") + ended.headers.getlist("Set-Cookie")
    assert jar_of(laptop) == jar
    assert who(laptop) == "ada@example.com"


def test_a_browsers_secret_is_no_bearer_token(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """A cookie's content, written as a token with a good checksum, is refused."""
    sign_in(laptop)
    payload = jar_of(laptop)["device_session"].rpartition(".")[0]
    stolen = SessionToken.parse(payload)
    forged = AccessToken(stolen.id, stolen.secret, "fds").text()

    assert is_refused(script_of(app, forged))


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_TOKEN_PREFIX": "acme_ci"}])
def test_the_prefix_is_the_apps(app: Flask, issued: IssuedToken, script: Browser) -> None:
    """Tokens of another app are refused without a query."""
    assert re.fullmatch(r"acme_ci_[0-9A-Za-z]{49}", issued.token)
    assert who(script) == "ada@example.com"


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_ROTATE_INTERVAL": timedelta(minutes=1)}])
def test_activity_is_noted_as_a_browsers_and_the_secret_stays(
    app: Flask, extension: DeviceSessions, issued: IssuedToken, script: Browser, ada: User
) -> None:
    """Once per TOUCH_INTERVAL, with the address; ROTATE_INTERVAL is for browsers."""
    before = issued.session.last_active_at
    with time_machine.travel(before + timedelta(minutes=6), tick=False):
        assert who(script) == "ada@example.com"
        with statements(app) as seen:
            who(script)
    db.session.expire_all()
    (session,) = extension.sessions_of(ada)

    assert len(seen) == 1
    assert session.last_active_at - before == timedelta(minutes=6)
    assert session.last_ip_address == "198.51.100.9"
    assert session.rotated_at is None


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_IP_CHANGE_POLICY": "revoke"}])
def test_a_token_is_bound_to_where_it_was_first_used(
    app: Flask, extension: DeviceSessions, issued: IssuedToken, script: Browser
) -> None:
    """Not to where it was made, which is another machine."""
    start = issued.session.created_at
    with time_machine.travel(start + timedelta(minutes=6), tick=False):
        first = who(script)
        script.environ_base["REMOTE_ADDR"] = "203.0.113.5"

        assert first == "ada@example.com"
        assert is_refused(script)


# -- Ended -----------------------------------------------------------------------------------------

End = Callable[[DeviceSessions, User, IssuedToken], object]


def _disable(extension: DeviceSessions, ada: User, issued: IssuedToken) -> None:
    db.session.execute(sa.update(User).values(is_enabled=False))
    db.session.commit()


def _delete(extension: DeviceSessions, ada: User, issued: IssuedToken) -> None:
    db.session.delete(ada)
    db.session.commit()


def _delete_in_bulk(extension: DeviceSessions, ada: User, issued: IssuedToken) -> None:
    db.session.execute(sa.delete(User))
    db.session.commit()


ENDS: dict[str, End] = {
    "revoke": lambda extension, ada, issued: extension.revoke(issued.session),
    "revoke_all": lambda extension, ada, issued: extension.revoke_all(ada),
    "revoke_others": lambda extension, ada, issued: extension.revoke_others(ada),
    "revoke_everyone": lambda extension, ada, issued: extension.revoke_everyone(),
    "password_changed": lambda extension, ada, issued: extension.password_changed(ada),
    "disabled": _disable,
    "deleted": _delete,
    "deleted in bulk": _delete_in_bulk,
}


@pytest.mark.parametrize("how", ENDS)
def test_a_token_that_ended_is_refused_at_the_next_request(
    extension: DeviceSessions, ada: User, issued: IssuedToken, script: Browser, how: str
) -> None:
    """Whatever ended it, also of its owner (ASVS V7.4.1, V7.4.2, V7.4.3)."""
    assert who(script) == "ada@example.com"

    ENDS[how](extension, ada, issued)

    assert is_refused(script)
    assert is_refused(script)


def test_a_token_expires_to_the_second(
    extension: DeviceSessions, ada: User, issued: IssuedToken, script: Browser
) -> None:
    """Use moves nothing (ASVS V7.3.2)."""
    end = issued.session.expires_at
    for days in range(7, 90, 7):
        with time_machine.travel(end - timedelta(days=90 - days), tick=False):
            assert who(script) == "ada@example.com"
    with time_machine.travel(end - timedelta(seconds=1), tick=False):
        assert who(script) == "ada@example.com"
    with time_machine.travel(end, tick=False):
        assert is_refused(script)
        assert extension.sessions_of(ada) == []
    assert extension.sessions_of(ada, ended=True)[0].end_reason == "expired"


def test_a_token_that_nobody_uses_ends_to_the_second(
    extension: DeviceSessions, ada: User, issued: IssuedToken, script: Browser
) -> None:
    """IDLE_TIMEOUT is for cookie and bearer (ASVS V7.3.1)."""
    end = issued.session.last_active_at + timedelta(days=14)
    with time_machine.travel(end - timedelta(seconds=1), tick=False):
        assert issued.session.is_active
    with time_machine.travel(end, tick=False):
        assert not issued.session.is_active
        assert extension.sessions_of(ada) == []
        assert is_refused(script)
    assert extension.sessions_of(ada, ended=True)[0].end_reason == "idle"


@pytest.mark.parametrize("verb", ["logout", "logout_user"])
def test_signing_out_ends_the_token(
    app: Flask, extension: DeviceSessions, ada: User, script: Browser, verb: str
) -> None:
    """The app's own sign-out view works for programs."""
    verbs = {"logout": extension.logout, "logout_user": logout_user}

    @app.post("/sign-out")
    def sign_out() -> str:
        verbs[verb]()
        return f"{bool(current_session)}"

    with listen_to(session_ended) as heard:
        answer = script.post("/sign-out")

    assert answer.text == "False"
    assert [fact["reason"] for fact in heard] == ["logout"]
    assert "device_session" not in str(answer.headers.getlist("Set-Cookie"))
    assert is_refused(script)


@pytest.mark.parametrize("verb", ["login", "login_user"])
def test_no_browser_is_signed_in_by_a_request_with_a_token(
    app: Flask, extension: DeviceSessions, ada: User, script: Browser, verb: str
) -> None:
    """The cookie could not be set: no row without one, but a clear 400."""

    @app.post("/sign-in")
    def enter() -> str:
        (extension.login if verb == "login" else login_user)(ada)
        return "in"

    answer = script.post("/sign-in")

    assert answer.status_code == 400
    assert "device_session" not in str(answer.headers.getlist("Set-Cookie"))
    assert len(extension.sessions_of(ada)) == 1


def test_a_password_changed_under_a_token_ends_the_token(
    app: Flask, extension: DeviceSessions, ada: User, script: Browser, laptop: Browser
) -> None:
    """No answer could carry its new secret, and the old one must die (ASVS V7.2.4)."""

    @app.post("/password")
    def change() -> str:
        return str(extension.password_changed(ada))

    sign_in(laptop)

    assert script.post("/password").text == "2"
    assert is_refused(script)
    assert who(laptop) is None


def test_the_password_makes_a_token_fresh(
    app: Flask, extension: DeviceSessions, issued: IssuedToken, script: Browser
) -> None:
    """Its secret stays; a wrong password changes nothing."""

    @app.post("/fresh")
    @fresh_session_required
    def fresh() -> str:
        return "fresh"

    @app.post("/prove/<password>")
    def prove(password: str) -> str:
        return str(extension.confirm(password))

    with time_machine.travel(issued.session.created_at + timedelta(minutes=11), tick=False):
        stale = script.post("/fresh")
        wrong = script.post("/prove/wrong").text
        with listen_to(session_confirmed) as heard:
            right = script.post(f"/prove/{PASSWORD}").text
        again = script.post("/fresh")

    assert stale.status_code == 401
    assert "insufficient_user_authentication" in stale.headers["WWW-Authenticate"]
    assert (wrong, right, again.text) == ("False", "True", "fresh")
    assert [fact["session"].id for fact in heard] == [issued.session.id]


def test_the_password_brings_no_ended_token_back(
    app: Flask, extension: DeviceSessions, script: Browser
) -> None:
    """Revoked elsewhere while the request runs: it stays ended."""

    @app.post("/prove")
    def prove() -> str:
        rows = extension.session_model
        db.session.execute(sa.update(rows).values(ended_at=utc_now(), end_reason="revoked"))
        db.session.commit()
        return str(extension.confirm(PASSWORD))

    with listen_to(session_confirmed) as heard:
        answer = script.post("/prove")

    assert answer.text == "False"
    assert heard == []
    assert is_refused(script)


# -- What an app says of its views -----------------------------------------------------------------


@pytest.fixture
def scoped(app: Flask) -> None:
    """Views that need scopes."""
    for path, scopes in (("/read", ["notes:read"]), ("/write", ["notes:read", "notes:write"])):
        app.add_url_rule(path, path, scopes_required(*scopes)(lambda: "done"))


def test_a_token_needs_the_scopes_and_a_browser_has_all(
    scoped: None, ada: User, script: Browser, laptop: Browser
) -> None:
    """403 names what is needed (RFC 6750 3.1)."""
    sign_in(laptop)

    lacking = script.get("/write")

    assert script.get("/read").text == "done"
    assert lacking.status_code == 403
    assert lacking.mimetype == "application/problem+json"
    assert lacking.headers["WWW-Authenticate"] == (
        'Bearer realm="api", error="insufficient_scope", scope="notes:read notes:write"'
    )
    assert laptop.get("/write").text == "done"


def test_nobody_is_asked_to_sign_in_first(scoped: None, phone: Browser) -> None:
    """As login_required does."""
    assert phone.get("/read").status_code == 302


def test_a_key_of_the_apps_own_has_no_scopes(app: Flask, scoped: None, ada: User) -> None:
    """Who that is, the app knows; what they may do, nobody has said."""
    app.login_manager.request_loader(lambda request: ada)  # type: ignore[attr-defined]

    answer = app.test_client().get("/read", headers={"Authorization": "Bearer of-the-app"})

    assert answer.status_code == 403


@pytest.mark.parametrize("wrong", [(), (lambda: "view",)])
def test_scopes_must_be_named(wrong: Any) -> None:
    """Bare, the decorator would protect nothing."""
    with pytest.raises(TypeError, match="Name the scopes"):
        scopes_required(*wrong)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 302),
        ({"Accept": "*/*"}, 302),
        ({"Accept": "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"}, 302),
        ({"Accept": "application/json"}, 401),
        ({"Accept": "application/problem+json"}, 401),
        ({"Accept": "application/json, text/plain, */*"}, 401),
        ({"Content-Type": "application/json"}, 401),
        ({"Authorization": "Bearer x"}, 401),
    ],
)
def test_a_json_client_gets_json_and_a_browser_the_login_page(
    app: Flask, headers: dict[str, str], status: int
) -> None:
    """By what it says that it reads."""
    answer = app.test_client().get("/private", headers=headers)

    assert answer.status_code == status
    assert (answer.mimetype == "application/problem+json") == (status == 401)


def test_a_json_client_is_told_why_its_session_ended(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Also where the app has a login page of its own."""
    app_manager: Any = laptop.application.login_manager  # type: ignore[attr-defined]
    sign_in(laptop)
    app_manager.login_view = "open"
    extension.revoke_all(ada)

    answer = laptop.get("/private", headers={"Accept": "application/json"})

    assert answer.json is not None
    assert answer.json["detail"] == "You were signed out from another device."


def test_an_answer_of_the_apps_own_wins(app: Flask, issued: IssuedToken, script: Browser) -> None:
    """``unauthorized_handler`` and ``needs_refresh_handler`` answer everybody."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.unauthorized_handler(lambda: ("no", 418))
    manager.needs_refresh_handler(lambda: ("stale", 418))
    app.add_url_rule("/fresh", "fresh", fresh_session_required(lambda: "fresh"))

    with time_machine.travel(issued.session.created_at + timedelta(minutes=11), tick=False):
        stale = script.get("/fresh")
    nobody = app.test_client().get("/private", headers={"Accept": "application/json"})

    assert (nobody.text, stale.text) == ("no", "stale")


def test_an_app_without_the_extension_keeps_its_answers(app: Flask) -> None:
    """A LoginManager may serve two apps, and CSRFProtect too."""
    shared: Any = app.login_manager  # type: ignore[attr-defined]
    protection = CSRFProtect(app)
    app.test_client().get("/open")
    other = bare_app(WTF_CSRF_ENABLED=True)
    manager = shared if isinstance(shared, LoginManager) else LoginManager()
    manager.init_app(other)
    manager.user_loader(lambda user_id: None)
    manager.login_view = "enter"
    protection.init_app(other)
    other.add_url_rule("/enter", "enter", lambda: "enter", methods=["GET", "POST"])
    other.add_url_rule("/private", "private", login_required(lambda: "private"))
    headers = {"Accept": "application/json", "Authorization": "Bearer x"}
    client = other.test_client()

    assert client.get("/private", headers=headers).status_code == 302
    assert client.post("/enter", headers=headers).status_code == 400


# -- CSRF ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/whoami", "/device-sessions/static/device_sessions.css"])
def test_a_form_is_spared_for_one_request(
    app: Flask, extension: DeviceSessions, script: Browser, path: str
) -> None:
    """An app context that outlives it does not spare the next one's."""
    with app.app_context():
        script.get(path).close()

        assert "csrf_valid" not in g


@pytest.mark.parametrize("config", [{"WTF_CSRF_ENABLED": True}])
def test_a_bearer_request_needs_no_csrf_token_in_any_view(
    app: Flask, ada: User, script: Browser, laptop: Browser
) -> None:
    """No other site can make a browser send it; a cookie still needs one (ASVS V3.5.1)."""
    CSRFProtect(app)

    @app.post("/add")
    @login_required
    def add() -> str:
        return str(FlaskForm().validate())

    login(laptop, ada)

    assert script.post("/add").text == "True"
    assert laptop.post("/add").status_code == 400


@pytest.mark.parametrize("config", [{"WTF_CSRF_ENABLED": True}])
def test_what_a_bearer_request_is_spared_ends_with_it(
    app: Flask, ada: User, script: Browser, laptop: Browser
) -> None:
    """Also where both run in one app context, as in tests."""
    app.add_url_rule("/add", "add", lambda: str(FlaskForm().validate()), methods=["POST"])
    login(laptop, ada)

    assert script.post("/add").text == "True"
    assert laptop.post("/add").text == "False"


# -- The page --------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_TOKEN_SCOPES": ["notes:read", "notes"]}])
def test_a_token_is_made_on_the_page_used_and_revoked_there(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The story of issue and revoke; the canary knows that it is shown in one answer only."""
    sign_in(laptop)
    form = {"name": "backup", "scopes": ["notes:read"], "expires_in": "30"}

    made = laptop.post("/devices/tokens", data=form)
    script = script_of(app, _shown_in(made.text))
    before = who(script)
    token = next(one for one in extension.sessions_of(ada) if one.kind == "token")
    listed = laptop.get("/devices/tokens").text
    revoked = laptop.post(f"/devices/sessions/{token.id}/revoke", follow_redirects=True)

    assert made.status_code == 200
    assert made.headers["Cache-Control"] == "no-store"
    assert before == "ada@example.com"
    assert (token.name, token.scopes) == ("backup", ["notes:read"])
    assert token.expires_at - token.created_at == timedelta(days=30)
    assert token.issuer_id is not None
    assert "backup" in listed
    assert revoked.request.path == "/devices/tokens"
    assert "does not work any more" in revoked.text
    assert is_refused(script)


def _shown_in(html: str) -> str:
    found = re.search(r'value="(fds_\w+)"', html)
    assert found is not None
    return found[1]


def test_making_a_token_asks_for_the_password_first(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Then it is made, once, without a second click (ASVS V7.5.3)."""
    login(laptop, ada, authenticated_at=utc_now() - timedelta(hours=1))

    asked = laptop.post("/devices/tokens", data={"name": "backup", "expires_in": ""})
    action = re.search(r'name="action"[^>]* value="([^"]+)"', asked.text)
    assert action is not None
    form = {"password": PASSWORD, "action": action[1]}
    made = laptop.post("/confirm", data=form)
    again = laptop.post("/confirm", data=form)

    assert asked.status_code == 403
    assert who(script_of(app, _shown_in(made.text))) == "ada@example.com"
    assert again.status_code == 400
    assert sorted(one.kind for one in extension.sessions_of(ada)) == ["browser", "token"]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"name": " "}, "Say what the token is for."),
        ({"name": "x", "scopes": "admin"}, "Choose from the list."),
        ({"name": "x", "expires_in": "0"}, "Choose from 1 to 3650 days."),
        ({"name": "x", "expires_in": "9" * 20}, "Choose from 1 to 3650 days."),
        ({"name": "x", "expires_in": "9" * 5000}, "Not a valid integer value."),
        ({"name": "x", "expires_in": "soon"}, "Not a valid integer value."),
    ],
)
@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_TOKEN_SCOPES": ["notes:read"]}])
def test_a_form_that_makes_no_sense_says_so(
    extension: DeviceSessions, ada: User, laptop: Browser, form: dict[str, str], words: str
) -> None:
    """And nothing is made."""
    sign_in(laptop)

    answer = laptop.post("/devices/tokens", data=form)

    assert answer.status_code == 400
    assert words in answer.text
    assert len(extension.sessions_of(ada)) == 1


@pytest.mark.parametrize("config", [{"WTF_CSRF_ENABLED": True}])
def test_the_form_needs_its_csrf_token(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """As every form of ours (ASVS V3.5.1)."""
    login(laptop, ada)

    assert laptop.post("/devices/tokens", data={"name": "x"}).status_code == 400
    assert len(extension.sessions_of(ada)) == 1


def test_the_page_gives_a_token_no_more_than_it_has(script: Browser) -> None:
    """A program that uses the page is held to the same rule."""
    answers = [
        script.post("/devices/tokens", data={"name": "x", "scopes": scope})
        for scope in ("admin", "notes:read")
    ]

    assert [answer.status_code for answer in answers] == [403, 200]


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_TOKEN_LIFETIME": None}])
def test_a_page_without_a_lifetime_suggests_none(ada: User, laptop: Browser) -> None:
    """The token lives until it is revoked then."""
    sign_in(laptop)

    made = laptop.post("/devices/tokens", data={"name": "x"})

    assert "Does not expire" in made.text


def test_the_device_page_shows_the_token_by_its_name(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Beside the browsers; it takes no place among them."""
    sign_in(laptop)
    extension.issue_token(ada, name="backup script")

    assert "backup script" in laptop.get("/devices/").text


def test_a_changed_password_leaves_only_the_browser(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, script: Browser
) -> None:
    """Where it was changed (ASVS V7.4.3)."""

    @app.post("/password")
    def change() -> str:
        ada.password_hash = hash_of("another passphrase")
        return str(extension.password_changed(ada))

    sign_in(laptop)

    assert laptop.post("/password").text == "1"
    assert who(laptop) == "ada@example.com"
    assert is_refused(script)
