"""Flask's own session, with the extension in the app."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Request, session
from flask.sessions import SecureCookieSessionInterface
from hypothesis import given
from hypothesis import strategies as st

from flask_device_sessions import cookies


class _OfTheApp(SecureCookieSessionInterface):
    """An interface that an app has chosen itself."""


@pytest.fixture
def flask_app() -> Flask:
    """An app that counts in Flask's session, thriftily."""
    app = Flask("tests")
    app.config["SECRET_KEY"] = "k" * 32
    cookies.spare(app)

    @app.get("/count")
    def count() -> dict[str, Any]:
        session["count"] = session.get("count", 0) + 1
        return dict(session)

    @app.get("/look")
    def look() -> dict[str, Any]:
        return dict(session)

    @app.get("/forget")
    def forget() -> str:
        session.clear()
        return ""

    app.add_url_rule("/apart", "apart", lambda: "")
    return app


def test_a_session_is_kept_from_request_to_request(flask_app: Flask) -> None:
    """As without us."""
    client = flask_app.test_client()

    counts = [client.get("/count").json["count"] for _ in range(3)]  # type: ignore[index]

    assert counts == [1, 2, 3]


def test_a_session_is_read_whoever_wrote_it(flask_app: Flask) -> None:
    """An app that adopts the extension, or gives it up, loses no session."""
    client = flask_app.test_client()
    client.get("/count")

    flask_app.session_interface = SecureCookieSessionInterface()
    client.get("/count")
    cookies.spare(flask_app)

    assert client.get("/look").json == {"count": 2}


def test_a_cleared_session_loses_its_cookie(flask_app: Flask) -> None:
    """An empty session is not the same as one that was not touched."""
    client = flask_app.test_client()
    client.get("/count")

    cleared = client.get("/forget")

    assert "Expires=Thu, 01 Jan 1970" in cleared.headers["Set-Cookie"]
    assert client.get("/look").json == {}


def test_a_permanent_session_is_refreshed(flask_app: Flask) -> None:
    """``SESSION_REFRESH_EACH_REQUEST`` holds also where nobody looks at the session."""
    client = flask_app.test_client()
    with client.session_transaction() as kept:
        kept.permanent = True

    assert "Expires=" in client.get("/apart").headers["Set-Cookie"]


def test_an_untouched_session_costs_nothing(
    flask_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither keys nor a serializer are made, and caches are told nothing."""
    monkeypatch.setattr(SecureCookieSessionInterface, "get_signing_serializer", None)

    answer = flask_app.test_client().get("/apart")

    assert answer.status_code == 200
    assert "Vary" not in answer.headers


def test_an_app_without_a_key_is_told_so_by_flask(flask_app: Flask) -> None:
    """As ever, by whoever writes to the session."""
    flask_app.secret_key = None
    flask_app.testing = True

    with pytest.raises(RuntimeError, match="secret key"):
        flask_app.test_client().get("/count")


def test_an_interface_of_the_apps_own_stays() -> None:
    """Server-side sessions, or another serializer: they are not ours to replace."""
    app = Flask("tests")
    app.session_interface = _OfTheApp()

    cookies.spare(app)

    assert type(app.session_interface) is _OfTheApp


def test_settings_of_the_apps_own_stay() -> None:
    """Another salt, say, without which no session would be read any more."""
    app = Flask("tests")
    app.session_interface = SecureCookieSessionInterface()
    app.session_interface.salt = "mine"

    cookies.spare(app)

    assert vars(app.session_interface) == {"salt": "mine"}
    assert isinstance(app.session_interface, cookies.SparingSessionInterface)


@given(
    st.lists(
        st.sampled_from(["one", "two", "=", ";", " ", "\t", '"', "\\", "x.y-_", "\x0b", "é", ","])
    ).map("".join)
)
def test_one_cookie_is_what_werkzeug_finds(header: str) -> None:
    """Whatever else a browser or a stranger sends beside it."""
    request = Request({"HTTP_COOKIE": header.encode().decode("latin1")})

    for name in ("one", "two"):
        assert cookies.sent(request, name) == request.cookies.get(name)


@pytest.mark.parametrize("header", ['a="x; b=1"; b=2', "a=x y; b=2", "a=\t; b=2", "a=\xe9; b=2"])
def test_a_strange_neighbour_hides_no_cookie(header: str) -> None:
    """Quotes, spaces, control characters, other alphabets: Werkzeug's parser tells then."""
    request = Request({"HTTP_COOKIE": header})

    assert cookies.sent(request, "b") == "2"
    assert cookies.sent(request, "a") == request.cookies.get("a")


def test_the_first_of_two_cookies_with_a_name_counts() -> None:
    """The one with the longer path, which browsers send first (RFC 6265 5.4)."""
    assert cookies.sent(Request({"HTTP_COOKIE": "b=0; a=1; a=2"}), "a") == "1"
    assert cookies.sent(Request({"HTTP_COOKIE": "aa=1; b=a"}), "a") is None
    assert cookies.sent(Request({}), "a") is None
