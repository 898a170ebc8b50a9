"""Change modules one place at a time: ``python -m tools.mutants tokens redirects [-v]``.

For each change the module's tests run on SQLite, in a process forked from one that has imported
everything but the package; the first test that fails ends it. What no test notices is listed
with its line, unless :mod:`.equivalent` says why none could. Without names: all modules below.
Exit status 1 if less than 90 of 100 are noticed.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .changes import Mutant, mutants_of
from .equivalent import EQUIVALENT

ROOT = Path(__file__).parents[2]
PACKAGE = "flask_device_sessions"

#: Modules whose every line matters, with the tests that hold them, the quickest first.
MODULES: dict[str, tuple[str, ...]] = {
    "tokens": ("tests/test_tokens.py", "tests/test_transport.py"),
    "redirects": ("tests/test_redirects.py", "tests/test_redirects_fuzz.py"),
    "signing": ("tests/test_signing.py", "tests/test_transport.py"),
    "transport": (
        "tests/test_transport.py",
        "tests/test_audit.py",
        "tests/test_accounts.py",
        "tests/flows/test_two_devices.py",
    ),
    "audit": ("tests/test_audit.py", "tests/test_accounts.py", "tests/flows/test_watch.py"),
    "throttle": ("tests/test_throttle.py", "tests/test_accounts.py"),
    "lifecycle": (
        "tests/flows/test_replay.py",
        "tests/flows/test_two_devices.py",
        "tests/flows/test_step_up.py",
        "tests/flows/test_rotation.py",
        "tests/flows/test_networks.py",
        "tests/flows/test_watch.py",
        "tests/test_extension.py",
        "tests/flows/test_machine.py",
    ),
    "store": (
        "tests/test_store.py",
        "tests/test_extension.py",
        "tests/test_faults.py",
        "tests/test_web_views.py",
        "tests/flows",
    ),
}

OPTIONS = (
    *("-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", "--timeout=60"),
    *("-k", "not postgresql and not mariadb"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # imported before, on purpose
)

#: Longest that the tests may take against one change, in seconds; a change that hangs is noticed.
PATIENCE = 120


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Finds one module of the package in a text instead of its file."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        is_it = name == self.name
        return importlib.util.spec_from_loader(name, self, origin=name) if is_it else None

    def get_filename(self, fullname: str) -> str:
        return str(ROOT / f"{fullname.replace('.', '/')}.py")

    def get_data(self, path: str | bytes) -> bytes:
        return self.source.encode()


def run(module: str, source: str, tests: Sequence[str]) -> int:
    """Run tests against a module with this text, in a child; return pytest's exit status."""
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        sys.meta_path.insert(0, _Changed(f"{PACKAGE}.{module}", source))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        import pytest

        os._exit(int(pytest.main([*OPTIONS, *tests])))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> int:
    """Try the modules named, or all; print scores and what went unnoticed."""
    is_wordy = "-v" in sys.argv
    names = [name for name in sys.argv[1:] if name != "-v"] or list(MODULES)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["DEVICE_SESSIONS_TEST_SHRINK"] = "no"
    _import_the_rest()
    return int(min([_score(name, is_wordy) for name in names]) < 90)


def _import_the_rest() -> None:
    """Import what every child needs; not the package, which is changed."""
    for name in ("pytest", "flask_sqlalchemy", "flask_login", "flask_wtf", "flask_migrate"):
        importlib.import_module(name)
    for name in ("hypothesis.stateful", "time_machine", "limits", "user_agents", "ada_url"):
        importlib.import_module(name)


def _score(module: str, is_wordy: bool) -> float:
    source = (ROOT / PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    tests = MODULES[module]
    if run(module, source, tests) != 0:
        raise SystemExit(f"The tests of {module} fail without any change.")
    mutants = list(mutants_of(source))
    known = EQUIVALENT.get(module, {})
    mutants = [m for m in mutants if (m.before, m.change) not in known]
    with ThreadPoolExecutor(int(os.environ.get("WORKERS", "2"))) as pool:
        statuses = list(pool.map(lambda m: _try(module, m, is_wordy), mutants))
    noticed = sum(status != 0 for status in statuses)
    score = 100 * noticed / len(mutants)
    print(f"{module}: {noticed} of {len(mutants)} noticed, {score:.1f} % ({len(known)} equivalent)")
    return score


def _try(module: str, mutant: Mutant, is_wordy: bool) -> int:
    status = run(module, mutant.source, MODULES[module])
    if status == 0 or is_wordy:
        word = "noticed" if status else "UNNOTICED"
        print(
            f"{module}.py:{mutant.line}: {word}: {mutant.change}\n    {mutant.before}", flush=True
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
