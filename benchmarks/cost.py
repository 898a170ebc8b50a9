"""The table: CPU time of one request, as ratios.

Blocks of requests are run in turns, in a new order each round, and the ratios are taken within a
round, so that a machine that is slower for a while is slower for all. What is counted is the CPU
time of the contender's process, user and system; the database server's is not in it. Ratios hold
between machines of one kind, microseconds do not.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from .contenders import Entry
from .field import Process, field

#: Against which the others are measured; always run.
BASES = ("bare", "limit", "flask_login")

#: Requests of each contender before the first block, and before each: while it waited its turn,
#: others had the caches of the processor.
_WARM_UP, _WAKE_UP = 50, 5


class Spread(NamedTuple):
    """Median, least and most over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        digits = 1 if self.median >= 10 else 2
        median, least, most = (f"{value:.{digits}f}" for value in self)
        return f"{median} ({least}..{most})"


class Figures(NamedTuple):
    """What one contender costs on one engine.

    Attributes:
        entry: the contender.
        microseconds: CPU of one request, median; of this machine.
        ratios: to each of :data:`BASES`.
        counts: ``sql``, ``writes``, ``cookies`` of one request in steady state.
    """

    entry: Entry
    microseconds: float
    ratios: dict[str, Spread]
    counts: dict[str, Any]


def measure(entries: Sequence[Entry], engine: str, *, rounds: int, requests: int) -> list[Figures]:
    """Run the field on one engine.

    Args:
        entries: the contenders, those of :data:`BASES` among them.
        engine: ``sqlite`` or ``postgresql``.
        rounds: how many blocks each of them runs.
        requests: how many requests a block has.
    """
    with field(entries, engine) as processes:
        for process in processes:
            process.ask(f"run {_WARM_UP}")
        seconds = _run(processes, rounds, requests)
        # Last: what listens to the statements slows down what comes after it.
        counts = {process.entry.name: process.ask("count") for process in processes}
    return [
        Figures(
            entry,
            statistics.median(seconds[entry.name]) / requests * 1e6,
            {base: _ratio(seconds[entry.name], seconds[base]) for base in BASES},
            counts[entry.name],
        )
        for entry in entries
    ]


def _run(processes: Sequence[Process], rounds: int, requests: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {process.entry.name: [] for process in processes}
    for number in range(rounds):
        order = random.Random(number).sample(list(processes), len(processes))
        for process in order:
            process.ask(f"run {_WAKE_UP}")
            answer = process.ask(f"run {requests}")
            seconds[process.entry.name].append(answer["seconds"])
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


def _ratio(seconds: Sequence[float], base: Sequence[float]) -> Spread:
    """Round by round, so that both halves of a ratio were measured side by side."""
    return Spread.of([one / other for one, other in zip(seconds, base, strict=True)])


def table(figures: Sequence[Figures]) -> str:
    """Return the figures of one engine as a table in Markdown."""
    lines = [
        "| app, one request | µs | x bare | x limit | x Flask-Login | SQL | writes | Set-Cookie |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in figures:
        ratios = " | ".join(str(row.ratios[base]) for base in BASES)
        counts = " | ".join(str(row.counts[name]) for name in ("sql", "writes", "cookies"))
        lines.append(f"| {row.entry.title} | {row.microseconds:.0f} | {ratios} | {counts} |")
    return "\n".join(lines)
