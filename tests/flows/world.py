"""What ought to be so: people, their sessions and the trail, kept in plain Python.

The state machine does each thing twice, in the app and here, and compares. Nothing of the
package is used, so that a fault in it cannot hide by being in both.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

LIMIT = 3
LIFETIME = timedelta(days=3)
TOKEN_LIFETIME = timedelta(days=2)
IDLE_TIMEOUT = timedelta(days=1)
FRESHNESS = timedelta(minutes=10)
TOUCH_INTERVAL = timedelta(minutes=5)
ROTATE_INTERVAL = timedelta(hours=8)

POLICIES = ("ignore", "record", "confirm", "revoke")

#: Addresses, each with the network that it is in.
NETWORKS = {
    "192.0.2.1": "192.0.2.0/24",
    "192.0.2.200": "192.0.2.0/24",
    "203.0.113.5": "203.0.113.0/24",
    "2001:db8::1": "2001:db8::/64",
}

#: The password check of a session that has moved counts for nothing.
UNPROVEN = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: Action, the session concerned, and why it ended.
Event = tuple[str, uuid.UUID | None, str | None]

#: The number of a browser, or the name of a program that signed in itself.
Device = int | str


@dataclass
class Person:
    """Somebody with an account."""

    id: int
    email: str
    password: str
    is_enabled: bool = True
    devices: set[Device] = field(default_factory=set)
    trail: Counter[Event] = field(default_factory=Counter)


@dataclass
class Session:
    """A session as its row must be.

    ``secret`` is the number of the newest of its secrets, ``previous`` that of the one before it
    where that still is of account: it works, too, until the newest was seen; then it is a copy.
    """

    id: uuid.UUID
    owner: Person
    kind: str
    device: Device | None
    created_at: datetime
    expires_at: datetime
    authenticated_at: datetime
    last_ip_address: str | None
    remembered: bool = False
    issuer_id: uuid.UUID | None = None
    secret: int = 1
    previous: int | None = None
    rotated_at: datetime | None = None
    previous_ended_at: datetime | None = None
    last_active_at: datetime = field(init=False)
    ended_at: datetime | None = None
    end_reason: str | None = None

    def __post_init__(self) -> None:
        """Begin with the activity of beginning."""
        self.last_active_at = self.created_at

    def is_fresh(self, now: datetime) -> bool:
        """Whether the password check still counts."""
        return now - self.authenticated_at < FRESHNESS

    def is_listed(self, now: datetime) -> bool:
        """Whether the person's page shows it among the live ones."""
        return self.ended_at is None and self.is_over(now) is None

    def is_over(self, now: datetime) -> str | None:
        """Why its time is up, though its row may not say so yet."""
        if now >= self.expires_at:
            return "expired"
        return "idle" if now - self.last_active_at >= IDLE_TIMEOUT else None

    def is_rotation_due(self, now: datetime) -> bool:
        """Whether the next to use it is given a new secret."""
        last = self.rotated_at or self.created_at
        return self.kind == "browser" and now >= last + ROTATE_INTERVAL

    def has_moved(self, address: str) -> bool:
        """Whether the address is in another network than the last one that was noted."""
        old = self.last_ip_address
        return old is not None and NETWORKS[old] != NETWORKS[address]


@dataclass(frozen=True)
class Copy:
    """A copy of a credential: a browser's cookies or a token; of which secret of which session."""

    session_id: uuid.UUID
    secret: int = 1
    jar: dict[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)


class World:
    """Everybody and everything, and what may happen to them.

    Args:
        policy: what a move to another network does to a session.
    """

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.people: dict[str, Person] = {}
        self.sessions: dict[uuid.UUID, Session] = {}
        self._moves: set[tuple[uuid.UUID, str]] = set()

    # -- A request ---------------------------------------------------------------------------

    def arrive(self, copy: Copy | None, now: datetime, address: str) -> Session | None:
        """Return the session that a copy is let in with, and note all that this changes."""
        session = None if copy is None else self.sessions.get(copy.session_id)
        if session is None or copy is None or session.ended_at:
            return None
        if copy.secret not in (session.secret, session.previous):
            return None
        is_previous = copy.secret == session.previous
        if reason := self._why_refused(session, is_previous, now, address):
            self.end([session], reason, now)
            return None
        if session.has_moved(address):
            self._move(session, address)
        if session.is_rotation_due(now):
            self._renew(session, "session_rotated", now, previous=copy.secret)
        elif not is_previous and session.previous and not session.previous_ended_at:
            session.previous_ended_at = now
        if session.last_active_at < now - TOUCH_INTERVAL:
            session.last_active_at = now
            session.last_ip_address = address
        return session

    def _why_refused(
        self, session: Session, is_previous: bool, now: datetime, address: str
    ) -> str | None:
        if over := session.is_over(now):
            return over
        if not session.owner.is_enabled:
            return "user_disabled"
        if is_previous and session.previous_ended_at:
            return "reused"
        return "ip_changed" if self.policy == "revoke" and session.has_moved(address) else None

    def _move(self, session: Session, address: str) -> None:
        """Note another network; to and fro within the hour only where it costs freshness."""
        if self.policy == "ignore":
            return
        if self.policy == "confirm":
            session.authenticated_at = UNPROVEN
        elif (session.id, address) in self._moves:
            return
        self._moves.add((session.id, address))
        session.last_ip_address = address
        session.owner.trail["ip_changed", session.id, None] += 1

    def changes_nothing(self, copy: Copy, now: datetime) -> bool:
        """Whether using a copy where it was last used brings no new secret and betrays no thief."""
        session = self.sessions.get(copy.session_id)
        if session is None or session.ended_at:
            return True
        if copy.secret not in (session.secret, session.previous):
            return True
        if session.is_rotation_due(now):
            return False
        is_previous = copy.secret == session.previous
        return session.previous is None or is_previous != bool(session.previous_ended_at)

    # -- Beginnings --------------------------------------------------------------------------

    def sign_in(self, new: Session, current: Session | None) -> None:
        """Add a browser's session; end the one of this browser and those above the limit."""
        now = new.created_at
        mine = [session for session in self.live_of(new.owner) if session.kind == "browser"]
        self.end([session for session in mine if session.device == new.device], "replaced", now)
        for session in mine:
            self.end([session], session.is_over(now), now)
        staying = [session for session in mine if session.ended_at is None]
        newest_first = sorted(staying, key=lambda s: s.last_active_at, reverse=True)
        self.end(newest_first[LIMIT - 1 :], "evicted", now)
        self.sign_in_program(new)
        if current is not None:
            self.end([current], "replaced", now)

    def sign_in_program(self, new: Session) -> None:
        """Add a session on a device; a program's takes nobody's place."""
        assert new.device is not None
        if new.device not in new.owner.devices:
            new.owner.devices.add(new.device)
            new.owner.trail["device_first_seen", new.id, None] += 1
        self._add(new, "session_started")

    def issue_token(self, new: Session) -> None:
        """Add a token that somebody asked for."""
        self._add(new, "token_issued")

    def _add(self, new: Session, action: str) -> None:
        self.sessions[new.id] = new
        new.owner.trail[action, new.id, None] += 1

    # -- New secrets ---------------------------------------------------------------------------

    def confirm(self, session: Session, now: datetime) -> None:
        """The password was right: fresh again, under a new secret."""
        session.authenticated_at = now
        self._renew(session, "session_confirmed", now)

    def change_password(self, owner: Person, current: Session | None, now: datetime) -> None:
        """Everything else of this person's ends; the current one gets a new secret."""
        self.end([s for s in self.live_of(owner) if s is not current], "password_changed", now)
        if current is not None:
            self._renew(current, "session_rotated", now)
        owner.trail["password_changed", current.id if current else None, None] += 1

    def _renew(
        self, session: Session, action: str, now: datetime, previous: int | None = None
    ) -> None:
        session.secret += 1
        session.previous = previous
        session.previous_ended_at = None
        session.rotated_at = now
        session.owner.trail[action, session.id, None] += 1

    # -- Ends --------------------------------------------------------------------------------

    def end(self, sessions: Iterable[Session], reason: str | None, now: datetime) -> None:
        """End those that have not ended yet, each with one event; no reason, no end."""
        for session in sessions:
            if session.ended_at is None and reason is not None:
                session.ended_at, session.end_reason = now, reason
                session.owner.trail["session_ended", session.id, reason] += 1

    def report(self, reported: Session, now: datetime) -> bool:
        """End what is on the device of a session, and the tokens from there; forget the device.

        Returns:
            Whether anybody was still signed in there.
        """
        owner, device = reported.owner, reported.device
        there = {s.id for s in self._all_of(owner) if device is not None and s.device == device}
        there.add(reported.id)
        live = self.live_of(owner)
        ending = [session for session in live if session.id in there]
        if all(session.is_over(now) for session in ending):
            return False
        for session in sorted(live, key=lambda session: session.created_at):
            if session.issuer_id in there and session not in ending:
                there.add(session.id)
                ending.append(session)
        owner.trail["not_me_reported", reported.id, None] += 1
        self.end(ending, "not_me", now)
        if device is not None:
            owner.trail["device_forgotten", reported.id, None] += 1
            owner.devices.remove(device)
            for session in self._all_of(owner):
                session.device = None if session.device == device else session.device
        return True

    def erase(self, owner: Person) -> None:
        """The person is gone, and what they had with them."""
        del self.people[owner.email]
        for session in self._all_of(owner):
            del self.sessions[session.id]

    def live_of(self, owner: Person) -> list[Session]:
        """The person's sessions of which no end is written down."""
        return [session for session in self._all_of(owner) if session.ended_at is None]

    def _all_of(self, owner: Person) -> list[Session]:
        return [session for session in self.sessions.values() if session.owner is owner]
