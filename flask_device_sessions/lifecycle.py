"""The rules of a session's life, in the order in which they happen.

start, restore, touch, move, rotate, confirm, end: each takes ``now`` and who is calling, and runs
inside a unit of the store. No Flask here: what a rule decides is carried out elsewhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from . import suspicion
from .audit import Entry, Tail, Trail
from .clients import Client
from .config import Settings
from .errors import SessionLimitReached
from .ids import new_id
from .networks import is_within, same_network, stored_form
from .places import Atlas, Place
from .store import Found, Store
from .suspicion import Sighting
from .tokens import AccessToken, Credential, SessionToken

#: ``authenticated_at`` of a session whose password check counts for nothing.
UNPROVEN = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: How many of a person's sessions, the latest ones, a sign-in is compared with.
_SIGHTINGS = 20

#: How many of a person's newest events are searched for refused passwords.
_TAIL = 20


class Started(NamedTuple):
    """What a sign-in did.

    Attributes:
        session: the new session.
        device: the browser it runs in, as a row.
        is_new_device: whether this person never signed in there before.
        is_first_device: whether they never signed in anywhere before.
        token: the credential, in clear.
        ended: the sessions that it ended, each with the reason.
        suspicions: what was unusual: some of :data:`.suspicion.REASONS`.
    """

    session: Any
    device: Any
    is_new_device: bool
    is_first_device: bool
    token: Credential
    ended: dict[Any, str]
    suspicions: list[str]

    @property
    def is_news(self) -> bool:
        """Whether the person should hear of the device; a first one is their own."""
        return self.is_new_device and not self.is_first_device


class Grant(NamedTuple):
    """What a bearer token is to be.

    Attributes:
        name: what the person calls it.
        scopes: what it may do.
        lifetime: how long; ``None`` is ``TOKEN_LIFETIME``.
        authenticated_at: when the person last proved who they are.
        issuer_id: the session in which it was asked for, if there was one.
    """

    name: str
    scopes: tuple[str, ...]
    lifetime: timedelta | None
    authenticated_at: datetime
    issuer_id: uuid.UUID | None = None


class Restored(NamedTuple):
    """A credential that is good.

    Attributes:
        found: its session.
        is_previous: whether it is the secret before the newest one, which was not seen yet.
    """

    found: Found
    is_previous: bool


class Refused(NamedTuple):
    """A credential that is not good.

    Attributes:
        reason: why its session ended, or ``None`` for a credential that never was one.
        found: its session.
        is_due: whether it ended just now, and its row does not say so yet.
    """

    reason: str | None = None
    found: Found | None = None
    is_due: bool = False


class _Circle(NamedTuple):
    """Where a person is signed in or was lately, as a sign-in finds it.

    Attributes:
        known: this browser, if they signed in there before.
        sessions: the live ones and the newest ended ones.
        is_empty: whether there is no device at all.
    """

    known: Any | None
    sessions: list[Any]
    is_empty: bool


class Lifecycle:
    """The rules as one app has set them.

    Args:
        store: the rows.
        settings: limits and policies.
        trail: where every change is recorded.
        atlas: tells where addresses are.
        address_key: secret for ``IP_STORAGE="hash"``.
        is_user_active: tells whether a user may be signed in; ``None`` when everyone may.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        trail: Trail,
        atlas: Atlas,
        address_key: bytes,
        is_user_active: Callable[[Any], bool] | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._trail = trail
        self._atlas = atlas
        self._address_key = address_key
        self._is_user_active = is_user_active

    # -- Start -----------------------------------------------------------------------------

    def start(
        self,
        user: Any,
        client: Client,
        now: datetime,
        *,
        remembered: bool,
        method: str,
        authenticated_at: datetime,
        longest: timedelta | None = None,
    ) -> Started:
        """Sign a person in on a browser, and make room for that.

        The person's earlier session in this browser is replaced, and at ``MAX_PER_USER`` the
        least recently active one gives way.

        Args:
            user: the person.
            client: the browser; its ``browser_digest`` is set.
            now: the time of the sign-in.
            remembered: whether the cookie outlives the browser.
            method: how they proved who they are.
            authenticated_at: when they did.
            longest: how long the session may last, where that is less than ``LIFETIME``.

        Raises:
            SessionLimitReached: the limit is used up and ``LIMIT_POLICY`` is ``"refuse"``.
            NoSuchUser: the person was deleted meanwhile.
        """
        user_id = self._store.id_of(user)
        self._store.lock_user(user_id)
        circle = self._circle_of(user_id, client)
        live = [session for session in circle.sessions if session.ended_at is None]
        ended = self._make_room(user, circle.known, live, now)
        if ended:
            self._store.end(ended, now)
        token = SessionToken.issue(new_id())
        session = self._new_session(user_id, token, client, now)
        session.remembered = remembered
        session.auth_method = method
        session.authenticated_at = authenticated_at
        session.expires_at = self._end_of_life(now, longest)
        return self._let_in(session, token, circle, ended, client, now)

    def start_program(self, user: Any, name: str, client: Client, now: datetime) -> Started:
        """Sign a program in, whose password was right: a session with a bearer token.

        It replaces nothing and takes no place of ``MAX_PER_USER``.

        Args:
            user: the person.
            name: what the session is called.
            client: the program; its ``browser_digest`` stands for its name and user agent.
            now: the time of the sign-in.

        Raises:
            NoSuchUser: the person was deleted meanwhile.
        """
        user_id = self._store.id_of(user)
        self._store.lock_user(user_id)
        circle = self._circle_of(user_id, client)
        token = AccessToken.issue(new_id(), self._settings.token_prefix)
        session = self._new_session(user_id, token, client, now)
        session.name = name
        session.scopes = list(self._settings.token_scopes)
        session.auth_method = "password"
        session.authenticated_at = now
        session.expires_at = _later(now, self._settings.token_lifetime)
        return self._let_in(session, token, circle, {}, client, now)

    def _circle_of(self, user_id: Any, client: Client) -> _Circle:
        digest = str(client.browser_digest)
        in_use = self._store.list_devices_in_use(user_id, digest, _SIGHTINGS)
        known = next((device for device, _ in in_use if device.browser_digest == digest), None)
        sessions = [session for _, session in in_use if session is not None]
        return _Circle(known, sessions, is_empty=not in_use)

    def _let_in(
        self,
        session: Any,
        token: Credential,
        circle: _Circle,
        ended: dict[Any, str],
        client: Client,
        now: datetime,
    ) -> Started:
        """Write down a sign-in: the session, where it is, its device, what was unusual."""
        tail = self._trail.read_tail(session.user_id, _TAIL)
        device = circle.known or self._new_device(session.user_id, client, now)
        session.device_id = device.id
        place = self._atlas.locate(client.address)
        session.last_ip_address = session.ip_address
        session.country, session.city = place.country, place.city
        self._insert(session, device, is_new=circle.known is None, client=client, now=now)
        suspicions = self._suspicions(client, place, circle.sessions, tail.failures, now)
        is_first = circle.is_empty and tail.has_only_failures
        started = Started(session, device, circle.known is None, is_first, token, ended, suspicions)
        self._record(session.user_id, _entries_of(started), client, now, tail)
        return started

    def issue_token(
        self, user_id: Any, grant: Grant, client: Client, now: datetime
    ) -> tuple[Any, AccessToken]:
        """Make a bearer token for a program that the person trusts.

        Args:
            user_id: whose; the program acts for them.
            grant: what it is called, what it may do, and for how long.
            client: who asked.
            now: when.

        Returns:
            The session and its credential.

        Raises:
            NoSuchUser: the person was deleted meanwhile.
        """
        self._store.lock_user(user_id)
        token = AccessToken.issue(new_id(), self._settings.token_prefix)
        session = self._new_session(user_id, token, client, now)
        session.name = grant.name
        session.scopes = list(grant.scopes)
        session.auth_method = "token"
        session.issuer_id = grant.issuer_id
        session.authenticated_at = grant.authenticated_at
        session.expires_at = _later(now, grant.lifetime or self._settings.token_lifetime)
        detail = {"name": grant.name, "scopes": session.scopes}
        tail = self._trail.read_tail(user_id)
        self._store.add(session)
        self._record(user_id, [Entry("token_issued", session, detail=detail)], client, now, tail)
        return session, token

    def _suspicions(
        self, client: Client, place: Place, earlier: Sequence[Any], failures: int, now: datetime
    ) -> list[str]:
        """Return what is unusual about a sign-in, given where the person was seen before."""
        ignored = self._settings.ignored_networks
        new = Sighting(self._address(client), place, now)
        if is_within(client.address, ignored):  # asked here: of a hash nobody can tell
            new = Sighting(None, Place(), now)
        return suspicion.reasons(
            new,
            [self._sighting(session) for session in earlier],
            failures=failures,
            speed_limit_kmh=self._settings.travel_speed_limit,
            ignored_networks=ignored,
        )

    def _sighting(self, session: Any) -> Sighting:
        place = self._atlas.locate(session.last_ip_address)
        if place.country is None:  # hashed, or not kept: the row still knows the names
            place = Place(session.country, session.city)
        return Sighting(session.last_ip_address, place, session.last_active_at)

    def _make_room(
        self, user: Any, known: Any | None, live: Sequence[Any], now: datetime
    ) -> dict[Any, str]:
        """Return the sessions that a new one ends, each with the reason."""
        ended: dict[Any, str] = {}
        staying: list[Any] = []
        for session in live:
            if known is not None and session.device_id == known.id:
                ended[session] = "replaced"
            elif reason := self._time_is_up(session, now):
                ended[session] = reason
            else:
                staying.append(session)
        limit = self._settings.limit_for(user)
        if limit is None or len(staying) < limit:
            return ended
        staying.sort(key=lambda session: session.last_active_at, reverse=True)
        if self._settings.limit_policy == "refuse":
            raise SessionLimitReached(user, limit, staying)
        return ended | dict.fromkeys(staying[limit - 1 :], "evicted")

    def _new_device(self, user_id: Any, client: Client, now: datetime) -> Any:
        return self._store.models.device(
            id=new_id(), user_id=user_id, browser_digest=client.browser_digest, first_seen_at=now
        )

    def _new_session(self, user_id: Any, token: Credential, client: Client, now: datetime) -> Any:
        return self._store.models.session(
            id=token.id,
            user_id=user_id,
            kind=token.kind,
            token_digest=token.digest,
            ip_address=self._address(client),
            user_agent=client.user_agent,
            created_at=now,
            last_active_at=now,
        )

    def _end_of_life(self, now: datetime, longest: timedelta | None) -> datetime | None:
        spans = [span for span in (self._settings.lifetime, longest) if span is not None]
        return now + min(spans) if spans else None

    def _insert(
        self, session: Any, device: Any, *, is_new: bool, client: Client, now: datetime
    ) -> None:
        seen = client.device
        device.device_type = seen.device_type
        device.browser = seen.browser
        device.os = seen.os
        device.last_seen_at = now
        self._store.add(*([device] if is_new else []), session)

    # -- Restore ---------------------------------------------------------------------------

    def restore(self, token: Credential, address: str | None, now: datetime) -> Restored | Refused:
        """Decide whether a credential is good: one SELECT, then named checks.

        Args:
            token: the credential.
            address: where it comes from.
            now: when.

        Raises:
            StoreUnavailable: nobody can tell right now.
        """
        found = self._store.find(token.id)
        is_previous = False
        if found is None or found.kind != token.kind:
            return Refused()  # nor is a browser's secret good in a header, nor the reverse
        if not token.matches(found.token_digest):
            if found.previous_digest is None or not token.matches(found.previous_digest):
                return Refused()
            is_previous = True
        if found.ended_at is not None:
            return Refused(found.end_reason, found)
        reason = (
            self._time_is_up(found, now)
            or self._user_is_out(found)
            or self._is_stolen(found, is_previous)
            or self._network_is_out(found, address)
        )
        if reason is not None:
            return Refused(reason, found, is_due=True)
        return Restored(found, is_previous)

    def _is_stolen(self, found: Found, is_previous: bool) -> str | None:
        """A secret that its browser has replaced and used: whoever sends it has a copy."""
        return "reused" if is_previous and found.previous_ended_at is not None else None

    def _network_is_out(self, found: Found, address: str | None) -> str | None:
        if self._settings.ip_change_policy != "revoke":
            return None
        return "ip_changed" if self.has_moved(found, address) else None

    def _time_is_up(self, session: Any, now: datetime) -> str | None:
        if session.expires_at is not None and now >= session.expires_at:
            return "expired"
        return "idle" if self._settings.is_idle(session.last_active_at, now) else None

    def _user_is_out(self, found: Found) -> str | None:
        if self._is_user_active is None:
            return None
        user = found.user()
        return None if user is not None and self._is_user_active(user) else "user_disabled"

    def is_touch_due(self, found: Found, now: datetime) -> bool:
        """Whether the last activity that was noted is ``TOUCH_INTERVAL`` old."""
        last: datetime = found.last_active_at
        return last < now - self._settings.effective_touch_interval

    def touch(self, found: Found, address: str | None, now: datetime) -> None:
        """Note activity, unless somebody else was first.

        Raises:
            sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError: it could not be written now.
        """
        due = now - self._settings.effective_touch_interval
        values = {"last_ip_address": self.stored_address(address)}
        if self._store.touch(found.id, now, due, values):
            found.note(last_active_at=now, **values)

    def has_moved(self, found: Found, address: str | None) -> bool:
        """Whether a session comes from another network than the last one, as far as is known."""
        old, new = found.last_ip_address, self.stored_address(address)
        if old == new or old is None or new is None:
            return False
        return self._settings.ip_change_policy != "ignore" and not same_network(old, new)

    def move(
        self, found: Found, values: dict[str, Any], client: Client, now: datetime
    ) -> list[Any]:
        """Write down that a session comes from another network.

        Args:
            found: the session.
            values: those of :meth:`moved_values`.
            client: who asked.
            now: when.

        Returns:
            The session, or nothing when it has ended meanwhile.
        """
        live = self._lock_live(found.user_id, self._store.models.session.id == found.id)
        for session in live:
            detail = {"old": session.last_ip_address, "new": values["last_ip_address"]}
            self._store.change(session, **values)
            entry = Entry("ip_changed", session, detail=detail)
            self._record(found.user_id, [entry], client, now)
        return live

    def moved_values(self, client: Client) -> dict[str, Any]:
        """Return the columns of a session that its new network changes."""
        place = self._atlas.locate(client.address)
        values: dict[str, Any] = {"country": place.country, "city": place.city}
        if self._settings.ip_change_policy == "confirm":
            values["authenticated_at"] = UNPROVEN
        return {"last_ip_address": self._address(client), **values}

    # -- Rotate and confirm ------------------------------------------------------------------

    def rotate(
        self, session: Any, client: Client, now: datetime, *, confirmed: bool = False
    ) -> SessionToken | None:
        """Give a session a new secret; the old one is dead with the commit.

        Args:
            session: a session.
            client: who asked.
            now: when.
            confirmed: the person proved again who they are, so that the session is fresh.

        Returns:
            The new credential, or ``None`` when the session has ended meanwhile.
        """
        live = self._lock_live(session.user_id, self._store.models.session.id == session.id)
        if not live:
            return None
        token = SessionToken.issue(session.id)
        freshness = {"authenticated_at": now} if confirmed else {}
        self._store.change(session, **_renewed(token, now, previous_digest=None, **freshness))
        action = "session_confirmed" if confirmed else "session_rotated"
        self._record(session.user_id, [Entry(action, session)], client, now)
        return token

    def confirm_token(self, session: Any, client: Client, now: datetime) -> bool:
        """Make a bearer token's session fresh; its secret stays, for no answer could carry another.

        Returns:
            Whether the session was live.
        """
        live = self._lock_live(session.user_id, self._store.models.session.id == session.id)
        if live:
            self._store.change(session, authenticated_at=now)
            self._record(session.user_id, [Entry("session_confirmed", session)], client, now)
        return bool(live)

    def is_rotation_due(self, restored: Restored, now: datetime) -> bool:
        """Whether ``ROTATE_INTERVAL`` asks for a new secret.

        Also when the answer with the last one got lost, an interval later: until the newest
        secret has been seen, the one before it works.
        """
        interval, found = self._settings.rotate_interval, restored.found
        if interval is None or found.kind != "browser":
            return False
        return bool(now >= (found.rotated_at or found.created_at) + interval)

    def rotate_on_clock(
        self, presented: Credential, found: Found, client: Client, now: datetime
    ) -> tuple[Any, SessionToken, dict[str, Any]] | None:
        """Give a session a new secret; the presented one works until the new one was seen.

        Returns:
            The session, the new credential, and the columns that have changed; or ``None`` when
            another request was first.
        """
        live = self._lock_live(found.user_id, self._store.models.session.id == found.id)
        if not live or live[0].token_digest != found.token_digest:
            return None
        token = SessionToken.issue(found.id)
        values = _renewed(token, now, previous_digest=presented.digest)
        self._store.change(live[0], **values)
        self._record(found.user_id, [Entry("session_rotated", live[0])], client, now)
        return live[0], token, values

    def is_settling_due(self, restored: Restored) -> bool:
        """Whether the newest secret was seen for the first time."""
        found = restored.found
        is_pending = found.previous_digest is not None and found.previous_ended_at is None
        return is_pending and not restored.is_previous

    def settle(self, found: Found, now: datetime) -> None:
        """Note that the newest secret was seen: from now on the one before it is a copy.

        Raises:
            sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError: it could not be written now.
        """
        self._store.retire_previous(found.id, found.token_digest, now)

    # -- End -------------------------------------------------------------------------------

    def end(
        self, user_id: Any, reason: str, client: Client, now: datetime, *conditions: Any
    ) -> list[Any]:
        """End a person's live sessions that meet the conditions.

        Returns:
            The sessions that this call ended; one that had ended before is not among them.
        """
        live = self._lock_live(user_id, *conditions)
        if live:
            self._store.end(dict.fromkeys(live, reason), now)
            entries = [_ended(session, reason) for session in live]
            self._record(user_id, entries, client, now)
        return live

    def end_found(self, found: Found, reason: str, client: Client, now: datetime) -> list[Any]:
        """Write down that a session ended by itself; by idleness, unless it was active since."""
        session = self._store.models.session
        conditions = [session.id == found.id]
        if reason == "idle":
            conditions.append(session.last_active_at <= found.last_active_at)
        return self.end(found.user_id, reason, client, now, *conditions)

    def password_changed(
        self, user_id: Any, current: Any | None, client: Client, now: datetime
    ) -> tuple[list[Any], SessionToken | None]:
        """End a person's sessions because the password changed; the current one gets a new secret.

        Args:
            user_id: whose password it was.
            current: the session in which it was changed, if it was one of theirs.
            client: who changed it.
            now: when.

        Returns:
            The sessions that ended, and the current one's new credential.
        """
        others = [] if current is None else [self._store.models.session.id != current.id]
        ended = self.end(user_id, "password_changed", client, now, *others)
        token = None if current is None else self.rotate(current, client, now)
        self._record(user_id, [Entry("password_changed", current)], client, now)
        return ended, token

    def report_not_me(
        self, user_id: Any, reported: Any, client: Client, now: datetime
    ) -> list[Any]:
        """Act on a person's word that a sign-in was not theirs, while its device is signed in.

        That ends with all that hangs on it: every session on the device, and the tokens that were
        issued in any one there ever was. The device is forgotten: its next sign-in is news.

        Args:
            user_id: the person.
            reported: the sign-in; it may be over, and the thief have signed in there again.
            client: who says so.
            now: when.

        Returns:
            The sessions that ended, a browser's first; none when all was over before.
        """
        live = self._lock_live(user_id)
        here = [session for session in live if is_same_device(session, reported)]
        if all(self._time_is_up(session, now) for session in here):
            return []
        issuers = {reported.id}
        if reported.device_id is not None:
            issuers |= self._store.list_session_ids(user_id, reported.device_id)
        ending = here + _tokens_of(issuers, [session for session in live if session not in here])
        self._store.end(dict.fromkeys(ending, "not_me"), now)
        entries = [Entry("not_me_reported", reported)]
        entries += [_ended(session, "not_me") for session in ending]
        if reported.device_id is not None:
            self._store.delete_device(reported.device_id)
            entries.append(Entry("device_forgotten", reported))
        self._record(user_id, entries, client, now)
        return ending

    # -- What happens beside ---------------------------------------------------------------------

    def note(self, user_id: Any, entry: Entry, client: Client, now: datetime) -> None:
        """Record what changed no session.

        Args:
            user_id: whose account it is about; ``None``, at the same cost: nobody's.
            entry: what happened.
            client: who asked.
            now: when.

        Raises:
            NoSuchUser: the person was deleted meanwhile.
        """
        self._store.lock_user(user_id)
        self._record(user_id, [entry], client, now)

    # -- Devices -----------------------------------------------------------------------------

    def rename(self, device: Any, name: str | None, client: Client, now: datetime) -> None:
        """Give a device the person's own name for it, or take that away."""
        self._store.lock_user(device.user_id)
        self._store.change(device, name=name)
        entry = Entry("device_renamed", device=device, detail={"name": name})
        self._record(device.user_id, [entry], client, now)

    def _lock_live(self, user_id: Any, *conditions: Any) -> list[Any]:
        self._store.lock_user(user_id)
        return self._store.lock_live(user_id, *conditions)

    def _record(
        self,
        user_id: Any,
        entries: Sequence[Entry],
        client: Client,
        now: datetime,
        tail: Tail | None = None,
    ) -> None:
        self._trail.record(user_id, entries, client, self._address(client), now, tail)

    def _address(self, client: Client) -> str | None:
        return self.stored_address(client.address)

    def stored_address(self, address: str | None) -> str | None:
        """Return what ``IP_STORAGE`` lets the database keep of an address."""
        return stored_form(address, self._settings.ip_storage, self._address_key)


def is_same_device(session: Any, reported: Any) -> bool:
    """Whether a session is the reported one, or on its device."""
    on_device = session.device_id is not None and session.device_id == reported.device_id
    return bool(on_device or session.id == reported.id)


def _tokens_of(issuers: set[uuid.UUID], live: Sequence[Any]) -> list[Any]:
    """Return the tokens that these sessions issued, and those that such tokens issued."""
    tokens: list[Any] = []
    for session in sorted(live, key=lambda session: session.created_at):
        if session.issuer_id in issuers | {token.id for token in tokens}:
            tokens.append(session)
    return tokens


def _later(now: datetime, span: timedelta | None) -> datetime | None:
    return None if span is None else now + span


def _renewed(token: SessionToken, now: datetime, **values: Any) -> dict[str, Any]:
    return {"token_digest": token.digest, "rotated_at": now, "previous_ended_at": None, **values}


def _ended(session: Any, reason: str) -> Entry:
    return Entry("session_ended", session, detail={"reason": reason})


def _entries_of(started: Started) -> list[Entry]:
    entries = [_ended(session, reason) for session, reason in started.ended.items()]
    if started.is_new_device:
        entries.append(Entry("device_first_seen", started.session, started.device))
    detail = {"method": started.session.auth_method, "new_device": started.is_new_device}
    entries.append(Entry("session_started", started.session, started.device, detail))
    if started.suspicions:
        reasons = {"reasons": started.suspicions}
        entries.append(Entry("suspicious_login", started.session, started.device, reasons))
    return entries
