"""Signatures, one purpose each: what was signed for one is never accepted for another.

The signatures carry no time unless a purpose asks for one. A timed signature on the session
cookie would sign people out when two workers' clocks differ by a second; how long a session
lives is the row's affair.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timezone
from enum import Enum
from functools import cache
from typing import Any

from itsdangerous import BadData, Signer, URLSafeTimedSerializer

from .encoding import encode
from .errors import BadToken

#: Longest text worth a look: a ticket with the longest ``next`` fits, and a megabyte need not be
#: hashed.
_LONGEST = 4096


#: How far the clock of the worker that signed may be ahead of this one's, in seconds.
_CLOCK_SKEW = 300


class Purpose(str, Enum):
    """What a signature is for; the value becomes its salt."""

    __hash__ = str.__hash__  # an enumeration's own is slow, and each request asks for one

    SESSION = "session-cookie"
    BROWSER = "browser-cookie"
    LIMIT = "limit-ticket"
    ACTION = "pending-action"
    AUDIT = "audit-chain"
    ADDRESS = "address-hash"
    THROTTLE = "login-throttle"
    NOT_ME = "not-me-link"


class Signatures:
    """Signs and checks under the app's secret keys.

    Args:
        secret_key: Flask's ``SECRET_KEY``; signs, and checks first.
        fallbacks: Flask's ``SECRET_KEY_FALLBACKS``, newest first; only check.
    """

    def __init__(self, secret_key: str | bytes, fallbacks: Sequence[str | bytes] = ()) -> None:
        # itsdangerous signs with the last key of its list and checks with any.
        self._keys: list[Any] = [*reversed(fallbacks), secret_key]
        # A third of the cost of every check would be in deriving them.
        self._derived = cache(self.derive)

    def sign(self, purpose: Purpose, text: str) -> str:
        """Return ``text`` with its signature."""
        value = text.encode("ascii")
        return f"{text}.{_signature(self._derived(purpose)[0], value)}"

    def unsign(self, purpose: Purpose, signed: str) -> str:
        """Return the text that was signed for this purpose.

        Raises:
            BadToken: too long, not ASCII, or not signed by us for this purpose.
        """
        if len(signed) > _LONGEST or not signed.isascii():
            raise BadToken("This is not a signed value of ours.")
        text, _, signature = signed.rpartition(".")
        value = text.encode("ascii")
        for key in self._derived(purpose):
            if hmac.compare_digest(_signature(key, value), signature):
                return text
        raise BadToken("The signature does not fit.")

    def dump(self, purpose: Purpose, facts: dict[str, Any]) -> str:
        """Return ``facts`` (JSON values) as signed URL-safe text that carries its time."""
        return str(self._serializer(purpose).dumps(facts))

    def load(self, purpose: Purpose, text: str, *, max_age: int) -> dict[str, Any]:
        """Return the facts that :meth:`dump` signed at most ``max_age`` seconds ago.

        Raises:
            BadToken: older, forged, or signed for another purpose.
        """
        if len(text) > _LONGEST or not text.isascii():
            raise BadToken("This is not a signed value of ours.")
        try:
            facts, made_at = self._serializer(purpose).loads(text, return_timestamp=True)
        except BadData as error:
            raise BadToken("The signed value is forged or too old.") from error
        age = (datetime.now(timezone.utc) - made_at).total_seconds()
        if not -_CLOCK_SKEW <= age <= max_age:
            raise BadToken("The signed value is forged or too old.")
        return dict(facts)

    def derive(self, purpose: Purpose) -> list[bytes]:
        """Return the keys for one purpose, from the newest secret key to the oldest."""
        salt = _salt(purpose)
        return [
            Signer(key, salt=salt, **_signer_options()).derive_key() for key in reversed(self._keys)
        ]

    def _serializer(self, purpose: Purpose) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            self._keys, salt=_salt(purpose), signer_kwargs=_signer_options()
        )


def _signature(key: bytes, value: bytes) -> str:
    """Return the HMAC (RFC 2104) with SHA-256 as base64url text: what itsdangerous' Signer adds."""
    return encode(hmac.digest(key, value, "sha256"))


def _salt(purpose: Purpose) -> str:
    return f"flask-device-sessions.{purpose.value}"


def _signer_options() -> dict[str, Any]:
    return {"key_derivation": "hmac", "digest_method": hashlib.sha256}
