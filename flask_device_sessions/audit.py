"""The audit trail: one insert-only way in. What is written is chained, see :mod:`.chain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .chain import mac_of
from .clients import Client
from .errors import NoSuchUser
from .ids import new_id
from .store import Store

#: Every action an event can have, with what it says. The signal of the same name, where there
#: is one, is sent when the event is committed.
ACTIONS = {
    "session_started": "A browser signed in; detail: method, new_device.",
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
    "foreign_id_tried": "The id of a session or device was tried that is not this person's.",
    "not_me_reported": "The person said that a sign-in was not theirs.",
    "token_issued": "A bearer token was made; detail: name, scopes.",
    "events_purged": "Older events are deleted; detail: the last that goes.",
    "user_erased": "A person was erased with all their rows; detail: user.",
}


@dataclass(frozen=True)
class Entry:
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
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def device_id(self) -> Any:
        """The id of the device, or of the session's."""
        if self.device is not None:
            return self.device.id
        return None if self.session is None else self.session.device_id


class Trail:
    """Writes one app's events.

    Args:
        store: where they go.
        key: the secret of the chain.
    """

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        self._key = key

    def record(
        self,
        user_id: Any,
        entries: Sequence[Entry],
        client: Client,
        address: str | None,
        now: datetime,
    ) -> None:
        """Insert events of one person, chained to the newest, in the running unit.

        Args:
            user_id: whose sessions changed; locked by this unit.
            entries: what happened, in order.
            client: who asked for it.
            address: the client's address in the form that may be stored.
            now: when.

        Raises:
            NoSuchUser: the person is gone; the unit must not go on.
        """
        last = self._store.find_last_event(user_id)
        if last is None:
            raise NoSuchUser(f"There is no user {user_id!r} any more.")
        sequence, mac = last
        rows = []
        for entry in entries:
            sequence += 1
            row = _row(user_id, entry, client, address, now) | {"sequence": sequence}
            mac = row["mac"] = mac_of(self._key, mac, row)
            rows.append(row)
        self._store.add_events(rows)


def _row(
    user_id: Any, entry: Entry, client: Client, address: str | None, now: datetime
) -> dict[str, Any]:
    return {
        "id": new_id(),
        "user_id": user_id,
        "session_id": None if entry.session is None else entry.session.id,
        "device_id": entry.device_id,
        "action": entry.action,
        "created_at": now,
        "ip_address": address,
        "user_agent": client.user_agent,
        "detail": entry.detail,
    }
