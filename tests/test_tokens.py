"""The credential: what it looks like, what of it is stored, and what is refused."""

from __future__ import annotations

import hashlib
import re
import string
import uuid
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_device_sessions import tokens as tokens_module
from flask_device_sessions.errors import BadToken
from flask_device_sessions.tokens import (
    SECRET_BITS,
    AccessToken,
    SessionToken,
    digest_of,
    new_browser_id,
)

ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
TOKEN = SessionToken(ID, bytes(range(16)))

tokens = st.builds(SessionToken, st.uuids(), st.binary(min_size=16, max_size=16))


@given(tokens)
def test_what_is_written_is_read_again(token: SessionToken) -> None:
    """Every credential survives the way into a cookie and back."""
    assert SessionToken.parse(token.text()) == token


def test_the_text_is_short_and_fit_for_a_cookie() -> None:
    """It is 44 characters, starts with its version and needs no quoting anywhere."""
    text = TOKEN.text()

    assert text == "1AYkKXayWd0u8zrMCCZqAVwABAgMEBQYHCAkKCwwNDg8"
    assert len(text) == 44
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")


@given(tokens, st.integers(0, 43), st.characters())
def test_one_changed_character_is_never_the_same_credential(
    token: SessionToken, place: int, character: str
) -> None:
    """Each credential has one spelling: a changed text is refused or is another credential."""
    text = token.text()
    changed = text[:place] + character + text[place + 1 :]
    try:
        read: SessionToken | None = SessionToken.parse(changed)
    except BadToken:
        read = None

    assert (read == token) == (changed == text)


@given(tokens, st.integers(0, 44), st.characters())
def test_one_added_character_is_refused(token: SessionToken, place: int, character: str) -> None:
    """Nothing can be slipped into a credential, not even what base64 readers skip."""
    text = token.text()

    with pytest.raises(BadToken):
        SessionToken.parse(text[:place] + character + text[place:])


@given(tokens, st.integers(0, 43))
def test_one_missing_character_is_refused(token: SessionToken, place: int) -> None:
    """A credential cut anywhere is none."""
    text = token.text()

    with pytest.raises(BadToken):
        SessionToken.parse(text[:place] + text[place + 1 :])


@given(st.text() | st.text().map("1".__add__))
def test_any_other_text_is_refused_with_our_error(text: str) -> None:
    """Whatever arrives as a credential, the answer is BadToken and no other exception."""
    with pytest.raises(BadToken):
        SessionToken.parse(text)


@pytest.mark.parametrize("version", ["", "0", "2", "A", "\x00", "１"])
def test_an_unknown_version_is_named_as_the_reason(version: str) -> None:
    """A credential of a later release is told apart from a broken one."""
    with pytest.raises(BadToken, match="version"):
        SessionToken.parse(version + TOKEN.text()[1:])


@pytest.mark.parametrize("body", ["é" * 43, "A", "A" * 41, "\ud800" * 43, "☃"])
def test_text_that_is_not_base64url_is_named_as_the_reason(body: str) -> None:
    """Outside the alphabet, or of an impossible length: the text says which alphabet it is."""
    with pytest.raises(BadToken, match="not base64url"):
        SessionToken.parse("1" + body)


@pytest.mark.parametrize(
    "body",
    [
        "",
        urlsafe_b64encode(bytes(31)).decode().rstrip("="),
        urlsafe_b64encode(bytes(33)).decode().rstrip("="),
        urlsafe_b64encode(bytes(32)).decode(),
        "A" * 42 + "B",
        TOKEN.text()[1:] + "\n",
        "/" * 42 + "8",
        "+" * 42 + "8",
    ],
    ids=["empty", "short", "long", "padded", "loose-bits", "newline", "slash", "plus"],
)
def test_base64_of_another_shape_is_refused(body: str) -> None:
    """Lengths, padding, loose bits and the other base64 alphabet are all refused."""
    with pytest.raises(BadToken, match="shape|base64url"):
        SessionToken.parse("1" + body)


def test_a_new_secret_has_128_bits_that_never_repeat() -> None:
    """Each issue draws at least 128 bits anew, the id stays (ASVS V7.2.2, V7.2.3)."""
    issued = [SessionToken.issue(ID) for _ in range(1000)]

    assert SECRET_BITS >= 128
    assert {len(token.secret) * 8 for token in issued} == {SECRET_BITS}
    assert len({token.secret for token in issued}) == 1000
    assert {token.id for token in issued} == {ID}


def test_every_bit_of_a_secret_is_drawn() -> None:
    """Over many issues each bit is sometimes set and sometimes not (ASVS V7.2.3)."""
    ever, always = 0, (1 << SECRET_BITS) - 1
    for _ in range(200):
        number = int.from_bytes(SessionToken.issue(ID).secret, "big")
        ever, always = ever | number, always & number

    assert ever == (1 << SECRET_BITS) - 1
    assert always == 0


def test_the_row_keeps_the_sha256_of_the_secret_alone() -> None:
    """A dump of the database holds the digest, from which no credential follows (ASVS V7.2.3)."""
    assert TOKEN.digest == hashlib.sha256(TOKEN.secret).hexdigest()
    assert TOKEN.digest == TOKEN.digest.lower()
    assert TOKEN.secret.hex() not in TOKEN.digest
    assert TOKEN.text()[22:] not in TOKEN.digest


@given(tokens, tokens)
def test_a_digest_fits_its_own_secret_only(one: SessionToken, other: SessionToken) -> None:
    """Matching asks for the secret; the id has no part in it."""
    assert one.matches(one.digest)
    assert one.matches(other.digest) == (one.secret == other.secret)


@pytest.mark.parametrize(
    "digest",
    ["", TOKEN.digest.upper(), TOKEN.digest[:-1], TOKEN.digest + "0", TOKEN.secret.hex()],
    ids=["empty", "upper-case", "cut", "longer", "the-secret-itself"],
)
def test_nothing_but_the_very_digest_matches(digest: str) -> None:
    """The digest in another case or length is not good, nor is the secret in its place."""
    assert not TOKEN.matches(digest)


@given(tokens)
def test_the_secret_shows_in_no_repr(token: SessionToken) -> None:
    """A credential in a log line or a traceback shows its id only (ASVS V14.2.1)."""
    shown = f"{token!r} {token} {[token]}"

    assert str(token.id) in shown
    assert repr(token.secret) not in shown
    assert token.text() not in shown
    assert "secret" not in shown


def test_a_credential_cannot_be_changed() -> None:
    """It is a value: nothing swaps the secret of one that was handed out."""
    with pytest.raises(AttributeError):
        TOKEN.secret = b""  # type: ignore[misc]


def test_a_browser_is_named_by_128_random_bits() -> None:
    """Nobody guesses the name by which a browser is recognised."""
    names = {new_browser_id() for _ in range(1000)}

    assert len(names) == 1000
    assert {len(name) for name in names} == {16}


def test_digest_of_is_sha256_in_lower_case_hex() -> None:
    """The known answer for ``abc``, so that stored digests outlive any release."""
    digest = digest_of(b"abc")

    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# -- Access tokens -------------------------------------------------------------------------------

ACCESS = AccessToken(ID, bytes(range(16)), "fds")

access_tokens = st.builds(
    AccessToken, st.uuids(), st.binary(min_size=16, max_size=16), st.sampled_from(["fds", "a_b"])
)


@given(access_tokens)
def test_an_access_token_is_read_again(token: AccessToken) -> None:
    """Every access token survives the way into a header and back, and has the documented form."""
    text = token.text()

    assert AccessToken.parse(text, token.prefix) == token
    assert re.fullmatch(rf"{token.prefix}_[0-9A-Za-z]{{49}}", text)


def test_the_form_of_an_access_token_never_changes() -> None:
    """Tokens that are out there go on being read."""
    assert ACCESS.text() == "fds_0MZU9cIkWJn2C0ltrH4IhTSW2SAyn6sXg1XJZ0IwZKR0z1WTh"


@given(access_tokens, st.integers(0, 60), st.sampled_from(string.ascii_letters + string.digits))
def test_a_mistyped_access_token_is_refused(token: AccessToken, place: int, typed: str) -> None:
    """One wrong character anywhere fails the checksum."""
    text = token.text()
    place %= len(text)
    changed = text[:place] + typed + text[place + 1 :]
    if changed == text:
        return

    with pytest.raises(BadToken):
        AccessToken.parse(changed, token.prefix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fds_",
        ACCESS.text()[:-1],
        ACCESS.text() + "0",
        ACCESS.text() + "\n",
        ACCESS.text().replace("fds", "gho"),
        "fds_" + "\u0661" * 49,
        f"fds_{'z' * 43}{tokens_module._checksum('fds_' + 'z' * 43)}",
    ],
)
def test_what_is_no_access_token_is_refused(text: str) -> None:
    """Another prefix, length, alphabet, or a number too large: refused, never an error."""
    with pytest.raises(BadToken):
        AccessToken.parse(text, "fds")


def test_an_access_token_shows_its_secret_nowhere_else() -> None:
    """Neither ``repr`` nor ``str`` holds the secret (ASVS V16.2.5)."""
    assert str(ACCESS.secret) not in repr(ACCESS)
    assert ACCESS.text() not in repr(ACCESS) + str(ACCESS)


def test_each_access_token_has_its_own_secret() -> None:
    """128 random bits, new ones each time (ASVS V7.2.3)."""
    secrets = {AccessToken.issue(ID, "fds").secret for _ in range(100)}

    assert len(secrets) == 100
    assert {len(secret) for secret in secrets} == {16}
