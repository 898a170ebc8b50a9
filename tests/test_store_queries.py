"""What each query returns: whose rows, which of them, in which order."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from flask_device_sessions.ids import new_id
from flask_device_sessions.store import Store
from flask_device_sessions.testing import DeviceSessionFactory
from tests.support import User, add_user, db

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


@pytest.fixture
def bob(ada: User) -> User:
    """Another person, whose rows are never in the answer."""
    return add_user("bob@example.com")


def _session(user: User, hours: int, **columns: Any) -> Any:
    """Insert a live session that was last active so many hours ago."""
    usual = {"created_at": NOW - 10 * HOUR, "last_active_at": NOW - hours * HOUR}
    session = DeviceSessionFactory(user=user, **{**usual, "expires_at": None, **columns})
    db.session.commit()
    return session


def _device(store: Store, user: User, digest: str, hours: int = 1) -> Any:
    device = store.models.device(
        id=new_id(),
        user_id=user.id,
        browser_digest=digest,
        first_seen_at=NOW - 10 * HOUR,
        last_seen_at=NOW - hours * HOUR,
    )
    store.add(device)
    db.session.commit()
    return device


def _event(store: Store, user_id: int | None, sequence: int | None, action: str, hours: int) -> Any:
    values: dict[str, Any] = {
        "id": new_id(),
        "user_id": user_id,
        "sequence": sequence,
        "action": action,
        "created_at": NOW - hours * HOUR,
        "detail": {},
        "mac": f"{sequence or 0:064}",
    }
    store.add_events([values])
    db.session.commit()
    return values["id"]


# -- Sessions ----------------------------------------------------------------------------------


def test_live_is_what_would_be_restored(store: Store, ada: User, bob: User) -> None:
    """Not ended, not expired at this moment, not idle; the latest activity first."""
    _session(bob, 1)
    _session(ada, 1, ended_at=NOW, end_reason="logout")
    _session(ada, 1, expires_at=NOW)
    late, early = _session(ada, 2), _session(ada, 1, expires_at=NOW + HOUR)
    idle = _session(ada, 3)

    assert store.list_live(ada.id, NOW, None) == [early, late, idle]
    assert store.list_live(ada.id, NOW, NOW - 3 * HOUR) == [early, late]


def test_live_sessions_come_page_by_page(store: Store, ada: User, bob: User) -> None:
    """The last begun first, of one kind or both."""
    first, second = _session(ada, 1), _session(ada, 1, kind="token")
    third = _session(ada, 1)
    _session(bob, 1)
    every: dict[str, Any] = {"kind": None, "before": None, "limit": 9}

    def page(**chosen: Any) -> list[Any]:
        return store.list_live_page(ada.id, NOW, None, **{**every, **chosen})

    assert page() == [third, second, first]
    assert page(limit=2) == [third, second]
    assert page(kind="browser") == [third, first]
    assert page(before=second.id) == [first]


def test_ended_ones_come_by_their_end(store: Store, ada: User, bob: User) -> None:
    """The last one first, no more than asked for."""
    _session(ada, 1)
    _session(bob, 1, ended_at=NOW, end_reason="logout")
    early = _session(ada, 1, ended_at=NOW - HOUR, end_reason="logout")
    late = _session(ada, 1, ended_at=NOW, end_reason="logout")

    assert store.list_ended(ada.id) == [late, early]
    assert store.list_ended(ada.id, 1) == [late]


def test_all_sessions_come_by_their_beginning(store: Store, ada: User, bob: User) -> None:
    """For the export: live and ended."""
    _session(bob, 1)
    old = _session(ada, 1, created_at=NOW - 9 * HOUR, ended_at=NOW, end_reason="logout")
    new = _session(ada, 1, created_at=NOW - 2 * HOUR)

    assert store.list_sessions(ada.id) == [new, old]


def test_people_with_a_live_session(store: Store, ada: User, bob: User) -> None:
    """Each once."""
    _session(ada, 1)
    _session(ada, 1)
    _session(bob, 1, ended_at=NOW, end_reason="logout")

    assert store.list_user_ids_with_live() == [ada.id]


def test_sessions_are_locked_by_conditions(store: Store, ada: User, bob: User) -> None:
    """One's own live ones, the latest activity first."""
    late, early = _session(ada, 2), _session(ada, 1)
    _session(ada, 1, ended_at=NOW, end_reason="logout")
    _session(bob, 1)
    store.lock_user(ada.id)

    assert store.lock_live(ada.id) == [early, late]
    assert store.lock_live(ada.id, store.models.session.id == late.id) == [late]


def test_each_session_ends_for_its_own_reason(store: Store, ada: User) -> None:
    """In one statement; one that had ended keeps what it says."""
    first, second = _session(ada, 1), _session(ada, 1)
    gone = _session(ada, 1, ended_at=NOW - HOUR, end_reason="logout")
    untouched = _session(ada, 1)

    ended = store.end({first: "evicted", second: "replaced", gone: "admin"}, NOW)

    told = [(row.end_reason, row.ended_at) for row in (first, second)]
    db.session.commit()
    assert ended == 2
    assert told == [("evicted", NOW), ("replaced", NOW)]
    assert [row.end_reason for row in (first, second, gone)] == ["evicted", "replaced", "logout"]
    assert (first.ended_at, gone.ended_at, untouched.ended_at) == (NOW, NOW - HOUR, None)


def test_sessions_that_end_for_one_reason(store: Store, ada: User) -> None:
    """The usual case."""
    sessions = [_session(ada, 1) for _ in range(2)]

    ended = store.end(dict.fromkeys(sessions, "admin"), NOW)
    db.session.commit()

    assert ended == 2
    assert [row.end_reason for row in sessions] == ["admin", "admin"]


def test_a_session_is_changed_only_while_it_lives(store: Store, ada: User) -> None:
    """A device always, and nothing but the row that was meant."""
    live, other = _session(ada, 1), _session(ada, 1)
    gone = _session(ada, 1, ended_at=NOW, end_reason="logout")
    device = _device(store, ada, "d" * 64)

    for row in (live, gone, device):
        store.change(row, name="new")
    seen = live.name, device.name
    db.session.commit()

    assert seen == ("new", "new")
    assert (live.name, device.name, gone.name, other.name) == ("new", "new", None, None)


def test_sessions_of_a_device(store: Store, ada: User, bob: User) -> None:
    """Of this person's, live and ended."""
    device = _device(store, ada, "d" * 64)
    on_it = {
        _session(ada, 1, device_id=device.id).id,
        _session(ada, 1, device_id=device.id, ended_at=NOW, end_reason="logout").id,
    }
    _session(ada, 1)
    _session(bob, 1, device_id=device.id)

    assert store.list_session_ids(ada.id, device.id) == on_it


# -- By id -------------------------------------------------------------------------------------


def test_an_id_finds_ones_own_rows(store: Store, ada: User, bob: User) -> None:
    """Others' only for who may see everybody's, and only while their people are there."""
    session, device = _session(bob, 1), _device(store, bob, "d" * 64)
    session_id, device_id = session.id, device.id
    models = store.models

    assert store.find_owned(models.session, bob.id, session_id) is session
    assert store.find_owned(models.session, ada.id, session_id) is None
    assert store.find_owned(models.device, bob.id, device_id) is device
    assert store.find_owned(models.device, bob.id, session_id) is None
    assert store.find_anybodys(models.session, session_id) is session
    assert store.find_anybodys(models.session, uuid.uuid4()) is None
    assert store.find_session(session_id) is session


def test_an_account_is_found_beside_somebody(store: Store, ada: User, bob: User) -> None:
    """The somebody has a password hash to compute, where there is any."""
    ada.password_hash = None
    db.session.commit()

    found, somebody = store.find_accounts("email", "ada@example.com")
    nobody, anyone = store.find_accounts("email", "eve@example.com")
    assert found is ada
    assert somebody in (ada, bob)
    assert (nobody, anyone) == (None, bob)


# -- Devices -----------------------------------------------------------------------------------


def test_devices_come_by_when_they_were_seen(store: Store, ada: User, bob: User) -> None:
    """The last one first."""
    early, late = _device(store, ada, "a" * 64, 5), _device(store, ada, "b" * 64, 1)
    _device(store, bob, "c" * 64)

    assert store.list_devices(ada.id) == [late, early]


def test_a_browser_is_known_to_who_signed_in_there(store: Store, ada: User, bob: User) -> None:
    """To nobody else, and nobody knows any."""
    _device(store, ada, "a" * 64)

    assert store.has_device(ada.id, "a" * 64)
    assert not store.has_device(ada.id, "b" * 64)
    assert not store.has_device(bob.id, "a" * 64)
    assert not store.has_device(None, "a" * 64)


def test_devices_are_loaded_at_once(store: Store, ada: User) -> None:
    """Each session gets its own; one whose device is gone gets none."""
    device = _device(store, ada, "a" * 64)
    on_it, gone = _session(ada, 1, device_id=device.id), _session(ada, 1, device_id=new_id())

    store.load_devices([on_it, gone])

    assert (vars(on_it)["device"], vars(gone)["device"]) == (device, None)


def test_a_deleted_device_leaves_the_others(store: Store, ada: User) -> None:
    """It is found by its id."""
    gone, stays = _device(store, ada, "a" * 64), _device(store, ada, "b" * 64)
    gone_id = gone.id

    store.delete_device(gone_id)
    db.session.commit()

    assert store.list_devices(ada.id) == [stays]


def test_devices_in_use_and_the_latest_sessions(store: Store, ada: User, bob: User) -> None:
    """What a sign-in asks: this browser, all that live, and the newest of those that ended."""
    here, there, unused = (_device(store, ada, digit * 64) for digit in "abc")
    ended = {"ended_at": NOW, "end_reason": "logout"}
    _session(ada, 1, device_id=there.id, **ended)
    live = _session(ada, 1, device_id=there.id)
    recent = _session(ada, 1, device_id=there.id, **ended)
    _session(ada, 1, device_id=there.id, kind="token")
    _session(bob, 1, device_id=_device(store, bob, "a" * 64).id)

    in_use = store.list_devices_in_use(ada.id, "a" * 64, 1)
    more = store.list_devices_in_use(ada.id, "a" * 64, 9)

    assert {(device.id, session and session.id) for device, session in in_use} == {
        (here.id, None),
        (there.id, live.id),
        (there.id, recent.id),
    }
    assert len(more) == 4
    assert unused.id not in {device.id for device, _ in more}


# -- Events ------------------------------------------------------------------------------------


def test_events_come_by_their_number(store: Store, ada: User, bob: User) -> None:
    """The newest first, page by page."""
    one, two, three = (_event(store, ada.id, n, "session_started", 9 - n) for n in (1, 2, 3))
    _event(store, bob.id, 1, "session_started", 1)

    def ids(events: Any) -> list[Any]:
        return [event.id for event in events]

    assert ids(store.list_events(ada.id)) == [three, two, one]
    assert ids(store.list_events(ada.id, 2)) == [three, two]
    assert ids(store.list_events(ada.id, before=3)) == [two, one]


def test_events_are_chosen_by_what_happened(store: Store, ada: User, bob: User) -> None:
    """These, not those, so many, after so many newer ones."""
    actions = ("session_started", "session_ended", "session_started", "ip_changed")
    ids = [_event(store, ada.id, n, action, 1) for n, action in enumerate(actions, 1)]
    _event(store, bob.id, 1, "session_started", 1)

    def chosen(*arguments: Any) -> list[int]:
        return [ids.index(event.id) for event in store.list_events_slice(ada.id, *arguments)]

    assert chosen((), (), 9, 0) == [3, 2, 1, 0]
    assert chosen(("session_started",), (), 9, 0) == [2, 0]
    assert chosen((), ("ip_changed",), 9, 0) == [2, 1, 0]
    assert chosen((), (), 2, 1) == [2, 1]


def test_everybodys_events_come_by_time(store: Store, ada: User, bob: User) -> None:
    """Nobody's too, the newest first."""
    old = _event(store, ada.id, 1, "session_started", 3)
    nobodys = _event(store, None, None, "login_failed", 2)
    new = _event(store, bob.id, 1, "session_started", 1)

    assert [event.id for event in store.list_all_events(9)] == [new, nobodys, old]
    assert [event.id for event in store.list_all_events(1)] == [new]


def test_a_trail_is_read_in_order(store: Store, ada: User, bob: User) -> None:
    """One person's, or everybody's, each person's together."""
    _event(store, bob.id, 1, "session_started", 1)
    for number in (2, 1):
        _event(store, ada.id, number, "session_started", 1)

    def read(user_id: int | None) -> list[tuple[int, int]]:
        return [(row["user_id"], row["sequence"]) for row in store.iterate_events(user_id)]

    assert read(ada.id) == [(ada.id, 1), (ada.id, 2)]
    assert read(None) == [(ada.id, 1), (ada.id, 2), (bob.id, 1)]


def test_the_end_of_a_trail(store: Store, ada: User, bob: User) -> None:
    """The newest events, the newest first; ``None`` without any; no row without the person."""
    _event(store, bob.id, 1, "session_started", 1)
    before = store.list_tail(ada.id, 2)
    for number in (1, 2, 3):
        _event(store, ada.id, number, "session_started", 1)

    after = store.list_tail(ada.id, 2)

    assert [row.sequence for row in before] == [None]
    assert [(row.sequence, row.action) for row in after] == [
        (3, "session_started"),
        (2, "session_started"),
    ]
    assert store.list_tail(ada.id + 1000, 2) == []


# -- Before the view ---------------------------------------------------------------------------


def test_the_secret_before_the_newest_is_retired(store: Store, ada: User) -> None:
    """Once, and only for the newest secret there is."""
    session = _session(ada, 1)
    digest = session.token_digest
    db.session.rollback()

    wrong = store.retire_previous(session.id, "0" * 64, NOW)
    right = store.retire_previous(session.id, digest, NOW)
    again = store.retire_previous(session.id, digest, NOW + HOUR)

    db.session.rollback()
    table = store.models.session.__table__
    assert (wrong, right, again) == (False, True, False)
    assert db.session.scalar(sa.select(table.c.previous_ended_at)) == NOW
