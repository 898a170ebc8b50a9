"""Bytes as text that fits into a cookie and a URL: base64url without padding (RFC 4648, 5)."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


def encode(raw: bytes) -> str:
    """Return the one text of these bytes."""
    return b2a_base64(raw, newline=False).translate(_TO_URL, b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of a text, and of some others that are like it: what is strange is skipped.

    Raises:
        ValueError: not ASCII, or of a length that no bytes have.
    """
    return a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"==")
