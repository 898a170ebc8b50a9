"""The tamper-evident chain of audit events: one MAC for writing, and a check for reading.

Each person's events are numbered from 1, and each carries an HMAC over its content and over the
HMAC of the one before. Whoever writes to the database without the key cannot change, add,
remove or move an event unseen. Two things no chain shows by itself: that its newest events were
cut off, for which an anchor is exported now and then and kept elsewhere; and that an event of
nobody's account, which is in no chain, was removed.

Old events go by retention. Before they do, an event :data:`EVENTS_PURGED` is added that names
the last that goes, so that a beginning which anyone else removed is still missed.

Knows no database: any rows with the columns of ``device_session_events`` will do.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

#: What the MAC covers, in this order: all that an event says.
COVERED = (
    "id",
    "user_id",
    "sequence",
    "session_id",
    "device_id",
    "action",
    "created_at",
    "ip_address",
    "user_agent",
    "detail",
)

#: Action of the event that announces a purge; its detail is what :func:`purge_mark` returns.
EVENTS_PURGED = "events_purged"

#: Action of the event, of nobody's account, that a person was erased with all their events;
#: its detail is ``{"user": <their id as text>}``.
USER_ERASED = "user_erased"

#: Every problem a finding can have, with what it says.
PROBLEMS = {
    "changed": "The event is not what was written, or was not written by this app: it was "
    "altered, added, or moved from another place.",
    "missing": "Events were removed, from this sequence on, up to the event named.",
    "duplicated": "The event's place in the chain is taken by an earlier one.",
    "truncated": "The event that the anchor names, the newest of its day, is no longer there.",
    "unknown_key": "The event was written under an older key after a newer one was in use.",
    "unreadable": "What comes after this event holds a value of a wrong type; nothing from there "
    "on was checked.",
}

#: Longest list of findings that a report holds. A wrong key makes every event a finding.
MAX_FINDINGS = 1000

#: Stands in front of the content, so that a later format is never taken for this one.
_FORMAT = "flask-device-sessions event 1"

_ANCHOR_VERSION = 1

#: What reading a row raises when a stored value does not fit its column's type.
_UNREADABLE = (ValueError, TypeError, AttributeError)


def mac_of(key: bytes, previous: str, row: Any) -> str:
    """Return the MAC of an event: HMAC-SHA-256, 64 hexadecimal digits.

    It is over ASCII JSON of the content: UUIDs, numbers and any ids as their text, times in UTC
    to the microsecond, the detail as JSON keeps it with its keys sorted. So a row gives the
    same before it is inserted and when it comes back, on every engine.

    Args:
        key: the secret of the chain.
        previous: MAC of the person's event before this one; empty for the first one, and for
            an event of nobody's account.
        row: a mapping, or an object with attributes, with the names of :data:`COVERED`.
    """
    *plain, detail = (_value(row, name) for name in COVERED)
    content = [_FORMAT, previous, *map(_text, plain), _as_kept(detail)]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, text.encode("ascii"), "sha256").hex()


def _value(row: Any, name: str) -> Any:
    return row[name] if isinstance(row, Mapping) else getattr(row, name)


def _text(value: Any) -> str | None:
    if isinstance(value, datetime):
        # A time without a zone comes from an engine without zones, where all are UTC.
        aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc).isoformat(timespec="microseconds")
    return None if value is None else str(value)


def _as_kept(detail: Any) -> Any:
    """Return JSON values as they come back: tuples are lists by then, and keys are texts."""
    return json.loads(json.dumps(detail, default=str))


def purge_mark(last: Any) -> dict[str, Any]:
    """Return the detail of the :data:`EVENTS_PURGED` event.

    Record that event, commit, and only then delete the person's events up to ``last``, lowest
    sequence first: a purge that is killed half-way leaves a chain that is still whole.

    Args:
        last: the newest event that goes.
    """
    return {"through": _value(last, "sequence"), "mac": _value(last, "mac")}


class Finding(NamedTuple):
    """One thing that is wrong with the trail.

    Attributes:
        user_id: whose event it is, as the row has it (an anchor's text for a person of whom no
            event is left); ``None`` for nobody's.
        sequence: its number in the person's chain; for ``"missing"`` the first number missing,
            for ``"truncated"`` the anchor's.
        problem: one of :data:`PROBLEMS`.
        event_id: the event; for ``"missing"`` the one after the gap; ``None`` where none is left.
    """

    user_id: Any
    sequence: int | None
    problem: str
    event_id: Any = None


class AuditReport(NamedTuple):
    """What :func:`verify` found. True when the trail is whole.

    Attributes:
        findings: what is wrong, in the order of the events, anchor's last; at most
            :data:`MAX_FINDINGS`.
        found: how many findings there were in all.
        events_checked: how many events were read.
        users_checked: how many people they belong to.
        anchor: JSON values that name each person's newest event: ``version``, ``made_at`` (ISO
            8601) and ``users``, ``{user id as text: [sequence, mac]}``. Kept where the
            database's administrators cannot write, and given to a later :func:`verify`, it
            shows what was cut off since.
    """

    findings: list[Finding]
    found: int
    events_checked: int
    users_checked: int
    anchor: dict[str, Any]

    def __bool__(self) -> bool:
        return self.found == 0


def anchor_of(anchor: Mapping[str, Any], user_id: Any) -> dict[str, Any]:
    """Return what an anchor says of one person, to verify that person's events alone.

    Raises:
        ValueError: the anchor is none of ours.
    """
    _Anchor.read(anchor)
    name = str(user_id)
    users = {name: anchor["users"][name]} if name in anchor["users"] else {}
    return {**anchor, "users": users}


def verify(
    events: Iterable[Any],
    keys: Sequence[bytes],
    anchor: Mapping[str, Any] | None = None,
    *,
    now: datetime | None = None,
) -> AuditReport:
    """Check a trail against its keys and, where one is given, an earlier anchor.

    Reads once and keeps a few values per person. A damaged row is a finding, never an error.

    Args:
        events: rows as :func:`mac_of` takes them, with ``mac``; whole chains, each person's by
            rising sequence. Where people's chains stand among each other does not matter.
        keys: newest first. An event is good under any, but not under an older one than an
            earlier event of the same person: so a key that leaked after it was replaced is of
            no use for writing new events.
        anchor: an earlier report's. A person without any event left is ``"truncated"``, unless
            a :data:`USER_ERASED` event since then says why.
        now: the time for the new anchor; the present by default.

    Raises:
        ValueError: no key was given, or the anchor is none of ours.
    """
    if not keys:
        raise ValueError("At least one key is needed to verify the audit trail.")
    check = _Check(keys, _Anchor.read(anchor))
    for row in check.readable(events):
        check.add(row)
    check.finish()
    return check.report(now or datetime.now(timezone.utc))


class _Anchor(NamedTuple):
    """An anchor that was read; ``made_at`` is text as :func:`_text` writes it, to compare."""

    made_at: str
    users: Mapping[str, tuple[int, str]]

    @classmethod
    def read(cls, anchor: Mapping[str, Any] | None) -> _Anchor:
        if anchor is None:
            return cls("", {})
        try:
            if anchor["version"] != _ANCHOR_VERSION:
                raise ValueError(f"version {anchor['version']!r} is not known here")
            users = {str(name): (int(n), str(mac)) for name, (n, mac) in anchor["users"].items()}
            return cls(str(_text(datetime.fromisoformat(anchor["made_at"]))), users)
        except (KeyError, *_UNREADABLE) as error:
            raise ValueError(f"This is not an anchor of an audit report: {error}.") from error


class _Chain:
    """What is known of one person's chain so far; the same few values however long it gets.

    Args:
        user_id: the person.

    Attributes:
        last: sequence of the newest event read; 0 before the first.
        mac: the stored MAC of that event.
        first_key: place in the list of keys of the first that fitted.
        newest_key: place of the newest that fitted.
        head: the event a purged chain begins with, until the purge is announced.
        purged: the sequence through which announced purges went.
    """

    last = 0
    mac = ""
    first_key: int | None = None
    newest_key: int | None = None
    head: Any = None
    purged = 0

    def __init__(self, user_id: Any) -> None:
        self.user_id = user_id


class _Check:
    """One run of :func:`verify`, from row to row."""

    def __init__(self, keys: Sequence[bytes], anchor: _Anchor) -> None:
        self.keys = keys
        self.anchor = anchor
        self.events = 0
        self.found = 0
        self.is_complete = True
        self.chains: dict[str, _Chain] = {}
        self.findings: list[Finding] = []
        self.cut_off: dict[str, Finding] = {}
        self.erased: set[str] = set()

    def readable(self, events: Iterable[Any]) -> Iterator[Any]:
        """Yield the rows until one cannot be read, and take that down."""
        iterator, row = iter(events), None
        while True:
            try:
                row = next(iterator)
            except StopIteration:
                return
            except _UNREADABLE:
                self._take_down_unreadable(row)
                return
            yield row

    def add(self, row: Any) -> None:
        """Check one event."""
        self.events += 1
        user_id = _value(row, "user_id")
        if user_id is None:
            self._add_nobodys(row)
            return
        chain = self.chains.setdefault(str(user_id), _Chain(user_id))
        sequence = _value(row, "sequence")
        if type(sequence) is not int or sequence < 1:
            self._take_down(row, "changed")
        elif sequence <= chain.last:
            self._take_down(row, "duplicated")
        else:
            self._add_next(chain, row, sequence)

    def finish(self) -> None:
        """Look for what should have come and did not."""
        if not self.is_complete:
            return
        for chain in self.chains.values():
            if chain.head is not None:
                event_id = _value(chain.head, "id")
                self._note(Finding(chain.user_id, chain.purged + 1, "missing", event_id))
        for name, (sequence, _) in self.anchor.users.items():
            chain = self.chains.get(name) or _Chain(name)
            if chain.last < sequence:
                self.cut_off[name] = Finding(chain.user_id, sequence, "truncated")
        for name, finding in self.cut_off.items():
            if name not in self.erased:
                self._note(finding)

    def report(self, now: datetime) -> AuditReport:
        """Put together what was found."""
        users = {name: [chain.last, chain.mac] for name, chain in self.chains.items()}
        anchor = {"version": _ANCHOR_VERSION, "made_at": _text(now), "users": users}
        return AuditReport(self.findings, self.found, self.events, len(self.chains), anchor)

    # -- One event -----------------------------------------------------------------------

    def _add_nobodys(self, row: Any) -> None:
        """Check an event that stands alone."""
        if self._key_of("", row) is None:
            self._take_down(row, "changed")
        elif _value(row, "action") == USER_ERASED:
            self._excuse(row)

    def _excuse(self, row: Any) -> None:
        """Miss no events of a person who was erased since the anchor was made."""
        name = str(_noted(row, "user"))
        # Only people in the anchor matter: the set stays as small as that.
        at = str(_text(_value(row, "created_at")))
        if name in self.anchor.users and at >= self.anchor.made_at:
            self.erased.add(name)

    def _add_next(self, chain: _Chain, row: Any, sequence: int) -> None:
        """Check an event that comes after the last one of its person, if not at once."""
        if sequence == chain.last + 1:
            self._check_link(chain, row)
        elif chain.last == 0:
            self._begin_late(chain, row, sequence)
        else:
            # Its MAC covers one that is gone, so more than that something is gone is unknown.
            self._take_down(row, "missing", chain.last + 1)
        chain.last, chain.mac = sequence, str(_value(row, "mac"))

    def _check_link(self, chain: _Chain, row: Any) -> None:
        """Check an event against the one before it."""
        place = self._key_of(chain.mac, row)
        if place is None:
            self._take_down(row, "changed")
            return
        if chain.newest_key is not None and place > chain.newest_key:
            self._take_down(row, "unknown_key")
            return
        chain.newest_key = place
        chain.first_key = place if chain.first_key is None else chain.first_key
        self._compare_with_anchor(row)
        if _value(row, "action") == EVENTS_PURGED:
            self._settle(chain, row)

    def _compare_with_anchor(self, row: Any) -> None:
        """Miss the anchored event where another good one has its place."""
        name = str(_value(row, "user_id"))
        sequence, mac = self.anchor.users.get(name, (None, ""))
        if _value(row, "sequence") == sequence and not _equal(_value(row, "mac"), mac):
            self.cut_off[name] = self._finding(row, "truncated")

    # -- After a purge -------------------------------------------------------------------

    def _begin_late(self, chain: _Chain, row: Any, sequence: int) -> None:
        """Keep the first event of a purged chain until it can be checked.

        What it is chained to is gone; the event that announced the purge knows its MAC. After
        long idleness that event is the only one left, and vouches for itself.
        """
        chain.head = row
        if _value(row, "action") == EVENTS_PURGED and _mark_of(row)[0] == sequence - 1:
            self._settle(chain, row)

    def _settle(self, chain: _Chain, row: Any) -> None:
        """Take note of an announced purge, and check the event that begins the chain by it."""
        through, mac = _mark_of(row)
        chain.purged = max(chain.purged, through)
        if chain.head is None:
            return
        begins_at = _value(chain.head, "sequence")
        if through == begins_at - 1:
            self._check_head(chain, mac)
        if through >= begins_at - 1:
            chain.head = None

    def _check_head(self, chain: _Chain, previous: str) -> None:
        place = self._key_of(previous, chain.head)
        if place is None:
            self._take_down(chain.head, "changed")
            return
        if chain.first_key is None:
            chain.first_key = chain.newest_key = place
        if place < chain.first_key:
            # What follows this event was written under an older key than it.
            self._take_down(chain.head, "unknown_key")
        self._compare_with_anchor(chain.head)

    # -- Taking down ---------------------------------------------------------------------

    def _key_of(self, previous: str, row: Any) -> int | None:
        """Return the place of the key under which an event's MAC fits."""
        mac = _value(row, "mac")
        fits = (_equal(mac, mac_of(key, previous, row)) for key in self.keys)
        return next((place for place, is_fit in enumerate(fits) if is_fit), None)

    def _take_down(self, row: Any, problem: str, sequence: int | None = None) -> None:
        self._note(self._finding(row, problem, sequence))

    def _finding(self, row: Any, problem: str, sequence: int | None = None) -> Finding:
        number = _value(row, "sequence") if sequence is None else sequence
        known = number if type(number) is int else None
        return Finding(_value(row, "user_id"), known, problem, _value(row, "id"))

    def _take_down_unreadable(self, before: Any) -> None:
        self.is_complete = False
        if before is None:
            self._note(Finding(None, None, "unreadable"))
        else:
            self._take_down(before, "unreadable")

    def _note(self, finding: Finding) -> None:
        self.found += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)


def _mark_of(row: Any) -> tuple[int, str]:
    """Return sequence and MAC of the last event that a purge took; ``(0, "")`` for nonsense."""
    through = _noted(row, "through")
    return (through, str(_noted(row, "mac"))) if type(through) is int else (0, "")


def _noted(row: Any, name: str) -> Any:
    """Return a value of an event's detail, which may be anything."""
    detail = _value(row, "detail")
    return detail.get(name) if isinstance(detail, dict) else None


def _equal(one: Any, other: str) -> bool:
    """Compare MACs, of which one may be anything that someone wrote into the database."""
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _bytes(mac: Any) -> bytes:
    return str(mac).encode("ascii", "backslashreplace")
