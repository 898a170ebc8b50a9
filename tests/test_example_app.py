"""The example app: from nothing to two devices."""

from __future__ import annotations

import importlib.util
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

import example_app
from example_app import __main__ as start
from example_app.demo import seed
from example_app.extensions import db, device_sessions
from example_app.models import Note, User
from flask_device_sessions.testing import IPHONE, Browser, login

ADA, FINN = "ada@example.com", "finn@example.com"


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Flask]:
    """The app in a folder of its own, its database migrated and empty."""
    app = example_app.create_app({"TESTING": True}, instance_path=str(tmp_path))
    _flask_db(app, "upgrade")
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def passwords(example: Flask) -> dict[str, str]:
    """The demo accounts, and their passwords."""
    with example.app_context():
        return seed()


def _flask_db(app: Flask, *command: str) -> None:
    result = app.test_cli_runner().invoke(args=["db", *command])
    assert result.exit_code == 0, result.output


def _token_on(browser: Browser, path: str) -> str:
    found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', browser.get(path).text)
    assert found is not None
    return found[1]


def _sign_in(browser: Browser, email: str, password: str) -> Any:
    form = {"identifier": email, "password": password, "csrf_token": _token_on(browser, "/login")}
    return browser.post("/login", data=form)


# -- Tables --------------------------------------------------------------------------------------


def test_migrations_bring_exactly_what_the_models_map(example: Flask) -> None:
    """After ``flask db upgrade``, ``flask db check`` finds no difference."""
    with example.app_context():
        tables = set(sa.inspect(db.engine).get_table_names())

    _flask_db(example, "check")  # fails when it finds one

    assert tables == {
        "alembic_version",
        "user",
        "note",
        "device_sessions",
        "device_session_devices",
        "device_session_events",
    }


def test_adding_the_extension_is_a_migration_of_its_own(example: Flask) -> None:
    """What it added, taken back, takes the extension's three tables and nothing else."""
    _flask_db(example, "downgrade", "5696c766c568")

    with example.app_context():
        tables = set(sa.inspect(db.engine).get_table_names())

    assert tables == {"alembic_version", "user", "note"}


def test_migrations_run_without_the_package(example: Flask) -> None:
    """No migration imports the extension: an old one runs after it is gone."""
    versions = Path(example.root_path, "migrations", "versions").glob("*.py")

    sources = [version.read_text("utf-8") for version in versions]

    assert len(sources) == 3
    assert not any("flask_device_sessions" in source for source in sources)


# -- The first start -------------------------------------------------------------------------------


def test_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    """The secret key is random, stays the same, and only its owner may read the file."""
    first, second = (example_app.create_app(instance_path=str(tmp_path / "one")) for _ in range(2))
    other = example_app.create_app(instance_path=str(tmp_path / "two"))

    mode = stat.S_IMODE((tmp_path / "one" / "secret_key").stat().st_mode)

    assert first.secret_key == second.secret_key
    assert first.secret_key != other.secret_key
    assert len(str(first.secret_key)) == 64
    assert mode == 0o600


def test_printed_password_signs_in(example: Flask, passwords: dict[str, str]) -> None:
    """The passwords that the first start prints sign in; only hashes are kept."""
    printed = start.welcome("http://127.0.0.1:5000", passwords)

    found = dict(re.findall(r"(\S+@example\.com)\s+(\S+)", printed.partition("1.")[0]))
    answer = _sign_in(Browser(example), ADA, found[ADA])

    assert found == passwords
    assert answer.status_code == 303
    with example.app_context():
        kept = db.session.scalars(sa.select(User.password_hash)).all()
    assert not any(password in "".join(kept) for password in passwords.values())


def test_second_start_prints_no_password(example: Flask, passwords: dict[str, str]) -> None:
    """Later starts make no accounts; they say how to get new passwords."""
    with example.app_context():
        again = seed()

    printed = start.welcome("http://127.0.0.1:5000", again)

    assert again == {}
    assert not any(password in printed for password in passwords.values())
    assert "flask --app example_app reset-demo" in printed


def test_reset_demo_gives_new_passwords(example: Flask, passwords: dict[str, str]) -> None:
    """``reset-demo`` prints passwords that sign in, and ends what the old ones started."""
    browser = Browser(example)
    _sign_in(browser, ADA, passwords[ADA])

    printed = example.test_cli_runner().invoke(args=["reset-demo"]).output
    new = dict(line.split() for line in printed.splitlines())

    assert new.keys() == {ADA, FINN}
    assert browser.get("/account").status_code == 302
    assert _sign_in(Browser(example), ADA, passwords[ADA]).status_code == 401
    assert _sign_in(Browser(example), ADA, new[ADA]).status_code == 303


def test_reset_demo_without_accounts(example: Flask) -> None:
    """Before the first start, ``reset-demo`` says what to do and fails."""
    result = example.test_cli_runner().invoke(args=["reset-demo"])

    assert result.exit_code == 1
    assert "python -m example_app" in result.output


def test_main_migrates_seeds_and_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``python -m example_app`` makes everything from nothing and serves on loopback only."""
    served: list[Any] = []
    create_app = example_app.create_app
    monkeypatch.setenv("PORT", "5088")
    monkeypatch.setattr(start, "create_app", lambda: create_app(instance_path=str(tmp_path)))
    monkeypatch.setattr(start, "run_simple", lambda *where, **_: served.extend(where))

    start.main()

    host, port, app = served
    printed = capsys.readouterr().out
    assert (host, port) == ("127.0.0.1", 5088)
    assert "http://127.0.0.1:5088" in printed
    assert len(re.findall(r"^  \d\. ", printed, re.MULTILINE)) == 4
    with app.app_context():
        assert db.session.query(User).count() == 2
        db.session.remove()
        db.engine.dispose()


# -- The pages ---------------------------------------------------------------------------------


def test_nothing_is_public(example: Flask, passwords: dict[str, str]) -> None:
    """Every page of the app sends strangers to the login page."""
    pages = ("/", "/account", "/account/password", "/devices/")

    answers = [Browser(example).get(page) for page in pages]

    assert [answer.status_code for answer in answers] == [302] * len(pages)
    assert all(answer.location.startswith("/login?next=") for answer in answers)


def test_json_view_refuses_strangers(example: Flask, passwords: dict[str, str]) -> None:
    """The JSON view answers 401 to strangers, and a person's own notes to that person."""
    browser = Browser(example)

    refused = browser.get("/api/notes.json", headers={"Accept": "application/json"})
    _sign_in(browser, FINN, passwords[FINN])
    answer = browser.get("/api/notes.json")

    assert refused.status_code == 401
    assert refused.mimetype == "application/problem+json"
    assert answer.json is not None
    assert [note["source"] for note in answer.json["notes"]] == [
        "Charlotte Brontë, Jane Eyre",
        "Henry David Thoreau, Walden",
    ]


def test_a_token_reads_the_notes_if_it_may(example: Flask, passwords: dict[str, str]) -> None:
    """A script of the person's, with the scope; without it, 403."""
    with example.app_context():
        finn = db.session.scalars(sa.select(User).where(User.email == FINN)).one()
        issued = [
            device_sessions.issue_token(finn, name="script", scopes=scopes)
            for scopes in (["notes:read"], [])
        ]

    answers = [
        example.test_client().get(
            "/api/notes.json", headers={"Authorization": f"Bearer {one.token}"}
        )
        for one in issued
    ]

    assert [answer.status_code for answer in answers] == [200, 403]


def test_notes_are_ones_own(example: Flask, passwords: dict[str, str]) -> None:
    """A note that one person keeps is on their page and not on another's."""
    ada, finn = Browser(example), Browser(example, IPHONE)
    _sign_in(ada, ADA, passwords[ADA])
    _sign_in(finn, FINN, passwords[FINN])

    form = {"text": " <b>Keep me</b> ", "source": "me", "csrf_token": _token_on(ada, "/")}
    ada.post("/notes", data=form)

    assert "&lt;b&gt;Keep me&lt;/b&gt;" in ada.get("/").text
    assert "Keep me" not in finn.get("/").text


def test_empty_note_is_refused(example: Flask, passwords: dict[str, str]) -> None:
    """Nothing but space is no note, and the page says so."""
    ada = Browser(example)
    _sign_in(ada, ADA, passwords[ADA])
    form = {"text": "  ", "csrf_token": _token_on(ada, "/")}

    page = ada.post("/notes", data=form, follow_redirects=True).text

    assert "There is nothing to keep yet" in page
    with example.app_context():
        assert db.session.query(Note).filter_by(text="").count() == 0


def test_private_pages_are_not_kept_by_caches(example: Flask, passwords: dict[str, str]) -> None:
    """The app's pages are not stored, and load nothing from elsewhere."""
    ada = Browser(example)
    _sign_in(ada, ADA, passwords[ADA])

    answer = ada.get("/account")

    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<style|<script|style=|https?://", answer.text)


def test_overridden_layout_takes_effect(example: Flask, passwords: dict[str, str]) -> None:
    """The extension's pages wear the app's base layout and keep their own style sheet."""
    ada = Browser(example)

    login_page = ada.get("/login").text
    _sign_in(ada, ADA, passwords[ADA])
    devices_page = ada.get("/devices/").text

    for page in (login_page, devices_page):
        assert "Commonplace</title>" in page
        assert "/static/commonplace.css" in page
        assert "/device-sessions/static/device_sessions.css" in page
    assert '<a href="/devices/" aria-current="page">Devices</a>' in devices_page


def test_changing_the_password_signs_out_the_others(
    example: Flask, passwords: dict[str, str]
) -> None:
    """A new password ends every other session, keeps this one, and is the one that works."""
    laptop, phone = Browser(example), Browser(example, IPHONE)
    _sign_in(laptop, ADA, passwords[ADA])
    _sign_in(phone, ADA, passwords[ADA])
    token = _token_on(laptop, "/account/password")

    short = laptop.post("/account/password", data={"password": "short", "csrf_token": token})
    form = {"password": "a longer password", "csrf_token": token}
    changed = laptop.post("/account/password", data=form)

    assert short.status_code == 400
    assert changed.location == "/account"
    assert laptop.get("/account").status_code == 200
    assert phone.get("/account").status_code == 302
    assert "because the password was changed" in phone.get("/login").text
    assert _sign_in(Browser(example), ADA, passwords[ADA]).status_code == 401
    assert _sign_in(Browser(example), ADA, "a longer password").status_code == 303


def test_changing_the_password_needs_a_fresh_session(
    example: Flask, passwords: dict[str, str]
) -> None:
    """Long after the sign-in, the page for a new password asks for the present one."""
    browser = Browser(example)
    with example.app_context():
        ada = db.session.query(User).filter_by(email=ADA).one()
        long_ago = device_sessions.settings.freshness
        session = login(browser, ada)
        login(browser, ada, authenticated_at=session.created_at - long_ago)

    answer = browser.get("/account/password")

    assert answer.location == "/confirm?next=%2Faccount%2Fpassword"


# -- Two devices -------------------------------------------------------------------------------


def test_two_browsers_see_each_other_and_one_signs_the_other_out(
    example: Flask, passwords: dict[str, str]
) -> None:
    """Both devices are listed; the one that is signed out is out at its next request, told why."""
    laptop, phone = Browser(example), Browser(example, IPHONE, ip="198.51.100.7")
    _sign_in(laptop, ADA, passwords[ADA])
    _sign_in(phone, ADA, passwords[ADA])

    page = laptop.get("/devices/").text
    account = laptop.get("/account").text
    revoke = re.search(r'action="(/devices/sessions/[^"]+/revoke)"', page)
    assert revoke is not None
    laptop.post(revoke[1], data={"csrf_token": _token_on(laptop, "/devices/")})
    refused = phone.get("/api/notes.json", headers={"Accept": "application/json"})
    told = phone.get("/login").text

    assert "Linux PC" in page
    assert "iPhone" in page
    assert "2 devices" in account
    assert refused.status_code == 401
    assert "You were signed out from another device." in told
    assert laptop.get("/account").status_code == 200


def test_package_is_run_as_a_module() -> None:
    """``python -m example_app`` finds its entry, and importing it starts nothing."""
    spec = importlib.util.find_spec("example_app.__main__")

    assert spec is not None
    assert sys.modules["example_app.__main__"] is start
