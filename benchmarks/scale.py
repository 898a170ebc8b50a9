"""How each operation does when the tables grow: time, statements, plans, bytes.

``touch_interval`` is a day here, so that no session is due for a touch by the time the tables are
full; all else is as it comes. Times are wall times, of one client that nobody disturbs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from flask_device_sessions.signing import Purpose
from flask_device_sessions.tokens import SessionToken

from . import client
from .contenders import Contender, ours
from .databases import database
from .growth import AUDIT_KEY, Filled

#: How often each operation is done, each time for another person.
_TIMES = 30

_ROUNDS, _RESTORES = 20, 100


class Statement(NamedTuple):
    """What was sent to the database, and how long it took, in seconds."""

    text: str
    parameters: Any
    seconds: float


class Site:
    """Our app on full tables."""

    def __init__(self, uri: str, rows: int) -> None:
        self.made: Contender = ours.make(
            uri,
            DEVICE_SESSIONS_TOUCH_INTERVAL=timedelta(days=1),
            DEVICE_SESSIONS_AUDIT_KEY=AUDIT_KEY,
            DEVICE_SESSIONS_NOTIFY_NEW_DEVICE=False,
        )
        self.app, self.extension = self.made.application, self.made.extension
        with self.app.app_context():
            self.engine: sa.Engine = self.extension.database_session.get_bind()
            with self.engine.connect() as connection:
                self.filled = Filled(connection, self.extension.event_model, rows)
            self.signatures = self.extension.signatures

    def environ(self, token: SessionToken, path: str) -> dict[str, Any]:
        """Return a request of a session."""
        with self.app.app_context():
            name = self.extension.session_cookie_name
        signed = self.signatures.sign(Purpose.SESSION, token.text())
        return client.environ_of(path, {name: signed})

    def environs(self, numbers: Iterable[int], path: str) -> list[dict[str, Any]]:
        """Return a request of each of these live sessions."""
        return [self.environ(self.filled.live_session(number), path) for number in numbers]

    def get(self, environ: dict[str, Any]) -> None:
        """Send a request, which must be answered."""
        answer = client.send(self.app, environ)
        assert answer.status.startswith("200 "), answer

    def person(self, number: int) -> Any:
        """Return one of the people, inside an app context."""
        return self.extension.find_user(str(self.filled.person(number)))

    @contextmanager
    def watching(self) -> Iterator[list[Statement]]:
        """Collect the statements of the block, each with its time."""
        seen: list[Statement] = []
        began = 0.0

        def before(*_: Any) -> None:
            nonlocal began
            began = time.perf_counter()

        def after(connection: Any, cursor: Any, text: str, parameters: Any, *_: Any) -> None:
            seen.append(Statement(text, parameters, time.perf_counter() - began))

        sa.event.listen(self.engine, "before_cursor_execute", before)
        sa.event.listen(self.engine, "after_cursor_execute", after)
        try:
            yield seen
        finally:
            sa.event.remove(self.engine, "before_cursor_execute", before)
            sa.event.remove(self.engine, "after_cursor_execute", after)


class Measured(NamedTuple):
    """An operation: milliseconds (median and most), statements, and those of one time."""

    milliseconds: list[float]
    counts: set[int]
    statements: list[Statement]

    def __str__(self) -> str:
        least, most = min(self.counts), max(self.counts)
        number = f"{least}" if least == most else f"{least}..{most}"
        median, longest = statistics.median(self.milliseconds), max(self.milliseconds)
        return f"{median:.1f} (≤ {longest:.1f}); {number}"


def report(engine: str, sizes: Sequence[int]) -> str:
    """Fill, measure, return the tables in Markdown.

    Args:
        engine: ``sqlite`` or ``postgresql``.
        sizes: numbers of sessions.
    """
    with ExitStack() as stack:
        sites = {}
        for rows in sorted(sizes):
            began = time.perf_counter()
            sites[rows] = Site(stack.enter_context(database(engine, f"scale_{rows}")), rows)
            _say(f"{rows:,} sessions filled in {time.perf_counter() - began:.0f} s")
        restores = _restores(sites)  # first: the other operations end sessions
        results = {rows: _measure(site) for rows, site in sites.items()}
        plans = _plans(sites[max(sizes)], results[max(sizes)])
        return "\n\n".join((_table(restores, results), _bytes(sites), plans))


# -- Operations ----------------------------------------------------------------------------


def _restores(sites: dict[int, Site]) -> dict[int, list[float]]:
    """Return microseconds of wall time of signed-in requests, in blocks of all sizes in turns."""
    blocks: dict[int, list[float]] = {rows: [] for rows in sites}
    for number in range(_ROUNDS):
        for rows, site in sites.items():
            numbers = range(number * _RESTORES, (number + 1) * _RESTORES)
            environs = site.environs((n * 7919 for n in numbers), "/")
            began = time.perf_counter()
            for environ in environs:
                site.get(environ)
            blocks[rows].append((time.perf_counter() - began) / _RESTORES * 1e6)
    return blocks


def _measure(site: Site) -> dict[str, Measured]:
    """Do each operation, those that end sessions last."""
    extension, collector = site.extension, str(site.filled.collector)
    signed_in = site.environs((n * 104_729 for n in range(_TIMES)), "/")
    device_pages = site.environs(range(_TIMES), "/devices/")
    long_page = site.environ(site.filled.session_of_collector(), "/devices/")

    def of_collector(verb: Callable[[Any], object]) -> Callable[[int], object]:
        return _inside(site, lambda _: verb(extension.find_user(collector)))

    def sessions_of(user: Any) -> object:
        return extension.sessions_of(user)

    return {
        "restore": _time(site, lambda n: site.get(signed_in[n])),
        "device page, 5 devices": _time(site, lambda n: site.get(device_pages[n])),
        "device page, 1,000 live and 1,000 ended": _time(site, lambda _: site.get(long_page), 3),
        "list of 1,000 live sessions": _time(site, of_collector(sessions_of)),
        "sign-in": _time(site, lambda _: client.sign_in(site.app)),
        "`revoke_all` of 5": _time(
            site, _inside(site, lambda n: extension.revoke_all(site.person(n)))
        ),
        "`revoke_all` of 1,000": _time(site, of_collector(extension.revoke_all), times=1),
        **_purge(site),
    }


def _inside(site: Site, operation: Callable[[int], object]) -> Callable[[int], object]:
    """Let an operation run in an app context of its own."""

    def run(number: int) -> None:
        with site.app.app_context():
            operation(number)

    return run


def _time(site: Site, operation: Callable[[int], object], times: int = _TIMES) -> Measured:
    measured = Measured([], set(), [])
    for number in range(times):
        with site.watching() as seen:
            began = time.perf_counter()
            operation(number)
            measured.milliseconds.append((time.perf_counter() - began) * 1000)
        measured.counts.add(len(seen))
        measured.statements[:] = seen
    return measured


def _purge(site: Site) -> dict[str, Measured]:
    """Purge what is due: the whole of it, every transaction that deletes, every statement."""
    batches: dict[str, Measured] = {}
    opened, closed, first = 0.0, 0.0, 0
    with site.watching() as seen, site.app.app_context():

        def open_(connection: sa.Connection) -> None:
            nonlocal opened, first
            opened, first = time.perf_counter(), len(seen)

        def close(*_: Any) -> None:
            nonlocal closed
            closed = time.perf_counter()  # after the commit, before a pause for others

        def note(number: int) -> None:
            table = seen[-1].text.split()[2].strip('"')
            batch = batches.setdefault(f"purge, a batch of `{table}`", Measured([], set(), []))
            batch.milliseconds.append((closed - opened) * 1000)
            batch.counts.add(len(seen) - first)
            batch.statements[:] = seen[first:]

        sa.event.listen(site.engine, "begin", open_)
        sa.event.listen(site.engine, "checkin", close)
        began = time.perf_counter()
        site.extension.purge(progress=note)
        whole = Measured([(time.perf_counter() - began) * 1000], {len(seen)}, [])
        sa.event.remove(site.engine, "checkin", close)
        sa.event.remove(site.engine, "begin", open_)
    seen.sort(key=lambda statement: statement.seconds)
    single = Measured([statement.seconds * 1000 for statement in seen], {1}, seen[-5:])
    # A statement first: the plans begin with the slowest.
    return {"purge, a statement": single, **batches, "purge, the whole": whole}


# -- Report --------------------------------------------------------------------------------


def _table(restores: dict[int, list[float]], results: dict[int, dict[str, Measured]]) -> str:
    """Return milliseconds: median (≤ most); statements."""
    sizes = list(results)
    lines = [
        "| ms, median (≤ most); statements | " + " | ".join(f"{rows:,}" for rows in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    names = dict.fromkeys(name for result in results.values() for name in result)
    for name in names:
        cells = (str(results[rows].get(name, "–")) for rows in sizes)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    base = restores[sizes[0]]
    for rows in sizes:
        ratios = [one / other for one, other in zip(restores[rows], base, strict=True)]
        lines.append("")
        lines.append(
            f"Signed-in request at {rows:,}: {statistics.median(restores[rows]):.0f} µs of wall "
            f"time, {statistics.median(ratios):.2f} x that at {sizes[0]:,} "
            f"({min(ratios):.2f}..{max(ratios):.2f})."
        )
    return "\n".join(lines)


def _bytes(sites: dict[int, Site]) -> str:
    lines = [
        "| bytes a row, indexes included | person | device | session | event |",
        "|---" * 5 + "|",
    ]
    for rows, site in sites.items():
        each = site.filled.bytes_each
        cells = (f"{each[what]:.0f}" for what in ("people", "devices", "sessions", "events"))
        lines.append(f"| {rows:,} sessions | {' | '.join(cells)} |")
    return "\n".join(lines)


def _plans(site: Site, measured: dict[str, Measured]) -> str:
    """Return the plan of each different statement, at the largest size."""
    title = f"Query plans at {site.filled.rows:,} sessions"
    parts, known = [f"<details><summary>{title}</summary>"], set()
    with site.engine.connect() as connection:
        for name, operation in measured.items():
            for statement in operation.statements:
                if statement.text in known or statement.text.startswith("INSERT"):
                    continue
                known.add(statement.text)
                heading = f"{name}, {statement.seconds * 1000:.1f} ms:"
                parts.append(f"{heading}\n\n```\n{_explain(connection, statement)}\n```")
    return "\n\n".join((*parts, "</details>"))


def _explain(connection: sa.Connection, statement: Statement) -> str:
    is_sqlite = connection.dialect.name == "sqlite"
    ask = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
    rows = connection.exec_driver_sql(ask + statement.text, statement.parameters).all()
    plan = "\n".join(str(row[-1])[:160] for row in rows)
    return f"{_shortened(statement.text)}\n\n{plan}"


def _shortened(sql: str) -> str:
    """Return a statement on one line, without the columns of its outer SELECT."""
    sql = " ".join(sql.split())
    if sql.startswith("SELECT ") and len(sql.partition(" FROM ")[0]) > 100:
        sql = "SELECT … FROM " + sql.partition(" FROM ")[2]
    return sql if len(sql) <= 400 else f"{sql[:400]} …"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
