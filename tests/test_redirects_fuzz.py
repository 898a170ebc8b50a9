r"""A hundred thousand values for ``next``, by the reading of a browser and by the login page.

:mod:`tests.test_redirects` has the known ways out and lets Hypothesis look for small ones; here
it is breadth: pieces that parsers disagree about, put together at random, the same each run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from urllib.parse import quote_from_bytes, quote_plus

import ada_url
import pytest
from werkzeug.test import TestResponse

from flask_device_sessions.redirects import safe_next
from flask_device_sessions.testing import Browser
from tests.support import PASSWORD, add_user, db, make_app, sign_in

VALUES = 100_000

FORM = "application/x-www-form-urlencoded"

BASES = (
    "https://app.example/login?next=x",
    "http://app.example/",
    "https://app.example:8443/a/b/../login;x?y#z",
    "http://[::1]:5000/deep/er/page",
)

#: What browsers drop, read as something else, or split a URL at.
_PIECES = (
    *("/", "//", "\\", "/\\", "\\/", "/./", "/../", "/.//", "/;/", "/%2e%2e/", "?", "#", "@", ":"),
    *("\t", "\n", "\r", "\r\n", "\x00", "\x0b", "\x1f", " ", "\x7f", "\x85", "\xa0", "\xad"),
    *("\u200b", "\u200e", "\u2028", "\u202e", "\ufeff", "／", "＼", "．", "。", "\ud800", "😀"),
    *("%2f", "%5c", "%09", "%0a", "%00", "%2F%2F", "%", "%zz", "%u002f", "&", "=", ";", "|", "~"),
    *("http:", "https:", "HTTP:", "javascript:", "data:", "file:", "blob:", "ws:", "//app.example"),
    *("evil.example", "app.example", "app.example@evil.example", "user:pw@", "[::1]", "0x7f.1"),
    *("localhost", "127.1", "xn--evil", "évil.example", "evil.example:80", "a", "b/c", "..", "."),
)  # fmt: skip

_BEGINNINGS = ("/", "/", "/", "//", "/\\", "", "\\", "/\t/", " /", "https:", "/a")


def _values(count: int) -> Iterator[str]:
    """Yield structured values, and of every ten one that is random text."""
    chance = random.Random(20261124)
    for number in range(count):
        if number % 10 == 0:
            length = chance.randrange(20)
            text = "".join(chr(chance.choice(_RANGES)(chance)) for _ in range(length))
            yield chance.choice(("", "/")) + text
        else:
            pieces = chance.choices(_PIECES, k=chance.randrange(7))
            yield chance.choice(_BEGINNINGS) + "".join(pieces)


_RANGES = (
    lambda chance: chance.randrange(0x80),
    lambda chance: chance.randrange(0x3000),
    lambda chance: chance.randrange(0x110000),
)


def _origin(url: str, base: str | None = None) -> str:
    return str(ada_url.URL(url, base=base).origin)


def test_no_value_of_a_hundred_thousand_leaves_the_origin() -> None:
    """A browser takes each that is let through to the page's own origin (ASVS V3.7.2)."""
    let_through = [safe for value in _values(VALUES) if (safe := safe_next(value)) is not None]

    for base in BASES:
        origin = _origin(base)
        assert [value for value in let_through if _origin(value, base) != origin] == []
    assert VALUES / 20 < len(let_through) < VALUES / 2


def test_the_oracle_lets_the_same_values_out() -> None:
    """Thousands of them do lead elsewhere: they are no straw men."""
    outside = 0
    for value in _values(20_000):
        try:
            outside += _origin(value, BASES[0]) != _origin(BASES[0])
        except (ValueError, UnicodeEncodeError):  # no URL at all, to a browser
            continue

    assert outside > 1000


@pytest.fixture
def laptop() -> Browser:
    """A browser that is signed in, on a database in memory: the engine is not the matter here."""
    app = make_app("sqlite://", DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None)
    with app.app_context():
        db.create_all()
        add_user()
    browser = Browser(app)
    sign_in(browser)
    return browser


def _stays(answer: TestResponse, base: str) -> bool:
    return _origin(answer.headers.get("Location", "/"), base) == _origin(base)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["/login", "/confirm"])
def test_the_pages_never_lead_out_nor_fail(laptop: Browser, page: str) -> None:
    """Sent to the pages, none makes one fail, and every ``Location`` stays here (ASVS V3.7.2)."""
    for value in _values(3000 if page == "/login" else 1000):
        sent = quote_from_bytes(value.encode("utf-8", "surrogatepass"))
        answer = laptop.get(f"{page}?next={sent}")

        assert answer.status_code in (200, 302, 303), value
        assert all(_stays(answer, base) for base in BASES), value


@pytest.mark.slow
@pytest.mark.parametrize("page", ["/login", "/confirm"])
def test_the_hidden_field_never_leads_out_nor_fails(laptop: Browser, page: str) -> None:
    """What a form carries is no more trusted than what an address does (ASVS V3.7.2)."""
    known = f"identifier=ada%40example.com&password={quote_plus(PASSWORD)}"
    for value in _values(500):
        sent = quote_from_bytes(value.encode("utf-8", "surrogatepass"))
        answer = laptop.post(page, data=f"{known}&next={sent}", content_type=FORM)

        assert answer.status_code == 303, value
        assert all(_stays(answer, base) for base in BASES), value
