"""Logging that cannot be used to fill a disk."""

from __future__ import annotations

import logging
import time
from datetime import timedelta


class Throttled:
    """Logs at most one warning per interval, and counts what it kept back.

    Args:
        logger: where the warnings go.
        interval: the shortest time between two of them.
    """

    def __init__(self, logger: logging.Logger, interval: timedelta) -> None:
        self._logger = logger
        self._interval = interval.total_seconds()
        self._next_at = 0.0
        self._kept_back = 0

    def warning(self, message: str, *values: object) -> None:
        """Log ``message % values``, or count it."""
        if time.monotonic() < self._next_at:
            self._kept_back += 1
            return
        self._next_at = time.monotonic() + self._interval
        self._logger.warning(
            f"{message} (%d more since the last such line)", *values, self._kept_back
        )
        self._kept_back = 0
