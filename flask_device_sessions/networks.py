"""Addresses: one text form, the network they belong to, and what of them is stored."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

#: Longest text of a stored address: a scoped IPv6 address, or a shortened keyed hash.
ADDRESS_LENGTH = 64

#: What one subscriber usually holds: an IPv4 neighbourhood, an IPv6 site (RFC 6177).
_PREFIX_LENGTHS = {4: 24, 6: 64}


@lru_cache(maxsize=4096)
def normalize(address: object) -> str | None:
    """Return the one text form of an address, or ``None`` for what is no address.

    An IPv4 address that came mapped into IPv6 (``::ffff:192.0.2.1``) is written as IPv4, and
    a zone (``%eth0``) is left out.
    """
    try:
        parsed = ipaddress.ip_address(str(address).partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def network_of(address: str) -> str:
    """Return the /24 (IPv4) or /64 (IPv6) that an address of :func:`normalize` belongs to."""
    parsed = ipaddress.ip_address(address)
    return str(ipaddress.ip_network(f"{address}/{_PREFIX_LENGTHS[parsed.version]}", strict=False))


def stored_form(address: str | None, storage: str, key: bytes) -> str | None:
    """Return what ``IP_STORAGE`` lets the database keep of an address.

    Args:
        address: an address as :func:`normalize` gives it.
        storage: ``"full"``, ``"truncate"`` (its network), ``"hash"`` (HMAC-SHA-256 of its
            network, 32 hexadecimal digits, under ``key``) or ``"none"``.
        key: secret for ``"hash"``: without one, four billion guesses undo a hash.
    """
    if address is None or storage == "none":
        return None
    if storage == "full":
        return address
    network = network_of(address)
    if storage == "truncate":
        return network
    return hmac.new(key, network.encode(), hashlib.sha256).hexdigest()[:32]


def same_network(one: str | None, other: str | None) -> bool:
    """Whether two stored addresses (any one form of :func:`stored_form`) share a network."""
    return _comparable(one) == _comparable(other)


def _comparable(stored: str | None) -> str | None:
    address = normalize(stored)
    return stored if address is None else network_of(address)


def check_networks(texts: Sequence[str]) -> None:
    """Refuse texts of which one is neither an address nor a network in CIDR form.

    Raises:
        ValueError: names the text.
    """
    for text in texts:
        _parse(text)


def is_within(stored: str | None, networks: Sequence[str]) -> bool:
    """Whether a stored address lies in one of these networks.

    Of an address that is stored as its network, whether it may lie there: the two overlap. Of
    a hash nobody can tell, so it does not.

    Args:
        stored: any one form of :func:`stored_form`.
        networks: addresses and networks in CIDR form, of any number.

    Raises:
        ValueError: a text among ``networks`` is neither.
    """
    try:
        network = _parse(stored or "")
    except ValueError:
        return False
    firsts, lasts = _ranges(tuple(networks), network.version)
    # The last range that begins at or before the end is the only one that can overlap.
    place = bisect_right(firsts, int(network.broadcast_address)) - 1
    return place >= 0 and lasts[place] >= int(network.network_address)


def is_hashed(stored: str) -> bool:
    """Whether a stored address is a hash: it tells equal networks from others, and no more."""
    return "." not in stored and ":" not in stored


def _parse(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read an address or a network; bits beyond its prefix, and a zone, are left out."""
    address, slash, length = text.partition("/")
    network = ipaddress.ip_network(f"{address.partition('%')[0]}{slash}{length}", strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}")


@lru_cache(maxsize=16)
def _ranges(texts: tuple[str, ...], version: int) -> tuple[list[int], list[int]]:
    """Return first and last addresses of the networks, merged and sorted: a Tor list is long."""
    parsed: list[Any] = [network for network in map(_parse, texts) if network.version == version]
    merged = list(ipaddress.collapse_addresses(parsed))
    firsts = [int(network.network_address) for network in merged]
    return firsts, [int(network.broadcast_address) for network in merged]
