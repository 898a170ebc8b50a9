"""One contender in a process of its own: ``python -m benchmarks.worker NAME URI``.

Reads a line, answers a line of JSON:

    check      {"problems": [...]}                         see :mod:`benchmarks.honesty`
    count      {"sql": 1, "writes": 0, "cookies": 0}       of one request in steady state
    run 200    {"seconds": 0.031}                          CPU of this process for 200 requests
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
from typing import Any

from . import client, honesty
from .contenders import BY_NAME, Contender, Entry


class Worker:
    """A contender that is asked for figures."""

    def __init__(self, entry: Entry, made: Contender) -> None:
        self._entry = entry
        self._made = made
        self._environ: dict[str, Any] | None = None

    def check(self) -> dict[str, Any]:
        """Return what is wrong with the contender."""
        return {"problems": list(honesty.problems(self._entry, self._made))}

    def count(self) -> dict[str, Any]:
        """Return what one request sends to the database and to the browser."""
        self.run(2)
        with self._made.recording() as seen:
            answer = client.send(self._made.application, self._environ or {})
        return {
            "sql": honesty.count_sql(seen),
            "writes": honesty.count_writes(seen),
            "cookies": len(answer.set_cookies),
        }

    def run(self, requests: int) -> dict[str, Any]:
        """Return the CPU seconds of this process for some requests, each answer looked at."""
        application = self._made.application
        environ = self._environ = self._environ or self._begin()
        wanted = self._entry.answer
        began = time.process_time()
        for _ in range(requests):
            if not client.send(application, environ).is_page(wanted):
                raise AssertionError(f"{self._entry.name} does not answer any more")
        return {"seconds": time.process_time() - began}

    def _begin(self) -> dict[str, Any]:
        """Sign in; sweep up what starting has left. From here on garbage is part of the cost."""
        environ = honesty.environ_of(self._entry, self._made.application)
        gc.collect()
        return environ


def main() -> None:
    """Answer line by line until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # what contenders print is no answer
    name, uri = sys.argv[1:]
    logging.getLogger().addHandler(logging.NullHandler())  # as in production: not to the screen
    entry = BY_NAME[name]
    worker = Worker(entry, entry.make(uri))
    for line in sys.stdin:
        command, *numbers = line.split()
        answer = getattr(worker, command)(*map(int, numbers))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
