"""Two requests at once, one SQL statement at a time, in every order there is.

A :class:`Pair` stops both before each statement and each commit, and lets one of them go on.
:func:`every_order` runs the pair again and again, each time in another order (depth first, over
who goes next). A request that waits for a database lock is found out by asking the database,
never by the time that has passed; the other one then goes on.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

#: Longest that anything may take, in seconds, before the run is given up.
_PATIENCE = 20

#: How often an order is tried that came out differently.
_TRIES = 20

Request = Callable[[], Any]


class Runner(threading.Thread):
    """One of the two requests.

    Attributes:
        is_parked: stands before a statement, and waits to be let go on.
        is_done: has answered.
        holds_writes: has written in a transaction that is open.
        can_wait: whether its present statement waits for a lock, or fails at once.
        backend: number of the database's process or thread that serves it.
        answer: what the request returned.
        fault: what it raised.
    """

    def __init__(self, pair: Pair, request: Request) -> None:
        super().__init__(daemon=True)
        self.pair = pair
        self.request = request
        self.go = threading.Semaphore(0)
        self.is_parked = self.is_done = self.holds_writes = self.can_wait = False
        self.backend = 0
        self.answer: Any = None
        self.fault: BaseException | None = None

    def run(self) -> None:
        """Answer the request, and say so."""
        try:
            self.answer = self.request()
        except BaseException as fault:  # told to whoever started the pair
            self.fault = fault
        with self.pair.change:
            self.is_done = True
            self.pair.change.notify_all()

    def park(self) -> None:
        """Stop until it is this one's turn."""
        with self.pair.change:
            self.is_parked = True
            self.pair.change.notify_all()
        assert self.go.acquire(timeout=_PATIENCE)


class OrderLost(Exception):
    """A pair could not be run by an order, though it could once."""


class Pair:
    """Two requests that run at the same time, step by step.

    Args:
        engine: the app's engine, which both use.
        control: another engine on the same database, to ask who waits.
        requests: the two.
    """

    def __init__(
        self, engine: sa.Engine, control: sa.Connection, requests: Sequence[Request]
    ) -> None:
        self.engine = engine
        self.control = control
        self.change = threading.Condition()
        self.runners = [Runner(self, request) for request in requests]

    def run(self, order: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Run both to their ends, by ``order`` as far as it goes, then the same one on and on.

        Returns:
            Each decision: who went on, and who could have.

        Raises:
            OrderLost: by the order, one should go on who waited for the database. It has threads
                of its own, such as InnoDB's, which clear away deleted rows and locks on them.
        """
        made: list[tuple[int, list[int]]] = []
        is_lost = False
        with self._listening():
            for runner in self.runners:
                runner.start()
            while able := self._settle():
                chosen = _choose(order, made, able)
                is_lost |= order[len(made) :][:1] not in ([], [chosen])
                made.append((chosen, able))
                self._let_go(self.runners[chosen])
        for runner in self.runners:
            runner.join(_PATIENCE)
            if runner.fault is not None:
                raise runner.fault
        if is_lost:
            raise OrderLost(order)
        return made

    def _let_go(self, runner: Runner) -> None:
        with self.change:
            runner.is_parked = False
        runner.go.release()

    def _settle(self) -> list[int]:
        """Wait until each one is parked, has answered, or waits for a lock; return the parked."""
        for _ in range(_PATIENCE * 500):
            with self.change:
                moving = [r for r in self.runners if not (r.is_parked or r.is_done)]
                parked = [n for n, r in enumerate(self.runners) if r.is_parked]
                if not moving:
                    return parked
                self.change.wait(0.002)
            if parked and all(self._waits(runner) for runner in moving):
                with self.change:
                    return [n for n, r in enumerate(self.runners) if r.is_parked]
        raise AssertionError("Both wait for each other.")

    # -- Who waits for a lock ------------------------------------------------------------------

    def _waits(self, runner: Runner) -> bool:
        if runner.is_parked or runner.is_done or not runner.can_wait:
            return False
        return _WAITS[self.engine.dialect.name](self, runner)

    def _waits_on_sqlite(self, runner: Runner) -> bool:
        """SQLite has one writer: who is about to write waits while another has written."""
        return any(r.holds_writes for r in self.runners if r is not runner)

    def _waits_on_postgresql(self, runner: Runner) -> bool:
        asked = sa.text("SELECT cardinality(pg_blocking_pids(:pid)) > 0")
        return bool(self.control.scalar(asked, {"pid": runner.backend}))

    def _waits_on_mariadb(self, runner: Runner) -> bool:
        # information_schema.innodb_trx says the same, as it was up to a tenth of a second ago.
        status = self.control.exec_driver_sql("SHOW ENGINE INNODB STATUS").one()[2]
        waiting = re.findall(r"LOCK WAIT(?:(?!---TRANSACTION).)*? thread id (\d+)", status, re.S)
        return str(runner.backend) in waiting

    # -- What the two do -----------------------------------------------------------------------

    @contextmanager
    def _listening(self) -> Iterator[None]:
        listeners: dict[str, Callable[..., Any]] = {
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
            "commit": self._on_commit,
            "rollback": self._on_rollback,
        }
        for name, listener in listeners.items():
            sa.event.listen(self.engine, name, listener)
        yield
        for name, listener in listeners.items():
            sa.event.remove(self.engine, name, listener)

    def _before(self, connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        runner = threading.current_thread()
        if isinstance(runner, Runner):
            runner.park()
            raw: Any = connection.connection.dbapi_connection
            runner.backend, runner.can_wait = _BACKENDS[self.engine.dialect.name](raw, statement)

    def _after(self, connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        runner = threading.current_thread()
        if isinstance(runner, Runner):
            runner.holds_writes |= not statement.startswith("SELECT")

    def _on_commit(self, connection: sa.Connection) -> None:
        runner = threading.current_thread()
        if isinstance(runner, Runner):
            runner.park()
            runner.can_wait = runner.holds_writes = False

    def _on_rollback(self, connection: sa.Connection) -> None:
        runner = threading.current_thread()
        if isinstance(runner, Runner):
            runner.holds_writes = False


def _sqlite_backend(raw: Any, statement: str) -> tuple[int, bool]:
    (timeout,) = raw.execute("PRAGMA busy_timeout").fetchone()
    return 0, timeout > 0 and not statement.startswith("SELECT")


_BACKENDS: dict[str, Callable[[Any, str], tuple[int, bool]]] = {
    "sqlite": _sqlite_backend,
    "postgresql": lambda raw, statement: (raw.info.backend_pid, True),
    "mysql": lambda raw, statement: (raw.thread_id(), True),
}

_WAITS: dict[str, Callable[[Pair, Runner], bool]] = {
    "sqlite": Pair._waits_on_sqlite,
    "postgresql": Pair._waits_on_postgresql,
    "mysql": Pair._waits_on_mariadb,
}


def _choose(order: Sequence[int], made: list[tuple[int, list[int]]], able: list[int]) -> int:
    """Return who goes on: by the order, else the one who went last, if they can."""
    if len(made) < len(order) and order[len(made)] in able:
        return order[len(made)]
    last = made[-1][0] if made else 0
    return last if last in able else able[0]


def every_order(
    run: Callable[[Sequence[int]], list[tuple[int, list[int]]]], switches: int
) -> Iterator[list[int]]:
    """Run a pair in every order in which one cuts the other short at most ``switches`` times.

    Args:
        run: runs the pair once by the order given, as :meth:`Pair.run` does.
        switches: most times that one is stopped though it could go on. Where one waits for the
            other's lock, or has answered, the other's turn counts for nothing.

    Yields:
        Each order, after it was run.
    """
    waiting: list[list[int]] = [[], [1]]
    while waiting:
        order = waiting.pop()
        made = _insist(run, order)
        chosen = [who for who, _ in made]
        for place in range(len(order), len(made)):
            others = [who for who in made[place][1] if who != chosen[place]]
            waiting += [
                alternative
                for who in others
                if place > 0
                and _count_switches(made, alternative := [*chosen[:place], who]) <= switches
            ]
        yield chosen


def _insist(
    run: Callable[[Sequence[int]], list[tuple[int, list[int]]]], order: Sequence[int]
) -> list[tuple[int, list[int]]]:
    for _ in range(_TRIES):
        try:
            return run(order)
        except OrderLost:
            continue
    raise OrderLost(order)


def _count_switches(made: list[tuple[int, list[int]]], order: Sequence[int]) -> int:
    """Count how often ``order`` stops one who could go on."""
    pairs = zip(order, order[1:], strict=False)
    return sum(
        before != after and before in made[place][1]
        for place, (before, after) in enumerate(pairs, 1)
    )
