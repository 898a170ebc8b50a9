"""Text from outside is made safe, and otherwise left alone."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_device_sessions.text import clean

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

anything = st.text(st.characters(), max_size=60)
limits = st.integers(0, 40)


@given(anything, limits)
def test_no_control_ever_gets_through(text: str, limit: int) -> None:
    """No control, surrogate, non-character, line end or bidirectional mark is left."""
    left = clean(text, limit)

    assert not {unicodedata.category(c) for c in left} & {"Cc", "Cs", "Cn", "Zl", "Zp"}
    assert not set(left) & set(BIDI)


@given(anything, limits)
def test_the_answer_fits_its_column_and_any_database(text: str, limit: int) -> None:
    """It is at most ``limit`` characters of valid UTF-8 without NUL."""
    left = clean(text, limit)

    assert len(left) <= limit
    assert left.encode("utf-8").decode("utf-8") == left
    assert "\x00" not in left


@given(anything, limits)
@example("ab cd", 3)
def test_white_space_is_at_neither_end(text: str, limit: int) -> None:
    """Also where the cut falls after a space."""
    left = clean(text, limit)

    assert left == left.strip()


@given(anything, limits)
@example("ab cd", 3)
@example("a\x00 b", 2)
def test_clean_text_stays_as_it_is(text: str, limit: int) -> None:
    """Cleaning twice is cleaning once."""
    once = clean(text, limit)

    assert clean(once, limit) == once


@given(anything, limits)
def test_only_taking_away_nothing_is_put_in_or_moved(text: str, limit: int) -> None:
    """What is left is what stood there, in its order."""
    rest = iter(text)

    assert all(character in rest for character in clean(text, limit))


@pytest.mark.parametrize(
    "text",
    [
        "Ada’s laptop",
        "Küche",
        "廚房的電腦",
        "مطبخ",
        "👩‍💻",
        "a  b",
        "<b>&amp;</b>",
        "e\u0301",
        "नमस्ते",
    ],
)
def test_what_people_write_is_kept(text: str) -> None:
    """Letters, marks, joiners and emoji of any script stay; escaping is the page's affair."""
    assert clean(text, 40) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\x00b", "ab"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
        ("a\tb", "ab"),
        ("a\x1b[31mb", "a[31mb"),
        ("a\x7f\x85\x9fb", "ab"),
        ("a\u2028\u2029b", "ab"),
        ("a\ud800\udfffb", "ab"),
        ("a\ufffe\uffff\U0001fffeb", "ab"),
        (f"invoice{BIDI}gpj.exe", "invoicegpj.exe"),
        ("  a  ", "a"),
        ("\u3000\xa0a\u2003", "a"),
        ("\x00 a \x00", "a"),
        ("", ""),
        (" \x00\t", ""),
    ],
)
def test_what_harms_is_taken_out(text: str, left: str) -> None:
    """NUL, line ends, escapes, surrogates and marks that reorder text (CVE-2021-42574)."""
    assert clean(text, 40) == left


@pytest.mark.parametrize("value", [None, 0, 1.5, b"text", ["text"], {"a": 1}, object(), True])
def test_what_is_no_text_is_the_empty_text(value: object) -> None:
    """JSON of the wrong type does no harm."""
    assert clean(value, 40) == ""


@pytest.mark.parametrize(("limit", "left"), [(0, ""), (1, "a"), (3, "abc"), (6, "abcdef")])
def test_the_cut_is_exact(limit: int, left: str) -> None:
    """A text longer than its column is cut to it."""
    assert clean("abcdef", limit) == left


def test_what_was_taken_out_does_not_count() -> None:
    """The limit is on what is left, up to three harmful characters for each good one."""
    assert clean("\x00\x00\x00a" * 5, 5) == "aaaaa"


def test_a_megabyte_is_not_walked_through() -> None:
    """Past four times the limit nothing is looked at, however much is sent."""
    assert clean("\x00" * 40 + "a" * 10**6, 10) == ""
