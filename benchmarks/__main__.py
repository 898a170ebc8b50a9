"""``python -m benchmarks [MODE]``: see ``--help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from . import databases, environment
from .contenders import ALL, BY_NAME, ENGINES, Entry


def main() -> int:
    """Run one mode; the report goes to the standard output as Markdown."""
    options = _parser().parse_args()
    if not options.here:
        environment.enter()
    engines = [engine for engine in options.engine if _answers(engine)]
    options.run(options, engines)
    return 0


def _requests(options: argparse.Namespace, engines: Sequence[str]) -> None:
    from . import cost, machine

    print(machine.describe())
    for engine in engines:
        entries = _chosen(options.only, engine, always=cost.BASES)
        figures = cost.measure(entries, engine, rounds=options.rounds, requests=options.requests)
        print(f"\n### {engine}\n\n{cost.table(figures)}", flush=True)


def _check(options: argparse.Namespace, engines: Sequence[str]) -> None:
    from .field import field

    for engine in engines:
        with field(_chosen(options.only, engine), engine) as processes:
            print(f"{engine}: {len(processes)} contenders are what they claim to be.")


def _instructions(options: argparse.Namespace, engines: Sequence[str]) -> None:
    from . import instructions

    for engine in engines:
        print(
            f"\n### {engine}\n\n{instructions.report(engine, options.requests, options.only)}",
            flush=True,
        )


def _scale(options: argparse.Namespace, engines: Sequence[str]) -> None:
    from . import scale

    for engine in engines:
        print(f"\n### {engine}\n\n{scale.report(engine, options.rows)}", flush=True)


def _server(options: argparse.Namespace, engines: Sequence[str]) -> None:
    from . import server

    for engine in engines:
        figures = server.report(
            engine, rate=options.rate, seconds=options.seconds, only=options.only
        )
        print(f"\n### {engine}\n\n{figures}", flush=True)


def _startup(options: argparse.Namespace, engines: Sequence[str]) -> None:
    from . import startup

    print(startup.report(options.rounds))


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    _add_common(parser)
    parser.add_argument(
        "--check", dest="run", action="store_const", const=_check, help="as `check`"
    )
    parser.set_defaults(run=_requests)
    modes = parser.add_subparsers(title="modes", metavar="MODE")
    requests = _add_mode(
        modes, "requests", _requests, "CPU of a request against the peers (default)"
    )
    for one in (parser, requests):
        one.add_argument("--rounds", type=int, default=60, help="blocks of each contender")
        one.add_argument("--requests", type=int, default=50, help="requests of a block")
    _add_mode(modes, "check", _check, "only whether every contender is honest")
    counted = _add_mode(modes, "instructions", _instructions, "count instructions (valgrind)")
    counted.add_argument("--requests", type=int, default=50)
    grown = _add_mode(modes, "scale", _scale, "each operation on tables of several sizes")
    grown.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    served = _add_mode(modes, "server", _server, "latency under gunicorn at a fixed rate")
    served.add_argument("--rate", type=int, default=100, help="requests a second")
    served.add_argument("--seconds", type=int, default=10)
    started = _add_mode(modes, "startup", _startup, "time of import, memory of a worker")
    started.add_argument("--rounds", type=int, default=15)
    return parser


def _add_mode(modes: Any, name: str, run: Any, what: str) -> Any:
    mode = modes.add_parser(name, help=what, description=what)
    _add_common(mode)
    mode.set_defaults(run=run)
    return mode


def _add_common(parser: Any) -> None:
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--only", nargs="+", choices=list(BY_NAME), default=[], metavar="NAME")
    parser.add_argument(
        "--here", action="store_true", help="in the running environment, with the peers it has"
    )


if __name__ == "__main__":
    sys.exit(main())
