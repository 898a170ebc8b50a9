"""The limit, with each statement a transaction of its own."""

from __future__ import annotations

from functools import partial

from . import limit

make = partial(limit.make, is_autocommit=True)
