"""What a page comes with: headers, words, and templates that an app may override."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort

import flask_device_sessions as device_sessions
from flask_device_sessions import DeviceSessions
from flask_device_sessions.ids import new_id
from flask_device_sessions.testing import Browser
from flask_device_sessions.testing import login as sign_in_without_password
from tests.support import add_user, add_views, bare_app, db, make_app, sign_in

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def _in_memory(app: Flask) -> Browser:
    """Return a browser on an app in memory, with ada's account in it, signed in."""
    with app.app_context():
        db.create_all()
        browser = Browser(app)
        sign_in_without_password(browser, add_user())
    return browser


def _with_templates(folder: Path, **templates: str) -> Browser:
    """Return a browser on an app whose own templates override some of ours."""
    ours = folder / "templates" / "device_sessions"
    ours.mkdir(parents=True)
    for name, text in templates.items():
        (ours / f"{name}.html").write_text(text)
    app = Flask("tests", root_path=str(folder))
    app.config.update(bare_app().config)
    db.init_app(app)
    DeviceSessions(app)
    add_views(app)
    return _in_memory(app)


# -- Headers -------------------------------------------------------------------------------------


Ask = Callable[[Browser], Any]

ASKED: dict[str, tuple[int, Ask]] = {
    "page": (200, lambda browser: browser.get("/devices/")),
    "confirm": (200, lambda browser: browser.get("/confirm")),
    "activity": (200, lambda browser: browser.get("/devices/activity")),
    "bad link of a mail": (404, lambda browser: browser.get("/devices/not-me/x")),
    "redirect after a deed": (303, lambda browser: browser.post("/devices/revoke-others")),
    "redirect of a stranger": (302, lambda browser: Browser(browser.application).get("/devices/")),
    "login": (200, lambda browser: Browser(browser.application).get("/login")),
    "wrong password": (401, lambda browser: sign_in(browser, password="wrong")),
    "unknown id": (404, lambda browser: browser.post(f"/devices/{new_id()}/rename")),
    "wrong method": (405, lambda browser: browser.get("/logout")),
    "logout": (303, lambda browser: browser.post("/logout")),
}


@pytest.mark.parametrize(("status", "ask"), ASKED.values(), ids=ASKED.keys())
def test_every_answer_of_ours_is_behind_its_headers(status: int, ask: Ask) -> None:
    """Pages, redirects and errors alike (ASVS V3.4.3 to V3.4.8, V14.3.2)."""
    answer = ask(_in_memory(make_app()))

    policy = answer.headers.get("Content-Security-Policy", "")
    assert answer.status_code == status
    if status != 405:  # no view of ours was found, so the app answers
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Cookie" in answer.vary


def test_a_header_that_the_app_set_stays() -> None:
    """The app may know better, such as which frame may hold the page."""
    app = make_app()

    @app.after_request
    def set_policy(response: Response) -> Response:
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        return response

    assert _in_memory(app).get("/devices/").headers["X-Frame-Options"] == "SAMEORIGIN"


def test_the_apps_own_pages_get_none_of_our_headers() -> None:
    """They are the app's affair."""
    answer = _in_memory(make_app()).get("/open")

    assert not answer.headers.keys() & HEADERS.keys()
    assert "Cache-Control" not in answer.headers


def test_static_files_may_be_cached() -> None:
    """The style sheet is the same for everyone, and shared caches need one copy."""
    signed_in = _in_memory(make_app())
    stranger = Browser(signed_in.application)
    for browser in (signed_in, stranger):
        answer = browser.get("/device-sessions/static/device_sessions.css")
        answer.close()

        assert "no-store" not in answer.headers["Cache-Control"]
        assert "Vary" not in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/devices/", "/devices/activity", "/confirm", "/login"])
def test_a_page_lives_under_its_own_policy(path: str) -> None:
    """Nothing inline, nothing from elsewhere: the policy would block it (ASVS V3.4.3)."""
    browser = _in_memory(make_app())
    if path == "/login":
        browser = Browser(browser.application)
    page = browser.get(path).text

    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page)


@pytest.mark.parametrize("path", ["/devices/", "/devices/activity", "/confirm"])
def test_every_page_has_a_visible_sign_out(path: str) -> None:
    """A form with a button (ASVS V7.4.4)."""
    page = _in_memory(make_app()).get(path).text

    form = page.partition('action="/logout"')[2].partition("</form>")[0]
    assert "<button" in form
    assert "Sign out" in form


def test_password_fields_help_password_managers() -> None:
    """Their type and their purpose are said; pasting is not hindered (ASVS V6.2.6, V6.2.7)."""
    browser = _in_memory(make_app())

    for page in (Browser(browser.application).get("/login").text, browser.get("/confirm").text):
        (field,) = re.findall(r'<input[^>]*name="password"[^>]*>', page)

        assert 'type="password"' in field
        assert 'autocomplete="current-password"' in field
        assert "onpaste" not in page


def test_an_apps_own_colours_win_in_the_dark_too() -> None:
    """What sets the colours weighs nothing, so that ``:root`` in the app's style sheet is more."""
    style = (Path(device_sessions.__file__).parent / "static" / "device_sessions.css").read_text()

    selectors = re.findall(r"^\s*([^\s{}/*][^{}]*?)\s*\{\s*--ds-", style, re.MULTILINE)

    assert selectors == [":where(:root)", ":where(:root:not(.ds-light))"]


# -- Templates -----------------------------------------------------------------------------------


def test_an_apps_layout_takes_all_pages(tmp_path: Path) -> None:
    """The usual single override: ``templates/device_sessions/layout.html``."""
    layout = "<title>Shop</title>{% block content %}{% endblock %}"
    browser = _with_templates(tmp_path, layout=layout)

    for path in ("/devices/", "/confirm"):
        page = browser.get(path).text

        assert page.startswith("<title>Shop</title>")
        assert "<h1" in page
    assert "Sign in" in Browser(browser.application).get("/login").text


def test_an_override_may_change_a_single_block(tmp_path: Path) -> None:
    """By extending the page of the same name under ``default/``."""
    override = (
        '{% extends "device_sessions/default/devices.html" %}'
        "{% block heading %}Your gadgets, {{ current_user.email }}{% endblock %}"
    )
    page = _with_templates(tmp_path, devices=override).get("/devices/").text

    assert "Your gadgets, ada@example.com" in page
    assert "Your devices</h1>" not in page
    assert "Signed in on 1 device" in page


def test_a_layout_may_extend_ours(tmp_path: Path) -> None:
    """To add to the head, say."""
    override = (
        '{% extends "device_sessions/default/layout.html" %}'
        '{% block head %}<meta name="shop" content="1">{% endblock %}'
    )
    page = _with_templates(tmp_path, layout=override).get("/devices/").text

    assert '<meta name="shop" content="1">' in page
    assert "ds-header" in page


def test_a_partial_may_be_replaced(tmp_path: Path) -> None:
    """One device in the app's own words."""
    partial = "<li>{{ device_session.device_name }}, {{ time_ago(device_session.created_at) }}</li>"
    page = _with_templates(tmp_path, _device=partial).get("/devices/").text

    assert "<li>Linux PC, just now</li>" in page


@pytest.mark.parametrize("name", ["layout", "login", "devices", "confirm", "limit", "error"])
def test_every_page_stands_on_one_that_can_be_extended(name: str) -> None:
    """Each of ours extends its namesake under ``default/``."""
    app = make_app()
    loader: Any = app.jinja_env.loader

    source, _, _ = loader.get_source(app.jinja_env, f"device_sessions/{name}.html")

    assert source.strip() == f'{{% extends "device_sessions/default/{name}.html" %}}'


def test_an_error_page_asks_for_nobody() -> None:
    """It may be shown because nobody can tell who is calling."""
    app = make_app(WTF_CSRF_ENABLED=True)
    browser = _in_memory(app)

    page = browser.post("/logout").text

    assert "Error 400" in page
    assert "ds-header" not in page


def test_flashes_of_the_app_are_shown_and_escaped() -> None:
    """Our pages share the app's flashes, whatever is in them (ASVS V1.2.1)."""
    app = make_app()

    @app.get("/flash")
    def flash_something() -> str:
        from flask import flash

        flash("<i>saved</i>", "odd category")
        return "flashed"

    browser = _in_memory(app)
    browser.get("/flash")

    page = browser.get("/devices/").text

    assert "&lt;i&gt;saved&lt;/i&gt;" in page
    assert "ds-notice--info" in page


def test_an_error_of_the_apps_own_is_its_own() -> None:
    """Our handlers answer for our errors only."""
    app = make_app()
    app.register_error_handler(404, lambda error: ("the app's own 404", 404))
    app.add_url_rule("/gone", "gone", lambda: abort(404))
    browser = _in_memory(app)

    assert browser.get("/gone").text == "the app's own 404"
    assert browser.post(f"/devices/{new_id()}/rename").text == "the app's own 404"
