"""Location databases, made here: never downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet  # type: ignore[import-untyped]

BERLIN_RECORD = {
    "country": {"iso_code": "DE", "names": {"en": "Germany", "de": "Deutschland"}},
    "city": {"names": {"en": "Berlin", "ja": "ベルリン"}},
    "location": {"latitude": 52.52, "longitude": 13.405, "accuracy_radius": 20},
}
JAPAN_RECORD = {"country": {"iso_code": "JP", "names": {"en": "Japan"}}}
TOKYO_RECORD = {
    "country": {"iso_code": "JP", "names": {"en": "Japan"}},
    "city": {"names": {"en": "Tokyo"}},
    "location": {"latitude": 35.6895, "longitude": 139.6917},
}


def write_mmdb(path: Path, records: Mapping[str, Any], ip_version: Any = 6) -> str:
    """Write a database of these networks; return its path."""
    writer = MMDBWriter(ip_version, "Test-City", ipv4_compatible=ip_version == 6, float_type="f64")
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return str(path)
