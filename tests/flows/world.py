"""What ought to be so: people, their sessions and the trail, kept in plain Python.

The state machine does each thing twice, in the app and here, and compares. Nothing of the
package is used, so that a fault in it cannot hide by being in both.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

LIMIT = 3
LIFETIME = timedelta(days=3)
IDLE_TIMEOUT = timedelta(days=1)
FRESHNESS = timedelta(minutes=10)
TOUCH_INTERVAL = timedelta(minutes=5)

#: Action, the session concerned, and why it ended.
Event = tuple[str, uuid.UUID | None, str | None]


@dataclass
class Person:
    """Somebody with an account."""

    id: int
    email: str
    password: str
    is_enabled: bool = True
    devices: set[int] = field(default_factory=set)
    trail: Counter[Event] = field(default_factory=Counter)


@dataclass
class Session:
    """A session as its row must be; ``secret`` counts the secrets that it has had."""

    id: uuid.UUID
    owner: Person
    browser: int
    remembered: bool
    created_at: datetime
    authenticated_at: datetime
    last_active_at: datetime
    expires_at: datetime
    secret: int = 1
    ended_at: datetime | None = None
    end_reason: str | None = None

    def is_fresh(self, now: datetime) -> bool:
        """Whether the password check still counts."""
        return now - self.authenticated_at < FRESHNESS

    def is_listed(self, now: datetime) -> bool:
        """Whether the person's page shows it among the live ones."""
        return self.ended_at is None and self.why_over(now) in (None, "user_disabled")

    def why_over(self, now: datetime) -> str | None:
        """Why it is over by itself, though its row may not say so yet."""
        if now >= self.expires_at:
            return "expired"
        if now - self.last_active_at >= IDLE_TIMEOUT:
            return "idle"
        return None if self.owner.is_enabled else "user_disabled"


@dataclass(frozen=True)
class Copy:
    """A copy of a browser's cookies: which session and which of its secrets is in them."""

    jar: dict[str, str] = field(repr=False)
    session_id: uuid.UUID
    secret: int


class World:
    """Everybody and everything, and what may happen to them."""

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.sessions: dict[uuid.UUID, Session] = {}

    def arrive(self, copy: Copy | None, now: datetime) -> Session | None:
        """Return the session that these cookies are let in with, and note the activity."""
        session = None if copy is None else self.sessions.get(copy.session_id)
        if session is None or copy is None or copy.secret != session.secret or session.ended_at:
            return None
        if reason := session.why_over(now):
            self.end([session], reason, now)
            return None
        if session.last_active_at < now - TOUCH_INTERVAL:
            session.last_active_at = now
        return session

    def sign_in(self, new: Session, current: Session | None) -> None:
        """Add a session, and end the one of this browser and those above the limit."""
        now, owner = new.created_at, new.owner
        mine = [session for session in self.live_of(owner) if session.browser == new.browser]
        self.end(mine, "replaced", now)
        for session in self.live_of(owner):
            self.end([session], session.why_over(now), now)
        newest_first = sorted(self.live_of(owner), key=lambda s: s.last_active_at, reverse=True)
        self.end(newest_first[LIMIT - 1 :], "evicted", now)
        if new.browser not in owner.devices:
            owner.devices.add(new.browser)
            owner.trail["device_first_seen", new.id, None] += 1
        self.sessions[new.id] = new
        owner.trail["session_started", new.id, None] += 1
        if current is not None:
            self.end([current], "replaced", now)

    def confirm(self, session: Session, now: datetime) -> None:
        """The password was right: fresh again, under a new secret."""
        session.authenticated_at = now
        self._renew(session, "session_confirmed")

    def change_password(self, owner: Person, current: Session | None, now: datetime) -> None:
        """Everything else of this person's ends; the current one gets a new secret."""
        self.end([s for s in self.live_of(owner) if s is not current], "password_changed", now)
        if current is not None:
            self._renew(current, "session_rotated")
        owner.trail["password_changed", current.id if current else None, None] += 1

    def _renew(self, session: Session, action: str) -> None:
        session.secret += 1
        session.owner.trail[action, session.id, None] += 1

    def end(self, sessions: Iterable[Session], reason: str | None, now: datetime) -> None:
        """End those that have not ended yet, each with one event; no reason, no end."""
        for session in sessions:
            if session.ended_at is None and reason is not None:
                session.ended_at, session.end_reason = now, reason
                session.owner.trail["session_ended", session.id, reason] += 1

    def erase(self, owner: Person) -> None:
        """The person is gone, and what they had with them."""
        del self.people[owner.email]
        for session in [s for s in self.sessions.values() if s.owner is owner]:
            del self.sessions[session.id]

    def live_of(self, owner: Person) -> list[Session]:
        """The person's sessions of which no end is written down."""
        return [s for s in self.sessions.values() if s.owner is owner and s.ended_at is None]
