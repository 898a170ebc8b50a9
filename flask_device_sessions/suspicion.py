"""What makes a sign-in suspicious: pure rules over where and when the account was seen.

A reason is a hint for the person and the app, not a verdict: nobody is refused for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from .networks import is_hashed, is_within, same_network
from .places import Place, distance_km

#: Every reason of ``suspicious_login``, with what it says.
REASONS = {
    "new_country": "The account was seen in countries, and this is none of them.",
    "many_failures": "The right password came after many wrong ones.",
    "impossible_travel": "No traveller gets here this fast from where the account was seen.",
    "two_places": "The account was in use from another network within the hour.",
}

#: Failed attempts that make the success after them suspicious. People who mistype need fewer;
#: it is also half of the default ``LOGIN_RATE_LIMIT``, so that it is reached before the limit.
MANY_FAILURES = 5

#: Distances below this, in kilometres, are no travel: so much is the error of city databases.
#: Half of the addresses of mobile networks are located more than 179 to 207 km off, against 3
#: to 16 km in fixed networks (arXiv:2605.21937), and a phone beside a laptop is the common case.
SHORTEST_TRAVEL_KM = 200.0

#: How long after a sighting another network counts as a second place.
TWO_PLACES_WITHIN = timedelta(hours=1)


class Sighting(NamedTuple):
    """Where and when an account was in use.

    Attributes:
        address: any one form of :func:`~flask_device_sessions.networks.stored_form`.
        place: where that is, as far as known.
        at: when, aware.
    """

    address: str | None
    place: Place
    at: datetime


def reasons(
    new: Sighting,
    earlier: Sequence[Sighting],
    *,
    failures: int,
    speed_limit_kmh: float | None,
    ignored_networks: Sequence[str],
) -> list[str]:
    """Return why a sign-in is suspicious: keys of :data:`REASONS`, in their order.

    Args:
        new: the sign-in.
        earlier: the account's recent sightings in any order; with none, this is its first
            sign-in ever, which is never suspicious.
        failures: failed attempts on the account since its last success.
        speed_limit_kmh: no traveller is faster; ``None`` asks nobody.
        ignored_networks: addresses and networks in CIDR form that say nothing about where a
            person is, such as an office's VPN. They cannot be told in a hashed address.

    Raises:
        ValueError: a text among ``ignored_networks`` is neither.
    """
    if not earlier:
        return []
    telling = [seen for seen in earlier if not is_within(seen.address, ignored_networks)]
    if is_within(new.address, ignored_networks):
        telling = []
    applies = {
        "new_country": _is_new_country(new, telling),
        "many_failures": failures >= MANY_FAILURES,
        "impossible_travel": speed_limit_kmh is not None
        and any(_is_too_fast(new, seen, speed_limit_kmh) for seen in telling),
        "two_places": any(_is_second_place(new, seen) for seen in telling),
    }
    return [reason for reason in REASONS if applies[reason]]


def _is_new_country(new: Sighting, earlier: Sequence[Sighting]) -> bool:
    known = {seen.place.country for seen in earlier} - {None}
    return new.place.country is not None and bool(known) and new.place.country not in known


def _is_too_fast(new: Sighting, seen: Sighting, limit_kmh: float) -> bool:
    distance = distance_km(seen.place, new.place)
    if distance is None or distance < SHORTEST_TRAVEL_KM or _share_network(new, seen):
        return False
    # Clocks of two servers differ: a sighting may lie a little in the future. Multiplied, since
    # no time at all may have passed.
    hours = max(new.at - seen.at, timedelta(0)) / timedelta(hours=1)
    return distance > limit_kmh * hours


def _is_second_place(new: Sighting, seen: Sighting) -> bool:
    if not _are_comparable(new.address, seen.address) or _share_network(new, seen):
        return False
    return abs(new.at - seen.at) <= TWO_PLACES_WITHIN


def _share_network(one: Sighting, other: Sighting) -> bool:
    """Whether both are known to be in one network, whatever the database says of places."""
    return one.address is not None and same_network(one.address, other.address)


def _are_comparable(one: str | None, other: str | None) -> bool:
    """Whether the two can be told apart: a hash and an address always differ."""
    return one is not None and other is not None and is_hashed(one) == is_hashed(other)
