"""Login limits: how many guesses pass, who waits how long, and what an outage changes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
import redis
import time_machine
from hypothesis import example, given
from hypothesis import strategies as st
from limits.storage import RedisStorage, storage_from_string

from flask_device_sessions import throttle as module
from flask_device_sessions.errors import ConfigError, StoreUnavailable
from flask_device_sessions.networks import network_of
from flask_device_sessions.throttle import PAUSE, Throttle, normal_account
from tests.engines import IS_COMPLETE

REDIS = os.environ.get("DEVICE_SESSIONS_TEST_REDIS", "redis://127.0.0.1:6379/15")
TEN = "10 per 3 minutes"
HOME, CAFE = "192.0.2.0/24", "198.51.100.0/24"
PHONE, LAPTOP = "a" * 64, "b" * 64

Make = Callable[..., Throttle]


def _redis_answers() -> bool:
    with redis.Redis.from_url(REDIS, socket_timeout=2, socket_connect_timeout=2) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture(scope="session")
def shared_uri() -> str:
    """The URI of a Redis that answers."""
    if not _redis_answers():
        assert not IS_COMPLETE, "Redis must be there"
        pytest.skip("Redis does not answer")
    return REDIS


@pytest.fixture(params=["memory", "redis"])
def uri(request: pytest.FixtureRequest) -> str:
    """Each storage in turn."""
    if request.param == "memory":
        return "memory://"
    shared: str = request.getfixturevalue("shared_uri")
    return shared


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make throttles, as many worker processes would, that share the counts of this test only."""
    key, storages = uuid4().bytes, []

    def remembered(*values: Any, **options: Any) -> RedisStorage:
        storage = storage_from_string(*values, **options)
        assert isinstance(storage, RedisStorage)
        storages.append(storage)
        return storage

    monkeypatch.setattr("limits.storage.storage_from_string", remembered)
    yield lambda limit, uri, **options: Throttle(limit, uri, **{"key": key, **options})
    for storage in storages:
        storage.storage.close()


@pytest.fixture
def ten(make: Make, uri: str) -> Throttle:
    """Ten attempts in three minutes."""
    return make(TEN, uri)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """The time of day, in the test's hand."""
    with time_machine.travel(1_800_000_000, tick=False) as traveller:
        yield traveller


class Knows:
    """Answers whether a browser is known, and counts how often it was asked."""

    def __init__(self, answer: bool = False) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self) -> bool:
        """Answer."""
        self.asked += 1
        return self.answer


def _try(
    throttle: Throttle,
    account: str = "ada",
    network: str | None = HOME,
    browser: str | None = None,
    known: bool = False,
) -> int | None:
    return throttle.admit(account, network, browser, Knows(known)).wait


def _passed(count: int, attempt: Callable[[int], int | None]) -> int:
    return [attempt(number) for number in range(count)].count(None)


# -- How many pass -----------------------------------------------------------------------------


def test_an_account_takes_its_limit_from_all_networks_together(ten: Throttle) -> None:
    """Guessing at one account from a network each time is stopped (ASVS V6.3.1, V6.1.1)."""
    assert _passed(30, lambda i: _try(ten, network=f"10.0.{i}.0/24")) == 10
    assert _try(ten, "grace", CAFE) is None


def test_a_network_takes_its_limit_on_all_accounts_together(ten: Throttle) -> None:
    """One password tried on every account from one place is stopped (ASVS V6.3.1, V6.1.1)."""
    assert _passed(30, lambda i: _try(ten, f"user-{i}")) == 10
    assert _try(ten, "user-30", CAFE) is None


def test_a_whole_ipv6_site_is_one_network(ten: Throttle) -> None:
    """As `network_of` gives it, 2**64 addresses of one caller share a count (ASVS V6.3.1)."""
    assert _passed(30, lambda i: _try(ten, f"user-{i}", network_of(f"2001:db8::{i:x}"))) == 10


def test_without_an_address_only_the_account_is_counted(ten: Throttle) -> None:
    """Callers behind a Unix socket are not all one network."""
    assert _passed(30, lambda i: _try(ten, f"user-{i}", None)) == 30
    assert _passed(30, lambda i: _try(ten, "ada", None)) == 10


def test_no_limit_lets_everything_pass(make: Make) -> None:
    """`None` is off, and needs no storage."""
    throttle = make(None, "redis://127.0.0.1:1")

    throttle.clear("ada", PHONE)

    assert _passed(1000, lambda _: _try(throttle)) == 1000


def test_parallel_guesses_get_exactly_the_limit(ten: Throttle) -> None:
    """Fifty at the same moment: ten pass, never one more or less (ASVS V15.4, V6.3.1)."""
    barrier = Barrier(50)

    def guess(_: int) -> int | None:
        barrier.wait()
        return _try(ten)

    with ThreadPoolExecutor(50) as pool:
        waits = list(pool.map(guess, range(50)))

    assert waits.count(None) == 10
    assert all(wait is None or 179 <= wait <= 181 for wait in waits)


def test_parallel_guesses_at_several_workers_get_exactly_the_limit(
    make: Make, shared_uri: str
) -> None:
    """Five processes on one Redis are one limit (ASVS V15.4, V6.3.1)."""
    workers = [make(TEN, shared_uri) for _ in range(5)]
    barrier = Barrier(50)

    def guess(number: int) -> int | None:
        barrier.wait()
        return _try(workers[number % 5])

    with ThreadPoolExecutor(50) as pool:
        waits = list(pool.map(guess, range(50)))

    assert waits.count(None) == 10


def test_counting_and_clearing_at_once_fails_nowhere(ten: Throttle) -> None:
    """A success in one thread never breaks an attempt in another (ASVS V15.4)."""

    def work(number: int) -> None:
        _try(ten, network=None)
        if number % 3 == 0:
            ten.clear("ada", PHONE)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(600)))

    ten.clear("ada", PHONE)
    assert _passed(30, lambda _: _try(ten, network=None)) == 10


def test_processes_with_memory_count_each_for_themselves(make: Make) -> None:
    """What the documentation says of `memory://` is so: the limit is per process."""
    one, other = make(TEN, "memory://"), make(TEN, "memory://")

    assert _passed(30, lambda _: _try(one)) == 10
    assert _passed(30, lambda _: _try(other)) == 10


def test_another_key_is_another_count(make: Make, uri: str) -> None:
    """Two apps on one storage do not lock out each other's people."""
    one, other = make(TEN, uri, key=uuid4().bytes), make(TEN, uri, key=uuid4().bytes)

    assert _passed(30, lambda _: _try(one)) == 10
    assert _passed(30, lambda _: _try(other)) == 10


# -- How long to wait --------------------------------------------------------------------------


def test_the_wait_is_until_the_oldest_attempt_is_over(
    ten: Throttle, clock: time_machine.Traveller
) -> None:
    """Retry-After is neither too early nor a second too late."""
    for _ in range(10):
        _try(ten)
        clock.shift(1)

    assert _try(ten) == 171
    clock.shift(170)
    assert _try(ten) == 1
    clock.shift(1)
    assert _try(ten) is None
    assert _try(ten) == 1


def test_a_part_of_a_second_is_waited_in_full(ten: Throttle, clock: time_machine.Traveller) -> None:
    """The wait is whole seconds, at least one, and enough."""
    for _ in range(10):
        _try(ten)
    clock.shift(179.5)

    assert _try(ten) == 1
    clock.shift(1)
    assert _try(ten) is None


def test_the_window_moves(ten: Throttle, clock: time_machine.Traveller) -> None:
    """Nobody gets twice the limit around the edge of a window (ASVS V6.3.1)."""
    _try(ten)
    clock.shift(179)
    nine = _passed(9, lambda _: _try(ten))
    clock.shift(2)

    assert nine == 9
    assert _passed(10, lambda _: _try(ten)) == 1


def test_refused_attempts_do_not_prolong_the_wait(
    ten: Throttle, clock: time_machine.Traveller
) -> None:
    """Hammering on keeps no account locked for longer (ASVS V6.1.1)."""
    _passed(10, lambda _: _try(ten))
    for _ in range(18):
        clock.shift(10)
        _try(ten)
    clock.shift(1)

    assert _passed(30, lambda _: _try(ten)) == 10


def test_the_longer_wait_counts(make: Make, uri: str, clock: time_machine.Traveller) -> None:
    """When account and network are both used up, the answer is the time when neither is."""
    throttle = make("2 per minute", uri)
    _passed(2, lambda i: _try(throttle, f"user-{i}", HOME))
    clock.shift(20)
    _passed(2, lambda i: _try(throttle, "ada", f"10.0.{i}.0/24"))

    assert _try(throttle, "grace", HOME) == 41
    assert _try(throttle, "ada", CAFE) == 61
    assert _try(throttle, "ada", HOME) == 61


def test_several_limits_hold_together(make: Make, uri: str, clock: time_machine.Traveller) -> None:
    """A slow guesser meets the limit of the day, which uses up nothing of the minute's."""
    throttle = make("2 per minute; 3 per hour, 9 per hour", uri)

    assert _passed(5, lambda _: _try(throttle)) == 2
    clock.shift(61)
    assert _passed(5, lambda _: _try(throttle)) == 1
    assert _try(throttle) == 3600 - 61 + 1
    clock.shift(3600 - 61 + 1)
    assert _passed(5, lambda _: _try(throttle)) == 2


def test_a_limit_written_twice_counts_once(make: Make, uri: str) -> None:
    """An attempt is one attempt."""
    throttle = make("4 per minute; 4/minute", uri)

    assert _passed(9, lambda _: _try(throttle)) == 4


# -- What a refusal uses up: nothing -----------------------------------------------------------


def test_a_refused_network_does_not_use_up_the_account(ten: Throttle) -> None:
    """A network that is locked cannot lock somebody's account as well (ASVS V6.1.1)."""
    _passed(10, lambda i: _try(ten, f"user-{i}"))

    assert _passed(30, lambda _: _try(ten, "ada")) == 0
    assert _passed(10, lambda _: _try(ten, "ada", CAFE)) == 10


def test_a_refused_account_does_not_use_up_the_network(ten: Throttle) -> None:
    """Whoever shares a network with one who keeps trying can still sign in (ASVS V6.1.1)."""
    _passed(10, lambda i: _try(ten, "ada", f"10.0.{i}.0/24"))

    assert _passed(30, lambda _: _try(ten, "ada")) == 0
    assert _passed(10, lambda i: _try(ten, f"user-{i}")) == 10


def test_what_another_worker_refuses_uses_up_nothing_here(make: Make, shared_uri: str) -> None:
    """The count of a process is given back when the shared one refuses."""
    one, other = make(TEN, shared_uri), make(TEN, shared_uri)
    _passed(10, lambda i: _try(one, "ada", f"10.0.{i}.0/24"))

    assert _passed(30, lambda _: _try(other, "ada")) == 0
    assert _passed(10, lambda i: _try(other, f"user-{i}")) == 10


def test_giving_back_what_was_cleared_meanwhile_is_harmless(make: Make) -> None:
    """A success between the count and its refusal leaves nothing to give back."""
    here = module._Here()
    windows = make(TEN, "memory://")._windows("account", "ada")
    here.take(windows)
    here.clear(windows)

    here.give_back(windows)
    here.give_back(windows)

    assert [here.take(windows) for _ in range(11)].count(0) == 10


# -- The device that is known ------------------------------------------------------------------


@pytest.mark.parametrize("is_attacked_from", ["everywhere", "the same network"])
def test_an_attack_does_not_lock_the_owner_out(ten: Throttle, is_attacked_from: str) -> None:
    """A browser that signed in before has an allowance of its own (ASVS V6.1.1)."""
    for number in range(30):
        _try(ten, network=HOME if is_attacked_from == "the same network" else f"n{number}")

    assert _passed(30, lambda _: _try(ten, browser=PHONE, known=True)) == 10
    assert _passed(30, lambda _: _try(ten, browser=LAPTOP, known=True)) == 10
    assert _try(ten, browser="c" * 64, known=False) is not None


def test_a_locked_network_does_not_lock_out_a_device_the_account_knows(ten: Throttle) -> None:
    """Guesses at other accounts beside the owner's desk do not stop the owner (ASVS V6.1.1)."""
    _passed(10, lambda i: _try(ten, f"user-{i}"))

    assert _try(ten, "ada", HOME, PHONE, known=True) is None
    assert _try(ten, "ada", HOME, None) is not None


def test_a_device_has_an_allowance_for_each_account(ten: Throttle) -> None:
    """What somebody tries on one account of a shared computer locks no other."""
    _passed(10, lambda i: _try(ten, f"user-{i}"))
    of_ada = _passed(30, lambda _: _try(ten, "ada", HOME, PHONE, known=True))

    assert of_ada == 10
    assert _passed(30, lambda _: _try(ten, "grace", HOME, PHONE, known=True)) == 10


@pytest.mark.parametrize(
    ("used", "browser", "asked"), [(9, PHONE, 0), (10, PHONE, 1), (10, None, 0)]
)
def test_the_database_is_asked_only_when_it_matters(
    ten: Throttle, used: int, browser: str | None, asked: int
) -> None:
    """One question, of a browser that has a name, and once a count is used up."""
    knows = Knows()
    _passed(used, lambda _: _try(ten))

    ten.admit("ada", HOME, browser, knows)

    assert knows.asked == asked


def test_a_fault_of_the_database_is_not_one_of_the_storage(
    ten: Throttle, caplog: pytest.LogCaptureFixture
) -> None:
    """What the question raises reaches the caller."""

    def fails() -> bool:
        raise StoreUnavailable

    _passed(10, lambda _: _try(ten))

    with pytest.raises(StoreUnavailable):
        ten.admit("ada", HOME, PHONE, fails)
    assert caplog.records == []


def test_a_known_device_waits_for_whichever_is_free_first(
    ten: Throttle, clock: time_machine.Traveller
) -> None:
    """Its own allowance or the common one: the shorter wait is the answer."""
    _passed(10, lambda _: _try(ten))
    clock.shift(100)
    _passed(10, lambda _: _try(ten, browser=PHONE, known=True))

    assert _try(ten, browser=PHONE, known=True) == 81
    clock.shift(81)
    assert _try(ten, browser=PHONE, known=True) is None
    _passed(9, lambda _: _try(ten))
    assert _try(ten, browser=PHONE, known=True) == 100


# -- After a success ---------------------------------------------------------------------------


def test_a_success_forgets_the_account_and_the_device(ten: Throttle) -> None:
    """Mistyping now and then adds up to nothing."""
    _passed(30, lambda _: _try(ten, network=None))
    _passed(30, lambda _: _try(ten, network=None, browser=PHONE, known=True))

    ten.clear("ada", PHONE)

    assert _passed(40, lambda _: _try(ten, network=None, browser=PHONE, known=True)) == 20


def test_a_success_without_a_browser_cookie_leaves_devices_alone(ten: Throttle) -> None:
    """Only what is known to have signed in is cleared."""
    _passed(40, lambda _: _try(ten, network=None, browser=PHONE, known=True))

    ten.clear("ada", None)

    assert _passed(40, lambda _: _try(ten, network=None, browser=PHONE, known=True)) == 10


def test_a_success_never_forgets_the_network(ten: Throttle) -> None:
    """An account of his own does not buy an attacker more guesses (ASVS V6.3.1)."""
    _passed(9, lambda i: _try(ten, f"user-{i}"))
    _try(ten, "mallory", browser=PHONE)

    ten.clear("mallory", PHONE)

    assert _try(ten, "ada") is not None


def test_a_success_at_another_worker_counts(make: Make, shared_uri: str) -> None:
    """Attempts at several processes are forgotten by all."""
    one, other, third = (make(TEN, shared_uri) for _ in range(3))
    _passed(5, lambda _: _try(one, network=None))
    _passed(5, lambda _: _try(other, network=None))
    full = _try(third, network=None)

    other.clear("ada", None)

    assert full is not None
    assert _passed(30, lambda _: _try(third, network=None)) == 10


# -- Names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "ADA",
        " ada ",
        "a\u200bda",
        "ａｄａ",
        "ádà",
        "a\u0301da",
        "a\x00da",
        "a\ud800da",
        "ad\u00a0a",
    ],
)
def test_all_writings_of_an_account_share_one_count(ten: Throttle, written: str) -> None:
    """No writing that a database takes for the same name is a fresh start (ASVS V6.3.1)."""
    _passed(10, lambda _: _try(ten, "ada", None))

    assert _try(ten, written, None) is not None


@pytest.mark.parametrize("other", ["adb", "ad", "adaa", "ada@example.com", "ada/x", ""])
def test_other_accounts_have_their_own_count(ten: Throttle, other: str) -> None:
    """Nobody is locked out for somebody else."""
    _passed(10, lambda _: _try(ten, "ada", None))

    assert _try(ten, other, None) is None


@given(st.text())
@example("\N{COMBINING GREEK YPOGEGRAMMENI}")
def test_a_normal_name_is_final(name: str) -> None:
    """Whatever is typed, normalising twice changes nothing more, nor does case."""
    normal = normal_account(name)

    assert normal_account(normal) == normal
    assert normal_account(name.casefold()) == normal


def test_a_megabyte_of_name_is_cut() -> None:
    """A huge name costs no more than a long one."""
    assert normal_account("A" * 1_000_000) == "a" * 1000


def test_no_name_stands_in_the_storage(make: Make, shared_uri: str) -> None:
    """Accounts, networks and devices are hashed under a key in whatever keeps the counts."""
    throttle = make("1 per 5 seconds", shared_uri)
    name, net, browser = (f"canary{uuid4().hex}" for _ in range(3))
    for _ in range(2):
        throttle.admit(name, net, browser, Knows(True))

    with redis.Redis.from_url(shared_uri, decode_responses=True) as client:
        shared = list(client.scan_iter("*/device-sessions/*"))
    here = list(throttle._here._times)
    assert len(here) == 3
    assert all(any(key in kept for kept in shared) for key in here)
    assert not any(value in key for value in (name, net, browser) for key in here + shared)


def test_the_hash_needs_the_key(make: Make) -> None:
    """Without the key a list of names finds none of them; with it the answer is always one."""
    one, same, other = (make(TEN, "memory://", key=key) for key in (b"1", b"1", b"2"))

    assert one._windows("account", "ada") == same._windows("account", "ada")
    assert one._windows("account", "ada") != other._windows("account", "ada")


def test_made_up_names_do_not_fill_the_memory(make: Make, clock: time_machine.Traveller) -> None:
    """Counts that are over are dropped, those that are not stay (ASVS V15.4)."""
    throttle = make(TEN, "memory://")
    for number in range(4000):
        _try(throttle, f"user-{number}", None)
    clock.shift(181)
    _passed(10, lambda _: _try(throttle, "ada", None))
    for number in range(4000):
        _try(throttle, f"other-{number}", None)

    assert len(throttle._here._times) <= 4001
    assert _try(throttle, "ada", None) is not None


def test_memory_is_looked_through_when_the_names_have_doubled(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many names are made up, a count stays cheap (ASVS V15.4)."""
    throttle = make(TEN, "memory://")
    few, sweep = module._Here._FEW, throttle._here._sweep
    swept: list[int] = []

    def counted(now: float) -> None:
        swept.append(len(throttle._here._times))
        sweep(now)

    monkeypatch.setattr(throttle._here, "_sweep", counted)
    for number in range(4 * few):
        _try(throttle, f"user-{number}", None)

    assert swept == [few, 2 * few, 4 * few]


def test_what_still_counts_is_kept_to_the_very_moment(
    make: Make, monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    """Looking through the memory shortens nobody's wait (ASVS V6.3.1)."""
    monkeypatch.setattr(module._Here, "_FEW", 1)
    throttle = make("1 per minute", "memory://")
    _try(throttle, "ada", None)
    clock.shift(60)

    _try(throttle, "grace", None)

    assert _try(throttle, "ada", None) == 1


def test_a_count_stays_small(make: Make, clock: time_machine.Traveller) -> None:
    """No more times are kept than the limit needs."""
    throttle = make("2 per second", "memory://")
    for _ in range(100):
        _try(throttle, network=None)
        clock.shift(2)

    (times,) = throttle._here._times.values()
    assert len(times) == 2


# -- Mistakes in the settings ------------------------------------------------------------------


@pytest.mark.parametrize(
    "limit",
    ["", "10", "ten per minute", "10 per fortnight", "0 per minute", "5/minute; 0/hour", "5/hour;"],
)
def test_a_malformed_limit_is_refused_with_advice(limit: str) -> None:
    """The app does not start with a limit that is none."""
    with pytest.raises(ConfigError, match="DEVICE_SESSIONS_LOGIN_RATE_LIMIT.*'10 per 3 minutes'"):
        Throttle(limit, "memory://")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "memory",
        "redis",
        "nosuch://:s3cret@h",
        "redis+cluster://:s3cret@h:1",
        "async+redis://:s3cret@h:1",
        "memcached://h:1",
        "redis://:s3cret@h:port",
        "redis://:s3cret/s3cret@h:1",
        "redis://[::1",
        "redis://:s3cret@h?socket_timeout=soon",
        "redis+sentinel://:s3cret@h:1",
        "redis+sentinel://:s3cret@h/name",
    ],
)
def test_a_malformed_storage_is_refused_with_advice(uri: str) -> None:
    """The message names the setting and never shows the URI's password (ASVS V14)."""
    with pytest.raises(ConfigError, match="DEVICE_SESSIONS_RATE_LIMIT_STORAGE_URI") as raised:
        Throttle(TEN, uri)

    assert "s3cret" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("client", ["redis", "valkey"])
def test_a_missing_client_is_named(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a Redis without its package reads what to install."""
    monkeypatch.setitem(sys.modules, client, None)

    with pytest.raises(ConfigError, match=f"`pip install {client}`"):
        Throttle(TEN, f"{client}://localhost")


@pytest.mark.parametrize(
    ("uri", "read", "connect"),
    [
        ("redis://h", 0.5, 0.5),
        ("rediss://h?socket_timeout=2", 2, 0.5),
        ("redis://h?socket_timeout=2&socket_connect_timeout=3.5", 2, 3.5),
        ("redis+unix:///run/redis.sock", 0.5, None),
        ("redis+sentinel://h:1/name", 0.5, 0.5),
        ("redis+sentinel://h:1/name?socket_timeout=2", 2, 0.5),
    ],
)
def test_a_redis_gets_half_a_second_unless_told_otherwise(
    make: Make, uri: str, read: float, connect: float | None
) -> None:
    """Both reading and connecting are limited, and never retried."""
    throttle = make(TEN, uri)

    assert throttle._shared is not None
    kwargs = throttle._shared._storage.storage.connection_pool.connection_kwargs
    assert kwargs["socket_timeout"] == read
    assert kwargs.get("socket_connect_timeout") == connect
    assert not kwargs.get("retry")


def test_sentinels_are_not_waited_for_either(make: Make) -> None:
    """The clients that ask the sentinels have the same limits of time."""
    throttle = make(TEN, "redis+sentinel://h:1/name")

    storage: Any = throttle._shared and throttle._shared._storage
    (sentinel,) = storage.sentinel.sentinels
    kwargs = sentinel.connection_pool.connection_kwargs
    assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"]) == (0.5, 0.5)
    assert kwargs["retry"] is None


# -- The storage is down -----------------------------------------------------------------------


class Flaky:
    """A storage that answers or fails as the test wants, and counts its calls."""

    def __init__(self) -> None:
        self.is_down = False
        self.calls = 0
        self.takes = True

    def acquire_entry(self, key: str, amount: int, seconds: int) -> bool:
        """Take, or fail."""
        self._work()
        return self.takes

    def get_moving_window(self, key: str, amount: int, seconds: int) -> tuple[float, int]:
        """Look, or fail: always empty."""
        self._work()
        return time.time(), 0

    def clear(self, key: str) -> None:
        """Clear, or fail."""
        self._work()

    def _work(self) -> None:
        self.calls += 1
        if self.is_down:
            raise OSError(f"call {self.calls}\nforged line")


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Flaky:
    """The storage behind every URI of this test."""
    flaky = Flaky()
    monkeypatch.setattr("limits.storage.storage_from_string", lambda *_, **__: flaky)
    return flaky


@pytest.mark.parametrize(
    "uri",
    [
        *("redis://h", "rediss://h", "redis+unix:///run/redis.sock", "redis+sentinel://h:1/name"),
        *("valkey://h", "valkeys://h", "valkey+unix:///run/v.sock", "valkey+sentinel://h:1/name"),
    ],
)
def test_attempts_are_counted_in_each_kind_of_redis_and_valkey(
    flaky: Flaky, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    """With TLS, by a Unix socket, found by sentinels: what is documented is taken."""
    monkeypatch.setattr(module, "find_spec", lambda name: name)

    _try(Throttle(TEN, uri))

    assert flaky.calls > 0


class Monotonic:
    """A monotonic clock that stands still until it is told otherwise."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    """The process's monotonic clock, in the test's hand."""
    monotonic = Monotonic()
    monkeypatch.setattr("time.monotonic", monotonic)
    return monotonic


def test_a_race_lost_at_the_storage_waits_at_least_a_second(flaky: Flaky) -> None:
    """Retry-After is never nought, even if the window has emptied meanwhile."""
    flaky.takes = False

    assert _try(Throttle(TEN, "redis://h")) == 1


def test_a_storage_that_is_down_means_the_limit_in_this_process(flaky: Flaky) -> None:
    """Neither more attempts than the limit, nor an error (the fault: limiter storage down)."""
    flaky.is_down = True
    throttle = Throttle(TEN, "redis://h")

    passed = _passed(30, lambda _: _try(throttle))
    throttle.clear("ada", PHONE)

    assert passed == 10
    assert _passed(30, lambda _: _try(throttle, network=None)) == 10


def test_the_owner_gets_in_during_an_outage_too(flaky: Flaky) -> None:
    """The known device's allowance holds without the storage as well (ASVS V6.1.1)."""
    throttle = Throttle(TEN, "redis://h")
    _passed(10, lambda _: _try(throttle))
    flaky.is_down = True

    assert _passed(30, lambda _: _try(throttle, browser=PHONE, known=True)) == 10


def test_what_passed_before_an_outage_still_counts_in_it(flaky: Flaky) -> None:
    """Taking the storage down buys no guesses, nor does bringing it back empty."""
    throttle = Throttle(TEN, "redis://h")

    assert _passed(6, lambda _: _try(throttle)) == 6
    flaky.is_down = True
    assert _passed(30, lambda _: _try(throttle)) == 4
    flaky.is_down = False
    assert _passed(30, lambda _: _try(throttle)) == 0


def test_a_storage_that_is_down_is_tried_now_and_then(flaky: Flaky, monotonic: Monotonic) -> None:
    """One login in five seconds pays for trying, and none once it answers."""
    flaky.is_down = True
    throttle = Throttle("100 per minute", "redis://h")
    calls = []

    for _ in range(21):
        _try(throttle)
        calls.append(flaky.calls)
        monotonic.now += PAUSE / 10
    assert calls == [1] * 10 + [2] * 10 + [3]

    flaky.is_down = False
    monotonic.now += PAUSE
    for _ in range(3):
        _try(throttle)
    assert flaky.calls == 3 + 3 * 3


def test_only_one_login_tries_a_storage_that_hangs(flaky: Flaky, monotonic: Monotonic) -> None:
    """While one waits for the answer, the others go on without."""
    outage = module._Outage(lambda: None)
    outage.begin(OSError())
    before = outage.is_time_to_ask()
    monotonic.now += PAUSE

    assert not before
    assert [outage.is_time_to_ask() for _ in range(3)] == [True, False, False]


def test_an_outage_is_reported_once_a_minute(
    flaky: Flaky, monotonic: Monotonic, caplog: pytest.LogCaptureFixture
) -> None:
    """One line and one call a minute, however many logins notice, and one line at the end."""
    caplog.set_level(logging.INFO)
    reports: list[float] = []
    flaky.is_down = True
    throttle = Throttle(
        "100 per minute", "redis://h", on_storage_down=lambda: reports.append(monotonic.now)
    )

    for _ in range(13):
        _try(throttle)
        monotonic.now += PAUSE
    flaky.is_down = False
    for _ in range(3):
        _try(throttle)

    assert reports == [1000, 1060]
    assert [record.getMessage() for record in caplog.records] == [
        "The storage of the login limits is down, each process limits alone: "
        "OSError: call 1forged line (0 more since the last such line)",
        "The storage of the login limits is down, each process limits alone: "
        "OSError: call 13forged line (11 more since the last such line)",
        "The storage of the login limits answers again",
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]


def test_a_report_that_fails_stops_no_login(flaky: Flaky, caplog: pytest.LogCaptureFixture) -> None:
    """The event may be lost, the login not; the log says why."""
    flaky.is_down = True

    def fails() -> None:
        raise StoreUnavailable

    wait = _try(Throttle(TEN, "redis://h", on_storage_down=fails))

    assert wait is None
    assert "Telling that the storage" in caplog.records[-1].getMessage()
    assert caplog.records[-1].exc_info is not None


class Server:
    """A Redis of this test's own."""

    def __init__(self, folder: Path, port: int) -> None:
        self._command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1"]
        self._command += ["--dir", str(folder), "--save", ""]
        self.uri = f"redis://127.0.0.1:{port}/0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert any("Ready to accept" in line for line in self._process.stdout)

    def freeze(self) -> None:
        """Stop it in its tracks: connections stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Redis that runs, and that the test may take away."""
    server = Server(tmp_path, _free_port())
    server.start()
    yield server
    server.kill()


@pytest.mark.faults
def test_the_limit_holds_while_a_real_redis_freezes_dies_and_returns(
    make: Make, server: Server, monotonic: Monotonic
) -> None:
    """Ten pass in all, no call hangs, and it is used again by itself (limiter storage down)."""
    reports: list[None] = []
    throttle = make(TEN, server.uri, on_storage_down=lambda: reports.append(None))
    waits: list[int | None] = []
    durations: list[float] = []

    def attempt(times: int) -> None:
        monotonic.now += 2 * PAUSE
        for number in range(times):
            start = time.perf_counter()
            waits.append(_try(throttle, network=f"n{len(waits)}-{number}"))
            durations.append(time.perf_counter() - start)

    attempt(2)
    server.freeze()
    attempt(2)
    attempt(2)
    server.kill()
    attempt(2)
    server.start()
    attempt(30)

    assert waits.count(None) == 10
    assert waits[10:] == [wait for wait in waits if wait is not None]
    assert max(durations) < 3
    assert len(reports) == 1
    with redis.Redis.from_url(server.uri) as client:
        kept = {client.llen(key) for key in client.scan_iter("*/account/*")}
    assert kept == {2}


@pytest.mark.faults
def test_a_worker_is_held_by_what_others_counted_once_the_storage_is_back(
    make: Make, server: Server, monotonic: Monotonic
) -> None:
    """After a pause of Redis that kept its data, all processes are one limit again."""
    one, other = make(TEN, server.uri), make(TEN, server.uri)
    _passed(10, lambda i: _try(one, network=f"n{i}"))
    server.freeze()
    alone = _passed(3, lambda _: _try(other))
    server.thaw()
    monotonic.now += PAUSE

    assert alone == 3
    assert _passed(20, lambda _: _try(other)) == 0


def test_the_pause_is_short() -> None:
    """Recovery is noticed in seconds, and a report is due once a minute."""
    assert PAUSE <= 5
    assert module.SOCKET_TIMEOUT <= 0.5
    assert timedelta(minutes=1) == module.REPORT_INTERVAL
