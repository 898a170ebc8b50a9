"""Everything this package raises, as one tree whose errors carry the facts, not only words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DeviceSessionsError(Exception):
    """Base of every error of this package."""


class ConfigError(DeviceSessionsError):
    """The app cannot start like this; the text says what to change."""


class BadToken(DeviceSessionsError):
    """A text that is not a credential of ours: the wrong shape, version or signature."""


class TooManyAttempts(DeviceSessionsError):
    """A password was not looked at, because too many were tried (``LOGIN_RATE_LIMIT``).

    Attributes:
        retry_after: whole seconds to wait, at least 1.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many attempts to sign in; the next is possible in {retry_after} s.")
        self.retry_after = retry_after


class SessionLimitReached(DeviceSessionsError):
    """A login was refused under ``LIMIT_POLICY="refuse"``.

    Attributes:
        user: the person, whose password was right.
        limit: how many sessions ``MAX_PER_USER`` allows.
        sessions: the live sessions that use the limit up, most recently active first.
    """

    def __init__(self, user: Any, limit: int, sessions: Sequence[Any]) -> None:
        super().__init__(f"The limit of {limit} sessions is used up; end one of them first.")
        self.user = user
        self.limit = limit
        self.sessions = list(sessions)


class NoSuchUser(DeviceSessionsError):
    """The person was deleted while their sessions were being changed."""


class StoreUnavailable(DeviceSessionsError):
    """The database did not answer, or refused for a reason that passes: try again later.

    Attributes:
        retry_after: whole seconds after which another try makes sense.
    """

    retry_after = 5


class SchemaError(StoreUnavailable):
    """A table or column of ours is missing from the database.

    Attributes:
        missing: what is missing, such as ``"table device_sessions"`` or
            ``"column device_sessions.end_reason"``.
    """

    def __init__(self, missing: Sequence[str]) -> None:
        names = ", ".join(missing) or "something the models map"
        super().__init__(
            f"The database lacks {names}. Bring it up to date with `flask db migrate` "
            "(once, after adding or upgrading Flask-Device-Sessions) and `flask db upgrade`."
        )
        self.missing = list(missing)
