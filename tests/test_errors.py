"""Errors carry facts, and words that help."""

from __future__ import annotations

import inspect

import pytest

import flask_device_sessions
from flask_device_sessions import errors
from flask_device_sessions.errors import (
    BadToken,
    ConfigError,
    DeviceSessionsError,
    NoSuchUser,
    SchemaError,
    SessionLimitReached,
    StoreUnavailable,
    TooManyAttempts,
)

ALL = [
    BadToken,
    ConfigError,
    NoSuchUser,
    SchemaError,
    SessionLimitReached,
    StoreUnavailable,
    TooManyAttempts,
]


@pytest.mark.parametrize("error", ALL)
def test_one_except_catches_all_of_ours(error: type[Exception]) -> None:
    """Each is a DeviceSessionsError, and nobody's ValueError or KeyError."""
    assert issubclass(error, DeviceSessionsError)
    assert not issubclass(error, (LookupError, ValueError, TypeError))


def test_no_error_is_missing_here() -> None:
    """The tree has no branch that this module does not try."""
    found = {value for _, value in inspect.getmembers(errors, inspect.isclass)}

    assert {e for e in found if e.__module__ == errors.__name__} == {*ALL, DeviceSessionsError}


@pytest.mark.parametrize(
    "error",
    [ConfigError, DeviceSessionsError, SchemaError, SessionLimitReached, StoreUnavailable]
    + [TooManyAttempts],
)
def test_what_an_app_meets_can_be_imported_from_the_top(error: type[Exception]) -> None:
    """Errors that reach an app's code are public names."""
    assert getattr(flask_device_sessions, error.__name__) is error
    assert error.__name__ in flask_device_sessions.__all__


def test_a_reached_limit_says_who_and_which() -> None:
    """The page that offers to end a session finds everything on the error."""
    sessions = ("newest", "oldest")

    error = SessionLimitReached("ada", 2, sessions)

    assert (error.user, error.limit, error.sessions) == ("ada", 2, ["newest", "oldest"])
    assert str(error) == "The limit of 2 sessions is used up; end one of them first."


def test_an_unavailable_store_says_when_to_come_back() -> None:
    """A 503 can carry Retry-After: whole seconds, not zero."""
    error = StoreUnavailable("The database did not answer.")

    assert isinstance(error.retry_after, int)
    assert error.retry_after >= 1
    assert str(error) == "The database did not answer."


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (["table device_sessions"], "lacks table device_sessions."),
        (
            ["table device_sessions", "column device_session_events.mac"],
            "lacks table device_sessions, column device_session_events.mac.",
        ),
        ([], "lacks something the models map."),
    ],
)
def test_a_schema_that_is_behind_says_what_and_how(missing: list[str], named: str) -> None:
    """The text names what is missing and the two commands that mend it."""
    error = SchemaError(missing)

    assert error.missing == missing
    assert named in str(error)
    assert "`flask db migrate`" in str(error)
    assert "`flask db upgrade`" in str(error)


def test_a_schema_that_is_behind_is_an_unavailable_store() -> None:
    """Who handles the one handles the other: nobody is signed in by it."""
    assert isinstance(SchemaError([]), StoreUnavailable)
    assert SchemaError([]).retry_after == StoreUnavailable.retry_after
