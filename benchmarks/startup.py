"""Before the first request: how long the start takes, and how much memory a worker holds.

Each figure comes from interpreters that are started for it, the kinds in turns. The import is
timed (CPU) behind its frameworks, which an app that would use it has anyway, and from bytecode, as
pip leaves it. So is the making of the extension, which loads pages and API. Memory is the resident
set of a process with the app in it, after one anonymous request, before any sign-in.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from .cost import Spread
from .environment import ROOT

_FRAMEWORKS = "import flask, flask_sqlalchemy, flask_login, flask_wtf"

_IMPORT = f"""
{_FRAMEWORKS}
import time
began = time.process_time()
import flask_device_sessions
print((time.process_time() - began) * 1000)
"""

_MADE = f"""
{_FRAMEWORKS}
import time
from benchmarks.contenders._flask import make_app, make_user_model
from flask_device_sessions import DeviceSessions
app, db = make_app("sqlite://"), flask_sqlalchemy.SQLAlchemy()
db.init_app(app)
user_model = make_user_model(db)
began = time.process_time()
DeviceSessions(app, user_model=user_model)
print((time.process_time() - began) * 1000)
"""

_APP = f"""
{_FRAMEWORKS}
from flask_wtf import CSRFProtect
from benchmarks.client import environ_of, send
from benchmarks.contenders.{{module}} import make
app = make("sqlite://").application
CSRFProtect(app)
assert send(app, environ_of("/", {{{{}}}})).status[:3] in ("302", "401")
pages = int(open("/proc/self/statm").read().split()[1])
import os
print(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
"""

#: What is printed by which script: milliseconds twice, mebibytes twice.
_SCRIPTS = {
    "import": _IMPORT,
    "made": _MADE,
    "without": _APP.format(module="flask_login_alone"),
    "with": _APP.format(module="ours"),
}


def report(rounds: int) -> str:
    """Start interpreters; return the table.

    Args:
        rounds: how many of each kind.
    """
    figures: dict[str, list[float]] = {kind: [] for kind in _SCRIPTS}
    with tempfile.TemporaryDirectory(prefix="bench_") as bytecode:
        for number in range(rounds + 1):
            for kind, script in _SCRIPTS.items():
                figure = _run(script, bytecode)
                if number > 0:  # the first ones compile
                    figures[kind].append(figure)
    return _table(figures)


def _table(figures: dict[str, Sequence[float]]) -> str:
    pairs = zip(figures["with"], figures["without"], strict=True)
    more = Spread.of([one - other for one, other in pairs])
    lines = [
        "| before the first sign-in | median (least..most) |",
        "|---|---|",
        f"| `import flask_device_sessions`, ms of CPU | {Spread.of(figures['import'])} |",
        f"| `DeviceSessions(app)`, ms of CPU | {Spread.of(figures['made'])} |",
        f"| a worker with Flask-Login, Flask-SQLAlchemy, Flask-WTF, MiB | "
        f"{Spread.of(figures['without'])} |",
        f"| the same with Flask-Device-Sessions, MiB | {Spread.of(figures['with'])} |",
        f"| what it adds, MiB | {more} |",
    ]
    return "\n".join(lines)


def _run(script: str, bytecode: str) -> float:
    """Return the number that a fresh interpreter, with its bytecode there, prints last."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    return float(ran.stdout.split()[-1])
