"""Places by a local MaxMind DB: read when it is good, silent when it is not."""

from __future__ import annotations

import logging
import math
import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import maxminddb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flask_device_sessions import ConfigError
from flask_device_sessions.places import NAME_LENGTH, Atlas, Place, distance_km
from tests.geography import BERLIN_RECORD, JAPAN_RECORD, write_mmdb

HOME = "192.0.2.1"
BERLIN = Place("Germany", "Berlin", 52.52, 13.405)
TOKYO = Place("Japan", "Tokyo", 35.6895, 139.6917)

# A machine that is busy with the rest of the suite is no failure.
_untimed = settings(deadline=None)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database of two networks in Berlin and one in a country alone."""
    return write_mmdb(
        tmp_path / "city.mmdb",
        {
            "192.0.2.0/24": BERLIN_RECORD,
            "2001:db8:1::/48": BERLIN_RECORD,
            "198.51.100.0/24": JAPAN_RECORD,
        },
    )


def _atlas_of(tmp_path: Path, record: Any, language: str = "en") -> Atlas:
    return Atlas(write_mmdb(tmp_path / "one.mmdb", {"192.0.2.0/24": record}), language)


# -- Look-ups --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.0/24", "2001:db8:1::5", "2001:db8:1:0::/64"],
)
def test_an_address_has_a_place(database: str, address: str) -> None:
    """IPv4, IPv6, and the networks that are stored of them."""
    assert Atlas(database).locate(address) == BERLIN


def test_a_database_of_countries_knows_countries(database: str) -> None:
    """The rest is unknown."""
    assert Atlas(database).locate("198.51.100.9") == Place("Japan")


@pytest.mark.parametrize(
    "address",
    [None, "", "203.0.113.1", "10.0.0.1", "::1", "unix:", "a" * 32, "0" * 32, "192.0.2.1\x00", "/"],
)
def test_what_is_not_in_the_database_is_nowhere(
    database: str, address: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown and private addresses, hashes and nonsense: an empty place and not a word."""
    assert Atlas(database).locate(address) == Place(None, None, None, None)
    assert caplog.records == []


def test_without_a_database_all_is_nowhere() -> None:
    """The feature is off."""
    assert Atlas(None).locate(HOME) == Place()


def test_ipv6_is_nowhere_in_a_database_of_ipv4(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no damage."""
    atlas = Atlas(write_mmdb(tmp_path / "v4.mmdb", {"192.0.2.0/24": BERLIN_RECORD}, ip_version=4))

    assert atlas.locate("2001:db8::1") == Place()
    assert atlas.locate(HOME) == BERLIN
    assert caplog.records == []


@pytest.mark.parametrize(
    ("language", "country", "city"),
    [("en", "Germany", "Berlin"), ("de", "Deutschland", "Berlin"), ("ja", "Germany", "ベルリン")],
)
def test_names_are_in_the_language_asked_for(
    database: str, language: str, country: str, city: str
) -> None:
    """English stands in where the database has no other."""
    place = Atlas(database, language).locate(HOME)

    assert (place.country, place.city) == (country, city)


def test_flat_records_are_read_too(tmp_path: Path) -> None:
    """As IPinfo writes them, numbers as text."""
    record = {"country": "Germany", "country_code": "DE", "city": "Berlin"}

    assert _atlas_of(tmp_path, record | {"lat": "52.52", "lng": "13.405"}).locate(HOME) == BERLIN
    named = _atlas_of(tmp_path, record | {"country": "DE", "country_name": "Germany"})
    assert named.locate(HOME) == Place("Germany", "Berlin")


def test_names_are_cut_and_clean(tmp_path: Path) -> None:
    """They fit the columns and can neither break a line nor turn the text around them."""
    record = {"country": {"names": {"en": "x" * 300}}, "city": {"names": {"en": "Ber\u202elin\n"}}}

    place = _atlas_of(tmp_path, record).locate(HOME)

    assert place == Place("x" * NAME_LENGTH, "Berlin")


@pytest.mark.parametrize(
    "record",
    [
        {"country": {"names": {}}, "city": {}},
        {"country": {"names": {"fr": "Allemagne"}}, "city": {"names": {"en": ""}}},
        {"country": 5, "city": {"names": {"en": 7}}},
        {"country": ["Germany"], "location": "Berlin"},
        {"location": {"latitude": 52.52}},
        {"location": {"longitude": 13.405}},
        {"location": {"latitude": 91.0, "longitude": 13.405}},
        {"location": {"latitude": 52.52, "longitude": -180.5}},
        {"location": {"latitude": math.nan, "longitude": 13.405}},
        {"location": {"latitude": "north", "longitude": [1]}},
        "Berlin",
        ["Berlin"],
        {},
    ],
)
def test_what_a_record_does_not_say_is_unknown(
    tmp_path: Path, record: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a point is none, and what makes no sense is left out."""
    assert _atlas_of(tmp_path, record).locate(HOME) == Place()
    assert caplog.records == []


# -- The file ----------------------------------------------------------------------------------


def test_the_file_is_opened_once_and_late(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at start, and by one of the threads that ask at the same time."""
    atlas = Atlas(database)
    opened: list[str] = []
    original = maxminddb.open_database

    def open_and_count(path: str, mode: int) -> Any:
        opened.append(path)
        return original(path, mode)

    monkeypatch.setattr(maxminddb, "open_database", open_and_count)
    with ThreadPoolExecutor(8) as threads:
        places = list(threads.map(atlas.locate, [HOME] * 200))

    assert places == [BERLIN] * 200
    assert opened == [database]


def test_a_thread_that_comes_second_opens_nothing(database: str) -> None:
    """It waited for the lock while the other opened the file."""
    atlas = Atlas(database)

    first, second = atlas._open(), atlas._open()

    assert first is second


def _locate_often(atlas: Atlas, places: Any) -> None:
    places.put({atlas.locate(f"192.0.2.{n % 256}") for n in range(2000)})


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork"
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_workers_share_an_open_file(database: str) -> None:
    """Opened before the fork, read by parent and children at once."""
    atlas = Atlas(database)
    assert atlas.locate(HOME) == BERLIN
    fork = multiprocessing.get_context("fork")
    places = fork.SimpleQueue()
    workers = [fork.Process(target=_locate_often, args=(atlas, places)) for _ in range(3)]
    for worker in workers:
        worker.start()

    _locate_often(atlas, places)
    answers = [places.get() for _ in range(4)]
    for worker in workers:
        worker.join()

    assert answers == [{BERLIN}] * 4


@pytest.mark.parametrize("content", [None, b"", b"no database", b"\xab\xcd\xefMaxMind.com\xe0"])
def test_a_file_that_is_no_database_is_a_start_up_error(
    tmp_path: Path, content: bytes | None
) -> None:
    """Missing, empty, or something else: the error names the setting and the file."""
    path = tmp_path / "some.mmdb"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"DEVICE_SESSIONS_GEOIP_DATABASE is .*some\.mmdb"):
        Atlas(str(path))


def test_a_folder_is_a_start_up_error(tmp_path: Path) -> None:
    """GeoLite2 comes in one, which is easily named instead of the file in it."""
    with pytest.raises(ConfigError, match="DEVICE_SESSIONS_GEOIP_DATABASE"):
        Atlas(str(tmp_path))


def test_a_missing_package_is_a_start_up_error(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install; without a database nothing is needed."""
    monkeypatch.setitem(sys.modules, "maxminddb", None)

    with pytest.raises(ConfigError, match=r"pip install Flask-Device-Sessions\[geoip\]"):
        Atlas(database)
    assert Atlas(None).locate(HOME) == Place()


def test_a_damaged_record_is_nowhere_and_one_warning(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is kept from signing in, the log is not flooded, and no address is in it."""
    _damage(database)
    atlas = Atlas(database)

    places = {atlas.locate(HOME) for _ in range(50)}

    assert places == {Place()}
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("flask_device_sessions", logging.WARNING)
    told, _, kind = record.getMessage().partition(": ")
    assert told == "DEVICE_SESSIONS_GEOIP_DATABASE cannot be read"
    # maxminddb 2 lets the error of the text's decoding through.
    assert kind.split()[0] in ("InvalidDatabaseError", "UnicodeDecodeError")
    assert HOME not in record.getMessage()


def _damage(database: str) -> None:
    """Make every record one that is longer than the file."""
    path = Path(database)
    start = _data_begins(path.read_bytes())
    content = bytearray(path.read_bytes())
    end = content.rindex(b"\xab\xcd\xefMaxMind.com")
    content[start:end] = b"\x5f\xff" * ((end - start) // 2) + b"\x5f" * ((end - start) % 2)
    path.write_bytes(content)


def _data_begins(content: bytes) -> int:
    """Return where the sixteen zeros between tree and data end."""
    return content.index(b"\x00" * 16) + 16


def test_a_file_that_goes_before_the_first_look_is_nowhere(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It was there at start."""
    atlas = Atlas(database)
    Path(database).unlink()

    assert atlas.locate(HOME) == Place()
    assert len(caplog.records) == 1


def test_one_damaged_byte_takes_no_process_down(tmp_path: Path) -> None:
    """As it would under the reader of maxminddb that is written in C."""
    path = tmp_path / "damaged.mmdb"
    content = Path(write_mmdb(path, {"192.0.2.0/24": BERLIN_RECORD})).read_bytes()
    for position in range(_data_begins(content), content.rindex(b"\xab\xcd\xefMaxMind.com")):
        for value in (b"\x00", b"\xff"):
            path.write_bytes(content[:position] + value + content[position + 1 :])

            assert isinstance(Atlas(str(path)).locate(HOME), Place)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_damage_raises_at_a_look_up(tmp_path: Path, data: st.DataObject) -> None:
    """Any bytes in the middle of the file: a place or none, or an error at start."""
    path = tmp_path / "damaged.mmdb"
    content = bytearray(Path(write_mmdb(path, {"192.0.2.0/24": BERLIN_RECORD})).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)

    try:
        atlas = Atlas(str(path))
    except ConfigError:
        return

    place = atlas.locate(HOME)
    assert isinstance(place, Place)
    assert (place.latitude is None) == (place.longitude is None)


# -- Distances ---------------------------------------------------------------------------------

_points = st.builds(
    Place,
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
)


@pytest.mark.parametrize(
    ("one", "other", "kilometres"),
    [
        (BERLIN, BERLIN, 0),
        (BERLIN, TOKYO, 8915),
        (BERLIN, Place(latitude=51.5074, longitude=-0.1278), 931),
        (Place(latitude=0, longitude=179.5), Place(latitude=0, longitude=-179.5), 111),
        (Place(latitude=90, longitude=0), Place(latitude=-90, longitude=77), 20015),
    ],
)
def test_distances_are_right(one: Place, other: Place, kilometres: float) -> None:
    """Between cities, over the date line, and from pole to pole."""
    assert distance_km(one, other) == pytest.approx(kilometres, rel=0.006, abs=0.001)


@_untimed
@given(_points, _points)
@example(
    Place(latitude=-6.351292931693905, longitude=-20.829557887714913),
    Place(latitude=6.351292931693905, longitude=-20.829557887714913 - 180),
)
def test_distances_are_the_same_both_ways_and_on_the_earth(one: Place, other: Place) -> None:
    """Never negative, never more than half the way around."""
    distance = distance_km(one, other)

    assert distance is not None
    assert 0 <= distance <= math.pi * 6371.01
    assert distance_km(other, one) == pytest.approx(distance, abs=1e-6)


@_untimed
@given(_points)
def test_opposite_ends_are_half_the_way_around(point: Place) -> None:
    """Where rounding would leave the arc sine without an answer."""
    assert point.latitude is not None
    assert point.longitude is not None
    opposite = Place(latitude=-point.latitude, longitude=point.longitude - 180)

    assert distance_km(point, opposite) == pytest.approx(math.pi * 6371.0088, abs=1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Place(), BERLIN),
        (BERLIN, Place("Japan")),
        (Place(latitude=1.0), BERLIN),
        (BERLIN, Place(latitude=1.0)),
    ],
)
def test_without_two_points_there_is_no_distance(one: Place, other: Place) -> None:
    """A country has none."""
    assert distance_km(one, other) is None
