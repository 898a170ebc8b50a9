"""What strangers can make happen is written down now and then, not each time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from flask_device_sessions.bounds import OncePer

MINUTE = timedelta(minutes=1)


class Clock:
    """The process's monotonic clock, in the test's hand."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still until it is moved."""
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def test_each_key_is_let_in_once_per_interval(clock: Clock) -> None:
    """One key says nothing about another; after the interval it is due again."""
    once = OncePer(MINUTE)

    first = [once.is_due("ada"), once.is_due("ada"), once.is_due("grace")]
    clock.now += 59.9
    before = once.is_due("ada")
    clock.now += 0.1

    assert first == [True, False, True]
    assert not before
    assert once.is_due("ada")


def test_made_up_keys_do_not_eat_the_memory(clock: Clock) -> None:
    """Beyond the capacity the longest known goes, and only that."""
    once = OncePer(MINUTE, capacity=3)
    for key in ("a", "b", "c"):
        once.is_due(key)
    clock.now += 60
    once.is_due("a")  # known anew

    once.is_due("d")

    assert len(once._let_in) == 3
    assert not once.is_due("a")
    assert once.is_due("b")


def test_of_many_at_once_one_is_let_in() -> None:
    """Threads that ask at the same moment get one yes."""
    once = OncePer(MINUTE)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: once.is_due("ada"), range(100)))

    assert answers.count(True) == 1
