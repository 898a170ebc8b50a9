"""Purge, erase, export: what the package does with rows it needs no more, or that a person wants.

A purge is many short transactions, each whole by itself. It may be killed at any time: the
next one goes on, and the audit chain verifies in between.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from . import records
from .audit import Entry, Trail
from .chain import EVENTS_PURGED, purge_mark, verify
from .clients import Client
from .errors import NoSuchUser, SchemaError, StoreUnavailable
from .retention import Purged, Retention, Window
from .store import Store

T = TypeVar("T")

_logger = logging.getLogger("flask_device_sessions")

#: How often a purge tries each transaction: it has time, and sign-ins go first.
_TRIES = 12

#: How long each try looks for a moment in which nobody writes to SQLite, in seconds.
_PATIENCE = 5.0

#: What was deleted from which table (a field of :class:`Purged`), batch by batch.
Batches = Iterator[tuple[str, int]]


class Housekeeping:
    """The work on one app's old rows.

    Args:
        store: the rows.
        trail: where the purge of events is announced.
        audit_keys: keys of the chain, newest first.
        idle_timeout: the setting.
    """

    def __init__(
        self,
        store: Store,
        trail: Trail,
        audit_keys: Sequence[bytes],
        idle_timeout: timedelta | None,
    ) -> None:
        self._store = store
        self._trail = trail
        self._audit_keys = audit_keys
        self._idle_timeout = idle_timeout
        self.rows = Retention(store)

    # -- Purging ---------------------------------------------------------------------------

    def purge(self, before: datetime, batch_size: int, now: datetime) -> Batches:
        """Delete what was over before that time, a batch for each step of the iterator.

        Args:
            before: sessions ended, events written, devices last seen earlier than this go.
            batch_size: most rows of one transaction.
            now: the time.

        Yields:
            A field of :class:`Purged` and by how much it grew.

        Raises:
            StoreUnavailable: the database refused; what was yielded is gone all the same.
        """
        size = self.rows.batch(batch_size)
        yield from self._purge_sessions(before, size)
        for chain in self._read(partial(self.rows.list_old_chains, before)):
            yield from self._purge_events(chain.user_id, chain.through, size, now)
        yield from self._repeat("events", partial(self.rows.delete_nobodys, before, size))
        unused = partial(self.rows.list_unused_devices, before)
        delete = partial(self.rows.delete_unused_devices, before)
        yield from self._walk("devices", unused, delete, size)

    def _purge_sessions(self, before: datetime, size: int) -> Batches:
        yield from self._repeat("sessions", partial(self.rows.delete_ended, before, size))
        yield from self._repeat("sessions", partial(self.rows.delete_expired, before, size))
        if self._idle_timeout is not None:
            active = before - self._idle_timeout
            idle = partial(self.rows.list_idle, active)
            yield from self._walk("sessions", idle, partial(self.rows.delete_idle, active), size)

    def _purge_events(self, user_id: Any, through: int, size: int, now: datetime) -> Batches:
        """Delete a person's first events, after an event that says so is committed."""
        events = self._store.iterate_events(user_id)
        if not self._read(lambda: verify(events, self._audit_keys)):
            _logger.warning(
                "The old events of user %r stay: their audit trail does not verify. Purging "
                "them would hide what is wrong; look with `verify-audit`.",
                user_id,
            )
            return
        try:
            is_marked = self._write(partial(self._mark, user_id, through, now))
        except NoSuchUser:
            return  # deleted meanwhile, and the events with them
        if is_marked:
            delete = partial(self.rows.delete_events, user_id, through, size)
            yield from self._repeat("events", delete)

    def _mark(self, user_id: Any, through: int, now: datetime) -> bool:
        """Announce the purge; false when another one was here first."""
        self._store.lock_user(user_id)
        last = self.rows.find_event(user_id, through)
        if last is None:
            return False
        entry = Entry(EVENTS_PURGED, detail=purge_mark(last._mapping))
        self._trail.record(user_id, [entry], Client(), None, now)
        return True

    def _repeat(self, kind: str, delete: Callable[[], int]) -> Batches:
        while number := self._write(delete):
            yield kind, number

    def _walk(
        self,
        kind: str,
        find: Callable[[Window], list[Any]],
        delete: Callable[[Sequence[Any]], int],
        size: int,
    ) -> Batches:
        """Look through a whole table, for what no index finds, and delete that batch by batch."""
        after, is_end = None, False
        while not is_end:
            after, rows = self._run(partial(self._look_through, kind, find, after))
            for first in range(0, len(rows), size):
                batch = rows[first : first + size]
                yield kind, self._write(partial(delete, batch))
            is_end = after is None

    def _look_through(
        self, kind: str, find: Callable[[Window], list[Any]], after: uuid.UUID | None
    ) -> tuple[uuid.UUID | None, list[Any]]:
        """Return where the next part of a table ends, and what was found in it."""
        window = self.rows.window(kind, after)
        return window.last, find(window)

    def _write(self, unit: Callable[[], T]) -> T:
        """Run a transaction that deletes, and leave room for those who wait for it."""
        began = 0.0

        def in_turn() -> T:
            nonlocal began
            self._store.lock_file(_PATIENCE)  # first: SQLite lets nobody write who read before
            began = time.monotonic()
            return unit()

        result = self._run(in_turn)
        self.rows.give_way(time.monotonic() - began)
        return result

    def _run(self, unit: Callable[[], T]) -> T:
        """Run a transaction of a purge: patient with a busy database."""
        tries = 1
        while True:
            try:
                return self._store.run(unit)
            except StoreUnavailable as error:
                if isinstance(error, SchemaError) or tries == _TRIES:
                    raise
                _logger.warning("The purge tries again: %s", error)
            tries += 1

    def _read(self, unit: Callable[[], Any]) -> Any:
        return self._store.run(unit, commit=False)

    # -- One person ------------------------------------------------------------------------

    def erase(self, user_id: Any) -> Purged:
        """Delete all rows of a person, in the running unit; returns how many."""
        self._store.lock_user(user_id)
        return self.rows.delete_person(user_id)

    def export(self, user_id: Any, now: datetime) -> dict[str, Any]:
        """Return all that is kept of a person, as JSON values."""
        rows = self._store
        sessions = rows.list_sessions(user_id)
        return {
            "user": str(user_id),
            "exported_at": records.value_of(now),
            "sessions": [records.session(row) for row in sessions],
            "devices": [records.device(row) for row in rows.list_devices(user_id)],
            "events": [records.event(row) for row in rows.list_events(user_id)],
        }
