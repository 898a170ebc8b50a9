"""A warning that repeats fills no disk."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from flask_device_sessions.logs import Throttled


class Clock:
    """A monotonic clock that stands still until it is told otherwise."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The process's monotonic clock, in the test's hand."""
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


@pytest.fixture
def throttled(clock: Clock) -> Throttled:
    """At most one line a minute."""
    return Throttled(logging.getLogger("tests.throttled"), timedelta(minutes=1))


def test_the_first_warning_is_logged_at_once(
    throttled: Throttled, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for the first sign of trouble, and its values are filled in."""
    throttled.warning("Activity of %s could not be noted: %s", "ada", "locked")

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "tests.throttled"
    assert record.getMessage() == (
        "Activity of ada could not be noted: locked (0 more since the last such line)"
    )


def test_more_within_the_interval_are_only_counted(
    throttled: Throttled, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand failures in a minute are one line."""
    for _ in range(1000):
        throttled.warning("Again")
        clock.now += 0.059

    assert len(caplog.records) == 1


def test_the_next_line_says_how_many_were_kept_back(
    throttled: Throttled, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost: the line after the pause carries the count, and counting starts anew."""
    for pause in (1, 1, 1, 60, 60):
        throttled.warning("Again")
        clock.now += pause
    throttled.warning("Again")

    counts = [record.getMessage().partition("(")[2].split()[0] for record in caplog.records]
    assert counts == ["0", "3", "0"]


@pytest.mark.parametrize(("seconds", "lines"), [(59.99, 1), (60, 2), (3600, 2)])
def test_the_interval_is_exact(
    throttled: Throttled,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    seconds: float,
    lines: int,
) -> None:
    """A line is due again when the interval has passed."""
    throttled.warning("Again")
    clock.now += seconds
    throttled.warning("Again")

    assert len(caplog.records) == lines


def test_each_throttle_counts_for_itself(
    throttled: Throttled, caplog: pytest.LogCaptureFixture
) -> None:
    """One trouble does not hide another."""
    other = Throttled(logging.getLogger("tests.other"), timedelta(minutes=1))

    throttled.warning("One")
    other.warning("Another")

    assert [record.name for record in caplog.records] == ["tests.throttled", "tests.other"]


def test_a_wrong_clock_on_the_wall_changes_nothing(
    throttled: Throttled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The interval is measured by the monotonic clock, which no NTP step moves."""
    throttled.warning("Again")
    monkeypatch.setattr("time.time", lambda: 1e12)
    throttled.warning("Again")

    assert len(caplog.records) == 1
