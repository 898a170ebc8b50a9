"""Signatures: one purpose each, any of the keys, no clock unless asked for."""

from __future__ import annotations

import hashlib
import itertools
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from flask_device_sessions.errors import BadToken
from flask_device_sessions.signing import Purpose, Signatures

KEY = "the secret key of today"
KEYS_IN_TURN = ["today", "yesterday", "last year"]
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

signatures = Signatures(KEY)
ascii_text = st.text(st.characters(codec="ascii"))
purposes = st.sampled_from(Purpose)
PAIRS = list(itertools.permutations(Purpose, 2))


@given(purposes, ascii_text)
def test_what_is_signed_is_read_again(purpose: Purpose, text: str) -> None:
    """Every text comes back as it was, dots and all."""
    assert signatures.unsign(purpose, signatures.sign(purpose, text)) == text


@pytest.mark.parametrize(("made_for", "used_for"), PAIRS)
def test_no_signature_serves_another_purpose(made_for: Purpose, used_for: Purpose) -> None:
    """A value signed for one purpose is refused in each other one's place (ASVS V9.1.1)."""
    signed = signatures.sign(made_for, "text")

    with pytest.raises(BadToken, match="signature does not fit"):
        signatures.unsign(used_for, signed)


@pytest.mark.parametrize(("made_for", "used_for"), PAIRS)
def test_no_dated_facts_serve_another_purpose(made_for: Purpose, used_for: Purpose) -> None:
    """Facts signed for one purpose are refused in each other one's place (ASVS V9.1.1)."""
    dumped = signatures.dump(made_for, {"user": 1})

    with pytest.raises(BadToken):
        signatures.load(used_for, dumped, max_age=60)
    with pytest.raises(BadToken):
        signatures.unsign(used_for, dumped)


@given(purposes, ascii_text, st.data())
def test_a_changed_character_breaks_the_signature(
    purpose: Purpose, text: str, data: st.DataObject
) -> None:
    """No change of one character gives another text that is accepted."""
    signed = signatures.sign(purpose, text)
    place = data.draw(st.integers(0, len(signed) - 1))
    changed = signed[:place] + data.draw(st.characters()) + signed[place + 1 :]
    try:
        read: str | None = signatures.unsign(purpose, changed)
    except BadToken:
        read = None

    # The last character of base64 has loose bits: another spelling of the same signature.
    assert read is None or read == text


@given(st.text() | st.text().map(lambda text: text + ".x"))
def test_any_text_of_a_stranger_is_refused_with_our_error(text: str) -> None:
    """Whatever arrives, the answer is BadToken and no other exception."""
    with pytest.raises(BadToken):
        signatures.unsign(Purpose.SESSION, text)
    with pytest.raises(BadToken):
        signatures.load(Purpose.LIMIT, text, max_age=60)


def test_facts_that_are_no_ascii_text_are_refused_with_our_error() -> None:
    """A lone surrogate, as JSON may carry it, is refused like any forged text."""
    with pytest.raises(BadToken):
        signatures.load(Purpose.LIMIT, "\ud800", max_age=60)


@pytest.mark.parametrize("text", ["\ud800.x", "é.x", "１.x"])
def test_a_signed_value_that_is_not_ascii_is_not_ours(text: str) -> None:
    """It is refused before anything is hashed."""
    with pytest.raises(BadToken, match="not a signed value of ours"):
        signatures.unsign(Purpose.SESSION, text)


def test_a_value_too_long_is_not_looked_at() -> None:
    """Even a good signature is refused on a text that no purpose of ours would write."""
    longest = signatures.sign(Purpose.SESSION, "a" * (4096 - 44))
    too_long = signatures.sign(Purpose.SESSION, "a" * (4096 - 43))

    assert len(longest) == 4096
    assert signatures.unsign(Purpose.SESSION, longest) == "a" * (4096 - 44)
    with pytest.raises(BadToken, match="not a signed value of ours"):
        signatures.unsign(Purpose.SESSION, too_long)


def test_facts_too_long_are_not_looked_at() -> None:
    """The same holds for facts."""
    noise = "".join(hashlib.sha512(bytes([n])).hexdigest() for n in range(60))
    dumps = [signatures.dump(Purpose.LIMIT, {"noise": noise[:n]}) for n in range(5000, 6000)]
    longest = next(text for text in dumps if len(text) == 4096)
    too_long = next(text for text in dumps if len(text) > 4096)

    assert signatures.load(Purpose.LIMIT, longest, max_age=60)
    with pytest.raises(BadToken, match="not a signed value of ours"):
        signatures.load(Purpose.LIMIT, too_long, max_age=60)


@pytest.mark.parametrize("years", [-10, 10])
def test_a_signature_carries_no_time(years: int) -> None:
    """Clocks that differ sign nobody out: the cookie is good whatever the time."""
    signed = signatures.sign(Purpose.SESSION, "text")

    with time_machine.travel(NOON + timedelta(days=365 * years), tick=False):
        assert signatures.unsign(Purpose.SESSION, signed) == "text"


def test_a_text_is_always_signed_the_same_way() -> None:
    """Workers agree on the cookie of a session, byte for byte."""
    workers = [Signatures(KEY), Signatures(KEY, ["old"]), Signatures(KEY.encode())]

    assert len({worker.sign(Purpose.SESSION, "text") for worker in workers}) == 1


SALTS = {
    Purpose.SESSION: "flask-device-sessions.session-cookie",
    Purpose.BROWSER: "flask-device-sessions.browser-cookie",
    Purpose.LIMIT: "flask-device-sessions.limit-ticket",
    Purpose.ACTION: "flask-device-sessions.pending-action",
    Purpose.AUDIT: "flask-device-sessions.audit-chain",
    Purpose.ADDRESS: "flask-device-sessions.address-hash",
    Purpose.THROTTLE: "flask-device-sessions.login-throttle",
    Purpose.NOT_ME: "flask-device-sessions.not-me-link",
}


@pytest.mark.parametrize("purpose", Purpose)
def test_a_signature_is_what_itsdangerous_writes(purpose: Purpose) -> None:
    """HMAC-SHA-256 under a salt that no release changes: cookies, links and chains stay good."""
    options: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    plain = Signer(KEY, salt=SALTS[purpose], **options)

    assert signatures.sign(purpose, "text") == plain.sign("text").decode()
    assert signatures.derive(purpose) == [plain.derive_key()]


def test_the_signature_is_256_bits_long() -> None:
    """43 characters of base64 follow the text and a dot (ASVS V9.1.2)."""
    assert len(signatures.sign(Purpose.SESSION, "text")) == len("text.") + 43


# -- Keys in turn ------------------------------------------------------------------------------


@pytest.mark.parametrize("fallbacks", [["yesterday"], ["yesterday", "last year"]])
@pytest.mark.parametrize("purpose", Purpose)
def test_each_fallback_still_checks(fallbacks: list[str], purpose: Purpose) -> None:
    """After SECRET_KEY is rotated, what the old keys signed stays good."""
    now = Signatures("today", fallbacks)

    for old in fallbacks:
        assert now.unsign(purpose, Signatures(old).sign(purpose, "text")) == "text"
        dumped = Signatures(old).dump(purpose, {"user": 1})
        assert now.load(purpose, dumped, max_age=60) == {"user": 1}


def test_only_the_secret_key_signs() -> None:
    """What is signed after a rotation needs the new key, or old ones could never be dropped."""
    now, only_new, only_old = Signatures("today", ["old"]), Signatures("today"), Signatures("old")

    signed = now.sign(Purpose.SESSION, "text")
    dumped = now.dump(Purpose.LIMIT, {"user": 1})

    assert only_new.unsign(Purpose.SESSION, signed) == "text"
    assert only_new.load(Purpose.LIMIT, dumped, max_age=60) == {"user": 1}
    with pytest.raises(BadToken):
        only_old.unsign(Purpose.SESSION, signed)
    with pytest.raises(BadToken):
        only_old.load(Purpose.LIMIT, dumped, max_age=60)


def test_without_the_fallback_the_old_key_is_dead() -> None:
    """Rotating without a fallback makes everyone anonymous."""
    signed = Signatures("yesterday").sign(Purpose.SESSION, "text")

    with pytest.raises(BadToken):
        Signatures("today").unsign(Purpose.SESSION, signed)


# -- Facts with a time -------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), json_values, max_size=3))
def test_facts_are_read_again(facts: dict[str, Any]) -> None:
    """Any JSON object comes back as it was, while it is short enough."""
    dumped = signatures.dump(Purpose.LIMIT, facts)

    if len(dumped) <= 4096:
        assert signatures.load(Purpose.LIMIT, dumped, max_age=60) == facts


def test_facts_are_fit_for_an_address() -> None:
    """The text needs no quoting in a link or a form."""
    dumped = signatures.dump(Purpose.LIMIT, {"next": "/a?b=c&d", "name": "Ada ☃"})

    assert dumped.isascii()
    assert dumped.replace(".", "").replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(("seconds", "is_good"), [(0, True), (600, True), (601, False)])
def test_facts_last_max_age_to_the_second(seconds: int, is_good: bool) -> None:
    """At the limit they are good, a second later they are not (ASVS V7.3.2)."""
    with time_machine.travel(NOON, tick=False) as clock:
        dumped = signatures.dump(Purpose.LIMIT, {"user": 1})
        clock.shift(seconds)

        if is_good:
            assert signatures.load(Purpose.LIMIT, dumped, max_age=600) == {"user": 1}
        else:
            with pytest.raises(BadToken, match="forged or too old"):
                signatures.load(Purpose.LIMIT, dumped, max_age=600)


@pytest.mark.parametrize(("ahead", "is_good"), [(300, True), (301, False)])
def test_a_clock_may_be_five_minutes_ahead(ahead: int, is_good: bool) -> None:
    """Facts of another worker's near future are good, those of a far one are not."""
    with time_machine.travel(NOON, tick=False) as clock:
        clock.shift(ahead)
        dumped = signatures.dump(Purpose.LIMIT, {"user": 1})
        clock.shift(-ahead)

        if is_good:
            assert signatures.load(Purpose.LIMIT, dumped, max_age=600) == {"user": 1}
        else:
            with pytest.raises(BadToken, match="forged or too old"):
                signatures.load(Purpose.LIMIT, dumped, max_age=600)


def test_forged_facts_are_refused() -> None:
    """Facts under another key are no facts."""
    dumped = Signatures("a stranger's key").dump(Purpose.LIMIT, {"user": 1})

    with pytest.raises(BadToken, match="forged or too old"):
        signatures.load(Purpose.LIMIT, dumped, max_age=600)


# -- Derived keys ------------------------------------------------------------------------------


def test_each_purpose_has_its_own_key() -> None:
    """Knowing one purpose's key tells none of the others, nor SECRET_KEY (ASVS V9.1.1)."""
    derived = [key for purpose in Purpose for key in signatures.derive(purpose)]

    assert len(set(derived)) == len(Purpose)
    assert {len(key) for key in derived} == {32}
    assert KEY.encode() not in derived


@pytest.mark.parametrize("purpose", Purpose)
def test_a_key_is_derived_from_each_secret_key_the_newest_first(purpose: Purpose) -> None:
    """They are the same in every worker, and a rotation adds one in front."""
    derived = Signatures("today", ["yesterday", "last year"]).derive(purpose)

    assert derived == [Signatures(key).derive(purpose)[0] for key in KEYS_IN_TURN]
    assert len(set(derived)) == 3


def test_purposes_have_distinct_names() -> None:
    """No two purposes share a salt by accident (ASVS V9.1.1)."""
    assert len({purpose.value for purpose in Purpose}) == len(list(Purpose))
    assert len(Purpose.__members__) == len(list(Purpose))
