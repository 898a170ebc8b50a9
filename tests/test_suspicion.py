"""Why a sign-in is suspicious, rule by rule, and the networks that take no part."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_device_sessions.networks import check_networks, is_hashed, is_within, stored_form
from flask_device_sessions.places import Place, distance_km
from flask_device_sessions.suspicion import (
    MANY_FAILURES,
    REASONS,
    SHORTEST_TRAVEL_KM,
    TWO_PLACES_WITHIN,
    Sighting,
    reasons,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
KEY = b"a key of this suite, 32 bytes..."

# A machine that is busy with the rest of the suite is no failure.
_untimed = settings(deadline=None)

BERLIN = Place("Germany", "Berlin", 52.52, 13.405)
POTSDAM = Place("Germany", "Potsdam", 52.39, 13.06)
MUNICH = Place("Germany", "Munich", 48.137, 11.575)
TOKYO = Place("Japan", "Tokyo", 35.6895, 139.6917)
NOWHERE = Place()

HOME = "192.0.2.1"
AWAY = "198.51.100.7"


def _seen(
    ago: timedelta = timedelta(0), place: Place = NOWHERE, address: str | None = HOME
) -> Sighting:
    return Sighting(address, place, NOW - ago)


def _reasons(
    new: Sighting,
    *earlier: Sighting,
    failures: int = 0,
    limit: float | None = 900,
    ignored: Sequence[str] = (),
) -> list[str]:
    return reasons(new, earlier, failures=failures, speed_limit_kmh=limit, ignored_networks=ignored)


_days = timedelta(days=1)
_hours = timedelta(hours=1)


def test_a_first_sign_in_is_not_suspicious() -> None:
    """There is nothing to compare it with, and a new person mistypes."""
    assert _reasons(_seen(place=TOKYO), failures=50) == []


def test_the_usual_sign_in_is_not_suspicious() -> None:
    """Same place, same network."""
    assert _reasons(_seen(place=BERLIN), _seen(_hours, BERLIN)) == []


def test_several_reasons_come_in_their_listed_order() -> None:
    """All that apply are named."""
    new = _seen(place=TOKYO, address=AWAY)

    found = _reasons(new, _seen(_hours / 2, BERLIN), failures=MANY_FAILURES)

    assert found == list(REASONS)


# -- new_country -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "earlier", "is_new"),
    [
        (TOKYO, [BERLIN], True),
        (TOKYO, [BERLIN, NOWHERE, POTSDAM], True),
        (TOKYO, [BERLIN, TOKYO], False),
        (MUNICH, [BERLIN], False),
        (NOWHERE, [BERLIN], False),
        (TOKYO, [NOWHERE], False),
        (Place("Japan"), [Place("Germany")], True),
    ],
)
def test_a_country_is_new_among_known_ones(new: Place, earlier: list[Place], is_new: bool) -> None:
    """Where no country is known, on either side, nothing is said."""
    found = _reasons(_seen(place=new), *[_seen(30 * _days, place) for place in earlier])

    assert ("new_country" in found) == is_new


# -- many_failures -----------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "are_many"), [(0, False), (4, False), (5, True), (99, True)])
def test_success_after_many_failures(failures: int, are_many: bool) -> None:
    """Five or more (V6.3.5)."""
    assert _reasons(_seen(), _seen(_days), failures=failures) == ["many_failures"] * are_many


# -- impossible_travel -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "is_impossible"),
    [(0.0, True), (1.0, True), (9.8, True), (10.0, False), (24.0, False)],
)
def test_nobody_travels_faster_than_the_limit(hours: float, is_impossible: bool) -> None:
    """Berlin to Tokyo is 8,915 km: 9.9 hours at 900 km/h."""
    new = _seen(place=TOKYO, address=AWAY)

    found = _reasons(new, _seen(hours * _hours, BERLIN), _seen(_days, TOKYO))

    assert ("impossible_travel" in found) == is_impossible


def test_the_limit_is_the_apps() -> None:
    """Faster for those who fly faster, and off with None."""
    new, earlier = _seen(place=TOKYO, address=AWAY), _seen(2 * _hours, BERLIN)

    assert "impossible_travel" in _reasons(new, earlier, limit=4000)
    assert "impossible_travel" not in _reasons(new, earlier, limit=5000)
    assert "impossible_travel" not in _reasons(new, earlier, limit=None)


def test_any_sighting_can_make_travel_impossible() -> None:
    """A session that is in use at home, and another that was here before."""
    new = _seen(place=TOKYO, address=AWAY)

    found = _reasons(new, _seen(5 * _hours, TOKYO, AWAY), _seen(2 * _hours, BERLIN))

    assert found == ["impossible_travel"]


def test_small_distances_are_no_travel() -> None:
    """So much is the error of the database: a phone's network beside the one at home."""
    new = _seen(place=BERLIN, address=AWAY)

    assert "impossible_travel" not in _reasons(new, _seen(timedelta(0), POTSDAM))
    assert "impossible_travel" in _reasons(new, _seen(timedelta(0), MUNICH))


def test_an_unlocated_end_is_no_travel() -> None:
    """A country is too large to measure from."""
    new = _seen(place=Place("Japan"), address=AWAY)

    assert _reasons(new, _seen(2 * _hours, BERLIN)) == ["new_country"]


def test_a_network_that_the_database_moved_is_no_travel() -> None:
    """The same network is the same place, whatever an update of the file says."""
    found = _reasons(_seen(place=TOKYO, address="192.0.2.99"), _seen(_hours, BERLIN))

    assert found == ["new_country"]


def test_travel_needs_no_address() -> None:
    """Nothing may be stored of addresses, and places still."""
    new = _seen(place=TOKYO, address=None)

    assert "impossible_travel" in _reasons(new, _seen(_hours, BERLIN, None))


@pytest.mark.parametrize(
    "skew", [timedelta(microseconds=1), timedelta(minutes=5), timedelta(hours=12)]
)
def test_clocks_that_differ_are_no_time_travel(skew: timedelta) -> None:
    """A sighting a little in the future is one of just now."""
    new = _seen(place=TOKYO, address=AWAY)

    assert "impossible_travel" in _reasons(new, _seen(-skew, BERLIN))
    assert "impossible_travel" not in _reasons(new, _seen(-skew, TOKYO))


# -- two_places --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ago", "are_two"),
    [
        (timedelta(0), True),
        (TWO_PLACES_WITHIN, True),
        (TWO_PLACES_WITHIN + timedelta(seconds=1), False),
        (timedelta(minutes=-5), True),
        (-TWO_PLACES_WITHIN - timedelta(seconds=1), False),
    ],
)
def test_two_networks_within_an_hour(ago: timedelta, are_two: bool) -> None:
    """Not a second longer."""
    assert _reasons(_seen(address=AWAY), _seen(ago)) == ["two_places"] * are_two


@pytest.mark.parametrize(
    ("one", "other", "are_two"),
    [
        ("192.0.2.1", "192.0.2.254", False),
        ("192.0.2.1", "192.0.3.1", True),
        ("192.0.2.1", "192.0.2.0/24", False),
        ("192.0.3.0/24", "192.0.2.0/24", True),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", False),
        ("2001:db8::1", "2001:db8:0:1::1", True),
        ("2001:db8::1", "2001:db8::/64", False),
        ("192.0.2.1", "2001:db8::1", True),
        ("192.0.2.1", None, False),
        (None, "192.0.2.1", False),
        (None, None, False),
    ],
)
def test_one_network_is_one_place(one: str | None, other: str | None, are_two: bool) -> None:
    """A /24 or a /64, in any form that is stored."""
    found = _reasons(_seen(address=one), _seen(_hours / 2, address=other))

    assert found == ["two_places"] * are_two


def test_hashes_are_compared_with_hashes_only() -> None:
    """After a change of IP_STORAGE, an address and a hash say nothing about each other."""
    home, away = (stored_form(address, "hash", KEY) for address in (HOME, AWAY))

    assert _reasons(_seen(address=home), _seen(address=away)) == ["two_places"]
    assert _reasons(_seen(address=home), _seen(address=home)) == []
    assert _reasons(_seen(address=home), _seen(address=AWAY)) == []
    assert _reasons(_seen(address=HOME), _seen(address=home)) == []


# -- Ignored networks ----------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", [["198.51.100.0/24"], ["192.0.2.0/24"], [HOME], ["0.0.0.0/0"]])
def test_an_ignored_network_says_nothing_about_places(ignored: list[str]) -> None:
    """On either side; failures still count."""
    new, earlier = _seen(place=TOKYO, address=AWAY), _seen(_hours / 2, BERLIN)

    found = _reasons(new, earlier, failures=9, ignored=ignored)

    assert found == ["many_failures"]


def test_other_sightings_still_count() -> None:
    """Only the ignored one is left out."""
    new = _seen(place=TOKYO, address=AWAY)
    vpn, home = _seen(_hours / 2, TOKYO, "203.0.113.5"), _seen(_hours / 2, BERLIN)

    found = _reasons(new, vpn, home, ignored=["203.0.113.0/24"])

    assert found == ["new_country", "impossible_travel", "two_places"]


def test_what_is_no_network_is_an_error() -> None:
    """A mistyped entry of the list is not left out silently."""
    with pytest.raises(ValueError, match="the office"):
        _reasons(_seen(), _seen(), ignored=["the office"])


# -- Every case ----------------------------------------------------------------------------------

_sightings = st.builds(
    Sighting,
    st.sampled_from(
        [None, HOME, AWAY, "192.0.2.0/24", "2001:db8::1", "2001:db8::/64", "a" * 32, "1" * 32, "?"]
    ),
    st.sampled_from([NOWHERE, BERLIN, POTSDAM, MUNICH, TOKYO, Place("Japan")]),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(timezone.utc)),
)


@_untimed
@given(
    _sightings,
    st.lists(_sightings, max_size=5),
    st.integers(0, 9),
    st.none() | st.floats(1, 5000),
    st.lists(st.sampled_from(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]), max_size=2),
)
def test_the_rules_hold_for_any_history(
    new: Sighting,
    earlier: list[Sighting],
    failures: int,
    limit: float | None,
    ignored: list[str],
) -> None:
    """No order of sightings matters, nothing raises, and each reason has its ground."""
    options: dict[str, Any] = {
        "failures": failures,
        "speed_limit_kmh": limit,
        "ignored_networks": ignored,
    }
    found = reasons(new, earlier, **options)

    assert found == reasons(new, earlier[::-1], **options)
    assert found == [reason for reason in REASONS if reason in found]
    assert ("many_failures" in found) == (failures >= 5 and bool(earlier))
    distances = [distance_km(new.place, seen.place) or 0 for seen in earlier]
    if "impossible_travel" in found:
        assert max(distances) >= SHORTEST_TRAVEL_KM
        assert limit is not None
    if "two_places" in found:
        assert any(abs(new.at - seen.at) <= _hours for seen in earlier)


# -- Networks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "network", "is_inside"),
    [
        ("192.0.2.1", "192.0.2.0/24", True),
        ("192.0.2.1", "192.0.2.77/24", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.0/120", True),
        ("192.0.2.1", "::/0", False),
        ("192.0.2.1", "::ffff:0:0/95", False),
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.0/24", "192.0.0.0/16", True),
        ("192.0.2.0/24", "192.0.3.0/24", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db8::/64", "2001:db8::5", True),
        ("2001:db8::1", "fe80::1%eth0", False),
        ("fe80::1", "fe80::1%eth0", True),
        ("2001:db8::1", "0.0.0.0/0", False),
        (None, "0.0.0.0/0", False),
        ("", "0.0.0.0/0", False),
        ("unix:", "0.0.0.0/0", False),
        ("1" * 32, "0.0.0.0/0", False),
        ("a" * 32, "::/0", False),
    ],
)
def test_an_address_lies_in_a_network(stored: str | None, network: str, is_inside: bool) -> None:
    """Its stored network may lie there; of a hash or nothing it cannot be said."""
    assert is_within(stored, ["203.0.113.0/24", network, "2001:db9::/32"]) == is_inside


_networks = st.builds(
    lambda address, bits: str(
        ipaddress.ip_network((int(address), address.max_prefixlen - bits), strict=False)
        if address.version == 4
        else ipaddress.IPv6Network((int(address), 128 - bits), strict=False)
    ),
    st.ip_addresses(network="192.0.2.0/24") | st.ip_addresses(network="2001:db8::/120"),
    st.integers(0, 8),
)


@_untimed
@given(
    st.ip_addresses(network="192.0.2.0/24") | st.ip_addresses(network="2001:db8::/120"),
    st.lists(_networks, max_size=6),
)
def test_many_networks_are_as_one_after_the_other(address: Any, networks: list[str]) -> None:
    """Sorted and merged they answer as each by itself."""
    expected = any(address in ipaddress.ip_network(network) for network in networks)

    assert is_within(str(address), networks) == expected


def test_no_networks_hold_nothing() -> None:
    """As by default."""
    assert not is_within(HOME, [])


@pytest.mark.parametrize("text", ["", "office", "192.0.2.0/33", "192.0.2", "192.0.2.0/", "a" * 32])
def test_what_is_no_network_is_refused(text: str) -> None:
    """At start, where the list is read."""
    check_networks([HOME, "192.0.2.0/24", "2001:db8::/32"])
    with pytest.raises(ValueError, match="does not appear|Only|Invalid|not|Expected"):
        check_networks([HOME, text])


@_untimed
@given(st.ip_addresses(), st.sampled_from(["full", "truncate"]))
def test_a_hash_is_told_from_an_address(address: Any, storage: str) -> None:
    """By what every address has in it."""
    kept, hashed = (stored_form(str(address), form, KEY) for form in (storage, "hash"))

    assert kept is not None
    assert hashed is not None
    assert is_hashed(hashed)
    assert not is_hashed(kept)
