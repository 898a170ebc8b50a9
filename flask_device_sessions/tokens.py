"""The credential: an id that finds the row, and a secret that proves the right to it.

Only the SHA-256 of the secret is stored, so a copy of the database signs nobody in
(ASVS 5.0 7.2.3). The id is no secret: it lets the row be found by primary key and the digest
be compared in constant time, with no index on it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field

from .errors import BadToken

#: Random bits of a secret, from the operating system (ASVS 5.0 7.2.3 asks for 128).
SECRET_BITS = 128

_SECRET_BYTES = SECRET_BITS // 8
_ID_BYTES = 16
_VERSION = "1"


@dataclass(frozen=True)
class SessionToken:
    """One session's credential. Its secret shows in :meth:`text` and nowhere else.

    Attributes:
        id: primary key of the session row.
        secret: :data:`SECRET_BITS` random bits.
    """

    id: uuid.UUID
    secret: bytes = field(repr=False)

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
            raw = urlsafe_b64decode(text[1:] + "=")
        except (Base64Error, ValueError) as error:
            raise BadToken("This credential is not base64url text.") from error
        token = cls(uuid.UUID(bytes=raw[:_ID_BYTES]), raw[_ID_BYTES:]) if _fits(raw) else None
        if token is None or token.text() != text:
            raise BadToken("This credential does not have the shape of one.")
        return token

    def text(self) -> str:
        """Return the credential in clear: 44 URL-safe characters, the first one its version."""
        raw = self.id.bytes + self.secret
        return _VERSION + urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

    @property
    def digest(self) -> str:
        """SHA-256 of the secret, 64 lower-case hexadecimal digits: what the row keeps."""
        return digest_of(self.secret)

    def matches(self, digest: str) -> bool:
        """Whether ``digest`` is this secret's, compared in constant time."""
        return hmac.compare_digest(self.digest, digest)


def _fits(raw: bytes) -> bool:
    return len(raw) == _ID_BYTES + _SECRET_BYTES


def new_browser_id() -> bytes:
    """Return a name for a browser that nobody can guess: 128 random bits."""
    return secrets.token_bytes(_SECRET_BYTES)


def digest_of(secret: bytes) -> str:
    """Return the SHA-256 of ``secret`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(secret).hexdigest()
