"""The audit trail: one insert-only way in. What is written is chained, see :mod:`.chain`.

After the commit each event is also one line of the log ``flask_device_sessions.audit``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

from . import transactions
from .chain import mac_of
from .clients import Client
from .errors import NoSuchUser
from .ids import new_id
from .store import Store

#: Every action an event can have, with what it says. The signal of the same name, where there
#: is one, is sent when the event is committed.
ACTIONS = {
    "session_started": "A browser or a program signed in; detail: method, new_device.",
    "session_ended": "A session ended; detail: reason.",
    "session_confirmed": "The password was checked again; the session got a new secret.",
    "session_rotated": "The session got a new secret.",
    "password_changed": "The password was changed; every other session ended.",
    "device_first_seen": "This person's first sign-in from that browser.",
    "device_renamed": "The person named the device; detail: name.",
    "device_forgotten": "The device is not known any more; its next sign-in is a first one.",
    "login_failed": "A password was refused; detail: reason.",
    "login_throttled": "Too many passwords were tried; at most one event a minute.",
    "throttle_storage_down": "The storage of the login limits did not answer.",
    "suspicious_login": "A sign-in was unusual; detail: reasons.",
    "ip_changed": "A session came from another network; detail: old, new.",
    "ended_session_used": "The credential of an ended session came back; detail: reason.",
    "foreign_id_tried": "The id of a row that is not this person's was tried; detail: kind, id.",
    "not_me_reported": "The person said that a sign-in was not theirs.",
    "token_issued": "A bearer token was made; detail: name, scopes.",
    "events_purged": "Older events are deleted; detail: the last that goes.",
    "user_erased": "A person was erased with all their rows; detail: user.",
}

#: What somebody should look at: a warning in the log. The others are information.
ALARMING = frozenset(
    {
        "login_failed",
        "login_throttled",
        "throttle_storage_down",
        "suspicious_login",
        "ended_session_used",
        "foreign_id_tried",
        "not_me_reported",
    }
)

_UNLOGGED = ("sequence", "mac")

_logger = logging.getLogger("flask_device_sessions.audit")


class Entry(NamedTuple):
    """What happened, before it becomes a row.

    Attributes:
        action: one of :data:`ACTIONS`.
        session: the session concerned, if one is.
        device: the device concerned, if one is.
        detail: JSON values; never a secret.
    """

    action: str
    session: Any = None
    device: Any = None
    detail: Mapping[str, Any] = {}

    @property
    def device_id(self) -> Any:
        """The id of the device, or of the session's."""
        if self.device is not None:
            return self.device.id
        return None if self.session is None else self.session.device_id


class Tail(NamedTuple):
    """The end of a person's chain of events.

    Attributes:
        sequence: number of the newest event; 0 when there is none.
        mac: its MAC; empty when there is none.
        actions: what the newest events were, newest first.
    """

    sequence: int
    mac: str
    actions: tuple[str, ...] = ()

    @property
    def failures(self) -> int:
        """How many passwords were refused since the last sign-in, among the newest events."""
        since = takewhile(lambda action: action != "session_started", self.actions)
        return list(since).count("login_failed")

    @property
    def has_only_failures(self) -> bool:
        """Whether nothing but refused passwords ever happened, as far as the events tell."""
        refusals = {"login_failed", "login_throttled"}
        return self.sequence == len(self.actions) and refusals.issuperset(self.actions)


#: The end of what is in no chain: events of nobody's account.
NOBODYS = Tail(0, "")


class Trail:
    """Writes one app's events, and tells the log of them after the commit.

    Args:
        store: where they go.
        key: the secret of the chain.
    """

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        self._key = key

    def read_tail(self, user_id: Any, limit: int = 1) -> Tail:
        """Return the end of a person's chain; for ``None``, at the same cost, nobody's.

        Args:
            user_id: the person, locked by this unit.
            limit: how many of the newest events are looked at.

        Raises:
            NoSuchUser: the person is gone; the unit must not go on.
        """
        newest = self._store.list_tail(user_id, limit)
        if user_id is None:
            return NOBODYS
        if not newest:
            raise NoSuchUser(f"There is no user {user_id!r} any more.")
        actions = tuple(row.action for row in newest if row.action is not None)
        return Tail(newest[0].sequence or 0, newest[0].mac or "", actions)

    def record(
        self,
        user_id: Any,
        entries: Sequence[Entry],
        client: Client,
        address: str | None,
        now: datetime,
        tail: Tail | None = None,
    ) -> None:
        """Insert events of one person, chained to the newest, in the running unit.

        Args:
            user_id: whose sessions changed, locked by this unit; ``None``: nobody's account.
            entries: what happened, in order.
            client: who asked for it.
            address: the client's address in the form that may be stored.
            now: when.
            tail: the end of the person's chain, where this unit has read it already.

        Raises:
            NoSuchUser: the person is gone; the unit must not go on.
        """
        sequence, mac, _ = tail or self.read_tail(user_id)
        rows = []
        for entry in entries:
            row = _row(user_id, entry, client, address, now)
            if user_id is not None:
                row["sequence"] = sequence = sequence + 1
            mac = row["mac"] = mac_of(self._key, "" if user_id is None else mac, row)
            rows.append(row)
        self._store.add_events(rows)
        transactions.after_commit(self._store.session(), partial(_tell_log, rows))


def _tell_log(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        level = logging.WARNING if row["action"] in ALARMING else logging.INFO
        if _logger.isEnabledFor(level):
            _logger.log(level, "%s", _line_of(row))


def _line_of(row: dict[str, Any]) -> str:
    """Return an event as one line of ASCII: JSON, without what only the chain needs."""
    facts = {name: value for name, value in row.items() if value and name not in _UNLOGGED}
    return json.dumps(facts, default=str)


def _row(
    user_id: Any, entry: Entry, client: Client, address: str | None, now: datetime
) -> dict[str, Any]:
    return {
        "id": new_id(),
        "user_id": user_id,
        "sequence": None,
        "session_id": None if entry.session is None else entry.session.id,
        "device_id": entry.device_id,
        "action": entry.action,
        "created_at": now,
        "ip_address": address,
        "user_agent": client.user_agent,
        "detail": dict(entry.detail),
    }
