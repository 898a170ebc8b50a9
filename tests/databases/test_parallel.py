"""Many sign-ins at once: the limit holds in threads and processes, on every engine."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.testing import Browser
from tests.engines import Engine
from tests.support import add_user, sign_in

LOGINS = 30
LIMIT = 3

pytestmark = [pytest.mark.connections]


@pytest.fixture
def config() -> dict[str, Any]:
    """A limit of three, and connections enough for every thread."""
    return {"DEVICE_SESSIONS_MAX_PER_USER": LIMIT, "DEVICE_SESSIONS_LOGIN_RATE_LIMIT": None}


def _live(app: Flask, user_id: int) -> int:
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        user = extension.find_user(str(user_id))
        return len(extension.sessions_of(user))


def _sign_in_at_once(app: Flask, barrier: Barrier) -> int:
    browser = Browser(app)
    barrier.wait()
    status: int = sign_in(browser).status_code
    return status


def test_thirty_threads_never_pass_the_limit(app: Flask) -> None:
    """Thirty parallel sign-ins at a limit of three leave three sessions (ASVS V15.4.1)."""
    with app.app_context():
        user_id = add_user().id
    barrier = Barrier(LOGINS)

    with ThreadPoolExecutor(LOGINS) as pool:
        answers = list(pool.map(lambda _: _sign_in_at_once(app, barrier), range(LOGINS)))

    assert answers == [303] * LOGINS
    assert _live(app, user_id) == LIMIT


def test_people_do_not_stand_in_each_others_way(app: Flask) -> None:
    """Thirty people who sign in for the first time at once all succeed."""
    with app.app_context():
        for number in range(LOGINS):
            add_user(f"{number}@example.com")
    barrier = Barrier(LOGINS)

    def first_sign_in(number: int) -> int:
        browser = Browser(app)
        barrier.wait()
        status: int = sign_in(browser, f"{number}@example.com").status_code
        return status

    with ThreadPoolExecutor(LOGINS) as pool:
        answers = list(pool.map(first_sign_in, range(LOGINS)))

    assert answers == [303] * LOGINS


_PROCESS = """
import sys
from tests.support import make_app, sign_in
from flask_device_sessions.testing import Browser
app = make_app(sys.argv[1], DEVICE_SESSIONS_MAX_PER_USER=3)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    assert sign_in(Browser(app)).status_code == 303
"""


def test_three_processes_never_pass_the_limit(app: Flask, schema: Engine) -> None:
    """Three processes that sign in ten times each leave three sessions."""
    with app.app_context():
        user_id = add_user().id
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, schema.uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()

    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)

    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert _live(app, user_id) == LIMIT
