"""Where an address is, by a MaxMind DB file on this machine. The only user of ``maxminddb``.

No address leaves the machine. Needs the extra ``geoip`` and a database of cities or countries:
GeoLite2 and GeoIP2, DB-IP Lite, or one with the flat columns of IPinfo.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping
from datetime import timedelta
from types import ModuleType
from typing import Any, NamedTuple

from .errors import ConfigError
from .logs import Throttled
from .networks import normalize
from .text import clean

_logger = logging.getLogger("flask_device_sessions")

#: Longest name of a country or city, in characters; the columns of the sessions table.
NAME_LENGTH = 100

#: Mean radius of the Earth in kilometres (IUGG; Moritz, Geodetic Reference System 1980).
_EARTH_RADIUS_KM = 6371.0088

_KEY = "DEVICE_SESSIONS_GEOIP_DATABASE"


class Place(NamedTuple):
    """Where an address is, as far as the database knows.

    Attributes:
        country: its name, as a person reads it.
        city: its name.
        latitude: degrees north, from -90 to 90. Both or neither of the two are known.
        longitude: degrees east, from -180 to 180.
    """

    country: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None


class Atlas:
    """Tells the places of addresses.

    The file is opened at the first look-up, once, and mapped into memory: threads and forked
    workers share it. To bring it up to date, put another file in its place by renaming, as
    ``geoipupdate`` does, and restart; a file that is overwritten where it lies breaks every
    process that has it open.

    Args:
        path: the ``.mmdb`` file; ``None`` knows no place.
        language: of the names, such as ``"de"`` or ``"pt-BR"``; English where it has none.

    Raises:
        ConfigError: the file cannot be read, is no MaxMind DB, or ``maxminddb`` is missing.
    """

    def __init__(self, path: str | None, language: str = "en") -> None:
        self._path = path
        self._languages = (language, "en")
        self._reader: Any = None
        self._lock = threading.Lock()
        self._warning = Throttled(_logger, timedelta(minutes=1))
        if path is not None:
            _check(path)

    def locate(self, address: str | None) -> Place:
        """Return where an address is; empty for what is not in the database. Never raises.

        Args:
            address: any text form, also the network that ``IP_STORAGE="truncate"`` keeps. A
                private address is in no database, and so nowhere; a hash is no address.
        """
        wanted = normalize((address or "").partition("/")[0])
        if self._path is None or wanted is None:
            return Place()
        try:
            return _place_in(self._find(wanted), self._languages)
        # A damaged file fails in many ways, and nobody is kept from signing in for it.
        except Exception as error:
            # Its text may name the address, which IP_STORAGE may forbid to keep.
            self._warning.warning("%s cannot be read: %s", _KEY, type(error).__name__)
            return Place()

    def _find(self, address: str) -> Any:
        reader = self._reader or self._open()
        if ":" in address and reader.metadata().ip_version == 4:
            return None
        return reader.get(address)

    def _open(self) -> Any:
        with self._lock:
            if self._reader is None:
                self._reader = _open(self._path)
            return self._reader


def distance_km(one: Place, other: Place) -> float | None:
    """Return the great-circle distance in kilometres; ``None`` unless both are located.

    By the haversine formula, exact enough also for small distances (R. W. Sinnott, "Virtues of
    the Haversine", Sky and Telescope 68(2), 1984); the Earth is no sphere, which makes up to
    0.6 %.
    """
    if one.latitude is None or other.latitude is None:
        return None
    if one.longitude is None or other.longitude is None:
        return None
    north, other_north = math.radians(one.latitude), math.radians(other.latitude)
    east = math.radians(other.longitude - one.longitude)
    haversine = (
        math.sin((other_north - north) / 2) ** 2
        + math.cos(north) * math.cos(other_north) * math.sin(east / 2) ** 2
    )
    # Rounding makes it a little more than 1 for opposite ends of the Earth.
    return 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, haversine)))


def _library() -> ModuleType:
    try:
        import maxminddb
    except ImportError as error:
        raise ConfigError(
            f"{_KEY} needs the package maxminddb: pip install Flask-Device-Sessions[geoip]"
        ) from error
    return maxminddb


def _open(path: str | None) -> Any:
    """Open a database with the reader that is written in Python, its file mapped into memory.

    The one written in C takes the process down with it when a byte of a record is damaged
    (seen with maxminddb 3.2.0); at some 0.1 ms a look-up it is not missed. In a mapped file
    there is no position that threads and forked workers would share.
    """
    library = _library()
    return library.open_database(path, library.MODE_MMAP)


def _check(path: str) -> None:
    try:
        _open(path).close()
    except ConfigError:
        raise
    # A file that is none of these databases fails in as many ways as a damaged one.
    except Exception as error:
        raise ConfigError(
            f"{_KEY} is {path!r}, which is not a MaxMind DB file that can be read: {error}"
        ) from error


def _place_in(record: Any, languages: tuple[str, ...]) -> Place:
    if not isinstance(record, Mapping):
        return Place()
    country = record.get("country_name") or record.get("country")
    return Place(
        _name_in(country, languages), _name_in(record.get("city"), languages), *_point_in(record)
    )


def _name_in(value: Any, languages: tuple[str, ...]) -> str | None:
    """Return a name from ``{"names": {language: name}}``, or from the name alone."""
    if isinstance(value, Mapping):
        names = value.get("names") or {}
        value = next((names[language] for language in languages if language in names), None)
    return clean(value, NAME_LENGTH) or None


def _point_in(record: Mapping[str, Any]) -> tuple[float, float] | tuple[None, None]:
    """Return latitude and longitude, from ``location`` or from the record itself."""
    location = record.get("location")
    values = location if isinstance(location, Mapping) else record
    latitude = _degrees(values.get("latitude", values.get("lat")), 90)
    longitude = _degrees(values.get("longitude", values.get("lng")), 180)
    return (None, None) if latitude is None or longitude is None else (latitude, longitude)


def _degrees(value: Any, limit: int) -> float | None:
    try:
        degrees = float(value)
    except (TypeError, ValueError):
        return None
    # Not a number is not within it either.
    return degrees if -limit <= degrees <= limit else None
