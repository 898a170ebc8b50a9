"""Which tests reach a line, and how long each takes: so that only those are run against a change.

A line that is run by importing the module, or at no test in particular, is reached by all tests.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import coverage
import pytest

#: Seconds that each test takes, by its id.
Times = dict[str, float]


class Reach(NamedTuple):
    """What one run of a module's tests shows.

    Attributes:
        times: how long each test took.
        tests: the ids of the tests that run a line, by its number; all, for an import's lines.
        modules: what was imported.
    """

    times: Times
    tests: dict[int, list[str]]
    modules: list[str]

    def of(self, source: str, line: int, seconds: float, own: str) -> list[str]:
        """Return tests that run the statement a line stands in.

        The module's own come first, then by engine, the quickest first.

        Args:
            source: the module's text.
            line: the line's number.
            seconds: how long they may take together; what is left out can only lower a score.
            own: how the paths of the files begin that are about this module.
        """
        found = self._reaching(_statement_around(source, line))
        users: set[str] = set()
        if len(found) == len(self.times):  # by an import: those first that use what it names
            inner = [
                n for n in _lines_that_use(source, line) if len(self.tests.get(n, ())) < len(found)
            ]
            users = self._reaching(inner)
        quickest = sorted(
            found,
            key=lambda test: (
                not test.startswith(own),
                *_engine(test),
                test not in users,
                self.times[test],
                test,
            ),
        )
        until = accumulate(self.times[test] for test in quickest)
        return [test for test, end in zip(quickest, until, strict=True) if end <= seconds]

    def _reaching(self, lines: Iterable[int]) -> set[str]:
        return {test for number in lines for test in self.tests.get(number, ())}


class Recorder:
    """Plugin of pytest: notes which test runs which lines of one file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._coverage = coverage.Coverage(data_file=None, include=[self._path], config_file=False)
        self._times: Times = {}

    def start(self) -> None:
        """Begin, before the file is imported."""
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Note the lines under the test's id, with its fixtures'."""
        begin = time.perf_counter()
        self._coverage.switch_context(item.nodeid)
        result = yield
        self._coverage.switch_context("")
        self._times[item.nodeid] = time.perf_counter() - begin
        return result

    def reach(self) -> Reach:
        """Return what was noted."""
        self._coverage.stop()
        lines = self._coverage.get_data().contexts_by_lineno(self._path)
        everything = list(self._times)
        tests = {n: everything if "" in found else found for n, found in lines.items()}
        return Reach(self._times, tests, list(sys.modules))


class Only:
    """Plugin of pytest: lets these tests run, in this order, and tells which failed.

    Args:
        tests: their ids.
        known: the ids of all; one that is not among them came to be by the change, and runs.
        tell: called with the id of one that failed.
    """

    def __init__(
        self, tests: Sequence[str], known: Container[str], tell: Callable[[str], object]
    ) -> None:
        self._places = {test: place for place, test in enumerate(tests)}
        self._known = known
        self._tell = tell

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Take out the others."""
        places = self._places
        kept = [i for i in items if i.nodeid in places or i.nodeid not in self._known]
        items[:] = sorted(kept, key=lambda item: places.get(item.nodeid, len(places)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell of a failure."""
        if report.failed:
            self._tell(report.nodeid)


def _engine(test: str) -> tuple[bool, bool]:
    return "postgresql" in test, "mariadb" in test


def _lines_that_use(source: str, line: int) -> set[int]:
    """Return the lines that use a name which the statement at a line gives."""
    tree = ast.parse(source)
    given: set[str] = set()
    for node in tree.body:
        if node.lineno <= line <= (node.end_lineno or 0):
            targets = node.targets if isinstance(node, ast.Assign) else []
            given = {t.id for t in targets if isinstance(t, ast.Name)} | {getattr(node, "name", "")}
    return {n.lineno for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in given}


def _statement_around(source: str, line: int) -> range:
    """Return the lines of the innermost statement; of one with a body, those of its head."""
    best = range(line, line + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            body = getattr(node, "body", None)
            end = max(node.lineno + 1, body[0].lineno) if body else (node.end_lineno or 0) + 1
            if line < end:
                best = range(node.lineno, end)
    return best
