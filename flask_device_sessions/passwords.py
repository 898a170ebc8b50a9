"""Check a password at one and the same cost, whoever is asked for.

An answer that comes sooner for an account that does not exist tells strangers who has one
(ASVS 5.0 6.3.8). So a hash is always computed: the account's own, or else somebody's whose
password it is not.
"""

from __future__ import annotations

from typing import Any

from werkzeug.security import check_password_hash

from .errors import ConfigError

#: Longest password that is hashed, in bytes (ASVS 5.0 6.2.9 asks for at least 64 characters).
PASSWORD_BYTES = 4096

#: Of a random password that was thrown away: for apps in which nobody has one yet.
_DECOY_HASH = (
    "scrypt:32768:8:1$"
    "lKP4vKUQV7gRkbq6$"
    "9198b1bffecc3a5b6887fff10d111997221403603179d6a3ebdb80fb31ae1dcf"
    "fbb297ccade36025bf36ea25d05fc68051ca32f5b32dfdd4ffe2e18d46de54ca"
)


def is_checkable(password: object) -> bool:
    """Whether a value from outside is text of a length that may be hashed."""
    if not isinstance(password, str) or not password:
        return False
    try:
        return len(password.encode()) <= PASSWORD_BYTES
    except UnicodeEncodeError:  # a lone surrogate: nobody typed it
        return False


def check(user: Any | None, somebody: Any | None, password: str) -> bool:
    """Return whether ``password`` is the user's, after exactly one hash.

    Args:
        user: the account that was asked for, or ``None``.
        somebody: any other account, whose hash takes as long.
        password: as it was typed.
    """
    if user is not None and _has_password(user):
        return bool(_checker(user)(password))
    if somebody is not None and _has_password(somebody):
        _checker(somebody)(password)
    else:
        check_password_hash(_DECOY_HASH, password)
    return False


def _has_password(user: Any) -> bool:
    """Whether the account has a hash; one that signs in elsewhere only may have none."""
    return bool(getattr(user, "password_hash", True))


def _checker(user: Any) -> Any:
    try:
        return user.check_password
    except AttributeError:
        raise ConfigError(
            f"{type(user).__name__} has no check_password(password) method. Add one, or decide "
            "yourself who may sign in with @device_sessions.authenticator."
        ) from None
