"""The page on programs: its commands and its client run against the example app."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
from werkzeug.serving import make_server

import example_app
from example_app.demo import seed
from example_app.extensions import db
from flask_device_sessions.problems import KINDS
from flask_device_sessions.tokens import AccessToken

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "api.md").read_text("utf-8")


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The example app, served; what the commands need to know of it."""
    app = example_app.create_app({"TESTING": True}, instance_path=str(tmp_path))
    with app.app_context():
        flask_migrate.upgrade()
        password = seed()["ada@example.com"]
    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield {
        **os.environ,
        "SERVER": f"http://127.0.0.1:{server.port}",
        "PASSWORD": password,
        "NO_PROXY": "127.0.0.1",
    }
    server.shutdown()
    thread.join()
    server.server_close()
    with app.app_context():
        db.engine.dispose()


def _run(command: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-ec", command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_do_what_the_page_says(environment: dict[str, str]) -> None:
    """Sign in, use the token, make another, end all; then it is refused."""
    sign_in, use, make, end = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    signed_in = json.loads(_run(sign_in, environment))
    environment["TOKEN"] = signed_in["token"]

    session, notes, sessions, events = _objects(_run(use, environment))
    made = json.loads(_run(make, environment))
    revoked, refused = _objects(_run(end, environment))

    assert session == sessions["sessions"][0]
    assert session["name"] == "my laptop"
    assert session["scopes"] == ["notes:read"]
    assert notes["notes"]
    assert events["events"][0]["session_id"] == session["id"]
    assert made["session"]["name"] == "backup script"
    assert revoked == {"revoked": 1}
    assert refused["detail"] == "You signed out."


def _objects(text: str) -> list[dict[str, Any]]:
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        found.append(value)
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return found


def test_the_client_runs(environment: dict[str, str]) -> None:
    """It signs in, lists, reads the notes and signs out."""
    script = DOCS / "snippets/clients/notes.py"
    command = f'"{sys.executable}" "{script}" ada@example.com "$PASSWORD"'

    lines = _run(command, environment).splitlines()

    assert lines[0] == "notes.py (this one)"
    assert len(lines) > 1
    assert all(line.startswith("- ") for line in lines[1:])


def test_the_page_lists_every_problem() -> None:
    """With its status and title."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)

    assert {name: (int(status), title) for name, status, title in rows} == KINDS


def test_the_page_gives_the_form_of_a_token() -> None:
    """As scanners want it."""
    assert AccessToken.pattern("fds") in PAGE
