"""The contenders, each in a process of its own, driven from here in turn.

Processes, because Django has one set of settings for each, and because no contender may warm the
caches of another. Only one of them works at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from .contenders import Entry
from .databases import database
from .environment import ROOT

#: How a worker is started; a mode may put a tool in front of it.
COMMAND = (sys.executable, "-m", "benchmarks.worker")


class Dishonest(Exception):
    """A contender does not do what its figure would claim."""


class Process:
    """One contender's worker.

    Args:
        entry: the contender.
        uri: its own empty database.
        command: what starts a worker.
    """

    def __init__(self, entry: Entry, uri: str, command: Sequence[str] = COMMAND) -> None:
        self.entry = entry
        self._process = subprocess.Popen(
            [*command, entry.name, uri],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def ask(self, command: str) -> dict[str, Any]:
        """Send one command; return the worker's answer.

        Raises:
            Dishonest: the worker has died; why is on the standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the empty answer says so
        line = self._process.stdout.readline()
        if not line:
            raise Dishonest(f"{self.entry.name} died at {command!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def check(self) -> None:
        """Ask the worker whether its contender does what it should.

        Raises:
            Dishonest: it does not.
        """
        if problems := self.ask("check")["problems"]:
            raise Dishonest(f"{self.entry.name}: {'; '.join(problems)}")

    def close(self) -> None:
        """Let the worker end."""
        self._process.communicate()


@contextmanager
def field(
    entries: Sequence[Entry], engine: str, command: Sequence[str] = COMMAND
) -> Iterator[list[Process]]:
    """Check each entry, then start workers that are as new for what is to be measured.

    Raises:
        Dishonest: one is not honest; nothing is measured then.
    """
    # In processes of their own: what has once listened to SQLAlchemy leaves it slower.
    check(entries, engine)
    with started(entries, engine, command) as processes:
        yield processes


def check(entries: Sequence[Entry], engine: str) -> None:
    """Ask a worker of each entry whether its contender does what it should.

    Raises:
        Dishonest: it does not.
    """
    with started(entries, engine) as processes:
        for process in processes:
            process.check()


@contextmanager
def started(
    entries: Sequence[Entry], engine: str, command: Sequence[str] = COMMAND
) -> Iterator[list[Process]]:
    """Start a worker for each entry, on an empty database of its own."""
    with ExitStack() as stack:
        processes = []
        for entry in entries:
            uri = stack.enter_context(database(engine, entry.name))
            process = Process(entry, uri, command)
            stack.callback(process.close)
            processes.append(process)
        yield processes
