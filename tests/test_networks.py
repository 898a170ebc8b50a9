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
    check_networks,
    is_hashed,
    is_within,
    network_of,
    normalize,
    same_network,
    stored_form,
)

KEY = b"a key of this suite, 32 bytes..."

v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)
networks = st.builds(
    lambda address, bits: str(
        ipaddress.ip_network(f"{address}/{min(bits, address.max_prefixlen)}", strict=False)
    ),
    v4 | v6,
    st.integers(0, 128),
)
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


# -- Lists of networks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["192.0.2.1"],
        ["192.0.2.0/24", "2001:db8::/32"],
        ["192.0.2.77/24"],
        ["fe80::1%eth0"],
        ["0.0.0.0/0", "::/0"],
        ["::ffff:192.0.2.0/120"],
        ["192.0.2.0/255.255.255.0"],
    ],
)
def test_addresses_and_networks_are_taken(texts: list[str]) -> None:
    """A list may hold both, of both versions, and bits beyond a prefix do no harm."""
    check_networks(texts)

    assert is_within("198.51.100.7", texts) is ("0.0.0.0/0" in texts)


@pytest.mark.parametrize(
    "wrong", ["", "localhost", "192.0.2.0/33", "192.0.2.0/", "192.0.2", "2001:db8::/129", "10.0/8"]
)
def test_a_text_that_is_no_network_is_named(wrong: str) -> None:
    """The one mistake in a list is told."""
    with pytest.raises(ValueError, match="network") as error:
        check_networks(["192.0.2.0/24", wrong])

    assert repr(wrong) in str(error.value)


@pytest.mark.parametrize("wrong", ["localhost", "192.0.2.0/33"])
def test_a_wrong_list_is_an_error_and_no_answer(wrong: str) -> None:
    """Nobody is let through because of a mistyped network."""
    with pytest.raises(ValueError, match="network"):
        is_within("192.0.2.1", [wrong])


@given(addresses, st.lists(networks, max_size=6))
def test_an_address_is_within_if_one_network_holds_it(address: str, texts: list[str]) -> None:
    """The quick search answers as asking each network in turn does."""
    parsed = ipaddress.ip_address(address)
    # A network of IPv4 addresses that is written inside IPv6 is that of the IPv4 addresses.
    plain = [text for text in texts if not text.startswith("::ffff:")]

    assert is_within(address, plain) is any(parsed in ipaddress.ip_network(t) for t in plain)


@given(networks, st.lists(networks, max_size=6))
def test_a_stored_network_is_within_if_it_overlaps(stored: str, texts: list[str]) -> None:
    """Of an address kept as its network, the answer is whether it may lie there."""
    kept = ipaddress.ip_network(stored)
    plain = [text for text in texts if not text.startswith("::ffff:")]
    overlaps = [
        kept.overlaps(other)
        for other in map(ipaddress.ip_network, plain)
        if other.version == kept.version
    ]

    assert stored.startswith("::ffff:") or is_within(stored, plain) is any(overlaps)


@pytest.mark.parametrize(
    ("stored", "texts", "is_in"),
    [
        ("192.0.2.1", ["192.0.2.0/24"], True),
        ("192.0.2.255", ["192.0.2.0/24"], True),
        ("192.0.3.0", ["192.0.2.0/24"], False),
        ("192.0.1.255", ["192.0.2.0/24"], False),
        ("192.0.2.1", ["192.0.2.1"], True),
        ("192.0.2.2", ["192.0.2.1"], False),
        ("192.0.2.1", [], False),
        ("192.0.2.1", ["2001:db8::/32"], False),
        ("192.0.2.1", ["::/0"], False),
        ("2001:db8::1", ["0.0.0.0/0"], False),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("192.0.2.1", ["10.0.0.0/8", "192.0.2.0/24", "172.16.0.0/12"], True),
        ("192.0.2.1", ["192.0.0.0/16", "192.0.0.0/24"], True),
        ("192.0.2.1", ["192.0.2.0/25", "192.0.2.128/25"], True),
        ("192.0.2.0/24", ["192.0.2.77"], True),
        ("192.0.2.0/24", ["192.0.0.0/16"], True),
        ("192.0.2.0/24", ["192.0.3.0/24"], False),
        ("2001:db8::/64", ["2001:db8::1"], True),
        ("192.0.2.1", ["::ffff:192.0.2.0/120"], True),
        ("192.0.2.1", ["::ffff:192.0.2.1"], True),
        ("192.0.3.1", ["::ffff:192.0.2.0/120"], False),
        (None, ["0.0.0.0/0", "::/0"], False),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("0123456789abcdef" * 2, ["0.0.0.0/0", "::/0"], False),
        ("01234567890123456789012345678901", ["0.0.0.0/0", "::/0"], False),
        ("no address", ["0.0.0.0/0", "::/0"], False),
    ],
)
def test_which_stored_addresses_lie_in_a_list(
    stored: str | None, texts: list[str], is_in: bool
) -> None:
    """Edges, both versions, each stored form; of a hash or of nothing, nobody can tell."""
    assert is_within(stored, texts) is is_in


@given(addresses, st.sampled_from(["full", "truncate"]))
def test_an_address_lies_in_its_own_network_in_every_form(address: str, storage: str) -> None:
    """Kept whole or cut, it is within the network it came from."""
    assert is_within(stored_form(address, storage, KEY), [network_of(address)])


@given(addresses)
def test_a_hash_is_told_from_an_address(address: str) -> None:
    """Only the hash compares equal or not, and says no more."""
    assert is_hashed(stored_form(address, "hash", KEY) or "")
    assert not is_hashed(stored_form(address, "full", KEY) or "")
    assert not is_hashed(stored_form(address, "truncate", KEY) or "")
