"""Run the suite against each bug of the list: ``python -m tools.seeded_bugs [NAME ...]``.

Each bug goes into a copy of the package in a temporary directory, and the tests named with it run
there on SQLite. They must fail. Exit status 1 if a bug survives, or does not fit the code any
more: then its ``old`` text has to follow the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .bugs import BUGS, Bug

ROOT = Path(__file__).parents[2]
PACKAGE = "flask_device_sessions"
COPIED = (PACKAGE, "tests", "docs", "pyproject.toml")

#: Exit statuses of pytest.
PASSED, FAILED = 0, 1

#: Longest that the tests for one bug may take, in seconds; a bug that hangs them is found.
PATIENCE = 300


def main() -> int:
    """Try the bugs named, or all; print the table."""
    names = sys.argv[1:]
    unknown = set(names) - {bug.name for bug in BUGS}
    if unknown:
        print(f"There is no bug called {', '.join(sorted(unknown))}.", file=sys.stderr)
        return 2
    bugs = [bug for bug in BUGS if not names or bug.name in names]
    with ThreadPoolExecutor(int(os.environ.get("WORKERS", "2"))) as pool:
        untouched = pool.submit(run_untouched, bugs)
        found = sum(_tell(bug, result) for bug, result in zip(bugs, pool.map(try_bug, bugs)))  # noqa: B905
    print(f"\n{found} of {len(bugs)} bugs were found.")
    if untouched.result() != PASSED:
        print("But those tests fail without any bug, too.", file=sys.stderr)
        return 1
    return int(found < len(bugs))


def _tell(bug: Bug, result: str) -> bool:
    is_found = result.startswith("found")
    print(f"{'' if is_found else '!! '}{bug.name:34} {result}", flush=True)
    return is_found


def run_untouched(bugs: list[Bug]) -> int:
    """Run every test that is named, on the package as it is."""
    tests = tuple(dict.fromkeys(test for bug in bugs for test in bug.tests))
    with tempfile.TemporaryDirectory() as folder:
        _copy_to(Path(folder))
        return _run(Path(folder), tests)[0]


def try_bug(bug: Bug) -> str:
    """Return how the suite fared against a bug."""
    text = (ROOT / PACKAGE / bug.file).read_text(encoding="utf-8")
    if text.count(bug.old) != 1:
        return f"DOES NOT FIT: its old text occurs {text.count(bug.old)} times in {bug.file}"
    with tempfile.TemporaryDirectory() as folder:
        _copy_to(Path(folder))
        changed = text.replace(bug.old, bug.new)
        (Path(folder) / PACKAGE / bug.file).write_text(changed, encoding="utf-8")
        status, first = _run(Path(folder), bug.tests)
    if status == FAILED and first:
        return f"found by {first}"
    return "SURVIVED" if status == PASSED else f"BROKE the tests instead (status {status})"


def _copy_to(folder: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder / name)


def _run(folder: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests in a folder; return pytest's status, and which one failed first."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header"]
    options = ["-k", "not postgresql and not mariadb", "--tb=no"]
    variables = {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DEVICE_SESSIONS_TEST_SHRINK": "no",
    }
    try:
        done = subprocess.run(
            [*command, *options, *tests],
            cwd=folder,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return FAILED, "hanging"
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return done.returncode, failed[0] if failed else ""


if __name__ == "__main__":
    sys.exit(main())
