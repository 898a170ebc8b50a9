"""Text from outside, made safe to store, to log and to show."""

from __future__ import annotations

import unicodedata

#: Marks that reorder or hide the text around them (Unicode UAX #9; CVE-2021-42574).
_BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)

#: Cc control, Cs lone surrogate, Cn unassigned and non-character, Zl and Zp line ends.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cs", "Cn", "Zl", "Zp"})


def clean(value: object, limit: int) -> str:
    """Return ``value`` without what a database, a log line or a page could trip over.

    Args:
        value: anything; what is not a ``str`` becomes the empty string.
        limit: the longest answer, in characters; a column's length.

    Returns:
        At most ``limit`` characters: no NUL, control, surrogate, non-character, line end or
        bidirectional control, and no white space at either end.
    """
    if not isinstance(value, str):
        return ""
    # Cut twice: first so that a megabyte is not walked through, then to the limit.
    kept = "".join(character for character in value[: limit * 4] if _is_safe(character))
    return kept.strip()[:limit].rstrip()


def _is_safe(character: str) -> bool:
    return (
        unicodedata.category(character) not in _UNSAFE_CATEGORIES
        and character not in _BIDI_CONTROLS
    )
