"""Ending sessions from elsewhere, naming devices, ``It wasn't me``."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from flask import has_request_context

from .. import lifecycle, signals
from ..errors import NoSuchUser
from ..models import NAME_LENGTH
from ..parts import tell
from ..signing import Purpose
from ..text import clean
from .arrivals import Arrivals
from .base import Progress, ignore

#: How long the link "It wasn't me" of a mail works, in seconds: a week, for those on holiday.
_NOT_ME_AGE = 7 * 24 * 60 * 60


class Managing(Arrivals):
    """The verbs on a person's sessions and devices."""

    def revoke(self, session: Any, *, reason: str = "revoked", commit: bool = True) -> int:
        """End one session; returns 1, or 0 when it had ended before.

        Args:
            session: any ``DeviceSession``.
            reason: one of :data:`~flask_device_sessions.END_REASONS`.
        """
        return self._end(session.user_id, reason, self._is(session.id), commit=commit)

    def revoke_device(self, device: Any, *, reason: str = "revoked", commit: bool = True) -> int:
        """End every session on a device; returns how many ended.

        Args:
            device: any ``DeviceSessionDevice``.
            reason: one of :data:`~flask_device_sessions.END_REASONS`.
        """
        on_device = self.session_model.device_id == device.id
        return self._end(device.user_id, reason, on_device, commit=commit)

    def revoke_others(self, user: Any = None, *, commit: bool = True) -> int:
        """End all sessions of a person except the current one; returns how many ended.

        Args:
            user: default: the person who is signed in.
        """
        current_id = self.visit().session_id if has_request_context() else None
        owner_id = self.visit().user_id if user is None else self._state.store.id_of(user)
        others = [] if current_id is None else [self.session_model.id != current_id]
        return 0 if owner_id is None else self._end(owner_id, "revoked", *others, commit=commit)

    def revoke_all(self, user: Any, *, reason: str = "revoked", commit: bool = True) -> int:
        """End all sessions of a person, the current one too; returns how many ended.

        Args:
            user: the person.
            reason: one of :data:`~flask_device_sessions.END_REASONS`.
        """
        return self._end(self._state.store.id_of(user), reason, commit=commit)

    def revoke_everyone(self, *, commit: bool = True, progress: Progress = ignore) -> int:
        """End all sessions of all people, one person a transaction; returns how many ended.

        Args:
            progress: told each time how many more ended.
        """
        user_ids = self._state.store.run(self._state.store.list_user_ids_with_live, commit=False)
        ended = 0
        for user_id in user_ids:
            number = self._end_of_anybody(user_id, commit)
            progress(number)
            ended += number
        return ended

    def _end_of_anybody(self, user_id: Any, commit: bool) -> int:
        try:
            return self._end(user_id, "admin", commit=commit)
        except NoSuchUser:
            return 0  # deleted, and out by that; the others must not stay in for it

    def rename_device(self, device: Any, name: str, *, commit: bool = True) -> None:
        """Give a device the person's own name; an empty one takes it away.

        Args:
            device: any ``DeviceSessionDevice``.
            name: cleaned, and cut to 100 characters.
        """
        client, now = self._caller()
        own_name = clean(name, NAME_LENGTH) or None
        self._state.store.run(
            lambda: self._state.lifecycle.rename(device, own_name, client, now), commit=commit
        )

    # -- ``It wasn't me`` --------------------------------------------------------------------------

    def not_me_text(self, session: Any) -> str:
        """Return the signed text that lets its holder end this session, and do no more.

        It is for a link in a mail to the session's owner. It works once, for seven days, while
        somebody is signed in on the session's device.
        """
        return self._sign_not_me(session.id)

    def find_reportable(self, signed: str) -> Any | None:
        """Return the session that :meth:`not_me_text` was made for.

        Returns:
            ``None`` when it is over and nobody is signed in on its device: signing out and in
            again does not take the link out of its owner's hands.

        Raises:
            BadToken: forged, made for another purpose, or older than seven days.
            StoreUnavailable: the database did not answer.
        """
        facts = self.signatures.load(Purpose.NOT_ME, signed, max_age=_NOT_ME_AGE)
        rows, session_id = self._state.store, uuid.UUID(facts["session"])

        def unit() -> Any | None:
            session = rows.find_anybodys(rows.models.session, session_id)
            if session is None:
                return None
            live = rows.list_live(session.user_id, *self._live_bounds())
            is_in = any(lifecycle.is_same_device(one, session) for one in live)
            return session if is_in else None

        return rows.run(unit, commit=False)

    def report_not_me(self, signed: str, *, commit: bool = True) -> int:
        """End a session that its owner says was not theirs, and all that hangs on it.

        That is every live session on the same device, and every token ever issued there.
        The device is forgotten. After the commit, ``not_me_reported`` is sent.

        Args:
            signed: what :meth:`not_me_text` gave.
            commit: commit ``db.session``.

        Returns:
            How many sessions ended; 0 when it was over already.

        Raises:
            BadToken: forged, made for another purpose, or older than seven days.
            StoreUnavailable: the database refused; nothing was changed.
        """
        session = self.find_reportable(signed)
        if session is None:
            return 0
        client, now = self._caller()
        user_id, user = session.user_id, session.user

        def unit() -> int:
            ended = self._state.lifecycle.report_not_me(user_id, session, client, now)
            self._announce_ends(dict.fromkeys(ended, "not_me"))
            if ended:
                facts = {"session": ended[0], "user": user}
                self._after_commit(partial(tell, signals.not_me_reported, **facts))
            return len(ended)

        try:
            return self._state.store.run(unit, commit=commit)
        except NoSuchUser:
            return 0  # deleted between the look and the lock, and out by that
