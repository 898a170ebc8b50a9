"""A real server: latency at a fixed rate under gunicorn, and the most that wrk gets out of it.

Requests are due at fixed times, and a latency counts from when its request was due: a server that
falls behind is not spared the requests that it has not let happen (coordinated omission). The
generator runs on the same machine, so the figures compare contenders; they promise nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from typing import NamedTuple

from .client import USER_AGENT
from .contenders import BY_NAME, Entry
from .databases import database
from .environment import ROOT
from .field import Process

NAMES = ("flask_login", "ours")

#: gunicorn's workers, the threads of each, and the connections of the generator.
WORKERS, THREADS, CONNECTIONS = 2, 4, 8

_ROUNDS = 3

#: How long a server may take to start, in seconds.
_PATIENCE = 30


class Served(NamedTuple):
    """A contender under gunicorn."""

    entry: Entry
    port: int
    headers: dict[str, str]


def report(engine: str, *, rate: int, seconds: int, only: Sequence[str] = ()) -> str:
    """Serve the contenders one after the other, in rounds; return the table.

    Args:
        engine: ``sqlite`` or ``postgresql``.
        rate: requests a second.
        seconds: how long each round of each contender lasts.
        only: names of contenders; default: :data:`NAMES`.
    """
    entries = [BY_NAME[name] for name in only or NAMES]
    latencies: dict[str, list[float]] = {entry.name: [] for entry in entries}
    most: dict[str, list[float]] = {entry.name: [] for entry in entries}
    with ExitStack() as stack:
        servers = [stack.enter_context(_serving(entry, engine)) for entry in entries]
        for _ in range(_ROUNDS):
            for served in servers:
                latencies[served.entry.name] += _at_rate(served, rate, seconds)
                if shutil.which("wrk"):
                    most[served.entry.name].append(_most(served, seconds))
    return _table(entries, latencies, most, rate)


def _table(
    entries: Sequence[Entry],
    latencies: dict[str, list[float]],
    most: dict[str, list[float]],
    rate: int,
) -> str:
    lines = [
        f"| at {rate} requests a second | p50 ms | p99 ms | requests | most a second (wrk) |",
        "|---|---|---|---|---|",
    ]
    for entry in entries:
        times = latencies[entry.name]
        cuts = statistics.quantiles(times, n=100)
        tops = most[entry.name]
        top = f"{statistics.median(tops):.0f}" if tops else "wrk is missing"
        figures = f"{cuts[49] * 1000:.1f} | {cuts[98] * 1000:.1f} | {len(times)} | {top}"
        lines.append(f"| {entry.title} | {figures} |")
    return "\n".join(lines)


# -- The server ----------------------------------------------------------------------------


@contextmanager
def _serving(entry: Entry, engine: str) -> Iterator[Served]:
    """Run gunicorn on a contender that was checked, on a database that it has filled."""
    with database(engine, entry.name) as uri:
        worker = Process(entry, uri)
        worker.check()
        worker.close()
        port = _free_port()
        command = [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", "--keep-alive=60"]
        command += [f"--workers={WORKERS}", f"--threads={THREADS}", "--log-level=warning"]
        environment = {**os.environ, "BENCH_CONTENDER": entry.name, "BENCH_URI": uri}
        server = subprocess.Popen(
            [*command, "benchmarks.serving:application"], cwd=ROOT, env=environment
        )
        try:
            cookie = _sign_in(port)
            yield Served(entry, port, {"Cookie": cookie, "User-Agent": USER_AGENT})
        finally:
            server.terminate()
            server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _sign_in(port: int) -> str:
    """Wait for the server, sign in; return the cookies as a header."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        with suppress(OSError, HTTPException):
            connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
            connection.request("GET", "/enter", headers={"User-Agent": USER_AGENT})
            answer = connection.getresponse()
            cookies: SimpleCookie = SimpleCookie()
            for header in answer.headers.get_all("Set-Cookie", ()):
                cookies.load(header)
            connection.close()
            return "; ".join(f"{k}={m.coded_value}" for k, m in cookies.items() if m.value)
        if time.monotonic() > deadline:
            raise SystemExit(f"The server did not start within {_PATIENCE} s.")
        time.sleep(0.1)


# -- The generator -------------------------------------------------------------------------


def _at_rate(served: Served, rate: int, seconds: int) -> list[float]:
    """Send requests when they are due; return their latencies, in seconds."""
    latencies: list[float] = []
    began = time.monotonic() + 0.1
    due = iter([began + number / rate for number in range(rate * seconds)])
    lock = threading.Lock()

    def work() -> None:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=_PATIENCE)
        while (at := _next(due, lock)) is not None:
            time.sleep(max(0.0, at - time.monotonic()))
            connection.request("GET", "/", headers=served.headers)
            body = connection.getresponse().read()
            latencies.append(time.monotonic() - at)
            assert body == served.entry.answer.encode(), body
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(latencies) != rate * seconds:
        raise SystemExit(f"{served.entry.name} did not answer every request.")
    return latencies


def _next(due: Iterator[float], lock: threading.Lock) -> float | None:
    with lock:
        return next(due, None)


def _most(served: Served, seconds: int) -> float:
    """Return the requests a second that wrk gets answered on as many connections."""
    headers = [f"-H{name}: {value}" for name, value in served.headers.items()]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *headers]
    url = f"http://127.0.0.1:{served.port}/"
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said, said
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found is not None, said
    return float(found[1])
