"""The documentation: its code runs, its tables say what the package does."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template
from flask_wtf import CSRFProtect
from werkzeug.security import generate_password_hash

from flask_device_sessions import END_REASONS, SessionLimitReached
from flask_device_sessions.audit import ACTIONS
from flask_device_sessions.config import PROFILES, Settings
from flask_device_sessions.messages import why_you_are_out
from flask_device_sessions.testing import IPHONE, PIXEL, Browser
from flask_device_sessions.web import URLS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SNIPPETS = DOCS / "snippets"
NAMES = sorted(path.stem for path in SNIPPETS.glob("*.py"))

PASSWORD = "hello"

#: Where a snippet signs people in, and its name for the identifier; else our login page.
SIGN_IN = {
    "adopting": ("/sign-in", "email"),
    "adopting_before": ("/sign-in", "email"),
    "authenticator": ("/sign-in", "name"),
    "custom_models": ("/acme/sign-in", "email"),
}

Load = Callable[..., tuple[Flask, Any]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Run a snippet from a folder of its own; give its app, with Ada in it, and the module."""
    loaded: list[tuple[Flask, Any]] = []
    monkeypatch.setenv("FLASK_DEBUG", "1")

    def load(name: str, **config: Any) -> tuple[Flask, Any]:
        path = Path(shutil.copy(SNIPPETS / f"{name}.py", tmp_path))
        spec = importlib.util.spec_from_file_location(f"snippet_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        app = _app_of(module, tmp_path / f"{name}.sqlite", config)
        loaded.append((app, module))
        return app, module

    yield load
    for app, module in loaded:
        with app.app_context():
            module.db.session.remove()
            module.db.engine.dispose()


def _app_of(module: Any, database: Path, config: dict[str, Any]) -> Flask:
    """Return a snippet's app: the one it made, or a new one with tables and Ada."""
    if hasattr(module, "app"):
        module.app.config["WTF_CSRF_ENABLED"] = False
        made: Flask = module.app
        return made
    app: Flask = module.create_app(
        {
            "TESTING": True,
            "SECRET_KEY": "a secret of the snippets",
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{database}",
            "WTF_CSRF_ENABLED": False,
            **config,
        }
    )
    with app.app_context():
        module.db.create_all()
        _add_ada(module)
    return app


def _add_ada(module: Any) -> None:
    cheap_hash = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1")
    ada = module.User(email="ada@example.com", password_hash=cheap_hash)
    if hasattr(module.User, "username"):
        ada.username = "ada"
    module.db.session.add(ada)
    module.db.session.commit()


def _sign_in(app: Flask, browser: Browser, identifier: str = "ada@example.com") -> Any:
    name = app.import_name.removeprefix("snippet_")
    path, field = SIGN_IN.get(name, ("/login", "identifier"))
    return browser.post(path, data={field: identifier, "password": PASSWORD})


def _cookies_of(browser: Browser) -> dict[str, str]:
    return {cookie.key: cookie.value for cookie in (browser._cookies or {}).values()}


def _replay(app: Flask, cookies: dict[str, str]) -> Browser:
    thief = Browser(app, ip="203.0.113.66")
    for name, value in cookies.items():
        thief.set_cookie(name, value)
    return thief


def _table(page: str, headings: str) -> list[list[str]]:
    """Return the body rows of the table of a page whose headings begin like this."""
    text = (DOCS / page).read_text("utf-8")
    start = text.index(f"| {headings} |")
    lines = text[start:].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _value(code: str) -> object:
    """Return the value that a table cell writes as Python."""
    value: object = eval(code.strip("`"), {"timedelta": timedelta})
    return value


def _code(value: object) -> str:
    """Return a value as Python writes it, durations in their largest unit."""
    if isinstance(value, timedelta):
        units = {"days": timedelta(days=1), "hours": timedelta(hours=1)}
        unit = next((name for name, length in units.items() if not value % length), "minutes")
        return f"timedelta({unit}={value // units.get(unit, timedelta(minutes=1))})"
    return f'"{value}"' if isinstance(value, str) else repr(value)


# -- The snippets ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name != "adopting_before"])
def test_snippet_lists_both_devices_and_signs_one_out(load: Load, name: str) -> None:
    """Each app of the documentation shows two devices, and one signs the other out."""
    app, module = load(name)
    laptop, phone = Browser(app), Browser(app, IPHONE, ip="198.51.100.7")
    _sign_in(app, laptop)
    _sign_in(app, phone)

    page = laptop.get("/devices/").text
    laptop.post("/devices/revoke-others")
    answer = phone.get("/devices/")

    assert "Linux PC" in page
    assert "iPhone" in page
    assert answer.status_code == 302
    assert laptop.get("/devices/").status_code == 200


@pytest.mark.parametrize("name", NAMES)
def test_snippet_is_shown_on_a_page(name: str) -> None:
    """Each snippet is included by a page of the documentation."""
    pages = "".join(page.read_text("utf-8") for page in DOCS.glob("*.md"))

    assert f"snippets/{name}.py" in pages


def test_quickstart_needs_a_sign_in(load: Load) -> None:
    """The quickstart's own page is for people who are signed in."""
    app, _ = load("quickstart")
    browser = Browser(app)

    before = browser.get("/")
    _sign_in(app, browser)
    after = browser.get("/")

    assert before.location == "/login?next=%2F"
    assert after.text == "ada@example.com: <a href='/devices/'>your devices</a>"


def test_factory_knows_the_device(load: Load) -> None:
    """The factory's view reads user and device from ``g.current_session``."""
    app, _ = load("factory")
    pixel = Browser(app, PIXEL)

    _sign_in(app, pixel)

    assert pixel.get("/").json == {"user": "ada@example.com", "device": "Pixel 8"}


def test_factory_takes_its_settings_from_the_environment(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The factory reads settings from variables that begin with ``FLASK_``."""
    monkeypatch.setenv("FLASK_DEVICE_SESSIONS_MAX_PER_USER", "7")

    app, module = load("factory")

    with app.app_context():
        assert module.device_sessions.settings.max_per_user == 7


def test_pages_are_listed() -> None:
    """``pages.md`` names every page with its URL."""
    listed = _table("pages.md", "endpoint `device_sessions.`")

    assert [tuple(row[:2]) for row in listed] == [(f"`{u[1]}`", f"`{u[0]}`") for u in URLS]


def test_template_override_changes_one_block(load: Load, tmp_path: Path) -> None:
    """A template of the app that extends a default changes that block and nothing else."""
    shutil.copytree(SNIPPETS / "overrides", tmp_path / "templates")
    app, _ = load("factory")
    browser = Browser(app)
    _sign_in(app, browser)

    page = browser.get("/devices/").text

    assert "Ask the help desk" in page
    assert "sign it out and change your password" not in page
    assert "Signed in on 1 device" in page


def test_sign_out_form_signs_out(load: Load, tmp_path: Path) -> None:
    """The form for the app's own pages ends the session, with CSRF protection on."""
    shutil.copytree(SNIPPETS / "overrides", tmp_path / "templates")
    app, _ = load("factory")
    CSRFProtect(app)
    app.add_url_rule("/page", "page", lambda: render_template("sign_out.html"))
    browser = Browser(app)
    _sign_in(app, browser)
    app.config["WTF_CSRF_ENABLED"] = True
    token = re.search(r'value="([^"]+)"', browser.get("/page").text)
    assert token is not None

    refused = browser.post("/logout")
    accepted = browser.post("/logout", data={"csrf_token": token[1]})

    assert refused.status_code == 400
    assert accepted.status_code == 303
    assert browser.get("/").status_code == 302


def test_signals_snippet_tells_of_devices_and_ends(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    """The receivers hear of the first sign-in on a device and of the end of a session."""
    app, _ = load("signals")
    browser = Browser(app, IPHONE)

    _sign_in(app, browser)
    browser.post("/logout")

    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "ada@example.com signed in on a new device: iPhone"
    assert re.fullmatch(r"Session [0-9a-f-]{36} ended: logout", said[1])


# -- Adopting ----------------------------------------------------------------------------------


def test_adopting_adds_lines_and_changes_none() -> None:
    """The adopted app is the old one with three lines more."""
    before = (SNIPPETS / "adopting_before.py").read_text().splitlines()[1:]
    after = (SNIPPETS / "adopting.py").read_text().splitlines()[1:]

    added = [line.strip() for line in after if "evice" in line]

    assert [line for line in after if line in before and line] == [line for line in before if line]
    assert added == [
        "from flask_device_sessions import DeviceSessions",
        "device_sessions = DeviceSessions()",
        "device_sessions.init_app(app)",
    ]


@pytest.mark.parametrize(("name", "status"), [("adopting_before", 200), ("adopting", 302)])
def test_copied_cookies_after_sign_out(load: Load, name: str, status: int) -> None:
    """Copies of all cookies sign in after sign-out in the old app, and not in the adopted one."""
    app, _ = load(name)
    browser = Browser(app)
    _sign_in(app, browser)
    copies = _cookies_of(browser)
    signed_in = browser.get("/").text

    browser.post("/sign-out")
    answer = _replay(app, copies).get("/")

    assert signed_in == "Hello ada@example.com"
    assert answer.status_code == status


def test_remember_cookie_is_the_same_for_every_sign_in(load: Load) -> None:
    """Flask-Login's remember cookie does not tell one device from another."""
    app, _ = load("adopting_before")
    laptop, phone = Browser(app), Browser(app, IPHONE)
    _sign_in(app, laptop)
    _sign_in(app, phone)

    one, other = _cookies_of(laptop), _cookies_of(phone)

    assert one["remember_token"] == other["remember_token"]


def test_cookies_from_before_the_upgrade_sign_nobody_in(load: Load, tmp_path: Path) -> None:
    """After adopting, old cookies are not asked; signing in and out clears them away."""
    old_app, _ = load("adopting_before")
    browser = Browser(old_app)
    _sign_in(old_app, browser)
    app, _ = load("adopting")
    upgraded = _replay(app, _cookies_of(browser))

    before = upgraded.get("/")
    _sign_in(app, upgraded)
    after = upgraded.get("/")
    upgraded.post("/sign-out")

    assert before.status_code == 302
    assert after.text == "Hello ada@example.com"
    assert "remember_token" not in _cookies_of(upgraded)


def test_adopted_login_page_says_why(load: Load) -> None:
    """On the way to a login page of the app's own, the reason is flashed."""
    app, _ = load("adopting")
    laptop, phone = Browser(app), Browser(app, IPHONE)
    _sign_in(app, laptop)
    _sign_in(app, phone)
    laptop.post("/devices/revoke-others")

    phone.get("/")

    with phone.session_transaction() as flask_session:
        said = [text for _, text in flask_session["_flashes"]]
    assert "You were signed out from another device." in said


@pytest.mark.parametrize("identifier", ["ada@example.com", "ADA@example.com", "ada"])
def test_authenticator_finds_the_account(load: Load, identifier: str) -> None:
    """The authenticator finds people by email in any case, and by user name."""
    app, _ = load("authenticator")

    own = _sign_in(app, Browser(app), identifier)
    ours = Browser(app).post("/login", data={"identifier": identifier, "password": PASSWORD})

    assert own.status_code == 302
    assert ours.status_code == 303


def test_authenticator_leaves_the_password_to_us(load: Load) -> None:
    """An authenticator that finds the account does not let a wrong password in."""
    app, _ = load("authenticator")

    answer = Browser(app).post("/sign-in", data={"name": "ada", "password": "wrong"})

    assert answer.status_code == 401


def test_custom_column_is_filled_with_the_sign_in(load: Load) -> None:
    """A column of the app's own is written in the transaction of the sign-in."""
    app, module = load("custom_models")

    _sign_in(app, Browser(app))

    with app.app_context():
        (session,) = module.db.session.query(module.LoginSession).all()
        assert session.tenant == "acme"
        assert session.device.is_trusted is False


def test_custom_models_refuse_a_wrong_password(load: Load) -> None:
    """The view with columns of its own lets no wrong password in."""
    app, _ = load("custom_models")

    answer = Browser(app).post("/acme/sign-in", data={"email": "ada@example.com", "password": "x"})

    assert answer.status_code == 401


def test_limits_offer_the_devices_to_sign_out(load: Load) -> None:
    """The third device of somebody with two is refused, and may sign out one of them."""
    app, module = load("limits")
    first, second, third = Browser(app), Browser(app, IPHONE), Browser(app, PIXEL)
    _sign_in(app, first)
    _sign_in(app, second)

    refused = _sign_in(app, third)
    ticket = re.search(r'name="ticket" value="([^"]+)"', refused.text)
    chosen = re.search(r'name="end_session" value="([^"]+)"', refused.text)
    assert ticket is not None
    assert chosen is not None
    third.post("/login", data={"ticket": ticket[1], "end_session": chosen[1]})

    assert refused.status_code == 409
    assert third.get("/devices/").status_code == 200
    assert {b.get("/devices/").status_code for b in (first, second)} == {200, 302}


def test_limits_depend_on_the_person(load: Load) -> None:
    """A member may sign in on more devices than others."""
    app, module = load("limits")
    with app.app_context():
        module.db.session.query(module.User).update({"is_member": True})
        module.db.session.commit()

    answers = [_sign_in(app, Browser(app, ip=f"192.0.2.{n}")).status_code for n in range(3)]

    assert answers == [303, 303, 303]


def test_refusal_reaches_a_view_that_catches_it(load: Load) -> None:
    """``login`` raises ``SessionLimitReached``, with the facts, in the app's own code."""
    app, module = load("limits")
    _sign_in(app, Browser(app))
    _sign_in(app, Browser(app, IPHONE))

    with app.test_request_context():
        ada = module.db.session.query(module.User).one()
        with pytest.raises(SessionLimitReached) as caught:
            module.device_sessions.login(ada)

    assert caught.value.limit == 2
    assert len(caught.value.sessions) == 2


# -- The tables --------------------------------------------------------------------------------


def test_configuration_lists_every_setting() -> None:
    """The table of settings has every key, its default and its meaning, in order."""
    expected = [
        f"| `{f.name.upper()}` | `{_code(f.default)}` | {f.metadata['doc']} |"
        for f in fields(Settings)
    ]

    listed = (DOCS / "configuration.md").read_text("utf-8").split("|---|---|---|\n")[1]

    assert listed.split("\n\n")[0].splitlines() == expected


def test_concepts_state_the_timeouts() -> None:
    """Each timeout and the limit are stated with their defaults (ASVS V7.1.1, V7.1.2)."""
    defaults = {f.name.upper(): f.default for f in fields(Settings)}

    stated = {key.strip("`"): _value(default) for key, default, _ in _table("concepts.md", "limit")}

    assert stated.keys() == {
        "LIFETIME",
        "IDLE_TIMEOUT",
        "TOUCH_INTERVAL",
        "FRESHNESS",
        "MAX_PER_USER",
    }
    assert stated == {key: defaults[key] for key in stated}


def test_concepts_state_the_profiles() -> None:
    """The presets are listed with the values they set."""
    listed = {
        _value(name): tuple(map(_value, values))
        for name, *values in _table("concepts.md", "profile")
    }

    assert listed == PROFILES


def test_concepts_list_every_end_reason() -> None:
    """Each reason is listed once, with the sentence that people read."""
    listed = {
        reason.strip("`"): sentence for reason, _, sentence in _table("concepts.md", "`end_reason`")
    }

    assert listed == {reason: why_you_are_out(reason) for reason in END_REASONS}


def test_concepts_list_every_event() -> None:
    """The events are those that the audit trail knows."""
    listed = {name.strip("`"): says for name, says in _table("concepts.md", "event | says")}

    assert listed == ACTIONS


def test_design_shows_the_floors_that_are_held() -> None:
    """The picture of the house is the contract that import-linter holds."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    layers = setup["importlinter:contract:floors"]["layers"].strip().splitlines()
    held = [{name.strip("() ") for name in layer.split("|")} for layer in layers]
    package = ROOT / "flask_device_sessions"
    there = {path.stem for path in package.glob("*.py")} | {path.name for path in package.iterdir()}
    drawing = (DOCS / "design.md").read_text("utf-8").split("```")[1].replace("\n  |", " |")

    drawn = [
        {module.strip() for module in re.split(r"\s{3,}", line)[0].split(" | ")}
        for line in drawing.strip().splitlines()
    ]

    assert drawn == [floor & there for floor in held if floor & there]


# -- Security --------------------------------------------------------------------------------------


def _promises() -> list[tuple[str, str, str]]:
    """Return id, test file and test of each row of the table of promises."""
    row = re.compile(r"^\| (V[0-9.]+) \| L[123] \| .+ \| `(tests/[\w/]+\.py)::(\w+)` \|$", re.M)
    return row.findall((DOCS / "security.md").read_text("utf-8"))


def test_each_promise_has_its_row() -> None:
    """The table is read whole: each of its rows has the shape of one."""
    text = (DOCS / "security.md").read_text("utf-8")

    assert len(_promises()) == len(re.findall(r"^\| V", text, re.M)) >= 40


@pytest.mark.parametrize(
    "row", _table("deployment.md", "fault | how it is made"), ids=lambda r: r[0]
)
def test_each_fault_has_its_test(row: list[str]) -> None:
    """The test that a fault is said to have is there."""
    file, test = row[-1].strip("`").split("::")

    assert f"def {test}(" in (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize(("promise", "file", "test"), _promises())
def test_each_promise_is_shown_by_a_test_that_names_it(promise: str, file: str, test: str) -> None:
    """Searching the tests for a requirement of the ASVS finds what shows it."""
    source = (DOCS.parent / file).read_text("utf-8")
    functions = {
        node.name: ast.get_docstring(node) or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }

    assert promise in functions[test].replace(")", " ").replace(",", " ").replace(".\n", " ")
