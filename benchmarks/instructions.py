"""User-space instructions of one request: figures that repeat within a percent on any machine.

Valgrind's callgrind counts, switched on only while the requests run; so start, imports and
warm-up are not in it, and neither is the kernel or the database server. Hashes are seeded, so that
dicts and sets are laid out alike in each run. Absolute numbers depend on the build of Python, the
driver and SQLAlchemy's C extensions; the ratio to Flask-Login is what to compare.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .contenders import BY_NAME, Entry
from .cost import Spread
from .field import COMMAND, Process, field

#: Counted by default; the first is the base.
NAMES = ("flask_login", "bare", "limit", "ours", "ours_who", "ours_forged", "ours_none")

#: Requests before the first that is counted, and how often counting is repeated.
_WARM_UP = 50
_REPEATS = 3


def report(engine: str, requests: int, only: Sequence[str] = ()) -> str:
    """Count on one engine; return the table.

    Args:
        engine: ``sqlite`` or ``postgresql``.
        requests: how many are counted at once.
        only: names of contenders, beside Flask-Login; default: :data:`NAMES`.
    """
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing. On Debian: apt-get install valgrind")
    names = dict.fromkeys((NAMES[0], *(only or NAMES)))
    entries = [BY_NAME[name] for name in names if engine in BY_NAME[name].engines]
    counted = {entry: _count(entry, engine, requests) for entry in entries}
    base = counted[entries[0]].median
    lines = ["| app, one request | thousand instructions | x Flask-Login |", "|---|---|---|"]
    for entry, spread in counted.items():
        lines.append(f"| {entry.title} | {spread} | {spread.median / base:.3f} |")
    return "\n".join(lines)


def _count(entry: Entry, engine: str, requests: int) -> Spread:
    """Return thousands of instructions for one request."""
    with tempfile.TemporaryDirectory(prefix="bench_") as folder:
        tool = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no"]
        out = Path(folder) / "out"
        command = ["env", "PYTHONHASHSEED=0", *tool, f"--callgrind-out-file={out}", *COMMAND]
        with field([entry], engine, command) as (process,):
            process.ask(f"run {_WARM_UP}")
            _control(process, "--instr=on")
            process.ask(f"run {requests}")  # callgrind translates what it has not seen yet
            _control(process, "--dump")
            for _ in range(_REPEATS):
                process.ask(f"run {requests}")
                _control(process, "--dump")
        dumps = [Path(f"{out}.{number + 2}") for number in range(_REPEATS)]
        return Spread.of([_total(dump) / requests / 1000 for dump in dumps])


def _control(process: Process, what: str) -> None:
    command = ["callgrind_control", what, str(process.pid)]
    subprocess.run(command, check=True, capture_output=True)


def _total(dump: Path) -> int:
    """Return the instructions of one dump."""
    (line,) = (line for line in dump.read_text().splitlines() if line.startswith("totals:"))
    return int(line.split()[1])
