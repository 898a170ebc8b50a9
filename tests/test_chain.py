"""The chain of audit events: whatever is done to it without the key is found."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_device_sessions import DeviceSessions
from flask_device_sessions.chain import (
    COVERED,
    EVENTS_PURGED,
    MAX_FINDINGS,
    PROBLEMS,
    USER_ERASED,
    AuditReport,
    Finding,
    anchor_of,
    mac_of,
    purge_mark,
    verify,
)
from flask_device_sessions.models import TIME_TYPE, UUID_TYPE
from flask_device_sessions.signing import Purpose, Signatures
from flask_device_sessions.testing import Browser
from tests.engines import Engine
from tests.support import User, sign_in

KEY = b"a key of this suite, 32 bytes..."
NEWER_KEY = b"the key that came after that one"
NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)

# A machine that is busy with the rest of the suite is no failure.
_untimed = settings(deadline=None)

Row = dict[str, Any]


def _content(user_id: Any, sequence: int | None, **values: Any) -> Row:
    return {
        "id": uuid.UUID(int=len(str(user_id)) * 1000 + (sequence or 0)),
        "user_id": user_id,
        "sequence": sequence,
        "session_id": uuid.UUID(int=7),
        "device_id": None,
        "action": "session_started",
        "created_at": NOW + timedelta(minutes=sequence or 0),
        "ip_address": "192.0.2.1",
        "user_agent": "Firefox",
        "detail": {"method": "password", "new_device": True},
    } | values


def _append(events: list[Row], key: bytes = KEY, user_id: Any = 1, **values: Any) -> Row:
    """Write one more event of a person, as the app does."""
    own = [row for row in events if row["user_id"] == user_id]
    sequence, previous = (own[-1]["sequence"], own[-1]["mac"]) if own else (0, "")
    row = _content(user_id, sequence + 1, **values)
    events.append(row | {"mac": mac_of(key, previous, row)})
    return events[-1]


def _chain(length: int = 5, key: bytes = KEY, user_id: Any = 1) -> list[Row]:
    events: list[Row] = []
    for _ in range(length):
        _append(events, key, user_id)
    return events


def _alone(key: bytes = KEY, **values: Any) -> Row:
    """Write an event of nobody's account."""
    row = _content(None, None, **values)
    return row | {"mac": mac_of(key, "", row)}


def _purge(events: list[Row], through: int, key: bytes = KEY) -> list[Row]:
    """Announce a purge of one person's events, and carry it out."""
    _append(events, key, action=EVENTS_PURGED, detail=purge_mark(events[through - 1]))
    return events[through:]


def _problems(report: AuditReport) -> list[tuple[int | None, str]]:
    return [(finding.sequence, finding.problem) for finding in report.findings]


# -- The MAC -------------------------------------------------------------------------------------


def test_the_mac_is_of_a_documented_form() -> None:
    """Another program can check the trail: HMAC-SHA-256 over JSON with a format in front."""
    row = _content(1, 1)
    text = (
        '["flask-device-sessions event 1","","00000000-0000-0000-0000-0000000003e9","1","1",'
        '"00000000-0000-0000-0000-000000000007",null,"session_started",'
        '"2026-11-24T12:01:00.000000+00:00","192.0.2.1","Firefox",'
        '{"method":"password","new_device":true}]'
    )

    mac = mac_of(KEY, "", row)

    assert mac == hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def test_a_mapping_and_an_object_give_the_same_mac() -> None:
    """What is inserted is a dict, what comes back has attributes."""
    row = _content(1, 1)

    assert mac_of(KEY, "", SimpleNamespace(**row)) == mac_of(KEY, "", row)


def test_every_part_of_an_event_is_covered() -> None:
    """A column that the table has and the MAC leaves out could be changed unseen."""
    assert {*COVERED, "mac"} == set(_chain(1)[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"created_at": NOW}, {"created_at": NOW.astimezone(timezone(timedelta(hours=5)))}),
        ({"created_at": NOW}, {"created_at": NOW.replace(tzinfo=None)}),
        ({"detail": {"scopes": ("a", "b")}}, {"detail": {"scopes": ["a", "b"]}}),
        ({"detail": {10: "a", 9: "b"}}, {"detail": {"9": "b", "10": "a"}}),
        ({"user_id": uuid.UUID(int=5)}, {"user_id": str(uuid.UUID(int=5))}),
    ],
)
def test_ways_to_write_the_same_value_give_the_same_mac(one: Row, other: Row) -> None:
    """Zones, tuples and the order of keys do not survive a database, and do not matter."""
    assert mac_of(KEY, "", _content(1, 1) | one) == mac_of(KEY, "", _content(1, 1) | other)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system's zone cannot be set")
def test_a_time_without_a_zone_is_utc_wherever_the_server_is() -> None:
    """As the engines without zones keep them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        mac = mac_of(KEY, "", _content(1, 1, created_at=NOW.replace(tzinfo=None)))
    time.tzset()

    assert mac == mac_of(KEY, "", _content(1, 1, created_at=NOW))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"ip_address": None}, {"ip_address": "None"}),
        ({"ip_address": None}, {"ip_address": ""}),
        ({"ip_address": "a", "user_agent": "bc"}, {"ip_address": "ab", "user_agent": "c"}),
        ({"created_at": NOW}, {"created_at": NOW + timedelta(microseconds=1)}),
        ({"detail": {"a": 1}}, {"detail": {"a": "1"}}),
        ({"detail": {}}, {"detail": None}),
        ({"session_id": None, "device_id": KEY}, {"session_id": KEY, "device_id": None}),
    ],
)
def test_different_events_have_different_macs(one: Row, other: Row) -> None:
    """No value can be moved into its neighbour, nor nothing be taken for something."""
    assert mac_of(KEY, "", _content(1, 1) | one) != mac_of(KEY, "", _content(1, 1) | other)


_names = st.text("añ😀", max_size=3)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def column_engine(schema: Engine) -> Iterator[sa.Engine]:
    """A connection to each engine, for a table of the test's own."""
    engine = sa.create_engine(schema.uri)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("key_type", "user_id"),
    [
        (sa.BigInteger(), 2**53 + 1),
        (UUID_TYPE, uuid.UUID("0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f506")),
        (sa.Uuid(), uuid.UUID("0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f506")),
        (sa.String(40), "Zoë O'Neil"),
    ],
)
def test_a_row_comes_back_with_the_mac_it_went_in_with(
    column_engine: sa.Engine, key_type: Any, user_id: Any
) -> None:
    """On every engine, for every type of user id, whatever the detail says."""
    table = _events_table(key_type)

    with column_engine.connect() as connection:
        table.create(connection)
        try:
            _check_round_trips(connection, table, user_id)
        finally:
            connection.commit()
            table.drop(connection)
            connection.commit()


def _events_table(key_type: Any) -> sa.Table:
    return sa.Table(
        "chained_events",
        sa.MetaData(),
        sa.Column("id", UUID_TYPE, primary_key=True),
        sa.Column("user_id", key_type),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("session_id", UUID_TYPE),
        sa.Column("device_id", UUID_TYPE),
        sa.Column("action", sa.String(32)),
        sa.Column("created_at", TIME_TYPE),
        sa.Column("ip_address", sa.String(64)),
        sa.Column("user_agent", sa.String(512)),
        sa.Column("detail", sa.JSON),
        sa.Column("mac", sa.String(64)),
        mysql_charset="utf8mb4",
    )


def _check_round_trips(connection: sa.Connection, table: sa.Table, user_id: Any) -> None:
    times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.timezones())

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    # A number alone would not do: to SQLite a column of the type JSON is one for numbers.
    @given(detail=st.dictionaries(_names, _json), at=times, agent=st.text("a é😀%'\\", max_size=9))
    def check(detail: Any, at: datetime, agent: str) -> None:
        row = _content(user_id, 1, id=uuid.uuid4(), detail=detail, created_at=at, user_agent=agent)
        row["mac"] = mac_of(KEY, "", row)
        connection.execute(sa.insert(table), [row])

        kept = connection.execute(sa.select(table).where(table.c.id == row["id"])).one()

        assert kept.mac == mac_of(KEY, "", kept)
        assert kept.mac == mac_of(KEY, "", kept._mapping)

    check()


# -- A whole trail -------------------------------------------------------------------------------


def test_an_empty_trail_is_whole() -> None:
    """Before the first sign-in nothing is missing."""
    report = verify([], [KEY])

    assert report
    assert (report.events_checked, report.users_checked, report.findings) == (0, 0, [])


def test_an_untouched_trail_is_whole() -> None:
    """People's chains and nobody's events, all as they were written."""
    report = verify([_alone(), *_chain(3), *_chain(4, user_id="zoë")], [KEY])

    assert report
    assert (report.events_checked, report.users_checked) == (8, 2)


@_untimed
@given(st.lists(st.sampled_from([1, 22, "zoë"]), max_size=12))
def test_people_do_not_depend_on_each_other(people: list[Any]) -> None:
    """Chains that were written in turns, and are read in that order, are whole."""
    events: list[Row] = []
    for user_id in people:
        _append(events, user_id=user_id)

    report = verify(iter(events), [KEY])

    assert report
    assert report.users_checked == len(set(people))


def test_the_anchor_names_the_newest_event_of_each_person() -> None:
    """It is JSON, to be kept elsewhere, and holds nothing but counts and MACs."""
    events = [*_chain(2), *_chain(1, user_id=uuid.UUID(int=5))]

    anchor = json.loads(json.dumps(verify(events, [KEY], now=NOW).anchor))

    assert anchor == {
        "version": 1,
        "made_at": "2026-11-24T12:00:00.000000+00:00",
        "users": {
            "1": [2, events[1]["mac"]],
            "00000000-0000-0000-0000-000000000005": [1, events[2]["mac"]],
        },
    }


def test_the_anchor_is_of_now() -> None:
    """Unless it is told another time."""
    before = datetime.now(timezone.utc)

    made_at = datetime.fromisoformat(verify([], [KEY]).anchor["made_at"])

    assert before <= made_at <= datetime.now(timezone.utc)


def test_the_problems_are_these() -> None:
    """Programs tell them apart by name; each has words for a person."""
    assert set(PROBLEMS) == {
        "changed",
        "missing",
        "duplicated",
        "truncated",
        "unknown_key",
        "unreadable",
    }
    assert all(PROBLEMS.values())


# -- Tampering -----------------------------------------------------------------------------------

_other_values: dict[str, st.SearchStrategy[Any]] = {
    "id": st.uuids(),
    "user_id": st.integers(2, 9) | st.none() | st.text(),
    "sequence": st.integers(-9, 20) | st.none() | st.just("2") | st.just(True) | st.just(2.0),
    "session_id": st.uuids() | st.none(),
    "device_id": st.uuids(),
    "action": st.text() | st.just(EVENTS_PURGED) | st.none(),
    "created_at": st.datetimes(timezones=st.just(timezone.utc)) | st.text(),
    "ip_address": st.text() | st.none(),
    "user_agent": st.text() | st.none(),
    "detail": _json,
    "mac": st.text() | st.none() | st.binary() | st.just("é\ud800"),
}


@_untimed
@given(st.data(), st.integers(0, 4), st.sampled_from([*COVERED, "mac"]))
def test_a_change_of_any_part_of_any_event_is_found(
    data: st.DataObject, place: int, name: str
) -> None:
    """Whoever lacks the key cannot change what an event says (V16.4.2)."""
    events = _chain()
    old = events[place][name]
    new = data.draw(_other_values[name].filter(lambda value: value != old or value is True))

    events[place] = events[place] | {name: new}

    assert not verify(events, [KEY])


@pytest.mark.parametrize("name", [name for name in COVERED if name not in ("user_id", "sequence")])
def test_a_change_names_the_event_and_only_it(name: str) -> None:
    """The finding leads to the row."""
    events = _chain()
    events[2] = events[2] | {name: "other"}

    report = verify(events, [KEY])

    assert report.findings == [Finding(1, 3, "changed", events[2]["id"])]


@pytest.mark.parametrize("number", [0, -1, None, "3", True, 3.0])
def test_an_event_without_a_place_in_the_chain_is_found(number: Any) -> None:
    """It is the event itself that is wrong there, and its place is missing."""
    events = _chain(4)
    events[2] = events[2] | {"sequence": number}

    report = verify(events, [KEY])

    assert [finding.problem for finding in report.findings] == ["changed", "missing"]
    assert [finding.event_id for finding in report.findings] == [events[2]["id"], events[3]["id"]]


@_untimed
@given(st.integers(0, 4))
def test_an_event_given_to_somebody_else_is_found(place: int) -> None:
    """Also as nobody's, and also where the other person's chain has that place free."""
    for taker in (None, 22):
        events = _chain()
        events[place] = events[place] | {"user_id": taker}

        assert not verify(events, [KEY])


@_untimed
@given(st.sets(st.integers(0, 8), min_size=1, max_size=8))
def test_a_removal_of_any_events_is_found(places: set[int]) -> None:
    """Also of the newest, when an anchor was exported before."""
    events = _chain(9)
    anchor = verify(events, [KEY]).anchor

    rest = [row for place, row in enumerate(events) if place not in places]

    assert not verify(rest, [KEY], anchor)


def test_a_gap_is_named_by_its_first_number_and_the_event_after_it() -> None:
    """One finding for a gap, however long it is, and the rest is checked on."""
    events = _chain(7)
    events[5] = events[5] | {"action": "nothing"}

    report = verify([events[0], *events[3:]], [KEY])

    assert report.findings == [
        Finding(1, 2, "missing", events[3]["id"]),
        Finding(1, 6, "changed", events[5]["id"]),
    ]


def test_a_removed_beginning_is_found() -> None:
    """Without a purge that announced it, a chain begins at 1."""
    events = _chain()

    report = verify(events[3:], [KEY])

    assert report.findings == [Finding(1, 1, "missing", events[3]["id"])]


@_untimed
@given(st.permutations(range(5)).filter(lambda order: order != sorted(order)))
def test_events_in_another_order_are_found(order: Sequence[int]) -> None:
    """Whether their numbers are changed with their places or not."""
    events = _chain()
    moved = [events[place] for place in order]
    renumbered = [row | {"sequence": number} for number, row in enumerate(moved, 1)]

    assert not verify(moved, [KEY])
    assert not verify(renumbered, [KEY])


def test_two_events_in_one_place_are_found() -> None:
    """A copy stands beside the original where the unique constraint was dropped."""
    events = _chain(3)

    report = verify([*events[:2], events[1] | {"id": uuid.UUID(int=1)}, events[2]], [KEY])

    assert report.findings == [Finding(1, 2, "duplicated", uuid.UUID(int=1))]


def test_an_event_that_the_app_did_not_write_is_found() -> None:
    """Whoever lacks the key cannot add an event either."""
    events = _chain(3)
    _append(events, b"a key that somebody made up")

    report = verify(events, [KEY])

    assert _problems(report) == [(4, "changed")]


@pytest.mark.parametrize("change", [{"action": "x"}, {"mac": "x"}, {"sequence": 1}])
def test_a_changed_event_of_nobodys_account_is_found(change: Row) -> None:
    """It stands alone, under a MAC of its own content."""
    event = _alone()

    report = verify([event | change], [KEY])

    assert [finding.problem for finding in report.findings] == ["changed"]
    assert verify([event], [KEY])


def test_an_event_of_nobodys_account_cannot_open_a_chain() -> None:
    """Both have no predecessor; whose they are is covered."""
    report = verify([_alone() | {"user_id": 1, "sequence": 1}], [KEY])

    assert _problems(report) == [(1, "changed")]


def test_a_value_that_cannot_be_read_is_a_finding() -> None:
    """Somebody who breaks the JSON of one row does not keep the check from reporting."""
    events = _chain(3)

    def damaged() -> Iterator[Row]:
        yield from events[:2]
        raise json.JSONDecodeError("Expecting value", "", 0)

    report = verify(damaged(), [KEY], verify(events, [KEY]).anchor)

    assert report.findings == [Finding(1, 2, "unreadable", events[1]["id"])]
    assert report.events_checked == 2


def test_a_first_row_that_cannot_be_read_is_a_finding() -> None:
    """Then there is none to name."""

    def damaged() -> Iterator[Row]:
        yield from [dict(row, id=uuid.UUID(row["id"])) for row in [{"id": "no UUID"}]]

    assert verify(damaged(), [KEY]).findings == [Finding(None, None, "unreadable")]


def test_a_failing_database_is_no_finding() -> None:
    """What the database itself reports goes to the caller."""

    def broken() -> Iterator[Row]:
        yield from ()
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        verify(broken(), [KEY])


def test_a_report_does_not_grow_without_bound() -> None:
    """With a wrong key every event is a finding; they are counted, and the first ones named."""
    report = verify(_chain(MAX_FINDINGS + 5), [NEWER_KEY])

    assert not report
    assert report.found == MAX_FINDINGS + 5
    assert len(report.findings) == MAX_FINDINGS


def test_a_report_with_more_findings_than_it_names_is_false() -> None:
    """Truth goes by the count."""
    assert not verify([], [KEY])._replace(found=1)


# -- Keys ----------------------------------------------------------------------------------------


def _rotated() -> list[Row]:
    events = _chain(3)
    _append(events, NEWER_KEY)
    _append(events, NEWER_KEY)
    return events


def test_a_chain_goes_on_under_a_new_key() -> None:
    """Rotation breaks nothing while the older key is still named."""
    assert verify(_rotated(), [NEWER_KEY, KEY])


def test_an_older_key_is_not_taken_after_a_newer_one() -> None:
    """A key that leaked after its time writes no new events."""
    events = _rotated()
    _append(events, KEY)

    report = verify(events, [NEWER_KEY, KEY])

    assert report.findings == [Finding(1, 6, "unknown_key", events[5]["id"])]


def test_a_key_that_is_not_named_any_more_fits_nothing() -> None:
    """Its events are as good as changed: an old key is kept until they are purged."""
    assert _problems(verify(_rotated(), [NEWER_KEY])) == [
        (1, "changed"),
        (2, "changed"),
        (3, "changed"),
    ]


def test_what_a_leaked_older_key_can_rewrite_is_held_by_the_newer_one() -> None:
    """The first event under the new key is chained to the last under the old."""
    events = _rotated()
    forged = _content(1, 3, action="session_ended")
    events[2] = forged | {"mac": mac_of(KEY, events[1]["mac"], forged)}

    assert _problems(verify(events, [NEWER_KEY, KEY])) == [(4, "changed")]


def test_no_key_is_an_error() -> None:
    """A check that cannot fail is none."""
    with pytest.raises(ValueError, match="key"):
        verify([], [])


# -- The anchor ----------------------------------------------------------------------------------


def test_a_chain_that_grew_is_whole_against_an_earlier_anchor() -> None:
    """Only what was there must be there still."""
    events = _chain(3)
    anchor = verify(events, [KEY]).anchor
    _append(events)

    assert verify(events, [KEY], anchor)


def test_a_cut_off_end_is_found_by_an_anchor_alone() -> None:
    """Without one, the chain is shorter and whole."""
    events = _chain(5)
    anchor = verify(events, [KEY]).anchor

    assert verify(events[:3], [KEY])
    assert verify(events[:3], [KEY], anchor).findings == [Finding(1, 5, "truncated")]


def test_an_end_that_was_cut_off_and_grew_again_is_found() -> None:
    """As after a restored backup: good events in the place of others."""
    events = _chain(5)
    anchor = verify(events, [KEY]).anchor
    events = events[:3]
    for _ in range(4):
        _append(events, action="session_ended")

    report = verify(events, [KEY], anchor)

    assert report.findings == [Finding(1, 5, "truncated", events[4]["id"])]


def test_a_person_without_any_event_left_is_found_by_an_anchor() -> None:
    """Somebody deleted the whole chain."""
    anchor = verify([*_chain(2), *_chain(3, user_id=22)], [KEY]).anchor

    assert verify(_chain(2), [KEY], anchor).findings == [Finding("22", 3, "truncated")]


def _erased(at: datetime, **values: Any) -> Row:
    return _alone(action=USER_ERASED, detail={"user": "1"}, created_at=at, **values)


def test_a_person_who_was_erased_is_not_missed() -> None:
    """The event that says so stands in for the whole chain; also where the id is used again."""
    anchor = verify(_chain(3), [KEY], now=NOW).anchor
    erased = _erased(NOW + timedelta(days=1))

    assert verify([erased], [KEY], anchor)
    assert verify([*_chain(1), erased], [KEY], anchor)


@pytest.mark.parametrize(
    "excuse",
    [
        _erased(NOW - timedelta(days=1)),
        _erased(NOW + timedelta(days=1)) | {"mac": "0" * 64},
        _alone(action=USER_ERASED, detail={"user": "22"}, created_at=NOW + timedelta(days=1)),
        _alone(action=USER_ERASED, detail=["1"], created_at=NOW + timedelta(days=1)),
        _alone(action="login_failed", detail={"user": "1"}, created_at=NOW + timedelta(days=1)),
    ],
    ids=["before the anchor", "forged", "somebody else", "nonsense", "another action"],
)
def test_no_other_event_excuses_a_missing_chain(excuse: Row) -> None:
    """It must be real, of that person, and since the anchor."""
    anchor = verify(_chain(3), [KEY], now=NOW).anchor

    report = verify([excuse], [KEY], anchor)

    assert Finding("1", 3, "truncated") in report.findings


def test_an_anchor_of_one_person_misses_nobody_else() -> None:
    """To verify one person's events, the anchor is narrowed to them."""
    events = _chain(3, user_id=22)
    anchor = verify([*_chain(2), *events], [KEY]).anchor

    assert verify(events, [KEY], anchor_of(anchor, 22))
    assert not verify(events[:2], [KEY], anchor_of(anchor, 22))
    assert verify(_chain(1, user_id=3), [KEY], anchor_of(anchor, 3))


@pytest.mark.parametrize(
    "anchor",
    [
        {},
        {"version": 2, "made_at": "2026-11-24T12:00:00+00:00", "users": {}},
        {"version": 1, "made_at": "2026-11-24T12:00:00+00:00"},
        {"version": 1, "made_at": "yesterday", "users": {}},
        {"version": 1, "made_at": None, "users": {}},
        {"version": 1, "made_at": "2026-11-24T12:00:00+00:00", "users": []},
        {"version": 1, "made_at": "2026-11-24T12:00:00+00:00", "users": {"1": [1]}},
        {"version": 1, "made_at": "2026-11-24T12:00:00+00:00", "users": {"1": ["x", "y"]}},
        [],
    ],
)
def test_what_is_no_anchor_is_refused(anchor: Any) -> None:
    """A wrong file must not look like a trail that is whole."""
    with pytest.raises(ValueError, match="not an anchor"):
        verify([], [KEY], anchor)


# -- Purge ---------------------------------------------------------------------------------------


@_untimed
@given(st.integers(1, 6), st.integers(0, 3))
def test_a_purged_chain_is_whole(through: int, later: int) -> None:
    """Whether the event that says so is the only one left or one among others."""
    events = _purge(_chain(6), through)
    for _ in range(later):
        _append(events)

    report = verify(events, [KEY])

    assert report.findings == []
    assert report.anchor["users"]["1"][0] == 7 + later


def test_a_chain_may_be_purged_again_and_again() -> None:
    """Also when the event of an earlier purge is what goes."""
    events = _purge(_chain(6), 3)
    _append(events)
    events = [row for row in events if row["sequence"] > 5]
    assert not verify(events, [KEY])
    _append(events, action=EVENTS_PURGED, detail={"through": 5, "mac": _chain(6)[4]["mac"]})
    assert verify(events, [KEY])

    mark = _append(events, action=EVENTS_PURGED, detail=purge_mark(events[-1]))

    assert verify([mark], [KEY])


def test_a_purge_that_was_killed_half_way_leaves_a_whole_chain() -> None:
    """What was announced may go or stay; what stays is in order, lowest first to go."""
    events = _chain(6)
    _append(events, action=EVENTS_PURGED, detail=purge_mark(events[3]))

    for gone in range(5):
        assert verify(events[gone:], [KEY])


def test_more_than_what_was_purged_is_missed() -> None:
    """A beginning that anyone else removed is no purge, and the first such number is named."""
    events = _purge(_chain(6), 2)

    report = verify(events[2:], [KEY])

    assert report.findings == [Finding(1, 3, "missing", events[2]["id"])]


def test_the_event_after_a_purge_is_checked_too() -> None:
    """The purge noted the MAC that it is chained to."""
    events = _purge(_chain(6), 2)
    events[0] = events[0] | {"action": "session_ended"}

    assert verify(events, [KEY]).findings == [Finding(1, 3, "changed", events[0]["id"])]


@pytest.mark.parametrize(
    "detail",
    [
        None,
        [],
        {},
        {"through": "4"},
        {"through": 4},
        {"through": 4, "mac": "0" * 64},
        {"through": 99, "mac": "0" * 64},
    ],
)
def test_a_made_up_purge_excuses_nothing(detail: Any) -> None:
    """Who lacks the key cannot announce one."""
    events = _chain(5)
    forged = events[4] | {"action": EVENTS_PURGED, "detail": detail}

    assert not verify([forged], [KEY])
    assert not verify([*events[2:4], forged], [KEY])


def test_an_end_that_a_purge_left_is_held_by_the_anchor() -> None:
    """The anchored event may be the first of a purged chain."""
    events = _chain(3)
    anchor = verify(events, [KEY]).anchor

    kept = _purge([*events], 2)
    other = _append(events[:2], action="session_ended")
    forked = _purge([*events[:2], other], 2)

    assert verify(kept, [KEY], anchor)
    assert verify(forked, [KEY], anchor).findings == [Finding(1, 3, "truncated", other["id"])]


def test_an_anchor_from_before_a_purge_misses_nothing() -> None:
    """The event it names went by retention."""
    events = _chain(3)
    anchor = verify(events, [KEY]).anchor
    _append(events)

    assert verify(_purge(events, 4), [KEY], anchor)


def test_a_purge_keeps_to_the_order_of_keys() -> None:
    """Events and purge under rotated keys are whole."""
    assert verify(_purge(_rotated(), 2, NEWER_KEY), [NEWER_KEY, KEY])
    assert verify(_purge(_rotated(), 5, NEWER_KEY), [NEWER_KEY, KEY])


def test_an_older_key_cannot_go_on_from_a_purged_beginning() -> None:
    """A chain that begins under the newer key and goes on under the older is a finding."""
    events = _rotated()
    _append(events, KEY)

    report = verify(_purge(events, 4, KEY), [NEWER_KEY, KEY])

    assert _problems(report) == [(5, "unknown_key")]


def test_the_first_key_after_a_purged_beginning_is_the_one_that_counts() -> None:
    """Also where the chain comes back to the newer key later."""
    events = _rotated()
    _append(events, KEY)
    _append(events, NEWER_KEY)

    report = verify(_purge(events, 4, NEWER_KEY), [NEWER_KEY, KEY])

    assert _problems(report) == [(5, "unknown_key")]


def test_an_older_key_cannot_go_on_from_the_announcement_of_a_purge() -> None:
    """Where that is all that was left."""
    events = _purge(_rotated(), 5, NEWER_KEY)
    assert len(events) == 1
    _append(events, KEY)

    report = verify(events, [NEWER_KEY, KEY])

    assert _problems(report) == [(7, "unknown_key")]


# -- In the database -----------------------------------------------------------------------------


@pytest.fixture
def keys(app: Flask) -> list[bytes]:
    """The key of the app's trail."""
    return Signatures(app.config["SECRET_KEY"]).derive(Purpose.AUDIT)


@pytest.fixture
def trail(ada: User, laptop: Browser) -> None:
    """Ada signs in, out, and in again."""
    sign_in(laptop)
    laptop.post("/logout")
    sign_in(laptop)


@pytest.mark.usefixtures("trail")
def test_what_the_app_wrote_is_whole(
    extension: DeviceSessions, ada: User, keys: list[bytes]
) -> None:
    """Written by the app, kept by the engine, read as objects and as rows."""
    events = extension.events_of(ada)[::-1]
    table = sa.inspect(events[0]).mapper.local_table
    rows = extension._state.store.session.execute(sa.select(table).order_by(table.c.sequence))

    by_objects, by_rows = verify(events, keys), verify(rows, keys)

    assert by_objects.findings == by_rows.findings == []
    assert by_objects.events_checked == by_rows.events_checked >= 4
    assert by_objects.anchor["users"] == {str(ada.id): [len(events), events[-1].mac]}


@pytest.mark.usefixtures("trail")
def test_everybodys_trail_is_read_as_the_engine_orders_it(
    extension: DeviceSessions, ada: User, keys: list[bytes]
) -> None:
    """Nobody's events come first on some engines and last on others."""
    rows = extension._state.store
    rows.add_events([_alone(keys[0], id=uuid.uuid4())])

    report = verify(rows.iterate_events(None), keys)

    assert report.findings == []
    assert report.events_checked == len(extension.events_of(ada)) + 1


@pytest.mark.usefixtures("trail")
def test_what_was_changed_in_the_database_is_found(
    extension: DeviceSessions, ada: User, keys: list[bytes]
) -> None:
    """An UPDATE, as an administrator of the database might run it."""
    events = extension.events_of(ada)[::-1]
    session = extension._state.store.session
    table = sa.inspect(events[0]).mapper.local_table
    session.execute(sa.update(table).where(table.c.sequence == 2).values(ip_address="192.0.2.9"))

    rows = session.execute(sa.select(table).order_by(table.c.sequence))

    assert verify(rows, keys).findings == [Finding(ada.id, 2, "changed", events[1].id)]
