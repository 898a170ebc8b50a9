"""Check a password at one and the same cost, whoever is asked for.

An answer that comes sooner for an account that does not exist tells strangers who has one
(ASVS 5.0 6.3.8). So a hash is always computed: the account's own, or else somebody's whose
password it is not.
"""

from __future__ import annotations

import secrets
from functools import cache
from typing import Any

from werkzeug.security import check_password_hash, generate_password_hash

from .errors import ConfigError

#: Longest password that is hashed, in bytes (ASVS 5.0 6.2.9 asks for at least 64 characters).
PASSWORD_BYTES = 4096


def is_checkable(password: object) -> bool:
    """Whether a value from outside is text of a length that may be hashed."""
    if not isinstance(password, str) or not password:
        return False
    return len(password.encode("utf-8", "surrogatepass")) <= PASSWORD_BYTES


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
        check_password_hash(_decoy_hash(), password)
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


@cache
def _decoy_hash() -> str:
    """Return the hash of a password that nobody knows."""
    return generate_password_hash(secrets.token_urlsafe(16))
