"""How much there is, what of it is old, and away with it: the SQL of purging and erasing.

Beside :mod:`~flask_device_sessions.store` the only module with SQL. A batch is chosen by its
ids first and then deleted by them, for PostgreSQL knows no DELETE with a LIMIT, and MariaDB no
LIMIT in a subquery. What made a row due is asked again as it is deleted.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from .chain import EVENTS_PURGED

if TYPE_CHECKING:
    from .store import Store

#: SQLite has one writer at a time: sign-ins wait for a batch, so there it is a small one.
_SQLITE_BATCH = 200

#: How many rows one statement looks at where no index says which are due.
_WINDOW = 10_000


class Purged(NamedTuple):
    """How many rows were deleted.

    Attributes:
        sessions: from ``device_sessions``.
        devices: from ``device_session_devices``.
        events: from ``device_session_events``.
    """

    sessions: int = 0
    devices: int = 0
    events: int = 0


class Counts(NamedTuple):
    """How many rows there are.

    Attributes:
        people: who have a session that would be restored now.
        browsers: sessions of browsers that would be.
        tokens: bearer tokens that would be.
        ended: sessions that ended, and those that did by themselves.
        devices: all devices.
        events: all events.
        oldest_event_at: when the oldest event was written; ``None`` without any.
    """

    people: int
    browsers: int
    tokens: int
    ended: int
    devices: int
    events: int
    oldest_event_at: datetime | None


class Window(NamedTuple):
    """Part of a table, as many rows as one statement may look at.

    Attributes:
        key: the column of its ids.
        after: the last id before it; ``None`` at the table's beginning.
        last: its last id; ``None`` at the table's end.
    """

    key: Any
    after: uuid.UUID | None
    last: uuid.UUID | None


class Retention:
    """The statements that count and delete, for one app; they run in the caller's unit.

    Args:
        store: where the rows are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        _, *ours = store.models
        self._sessions, self._devices, self._events = (model.__table__ for model in ours)

    def batch(self, size: int) -> int:
        """Return how many rows one transaction may delete on this engine."""
        return min(size, _SQLITE_BATCH) if self._is_sqlite else size

    def give_way(self, seconds: float) -> None:
        """Leave SQLite's one writer's place free for as long as a transaction has held it.

        Who waits for it looks now and then, and would find it taken by the next batch each time.
        """
        if self._is_sqlite:
            time.sleep(seconds)

    @property
    def _is_sqlite(self) -> bool:
        return self._store.engine.dialect.name == "sqlite"

    # -- Sessions --------------------------------------------------------------------------

    def delete_ended(self, before: datetime, limit: int) -> int:
        """Delete the sessions that ended first, before that time; returns how many."""
        return self._delete_oldest(self._sessions.c.ended_at, before, limit)

    def delete_expired(self, before: datetime, limit: int) -> int:
        """Delete sessions that expired before that time, and whose end nobody wrote down."""
        never_ended = self._sessions.c.ended_at.is_(None)
        return self._delete_oldest(self._sessions.c.expires_at, before, limit, never_ended)

    def list_idle(self, before: datetime, window: Window) -> list[Any]:
        """Return the live sessions of a window that were last active before that time, by id.

        Args:
            before: ``IDLE_TIMEOUT`` is in it already.
            window: of the sessions' ids.
        """
        return self._list_within(window, self._is_idle(before))

    def delete_idle(self, before: datetime, rows: Sequence[Any]) -> int:
        """Delete those of the rows that are idle still; returns how many."""
        return self._delete(self._sessions, rows, self._is_idle(before))

    def _is_idle(self, before: datetime) -> Any:
        columns = self._sessions.c
        return sa.and_(columns.ended_at.is_(None), columns.last_active_at < before)

    # -- Devices ---------------------------------------------------------------------------

    def list_unused_devices(self, before: datetime, window: Window) -> list[Any]:
        """Return ``id`` and ``user_id`` of a window's devices without any session, by id.

        Args:
            before: when they were last seen.
            window: of the devices' ids.
        """
        return self._list_within(window, self._is_unused(before), self._devices.c.user_id)

    def delete_unused_devices(self, before: datetime, rows: Sequence[Any]) -> int:
        """Delete those of the rows that are unused still; returns how many.

        Their people are locked, so that nobody signs in on one of them meanwhile.
        """
        self._lock_users(sorted({row.user_id for row in rows}))
        return self._delete(self._devices, rows, self._is_unused(before))

    def _is_unused(self, before: datetime) -> Any:
        device, session = self._devices.c, self._sessions.c
        is_on_it = sa.and_(session.user_id == device.user_id, session.device_id == device.id)
        return sa.and_(device.last_seen_at < before, ~sa.exists().where(is_on_it))

    def _lock_users(self, user_ids: Sequence[Any]) -> None:
        key = self._store.user_key
        if self._is_sqlite:
            return  # one writer at a time, whoever it is about
        these = sa.select(key).where(key.in_(user_ids)).order_by(key).with_for_update()
        self._store.execute(these)

    # -- Events ----------------------------------------------------------------------------

    def list_old_chains(self, before: datetime) -> list[Any]:
        """Return whose events are that old: ``user_id``, and ``through``, the last old sequence.

        Left out is who has but the mark of an earlier purge: it vouches for what it deleted.
        """
        columns = self._events.c
        is_more = sa.or_(sa.func.count() > 1, sa.func.max(columns.action) != EVENTS_PURGED)
        # An expression, for SQLite would walk the index of `user_id` through the whole trail.
        person = sa.func.coalesce(columns.user_id, None)
        statement = (
            sa.select(person.label("user_id"), sa.func.max(columns.sequence).label("through"))
            .where(columns.created_at < before, columns.user_id.is_not(None))
            .group_by(person)
            .having(is_more)
        )
        return list(self._store.execute(statement))

    def find_event(self, user_id: Any, sequence: int) -> Any | None:
        """Return ``sequence`` and ``mac`` of one event."""
        columns = self._events.c
        statement = sa.select(columns.sequence, columns.mac).where(
            columns.user_id == user_id, columns.sequence == sequence
        )
        return self._store.execute(statement).first()

    def delete_events(self, user_id: Any, through: int, limit: int) -> int:
        """Delete a person's first events, none after ``through``; returns how many."""
        columns = self._events.c
        first = (
            sa.select(columns.sequence)
            .where(columns.user_id == user_id, columns.sequence <= through)
            .order_by(columns.sequence)
            .limit(limit)
        )
        sequences = list(self._store.execute(first).scalars())
        if not sequences:
            return 0
        is_due = sa.and_(columns.user_id == user_id, columns.sequence <= sequences[-1])
        return self._run_delete(sa.delete(self._events).where(is_due))

    def delete_nobodys(self, before: datetime, limit: int) -> int:
        """Delete the oldest events of nobody's account, before that time; returns how many."""
        is_nobodys = self._events.c.user_id.is_(None)
        return self._delete_oldest(self._events.c.created_at, before, limit, is_nobodys)

    # -- A person --------------------------------------------------------------------------

    def delete_person(self, user_id: Any) -> Purged:
        """Delete all rows of a person, locked by this unit."""
        tables = self._sessions, self._devices, self._events
        return Purged(
            *(self._run_delete(sa.delete(t).where(t.c.user_id == user_id)) for t in tables)
        )

    # -- Counting --------------------------------------------------------------------------

    def count_due(self, before: datetime) -> int:
        """Return about how many rows a purge will delete: devices and idle sessions are extra."""
        session, event = self._sessions.c, self._events.c
        never_ended = session.ended_at.is_(None)
        due = (
            session.ended_at < before,
            sa.and_(session.expires_at < before, never_ended),
            event.created_at < before,
        )
        return sum(self._count(condition) for condition in due)

    def count_events(self, user_id: Any | None) -> int:
        """Return how many events a person has; ``None``: everybody and nobody."""
        events = self._events.c
        return self._count(events.id.is_not(None) if user_id is None else events.user_id == user_id)

    def count(self, now: datetime, active_since: datetime | None) -> Counts:
        """Count what there is at ``now``; ``active_since``: before it a session was idle."""
        session = self._sessions.c
        is_live = sa.and_(
            session.ended_at.is_(None),
            sa.or_(session.expires_at.is_(None), session.expires_at > now),
        )
        if active_since is not None:
            is_live &= session.last_active_at > active_since
        browsers, tokens = (
            self._count(is_live & (session.kind == kind)) for kind in ("browser", "token")
        )
        people = sa.select(sa.func.count(session.user_id.distinct())).where(is_live)
        oldest = sa.select(sa.func.min(self._events.c.created_at))
        return Counts(
            people=self._store.execute(people).scalar() or 0,
            browsers=browsers,
            tokens=tokens,
            ended=self._count(session.id.is_not(None)) - browsers - tokens,
            devices=self._count(self._devices.c.id.is_not(None)),
            events=self.count_events(None),
            oldest_event_at=self._store.execute(oldest).scalar(),
        )

    def _count(self, condition: Any) -> int:
        statement = sa.select(sa.func.count()).where(condition)
        return self._store.execute(statement).scalar() or 0

    # -- Batches ---------------------------------------------------------------------------

    def window(self, kind: str, after: uuid.UUID | None) -> Window:
        """Return the next part of a walk through a whole table, over what is due and what stays.

        Args:
            kind: the table: a field of :class:`Purged`.
            after: the last id of the part before; ``None`` begins.
        """
        key = {"sessions": self._sessions, "devices": self._devices}[kind].c.id
        ids = sa.select(key).order_by(key).limit(1).offset(_WINDOW - 1)
        if after is not None:
            ids = ids.where(key > after)
        return Window(key, after, self._store.execute(ids).scalar())

    def _list_within(self, window: Window, is_due: Any, *more: Any) -> list[Any]:
        key, after, last = window
        statement = sa.select(key, *more).where(is_due).order_by(key)
        if after is not None:
            statement = statement.where(key > after)
        if last is not None:
            statement = statement.where(key <= last)
        return list(self._store.execute(statement))

    def _delete_oldest(self, column: Any, before: datetime, limit: int, *conditions: Any) -> int:
        is_due = sa.and_(column < before, *conditions)
        oldest = sa.select(column.table.c.id).where(is_due).order_by(column).limit(limit)
        return self._delete(column.table, self._store.execute(oldest).all(), is_due)

    def _delete(self, table: Any, rows: Sequence[Any], is_due: Any) -> int:
        if not rows:
            return 0
        ids = sorted(row.id for row in rows)
        return self._run_delete(sa.delete(table).where(table.c.id.in_(ids), is_due))

    def _run_delete(self, statement: sa.Delete) -> int:
        deleted: Any = self._store.execute(statement)
        return int(deleted.rowcount)
