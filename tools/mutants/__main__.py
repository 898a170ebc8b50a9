"""Change modules one place at a time: ``python -m tools.mutants tokens redirects [-v]``.

For each change those of the module's tests run that reach the changed line (:mod:`.reach`), the
quickest first, on SQLite, the store's own on each engine that answers. They run in a process
forked from one that has imported everything but the package; the first test that fails ends it.
What no test notices is listed with its line, unless :mod:`.equivalent` says why none could.
Without names: all modules below.
Exit status 1 if less than 90 of 100 are noticed.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.util
import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from .changes import Mutant, mutants_of
from .equivalent import EQUIVALENT
from .reach import Only, Reach, Recorder

ROOT = Path(__file__).parents[2]
PACKAGE = "flask_device_sessions"

#: Modules whose every line matters, with the tests that hold them: first those about it alone.
MODULES: dict[str, tuple[str, ...]] = {
    "tokens": ("tests/test_tokens.py", "tests/test_transport.py"),
    "redirects": ("tests/test_redirects.py", "tests/test_redirects_fuzz.py"),
    "signing": ("tests/test_signing.py", "tests/test_transport.py"),
    "transport": (
        "tests/test_transport.py",
        "tests/test_audit.py",
        "tests/test_accounts.py",
        "tests/flows/test_two_devices.py",
        "tests/flows/test_tokens.py",
    ),
    "audit": (
        "tests/test_audit.py",
        "tests/test_accounts.py",
        "tests/test_suspicion.py",
        "tests/test_notifications.py",
        "tests/flows/test_watch.py",
    ),
    "throttle": ("tests/test_throttle.py", "tests/test_accounts.py"),
    "lifecycle": (
        "tests/test_lifecycle.py",
        "tests/flows/test_two_devices.py",
        "tests/flows/test_rotation.py",
        "tests/flows/test_networks.py",
        "tests/flows/test_step_up.py",
        "tests/flows/test_watch.py",
        "tests/flows/test_replay.py",
        "tests/flows/test_tokens.py",
        "tests/flows/test_not_me.py",
        "tests/test_api.py",
    ),
    "store": (
        "tests/test_store.py",
        "tests/test_store_queries.py",
        "tests/test_proxies.py",
        "tests/databases/test_binds.py",
        "tests/test_faults.py",
        "tests/flows/test_two_devices.py",
        "tests/flows/test_rotation.py",
        "tests/flows/test_networks.py",
        "tests/flows/test_step_up.py",
        "tests/flows/test_tokens.py",
        "tests/flows/test_not_me.py",
        "tests/test_accounts.py",
        "tests/test_api.py",
        "tests/test_web_activity.py",
        "tests/test_web_admin.py",
        "tests/test_retention.py",
        "tests/test_extension.py",
    ),
}

OPTIONS = (
    *("-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", "--timeout=60"),
    # Only the store differs by engine.
    *("-k", "test_store or not postgresql and not mariadb"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # imported before, on purpose
)

#: Longest that the tests may take against one change, in seconds; a change that hangs is noticed.
PATIENCE = 120

#: How long the tests of one change may take, going by how long they took on the text as it is.
SECONDS = float(os.environ.get("SECONDS", "10"))

#: How many of the latest noticers are tried first; which they were.
LIKELY = 12
_noticers: list[str] = []

#: Pytest's exit statuses that say nothing against a change: all passed, or none was run.
NO_TESTS = 5
UNNOTICED = (0, NO_TESTS)


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


def run(module: str, source: str, tests: Sequence[str], known: Container[str]) -> tuple[int, str]:
    """Run tests, in this order, against a module with this text, until one fails.

    Returns:
        Pytest's exit status, and the id of the test that failed, if one did.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    only = Only(tests, known, lambda test: os.write(writer, f"{test}\n".encode()))
    status = _fork(module, source, tests, only, lambda: None)
    os.close(writer)
    with open(reader, "rb") as told:
        return status, (told.read() or b"").decode().partition("\n")[0]


def _fork(
    module: str, source: str, tests: Sequence[str], plugin: object, finish: Callable[[], object]
) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        sys.meta_path.insert(0, _Changed(f"{PACKAGE}.{module}", source))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        import pytest

        if isinstance(plugin, Recorder):
            plugin.start()
        files = dict.fromkeys(test.partition("::")[0] for test in tests)
        status = int(pytest.main([*OPTIONS, *files], [plugin]))
        finish()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _path(module: str) -> Path:
    return ROOT / PACKAGE / f"{module}.py"


def _reach(module: str, source: str) -> Reach:
    """Run all of a module's tests on the text as it is, and see which reach which line."""
    recorder = Recorder(_path(module))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "reach")
        status = _fork(
            module,
            source,
            MODULES[module],
            recorder,
            lambda: file.write_bytes(pickle.dumps(recorder.reach())),
        )
        if status != 0:
            raise SystemExit(f"The tests of {module} fail without any change.")
        reach: Reach = pickle.loads(file.read_bytes())
        return reach


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
    """Import pytest's plugins; not the package, which is changed."""
    for plugin in entry_points(group="pytest11"):
        plugin.load()


def _import_all(names: Sequence[str]) -> None:
    """Import what the tests imported, so that no child need do it, but for what is ours."""
    for name in names:
        if name.partition(".")[0] not in (PACKAGE, "tests", "example_app"):
            with suppress(ImportError):
                importlib.import_module(name)
    gc.freeze()  # what is there already need not be searched for rubbish in each child


def _score(module: str, is_wordy: bool) -> float:
    begin = time.monotonic()
    source = _path(module).read_text(encoding="utf-8")
    reach = _reach(module, source)
    _import_all(reach.modules)
    known = EQUIVALENT.get(module, {})
    mutants = [m for m in mutants_of(source) if (m.before, m.change) not in known]
    with ThreadPoolExecutor(int(os.environ.get("WORKERS", "2"))) as pool:
        statuses = list(pool.map(lambda m: _try(module, source, reach, m, is_wordy), mutants))
    noticed = sum(status not in UNNOTICED for status in statuses)
    score = 100 * noticed / len(mutants)
    print(
        f"{module}: {noticed} of {len(mutants)} noticed, {score:.1f} % ({len(known)} equivalent) "
        f"in {time.monotonic() - begin:.0f} s",
        flush=True,
    )
    return score


def _try(module: str, source: str, reach: Reach, mutant: Mutant, is_wordy: bool) -> int:
    tests = reach.of(source, mutant.line, SECONDS, f"tests/test_{module}")
    # What noticed the changes before this one is likely to notice it, too.
    likely = [test for test in reversed(_noticers) if test in tests]
    tests = [*dict.fromkeys(likely), *(test for test in tests if test not in likely)]
    status, noticer = NO_TESTS, ""
    if tests:
        status, noticer = run(module, mutant.source, tests, reach.times.keys())
    if noticer:
        _noticers.append(noticer)
        del _noticers[:-LIKELY]
    if status in UNNOTICED or is_wordy:
        is_unnoticed = status in UNNOTICED
        word = f"UNNOTICED by {len(tests)} tests" if is_unnoticed else f"noticed by {noticer}"
        print(
            f"{module}.py:{mutant.line}: {word}: {mutant.change}\n    {mutant.before}", flush=True
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
