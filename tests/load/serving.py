"""Real processes for a test: started, waited for, and always ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

#: How long anything may take to come about, in seconds.
PATIENCE = 60.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until(is_so: Callable[[], object], what: str, patience: float = PATIENCE) -> float:
    """Ask again and again until it is so.

    Returns:
        How long that took, in seconds.
    """
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() < began + patience, f"It did not come about: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def listens(port: int) -> bool:
    """Whether somebody answers on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def site(folder: Path, *, workers: int = 1, threads: int = 4, **facts: Any) -> Iterator[int]:
    """Serve :mod:`tests.load.site` with gunicorn; give its port.

    Args:
        folder: for its log.
        workers: processes, forked after the app was made.
        threads: requests at once in each.
        facts: the arguments of :func:`tests.load.site.make_site`.
    """
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--preload", "-k", "gthread"]
    command += ["-b", f"127.0.0.1:{port}", "-w", str(workers), "--threads", str(threads)]
    command += ["--keep-alive", "120", "--timeout", "120", "tests.load.site:app"]
    environment = os.environ | {"SITE": json.dumps(facts), "PYTHONPATH": str(ROOT)}
    with (
        (folder / f"site-{port}.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or listens(port), "gunicorn answers")
            assert process.poll() is None, Path(log.name).read_text()
            yield port
        finally:
            process.terminate()
