"""An SQLite file in whose place another one was put: connections to the old one are given up.

A connection stays with the file that it has opened. It would go on reading sessions that are not
there any more, and write new ones where nobody else sees them.
"""

from __future__ import annotations

import os
import time
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event, exc

#: Keys in the pool's notes on a connection: the path and which file was there; when we looked.
_KEY = "flask_device_sessions.file"
_LOOKED_AT = "flask_device_sessions.file_looked_at"

#: How often a connection's file is looked at, in seconds.
INTERVAL = 1.0

_watched: WeakSet[sa.Engine] = WeakSet()


def watch(engine: sa.Engine) -> None:
    """Look now and then at the connections of an SQLite engine; a second call changes nothing."""
    if engine.dialect.name == "sqlite" and engine not in _watched:
        _watched.add(engine)
        event.listen(engine, "checkout", _on_checkout)


def _on_checkout(connection: Any, record: Any, proxy: Any) -> None:
    now = time.monotonic()
    if now - record.info.get(_LOOKED_AT, 0) < INTERVAL:
        return
    record.info[_LOOKED_AT] = now
    path, known = record.info.get(_KEY) or record.info.setdefault(_KEY, _opened(connection))
    if not path:
        return  # in memory
    present = _identity(path)
    if present is not None and present != known:
        raise exc.DisconnectionError(f"{path} is another file now.")


def _opened(connection: Any) -> tuple[str, tuple[int, int] | None]:
    """Return the path of what a connection has opened, and which file it is."""
    path = str(connection.execute("PRAGMA database_list").fetchone()[2])
    return path, _identity(path)


def _identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file from another at the same path; ``None`` while there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
