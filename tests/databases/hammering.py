"""Two processes of many threads, at one database, over and over: one kind of work each.

``python -m tests.databases.hammering KIND URI SECONDS`` is one of the processes; it prints what it
saw as JSON. The people that :data:`PEOPLE` names have to be there.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from flask import Flask

from flask_device_sessions import DeviceSessions, StoreUnavailable
from flask_device_sessions.testing import Browser
from tests.load.serving import ROOT
from tests.support import db, jar_of, make_app, replay, sign_in

PROCESSES = 2
THREADS = 15
LIMIT = 3

PEOPLE = ["ada@example.com", *(f"{number}@example.com" for number in range(PROCESSES * THREADS))]

#: Every request writes "last active".
CONFIG: dict[str, Any] = {
    "DEVICE_SESSIONS_MAX_PER_USER": LIMIT,
    "DEVICE_SESSIONS_LOGIN_RATE_LIMIT": None,
    "DEVICE_SESSIONS_NOTIFY_NEW_DEVICE": False,
    "DEVICE_SESSIONS_TOUCH_INTERVAL": timedelta(microseconds=1),
}

#: Each thread goes on until it has seen one of these, however slow the disk is.
DONE = {"sign-in 303", "purged"}

#: Counts what was answered: statuses, and what was wrong in words.
Seen = Counter[str]


def hammer(kind: str, uri: str, seconds: float) -> Seen:
    """Let the processes begin together; return what all of them saw."""
    command = [sys.executable, "-m", "tests.databases.hammering", kind, uri, str(seconds)]
    workers = [
        subprocess.Popen(
            [*command, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(PROCESSES)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        said = [worker.communicate(timeout=seconds + 240)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    seen: Seen = Counter()
    for text in said:
        seen.update(json.loads(text))
    return seen


def _log_in(app: Flask, seen: Seen, number: int) -> None:
    """Sign Ada in on one more browser; others put it out."""
    browser = Browser(app)
    seen[f"sign-in {sign_in(browser).status_code}"] += 1
    seen[f"look {browser.get('/whoami').status_code}"] += 1


def _touch_and_revoke(app: Flask, seen: Seen, number: int) -> None:
    """Note activity in one thread while another ends the session: it stays ended."""
    browser = Browser(app)
    email = PEOPLE[1 + number]
    seen[f"sign-in {sign_in(browser, email).status_code}"] += 1
    jar = jar_of(browser)
    with ThreadPoolExecutor(1) as pool:
        looks = pool.submit(lambda: [replay(app, jar).get("/whoami").status_code for _ in range(3)])
        status = browser.post("/logout").status_code
        for look in looks.result():
            seen[f"look {look}"] += 1
    seen[f"sign-out {status}"] += 1
    if status == 303 and _is_another_than(None, replay(app, jar), seen):
        seen["wrong: an ended session lives"] += 1


def _is_another_than(email: str | None, browser: Browser, seen: Seen) -> bool:
    """Look who the browser is signed in as; 503, having waited too long, is nobody wrong."""
    answer = browser.get("/whoami")
    seen[f"look {answer.status_code}"] += 1
    return answer.status_code != 503 and answer.json["user"] != email  # type: ignore[index]


def _purge_and_log_in(app: Flask, seen: Seen, number: int) -> None:
    """Delete all that has ended and can be, in one thread; in the others, sign in and out."""
    if number == 0:
        extension: DeviceSessions = app.extensions["device_sessions"]
        with app.app_context():
            try:
                purged = extension.purge(older_than=timedelta(microseconds=1), batch_size=50)
                if any(purged):
                    seen["purged"] += sum(purged)
            except StoreUnavailable:  # waited for others too long, as a sign-in may: 503
                seen["purge given up"] += 1
        return
    browser = Browser(app)
    email = PEOPLE[1 + number]
    status = sign_in(browser, email).status_code
    seen[f"sign-in {status}"] += 1
    if status == 303 and _is_another_than(email, browser, seen):
        seen["wrong: a live session is gone"] += 1
    seen[f"sign-out {browser.post('/logout').status_code}"] += 1


KINDS: dict[str, Callable[[Flask, Seen, int], None]] = {
    "log in at the limit": _log_in,
    "touch and revoke": _touch_and_revoke,
    "purge and log in": _purge_and_log_in,
}


def _work(kind: str, uri: str, seconds: str, process: str) -> Seen:
    logging.getLogger("flask_device_sessions").setLevel(logging.CRITICAL)
    app = make_app(uri, **CONFIG)
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    deadline = time.monotonic() + float(seconds)

    def work(number: int) -> Seen:
        seen: Seen = Counter()
        while time.monotonic() < deadline or not seen.keys() & DONE:
            KINDS[kind](app, seen, number)
        return seen

    numbers = range(int(process) * THREADS, (1 + int(process)) * THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        total: Seen = sum(pool.map(work, numbers), Counter())
    with app.app_context():
        db.engine.dispose()
    return total


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_work(*sys.argv[1:])))
