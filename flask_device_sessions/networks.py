"""Addresses: one text form, the network they belong to, and what of them is stored."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress

#: Longest text of a stored address: a scoped IPv6 address, or a shortened keyed hash.
ADDRESS_LENGTH = 64

#: What one subscriber usually holds: an IPv4 neighbourhood, an IPv6 site (RFC 6177).
_PREFIX_LENGTHS = {4: 24, 6: 64}


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
