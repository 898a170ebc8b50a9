"""Keeping and not keeping: purge, erase, export; and what operators ask."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import has_request_context

from ..ambient import utc_now
from ..audit import Entry
from ..clients import Client
from ..errors import ConfigError, StoreUnavailable
from ..proxies import running_app
from ..retention import Counts, Purged
from .arrivals import Arrivals
from .base import Progress, ignore, unwrap

if TYPE_CHECKING:
    from ..checks import Finding


class Keeping(Arrivals):
    """The verbs of retention and of the command line."""

    def purge(
        self,
        *,
        older_than: timedelta | None = None,
        batch_size: int = 1000,
        progress: Progress = ignore,
    ) -> Purged:
        """Delete sessions that ended, events, and devices without a session, once they are old.

        Each batch is one short transaction, whatever the app has open in ``db.session`` is
        committed with the first. Live sessions are never touched. Of each person's events, one
        that announces the purge stays, so that :meth:`verify_audit` still finds what anybody
        else took; where it finds something already, the person's events stay and a warning is
        logged. May be killed, and run beside itself, at any time.

        Args:
            older_than: how long ago they ended, were written, were last seen; default:
                ``RETENTION``.
            batch_size: most rows of one transaction (on SQLite, 200 at most).
            progress: told each time how many more rows are gone.

        Returns:
            How many rows were deleted.

        Raises:
            ConfigError: neither ``older_than`` nor ``RETENTION`` says how old.
            StoreUnavailable: the database refused; what is gone is gone, the next purge goes on.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
        now, counts = utc_now(), Counter[str]()
        before = now - self._retention(older_than)
        for kind, number in self._state.housekeeping.purge(before, batch_size, now):
            counts[kind] += number
            progress(number)
        return Purged(**counts)

    def _retention(self, older_than: timedelta | None) -> timedelta:
        age = self.settings.retention if older_than is None else older_than
        if age is None:
            raise ConfigError(
                "DEVICE_SESSIONS_RETENTION is None, so nothing is ever old. Set it, or say how "
                "old with purge(older_than=…), or --days on the command line."
            )
        if age < timedelta(0):
            raise ValueError(f"older_than must not be negative, and {age} is.")
        return age

    def erase(self, user: Any, *, commit: bool = True) -> Purged:
        """Delete everything that is kept here of a person: sessions, devices, events.

        They are signed out by that. One event of nobody's account stays, ``user_erased``, with
        the person's id. The user row is the app's, to keep or to delete. No signal is sent: the
        rows that one could tell of are gone.

        Returns:
            How many rows were deleted.
        """
        user_id = self._state.store.id_of(unwrap(user))
        now = self._caller()[1]
        entry = Entry("user_erased", detail={"user": str(user_id)})

        def unit() -> Purged:
            erased = self._state.housekeeping.erase(user_id)
            # Without the caller's address and browser: they may be the person's own.
            self._state.lifecycle.note(None, entry, Client(), now)
            self._after_commit(partial(self._leave_erased, user_id))
            return erased

        return self._state.store.run(unit, commit=commit)

    def export(self, user: Any) -> dict[str, Any]:
        """Return everything that is kept here of a person, as JSON values.

        Returns:
            ``user``, ``exported_at``, and ``sessions``, ``devices``, ``events``: a list of rows
            each, the newest first, without digests and MACs. Columns of the app's own are the
            app's to export.
        """
        user_id = self._state.store.id_of(user)
        unit = partial(self._state.housekeeping.export, user_id, utc_now())
        return self._state.store.run(unit, commit=False)

    def _leave_erased(self, user_id: Any) -> None:
        visit = self.visit() if has_request_context() else None
        if visit is not None and visit.session_id is not None and visit.user_id == user_id:
            self._leave(visit.session_id)

    # -- For operators -----------------------------------------------------------------------------

    def find_person(self, text: str) -> Any | None:
        """Return the user that an operator names.

        Args:
            text: what the person signs in with (``IDENTIFIER_FIELD``), or ``id:`` and their
                primary key.
        """
        kind, _, key = text.partition(":")
        if kind == "id":
            return self.find_user(key)
        found, _ = self._state.store.find_accounts(self.settings.identifier_field, text)
        return found

    def find_any_session(self, session_id: uuid.UUID) -> Any | None:
        """Return the session with this id, whosever it is."""
        return self._state.store.find_session(session_id)

    def recent_events(self, user: Any = None, *, limit: int) -> list[Any]:
        """Return the newest audit events, newest first.

        Args:
            user: whose; default: everybody's, and nobody's.
            limit: how many at most.
        """
        rows = self._state.store
        return (
            rows.list_all_events(limit)
            if user is None
            else rows.list_events(rows.id_of(user), limit)
        )

    def count(self) -> Counts:
        """Count sessions, devices and events."""
        return self._state.housekeeping.rows.count(*self._live_bounds())

    def count_events(self, user: Any = None) -> int:
        """Return how many audit events there are; default: everybody's, and nobody's."""
        user_id = None if user is None else self.id_of(user)
        return self._state.housekeeping.rows.count_events(user_id)

    def count_due(self, older_than: timedelta | None = None) -> int:
        """Return about how many rows :meth:`purge` will delete."""
        before = utc_now() - self._retention(older_than)
        return self._state.housekeeping.rows.count_due(before)

    def check(self) -> list[Finding]:
        """Look at how the running app is deployed; see :mod:`~flask_device_sessions.checks`."""
        from ..checks import Deployment, look  # of use to this command alone

        state = self._state
        return look(
            Deployment(
                running_app(),
                state.settings,
                state.store,
                is_cookie_secure=self.is_cookie_secure,
                has_mailer=state.notifier.has_mailer,
            )
        )

    def explain(self, error: Exception) -> StoreUnavailable:
        """Return what a database error means, in words for the person who can mend it."""
        return self._state.store.explain(error)

    def fault_of(self, error: Exception) -> StoreUnavailable:
        """Give up what ``db.session`` has open, and return what the error means."""
        return self._state.store.give_up(error)
