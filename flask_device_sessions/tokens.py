"""The credentials: an id that finds the row, and a secret that proves the right to it.

Only the SHA-256 of the secret is stored, so a copy of the database signs nobody in
(ASVS 5.0 7.2.3). The id is no secret: it lets the row be found by primary key and the digest
be compared in constant time, with no index on it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import uuid
import zlib
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .encoding import decode, encode
from .errors import BadToken

#: Random bits of a secret, from the operating system (ASVS 5.0 7.2.3 asks for 128).
SECRET_BITS = 128

_SECRET_BYTES = SECRET_BITS // 8
_ID_BYTES = 16
_VERSION = "1"

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase

#: Digits in base 62 of what an access token says (256 bits) and of its checksum (32 bits).
_PAYLOAD_DIGITS, _CHECKSUM_DIGITS = 43, 6


@dataclass(frozen=True)
class Credential:
    """What a browser and a program have in common: an id, and a secret that shows in no repr.

    Attributes:
        id: primary key of the session row.
        secret: :data:`SECRET_BITS` random bits.
    """

    #: The kind of session that this credential is for.
    kind: ClassVar[str]

    id: uuid.UUID
    secret: bytes = field(repr=False)

    def text(self) -> str:
        """Return the credential in clear."""
        raise NotImplementedError

    @property
    def digest(self) -> str:
        """SHA-256 of the secret, 64 lower-case hexadecimal digits: what the row keeps."""
        return digest_of(self.secret)

    def matches(self, digest: str) -> bool:
        """Whether ``digest`` is this secret's, compared in constant time."""
        return hmac.compare_digest(self.digest, digest)


class SessionToken(Credential):
    """A browser's credential. Its secret shows in :meth:`text` and nowhere else."""

    kind: ClassVar[str] = "browser"

    @classmethod
    def issue(cls, session_id: uuid.UUID) -> SessionToken:
        """Make a new secret for the session with this id."""
        return cls(session_id, secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> SessionToken:
        """Read what :meth:`text` wrote.

        Raises:
            BadToken: the text has another version, length or alphabet.
        """
        if text[:1] != _VERSION:
            raise BadToken("This credential has a version that is not known here.")
        try:
            raw = decode(text[1:])
        except ValueError as error:
            raise BadToken("This credential is not base64url text.") from error
        if len(raw) != _ID_BYTES + _SECRET_BYTES or _as_text(raw) != text:
            raise BadToken("This credential does not have the shape of one.")
        return cls(uuid.UUID(bytes=raw[:_ID_BYTES]), raw[_ID_BYTES:])

    def text(self) -> str:
        """Return the credential in clear: 44 URL-safe characters, the first one its version."""
        return _as_text(self.id.bytes + self.secret)


@dataclass(frozen=True)
class AccessToken(Credential):
    """A program's credential, a bearer token. Its secret shows in :meth:`text` and nowhere else.

    The text is ``<prefix>_`` and 49 letters and digits: the row's id and the secret in base 62,
    then a checksum (CRC-32) of all before it. So scanners find leaked ones by :meth:`pattern`,
    and a mistyped one is refused without a query.

    Attributes:
        prefix: ``TOKEN_PREFIX``, which says whose token it is.
    """

    kind: ClassVar[str] = "token"

    prefix: str

    @classmethod
    def issue(cls, session_id: uuid.UUID, prefix: str) -> AccessToken:
        """Make a new secret for the session with this id."""
        return cls(session_id, secrets.token_bytes(_SECRET_BYTES), prefix)

    @classmethod
    def parse(cls, text: str, prefix: str) -> AccessToken:
        """Read what :meth:`text` wrote.

        Raises:
            BadToken: the text has another shape or prefix, or its checksum is wrong.
        """
        if re.fullmatch(cls.pattern(prefix), text, re.ASCII) is None:
            raise BadToken("This access token does not have the shape of one.")
        signed, checksum = text[:-_CHECKSUM_DIGITS], text[-_CHECKSUM_DIGITS:]
        number = _from_base62(signed[-_PAYLOAD_DIGITS:])
        if checksum != _checksum(signed) or number >> 8 * (_ID_BYTES + _SECRET_BYTES):
            raise BadToken("The checksum of this access token is wrong: it is mistyped or cut.")
        raw = number.to_bytes(_ID_BYTES + _SECRET_BYTES, "big")
        return cls(uuid.UUID(bytes=raw[:_ID_BYTES]), raw[_ID_BYTES:], prefix)

    def text(self) -> str:
        """Return the credential in clear."""
        number = int.from_bytes(self.id.bytes + self.secret, "big")
        signed = f"{self.prefix}_{_to_base62(number, _PAYLOAD_DIGITS)}"
        return signed + _checksum(signed)

    @staticmethod
    def pattern(prefix: str) -> str:
        """Return the regular expression of all tokens with this prefix."""
        return rf"{re.escape(prefix)}_[0-9A-Za-z]{{{_PAYLOAD_DIGITS + _CHECKSUM_DIGITS}}}"


@dataclass(frozen=True)
class IssuedToken:
    """A new bearer token, in clear this once; its repr hides it.

    Attributes:
        session: its ``DeviceSession``, of kind ``token``.
        token: the text that a program sends; it cannot be had again.
    """

    session: Any
    token: str = field(repr=False)


def _checksum(text: str) -> str:
    return _to_base62(zlib.crc32(text.encode("ascii")), _CHECKSUM_DIGITS)


def _to_base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def _from_base62(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * len(_BASE62) + _BASE62.index(digit)
    return number


def _as_text(raw: bytes) -> str:
    return _VERSION + encode(raw)


def new_browser_id() -> bytes:
    """Return a name for a browser that nobody can guess: 128 random bits."""
    return secrets.token_bytes(_SECRET_BYTES)


def digest_of(secret: bytes) -> str:
    """Return the SHA-256 of ``secret`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(secret).hexdigest()
