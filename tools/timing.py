"""Can an unknown account be told from a known one by how long the answer takes: measured.

    python -m tools.timing [PAIRS]

Sends refused sign-ins for a known and an unknown account in turn, through the whole login page,
and prints the area under the ROC curve: 0.5 is a coin, and a spread of about 0.3 / sqrt(PAIRS) to
both sides of it is chance. Once with the hash of Werkzeug's default (scrypt), as in an app, and
once with one that costs nothing, so that what lies beside the hash cannot hide behind it.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from pathlib import Path

from werkzeug.security import generate_password_hash

from flask_device_sessions.testing import Browser
from tests.support import add_user, db, make_app

HASHES = {"scrypt, the default": "scrypt", "a hash that costs nothing": "pbkdf2:sha256:1"}


def main(pairs: int) -> None:
    """Measure with each hash, and print a line for each."""
    for name, method in HASHES.items():
        with tempfile.TemporaryDirectory() as folder:
            known, unknown = measure(Path(folder), method, pairs)
        print(f"{name}: AUC {area(known, unknown):.3f} of {pairs} pairs", end=", ")
        print(f"median {median(known):.2f} and {median(unknown):.2f} ms")


def measure(folder: Path, method: str, pairs: int) -> tuple[list[float], list[float]]:
    """Return the times of refused sign-ins, in ms: of known accounts, and of unknown ones."""
    app = make_app(f"sqlite:///{folder / 'timing.db'}", DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None)
    with app.app_context():
        db.create_all()
        for number in range(20):
            add_user(f"{number}@example.com", password_hash=generate_password_hash("x", method))
    browser = Browser(app)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(-10, pairs):  # ten to warm up
        order = (0, 1) if secrets.randbits(1) else (1, 0)
        for which in order:
            name = f"{number % 20 + which * 1000}@example.com"
            spent = _time(browser, name)
            if number >= 0:
                times[which].append(spent)
    with app.app_context():
        db.engine.dispose()
    return times


def _time(browser: Browser, name: str) -> float:
    form = {"identifier": name, "password": "wrong"}
    began = time.perf_counter()
    answer = browser.post("/login", data=form)
    spent = time.perf_counter() - began
    assert answer.status_code == 401
    return spent * 1000


def area(ones: list[float], others: list[float]) -> float:
    """Return how often one of the first is longer than one of the second (Mann-Whitney)."""
    wins = sum((one > other) + (one == other) / 2 for one in ones for other in others)
    return wins / (len(ones) * len(others))


def median(values: list[float]) -> float:
    """Return the middle one."""
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
