"""Workers that are killed in the middle of a sign-in, and servers that fork, thread and restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.testing import Browser
from tests import engines
from tests.engines import Engine
from tests.faults.conftest import Note
from tests.faults.servers import free_port, wait_until
from tests.support import PASSWORD, add_user, db, empty_tables, make_app, sign_in, statements, who

pytestmark = pytest.mark.faults

# It forks before it opens the database; each child lives until its statement.
_DOOMED = """
import os, signal, sys
import sqlalchemy as sa
from flask_device_sessions.testing import Browser
from tests.support import db, make_app, sign_in

uri, steps = sys.argv[1], int(sys.argv[2])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def live(step):
    app = make_app(uri, DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None)
    seen = [0]
    def on_execute(*_):
        if seen[0] == step:
            die()
        seen[0] += 1
    with app.app_context():
        sa.event.listen(db.engine, "before_cursor_execute", on_execute)
        if step == steps:
            sa.event.listen(db.engine, "commit", lambda connection: die())
        if step == steps + 1:
            sa.event.listen(db.session, "after_commit", lambda session: die())
    if step == steps + 2:
        app.after_request(lambda response: die())
    sign_in(Browser(app), f"{step}@example.com")

for step in range(steps + 3):
    child = os.fork()
    if child == 0:
        live(step)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_worker_that_is_killed_at_each_step_of_a_sign_in(
    app: Flask, schema: Engine, note: Note
) -> None:
    """Before any statement, at COMMIT, before the answer: a row never used, or nothing."""
    app.config["DEVICE_SESSIONS_LOGIN_RATE_LIMIT"] = None
    with app.app_context():
        add_user()
    with statements(app) as seen:
        sign_in(Browser(app))
    steps = len([statement for statement in seen if statement != "COMMIT"])
    people = [f"{step}@example.com" for step in range(steps + 3)]
    with app.app_context():
        for email in people:
            add_user(email)

    command = [sys.executable, "-c", _DOOMED, schema.uri, str(steps)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    left = [_sessions(app, email) for email in people]
    browsers = {email: Browser(app) for email in people}
    again = [sign_in(browser, email).status_code for email, browser in browsers.items()]

    assert told.stdout.split() == [str(-signal.SIGKILL)] * len(people)
    assert left == [0] * (steps + 1) + [1, 1]
    assert again == [303] * len(people)
    assert [who(browser) for browser in browsers.values()] == people
    with app.app_context():
        assert app.extensions["device_sessions"].verify_audit()
    what = f"{steps + 1} × nothing, then a row never used; sign-in works at once"
    note("worker killed", f"{schema.name}, SIGKILL at each of {len(people)} steps", what)


def _sessions(app: Flask, email: str) -> int:
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        return len(extension.sessions_of(extension.find_person(email)))


# -- gunicorn ----------------------------------------------------------------------------------

_WSGI = """
import sys
from tests.support import make_app
app = make_app({uri!r}, DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None, SECRET_KEY="a secret of the suite")
"""

PEOPLE = [f"{name}@example.com" for name in ("ada", "ben", "cy", "dee", "eve", "flo")]


@contextmanager
def _gunicorn(folder: Path, uri: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[Any]]]:
    """Run the app under gunicorn with two workers: its URL, and the process."""
    (folder / "wsgi.py").write_text(_WSGI.format(uri=uri))
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "wsgi:app", "-b", f"127.0.0.1:{port}", "-w", "2"]
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[2]), *sys.path[1:]])
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, *options],
            env={**os.environ, "PYTHONPATH": path},
            stdout=output,
            stderr=output,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _is_open(url, process), "gunicorn answers")
            yield url, process
        finally:
            process.terminate()
            process.wait(30)


def _is_open(url: str, process: subprocess.Popen[Any]) -> bool:
    assert process.poll() is None, "gunicorn ended"
    with suppress(requests.RequestException):
        return requests.get(f"{url}/open", timeout=5).status_code == 200
    return False


class Crowd:
    """Six people, a thread each, who ask who they are until they are told to stop.

    Args:
        url: the server's.

    Attributes:
        right: how many answers named the right person.
        wrong: all others.
        lost: how many requests had no answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._end = threading.Event()
        self.right, self.lost = 0, 0
        self.wrong: list[Any] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._live, args=(one,)) for one in PEOPLE]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def has_asked(self, number: int) -> Callable[[], bool]:
        """Return whether so many right answers more have come, as a condition."""
        goal = self.right + number
        return lambda: self.right >= goal

    def _live(self, email: str) -> None:
        with requests.Session() as browser:
            while not self._end.is_set():
                try:
                    self._ask(browser, email)
                except requests.RequestException:
                    with self._lock:
                        self.lost += 1

    def _ask(self, browser: requests.Session, email: str) -> None:
        if "device_session" not in browser.cookies:
            form = {"identifier": email, "password": PASSWORD}
            browser.post(f"{self._url}/login", form, timeout=10, allow_redirects=False)
            return
        answer = browser.get(f"{self._url}/whoami", timeout=10)
        is_right = answer.status_code == 200 and answer.json()["user"] == email
        with self._lock:
            self.right += is_right
            if not is_right:
                self.wrong.append((email, answer.status_code, answer.text[:200]))


@pytest.fixture
def filled(schema: Engine) -> Iterator[str]:
    """A database with six people, for another process."""
    app = make_app(schema.uri, SECRET_KEY="a secret of the suite")
    with app.app_context():
        for email in PEOPLE:
            add_user(email)
        db.engine.dispose()
    yield schema.uri
    empty_tables(app)


KINDS = {
    "sync": ["--preload"],
    "gthread": ["--preload", "-k", "gthread", "--threads", "4"],
    "gevent": ["-k", "gevent"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_names_another_person(
    filled: str, schema: Engine, tmp_path: Path, note: Note, kind: str
) -> None:
    """Forked after loading, threads, greenlets: each answer is about whoever asked."""
    if kind == "gevent":
        _need("gevent")
    with _gunicorn(tmp_path, filled, *KINDS[kind]) as (url, _), Crowd(url) as crowd:
        wait_until(crowd.has_asked(60), "60 right answers", 60)

    assert crowd.wrong == []
    assert crowd.lost == 0
    note("fork, threads", f"{schema.name}, gunicorn {kind}", f"{crowd.right} answers, all right")


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_restart_under_load(filled: str, schema: Engine, tmp_path: Path, note: Note) -> None:
    """A worker killed with -9, then all replaced by SIGHUP: nobody is out, nobody is another."""
    options = ["-k", "gthread", "--threads", "4"]
    with _gunicorn(tmp_path, filled, *options) as (url, process), Crowd(url) as crowd:
        wait_until(crowd.has_asked(60), "60 right answers", 60)
        worker = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        os.kill(int(worker), signal.SIGKILL)
        wait_until(crowd.has_asked(60), "60 right answers after a kill", 60)
        process.send_signal(signal.SIGHUP)
        wait_until(crowd.has_asked(100), "100 right answers after a reload", 60)

    assert crowd.wrong == []
    assert crowd.lost <= 2 * len(PEOPLE)
    what = f"{crowd.right} answers, all right; {crowd.lost} requests without one"
    note("restart under load", f"{schema.name}, gunicorn: a worker killed, then SIGHUP", what)


def _need(module: str) -> None:
    if engines.IS_COMPLETE:
        __import__(module)
    else:
        pytest.importorskip(module)
