"""How often something may be written that strangers can make happen."""

from __future__ import annotations

import time
from collections.abc import Hashable
from datetime import timedelta
from threading import Lock


class OncePer:
    """Lets one in through per key and interval, in this process; the memory of it is bounded.

    Args:
        interval: the shortest time between two of one key.
        capacity: how many keys are remembered; beyond it, the longest known is forgotten.
    """

    def __init__(self, interval: timedelta, capacity: int = 10_000) -> None:
        self._interval = interval.total_seconds()
        self._capacity = capacity
        self._lock = Lock()
        self._let_in: dict[Hashable, float] = {}

    def is_due(self, key: Hashable) -> bool:
        """Whether this key was not let in within the interval; it is now."""
        now = time.monotonic()
        with self._lock:
            last = self._let_in.get(key)
            if last is not None and now - last < self._interval:
                return False
            self._let_in.pop(key, None)  # to the end: the first is the longest known
            self._let_in[key] = now
            if len(self._let_in) > self._capacity:
                del self._let_in[next(iter(self._let_in))]
        return True
