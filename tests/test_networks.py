"""Addresses: one text form, their network, and what is stored of them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_device_sessions.networks import (
    ADDRESS_LENGTH,
    network_of,
    normalize,
    same_network,
    stored_form,
)

KEY = b"a key of this suite, 32 bytes..."

v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)
addresses = (v4 | v6).map(str).map(normalize).map(str)
storages = st.sampled_from(["full", "truncate", "hash", "none"])


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("2001:DB8::A", "2001:db8::a"),
        ("2001:0db8:0000:0000:0000:0000:0000:000a", "2001:db8::a"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("::192.0.2.1", "::c000:201"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%25eth0", "fe80::1"),
        ("::ffff:192.0.2.1%1", "192.0.2.1"),
    ],
)
def test_an_address_has_one_text_form(address: str, normal: str) -> None:
    """The same address is always written the same way (RFC 5952)."""
    assert normalize(address) == normal


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "unix:",
        "localhost",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.01",
        " 192.0.2.1",
        "192.0.2.1:80",
        "[::1]",
        "192.0.2.0/24",
        "192.0.2.1, 198.51.100.7",
        "1",
        1,
        b"\xc0\x00\x02\x01",
        "::ffff:192.0.2.1\x00",
        "１９２.0.2.1",
        "%",
    ],
)
def test_what_is_no_address_is_none(value: object) -> None:
    """A socket's path, a name or a forged header is not taken for an address."""
    assert normalize(value) is None


@given(st.text(max_size=50) | st.none() | st.integers() | st.binary(max_size=16))
def test_normalizing_never_fails_and_is_final(value: object) -> None:
    """Whatever arrives, the answer is ``None`` or an address in its final form."""
    normal = normalize(value)

    assert normal is None or normalize(normal) == normal


@given(v4 | v6)
def test_every_address_stays_the_address_it_is(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Only the writing changes, and IPv4 inside IPv6 becomes plain."""
    same = getattr(address, "ipv4_mapped", None) or address

    assert normalize(address) == str(same)
    assert normalize(address.exploded.upper()) == str(same)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.0/24"),
        ("192.0.2.255", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ],
)
def test_a_network_is_a_24_or_a_64(address: str, network: str) -> None:
    """IPv4 is cut to its /24, IPv6 to its /64."""
    assert network_of(address) == network


@given(addresses)
def test_an_address_lies_in_its_network(address: str) -> None:
    """The network is right for every address."""
    assert ipaddress.ip_address(address) in ipaddress.ip_network(network_of(address))


@pytest.mark.parametrize(
    ("storage", "v4_kept", "v6_kept"),
    [
        ("full", "192.0.2.77", "2001:db8::77"),
        ("truncate", "192.0.2.0/24", "2001:db8::/64"),
        ("none", None, None),
    ],
)
def test_the_database_keeps_what_the_setting_allows(
    storage: str, v4_kept: str | None, v6_kept: str | None
) -> None:
    """All, the network, or nothing."""
    assert stored_form("192.0.2.77", storage, KEY) == v4_kept
    assert stored_form("2001:db8::77", storage, KEY) == v6_kept


def test_a_hash_is_keyed_and_of_the_network() -> None:
    """It is HMAC-SHA-256 of the network, cut to 128 bits: no list of addresses undoes it."""
    expected = hmac.new(KEY, b"192.0.2.0/24", hashlib.sha256).hexdigest()[:32]

    assert stored_form("192.0.2.77", "hash", KEY) == expected
    assert stored_form("192.0.2.78", "hash", KEY) == expected
    assert stored_form("192.0.3.77", "hash", KEY) != expected
    assert stored_form("192.0.2.77", "hash", b"another key") != expected


@given(storages)
def test_no_address_is_kept_as_none(storage: str) -> None:
    """A request without an address leaves nothing, in whatever form."""
    assert stored_form(None, storage, KEY) is None


@given(addresses, storages)
def test_what_is_kept_fits_the_column(address: str, storage: str) -> None:
    """No form of any address is longer than its column."""
    assert len(stored_form(address, storage, KEY) or "") <= ADDRESS_LENGTH


@given(addresses, st.sampled_from(["truncate", "hash", "none"]))
def test_what_is_kept_does_not_tell_the_address(address: str, storage: str) -> None:
    """Everyone in a network leaves the same trace in it."""
    network = ipaddress.ip_network(network_of(address))
    neighbour = str(network[7])

    assert stored_form(address, storage, KEY) == stored_form(neighbour, storage, KEY)


@given(addresses, addresses, st.sampled_from(["full", "truncate", "hash"]))
def test_two_stored_addresses_share_a_network_or_not(one: str, other: str, storage: str) -> None:
    """The answer is that of the addresses themselves, in whatever form both are kept."""
    kept = [stored_form(address, storage, KEY) for address in (one, other)]

    assert same_network(*kept) == (network_of(one) == network_of(other))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.9", True),
        ("192.0.2.1", "192.0.2.0/24", True),
        ("192.0.2.0/24", "192.0.2.0/24", True),
        ("192.0.2.0/24", "192.0.3.0/24", False),
        (None, None, True),
        (None, "192.0.2.1", False),
        ("192.0.2.1", None, False),
    ],
)
def test_neighbours_share_a_network(one: str | None, other: str | None, is_same: bool) -> None:
    """The order does not matter, and an unknown address is like another unknown one only."""
    assert same_network(one, other) is is_same
    assert same_network(other, one) is is_same
