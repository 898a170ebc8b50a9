r"""``next`` never leads to another site, by the reading of a browser.

The oracle is Ada, the URL parser of Node.js, which follows the WHATWG's URL standard.
"""

from __future__ import annotations

import unicodedata

import ada_url
import pytest
from flask import Response
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.utils import redirect

from flask_device_sessions.redirects import safe_next

PAGE = "https://app.example/login?next=x"
ORIGIN = "https://app.example"

ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "\x1f//evil.example",
    "/\t\\evil.example",
    "https://evil.example/",
    "HTTPS:evil.example",
    "http:/evil.example",
    "http:///evil.example",
    "https:\\\\evil.example",
    "javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "mailto:a@evil.example",
    "//app.example@evil.example/",
    "//evil.example/..//app.example",
]

# Those that a browser may turn into something: slashes, white space, dots, schemes.
_alphabet = st.sampled_from(
    [*"/\\.:@?#%;&=a \t\r\n\x00\x1f\x7f\x85\u2028／＼．。é", "evil", "%2f", "%5c", "%09"]
)
targets = st.lists(_alphabet, max_size=12).map("".join) | st.text()
paths = targets.map("/".__add__)


def _origin_of(target: str) -> str:
    return str(ada_url.URL(target, base=PAGE).origin)


@pytest.mark.parametrize("target", ELSEWHERE)
def test_the_known_ways_out_are_closed(target: str) -> None:
    """Backslashes, tabs, schemes and doubled slashes lead nowhere (ASVS V3.7.2)."""
    assert safe_next(target) is None


@pytest.mark.parametrize(
    "target", [target for target in ELSEWHERE if "\x00" not in target and "HTTPS" not in target]
)
def test_the_oracle_knows_that_they_lead_out(target: str) -> None:
    """Each of those is another origin in a browser: the list is no list of straw men."""
    assert _origin_of(target) != ORIGIN


@given(targets | paths)
@example("/.//evil.example")
@example("/..//evil.example")
@example("/%2f/evil.example")
@example("/a:b@evil.example")
@example("/?//evil.example")
@example("/#\\\\evil.example")
def test_what_is_let_through_stays_on_this_origin(target: str) -> None:
    """A browser resolves every target that passes to the origin of the page (ASVS V3.7.2)."""
    safe = safe_next(target)

    assert safe is None or _origin_of(safe) == ORIGIN


@given(targets | paths)
@example("/.//evil.example")
@example("/..;//evil.example")
@example("/\xa0")
def test_the_header_that_is_sent_stays_on_this_origin(target: str) -> None:
    """Also after Werkzeug has quoted the target for its header."""
    answer = redirect(safe_next(target) or "/", Response=Response)
    location = answer.get_wsgi_headers({})["Location"]

    assert _origin_of(location) == ORIGIN
    assert location.isascii()


@given(targets | paths | st.none() | st.integers() | st.binary())
def test_a_target_is_kept_as_it_is_or_not_at_all(target: object) -> None:
    """Nothing is mended: what is mended may mean something new."""
    assert safe_next(target) in (target, None)


@given(paths)
def test_what_is_let_through_is_fit_for_a_header(target: str) -> None:
    """No white space of ASCII, no control and no lone surrogate goes into ``Location``."""
    safe = safe_next(target) or ""

    assert not {unicodedata.category(character) for character in safe} & {"Cc", "Cs"}
    assert not set(safe) & {" ", "\\"}


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/devices/",
        "/devices/?page=2&sort=name",
        "/devices/#this",
        "/search?q=https://example.com//x",
        "/a//b",
        "/a:b@c",
        "/über/uns",
        "/%2F%2Fevil.example",
        "/.",
        "/;a=b",
    ],
)
def test_a_path_of_this_site_is_kept(target: str) -> None:
    """People come back to the page they wanted, query and fragment included."""
    assert safe_next(target) == target


@pytest.mark.parametrize(
    "target",
    ["", "devices/", "?a=b", "#this", ".", "..", None, 5, b"/devices/", ["/"], "/a b", "/a\\b"],
)
def test_what_is_no_path_is_nothing(target: object) -> None:
    """Relative targets, other types, white space and backslashes are dropped."""
    assert safe_next(target) is None


def test_a_target_has_a_length() -> None:
    """2048 characters are kept, one more are not."""
    assert safe_next("/" + "a" * 2047) is not None
    assert safe_next("/" + "a" * 2048) is None
