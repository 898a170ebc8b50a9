"""``python -m benchmarks [MODE]``: see ``--help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from . import databases, environment, field
from .contenders import ALL, BY_NAME, ENGINES, Entry

#: The parts of a report, in Markdown, as they become known.
Parts = Iterator[str]


def main() -> int:
    """Run one mode; the report goes to the standard output, and into the page if asked for."""
    options = _parser().parse_args()
    if not options.here:
        environment.enter()
    engines = [engine for engine in options.engine if _answers(engine)]
    parts = []
    try:
        for part in options.run(options, engines):
            print(part + "\n", flush=True)
            parts.append(part)
    except field.Dishonest as error:
        sys.exit(f"Stopped, nothing more is measured: {error}.")
    if options.write:
        from . import page

        page.put(options.run.__name__.strip("_"), "\n\n".join(parts))
    return 0


# -- Modes ---------------------------------------------------------------------------------


def _requests(options: argparse.Namespace, engines: Sequence[str]) -> Parts:
    from . import cost, machine

    yield machine.describe()
    for engine in engines:
        entries = _chosen(options.only, engine, always=cost.BASES)
        figures = cost.measure(entries, engine, rounds=options.rounds, requests=options.requests)
        yield f"### {_TITLES[engine]}\n\n{cost.table(figures)}"
        if busy := machine.busy():
            yield busy


def _check(options: argparse.Namespace, engines: Sequence[str]) -> Parts:
    for engine in engines:
        entries = _chosen(options.only, engine)
        field.check(entries, engine)
        yield f"{engine}: {len(entries)} contenders are what they claim to be."


def _instructions(options: argparse.Namespace, engines: Sequence[str]) -> Parts:
    from . import instructions

    for engine in engines:
        table = instructions.report(engine, options.requests, options.only)
        yield f"{_TITLES[engine]}:\n\n{table}"


def _scale(options: argparse.Namespace, engines: Sequence[str]) -> Parts:
    from . import scale

    for engine in engines:
        yield f"### {_TITLES[engine]}\n\n{scale.report(engine, options.rows)}"


def _server(options: argparse.Namespace, engines: Sequence[str]) -> Parts:
    from . import server

    for engine in engines:
        table = server.report(engine, rate=options.rate, seconds=options.seconds, only=options.only)
        yield f"{_TITLES[engine]}:\n\n{table}"


def _startup(options: argparse.Namespace, engines: Sequence[str]) -> Parts:
    from . import startup

    yield startup.report(options.rounds)


_TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def _chosen(only: Sequence[str], engine: str, always: Sequence[str] = ()) -> list[Entry]:
    """Return the entries to run on an engine; those that cannot run are named."""
    entries = []
    for entry in ALL:
        if (only and entry.name not in (*only, *always)) or engine not in entry.engines:
            continue
        if entry.is_importable:
            entries.append(entry)
        else:
            print(f"LEFT OUT: {entry.name}, not installed here", file=sys.stderr)
    return entries


def _answers(engine: str) -> bool:
    why = databases.why_absent(engine)
    if why is not None:
        print(f"LEFT OUT: {engine} does not answer ({why})", file=sys.stderr)
    return why is None


# -- Options -------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    modes = parser.add_subparsers(title="modes", metavar="MODE")
    requests = _add_mode(modes, _requests, "CPU of a request against the peers (default)")
    for one in (parser, requests):
        one.add_argument("--rounds", type=int, default=60, help="blocks of each contender")
        one.add_argument("--requests", type=int, default=50, help="requests of a block")
    _add_mode(modes, _check, "only whether every contender is honest")
    counted = _add_mode(modes, _instructions, "count instructions (valgrind)")
    counted.add_argument("--requests", type=int, default=50, help="requests counted at once")
    grown = _add_mode(modes, _scale, "each operation on tables of several sizes")
    rows = {"nargs": "+", "default": [10_000, 1_000_000], "help": "numbers of sessions"}
    grown.add_argument("--rows", type=int, **rows)
    served = _add_mode(modes, _server, "latency under gunicorn at a fixed rate (wrk)")
    served.add_argument("--rate", type=int, default=100, help="requests a second")
    served.add_argument("--seconds", type=int, default=10, help="length of a round")
    started = _add_mode(modes, _startup, "time of import, memory of a worker")
    started.add_argument("--rounds", type=int, default=15, help="interpreters of each kind")
    _add_common(parser, _requests)
    check = {"action": "store_const", "const": _check, "help": "as the mode `check`"}
    parser.add_argument("--check", dest="run", **check)
    return parser


def _add_mode(modes: Any, run: Any, what: str) -> Any:
    mode = modes.add_parser(run.__name__.strip("_"), help=what, description=what)
    _add_common(mode, run)
    return mode


def _add_common(parser: Any, run: Any) -> None:
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--only", nargs="+", choices=list(BY_NAME), default=[], metavar="NAME")
    parser.add_argument("--write", action="store_true", help="put it into docs/performance.md, too")
    here = "in the running environment, with the peers that it has"
    parser.add_argument("--here", action="store_true", help=here)
    parser.set_defaults(run=run)


if __name__ == "__main__":
    sys.exit(main())
