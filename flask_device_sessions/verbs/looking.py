"""Looking: sessions, devices and events, one's own and, for administrators, others'."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ..chain import AuditReport, anchor_of, verify
from .arrivals import Arrivals
from .base import Progress, ignore, unwrap

T = TypeVar("T")


class Looking(Arrivals):
    """The verbs that change nothing, but for the note of a foreign id."""

    # -- Sessions and devices ----------------------------------------------------------------------

    def sessions_of(self, user: Any, *, ended: bool = False) -> list[Any]:
        """Return a person's live sessions, newest activity first; or the ended ones.

        Args:
            user: the person.
            ended: return those that ended and are not purged yet, last ended first.
        """
        rows = self._state.store
        if ended:
            return self._look(rows.list_ended, rows.id_of(user))
        return self._look(rows.list_live, rows.id_of(user), *self._live_bounds())

    def page_of_sessions(
        self,
        user: Any,
        *,
        limit: int,
        kind: str | None = None,
        before: uuid.UUID | None = None,
    ) -> list[Any]:
        """Return at most ``limit`` of a person's live sessions, the last begun first.

        Args:
            user: the person.
            limit: how many.
            kind: ``"browser"`` or ``"token"``; default: both.
            before: the id of the last session on the page before.
        """
        rows = self._state.store
        bounds = self._live_bounds()
        owner_id = rows.id_of(user)
        return self._look(
            rows.list_live_page, owner_id, *bounds, kind=kind, before=before, limit=limit
        )

    def recently_ended(self, user: Any, limit: int = 5) -> list[Any]:
        """Return the person's sessions that ended last, at most ``limit``."""
        return self._look(self._state.store.list_ended, self._state.store.id_of(user), limit)

    def devices_of(self, user: Any) -> list[Any]:
        """Return the browsers a person ever signed in from, last seen first."""
        return self._look(self._state.store.list_devices, self._state.store.id_of(user))

    def load_devices(self, sessions: Sequence[Any]) -> None:
        """Load the devices of these sessions at once, so that ``session.device`` asks no more."""
        self._look(self._state.store.load_devices, sessions)

    def find_session(self, user: Any, session_id: uuid.UUID) -> Any | None:
        """Return the person's session with this id; another's is ``None`` like an unknown one."""
        rows = self._state.store
        return self._look(rows.find_owned, rows.models.session, rows.id_of(user), session_id)

    def find_device(self, user: Any, device_id: uuid.UUID) -> Any | None:
        """Return the person's device with this id; another's is ``None`` like an unknown one."""
        rows = self._state.store
        return self._look(rows.find_owned, rows.models.device, rows.id_of(user), device_id)

    # -- Events ------------------------------------------------------------------------------------

    def events_of(self, user: Any) -> list[Any]:
        """Return a person's audit events, newest first."""
        return self._look(self._state.store.list_events, self._state.store.id_of(user))

    def events_slice(
        self,
        user: Any,
        *,
        actions: Sequence[str] = (),
        hidden: Sequence[str] = (),
        limit: int,
        offset: int = 0,
    ) -> list[Any]:
        """Return some of a person's audit events, newest first.

        Args:
            user: the person.
            actions: only these; none given: all.
            hidden: but not these.
            limit: how many.
            offset: how many newer ones are skipped.
        """
        rows = self._state.store
        return self._look(rows.list_events_slice, rows.id_of(user), actions, hidden, limit, offset)

    def page_of_events(self, user: Any, *, limit: int, before: int | None = None) -> list[Any]:
        """Return at most ``limit`` of a person's audit events, newest first.

        Args:
            user: the person.
            limit: how many.
            before: ``sequence`` of the last event on the page before.
        """
        rows = self._state.store
        return self._look(rows.list_events, rows.id_of(user), limit, before=before)

    def verify_audit(
        self,
        user: Any = None,
        *,
        anchor: Mapping[str, Any] | None = None,
        progress: Progress = ignore,
    ) -> AuditReport:
        """Check the tamper-evident chain of audit events.

        Args:
            user: whose; default: everybody's.
            anchor: an earlier report's ``anchor``, kept out of the database's reach: without
                one, events cut off at a chain's end cannot be missed.
            progress: told each time how many more events were read.

        Returns:
            A report that is true when the chain is whole, else says what is wrong, where.
        """
        rows = self._state.store
        owner_id = None if user is None else rows.id_of(user)
        if anchor is not None and owner_id is not None:
            anchor = anchor_of(anchor, owner_id)
        events = _telling(progress, rows.iterate_events(owner_id))
        return verify(events, self._state.audit_keys, anchor)

    # -- Other people's ----------------------------------------------------------------------------

    def is_admin(self, user: Any) -> bool:
        """Whether ``ADMIN`` lets this user see and end other people's sessions."""
        decide = self.settings.admin
        return decide is not None and bool(decide(unwrap(user)))

    def find_endable_session(self, user: Any, session_id: uuid.UUID) -> Any | None:
        """Return the session with this id if ``user`` may end it: their own; an admin's, any."""
        return self._find_endable(self.session_model, user, session_id)

    def find_endable_device(self, user: Any, device_id: uuid.UUID) -> Any | None:
        """Return the device with this id if ``user`` may sign it out: as with sessions."""
        return self._find_endable(self.device_model, user, device_id)

    def _find_endable(self, model: type[Any], user: Any, row_id: uuid.UUID) -> Any | None:
        rows = self._state.store
        if self.is_admin(user):
            return self._look(rows.find_anybodys, model, row_id)
        return self._look(rows.find_owned, model, rows.id_of(user), row_id)


def _telling(progress: Progress, events: Iterator[T]) -> Iterator[T]:
    for event in events:
        yield event
        progress(1)
