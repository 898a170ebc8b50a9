"""Rows as JSON values, for a person who asks for what is kept of them, and for scripts.

Named column by column: no digest, MAC or secret can come along, nor a column of the app's own.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import Any

from .chain import COVERED

SESSION = (
    "id",
    "user_id",
    "device_id",
    "kind",
    "name",
    "scopes",
    "ip_address",
    "last_ip_address",
    "user_agent",
    "country",
    "city",
    "auth_method",
    "remembered",
    "issuer_id",
    "created_at",
    "authenticated_at",
    "last_active_at",
    "rotated_at",
    "expires_at",
    "ended_at",
    "end_reason",
)

DEVICE = ("id", "user_id", "name", "device_type", "browser", "os", "first_seen_at", "last_seen_at")

#: All that an event says: what its MAC is over.
EVENT = COVERED


def session(row: Any) -> dict[str, Any]:
    """Return a session's columns as JSON values."""
    return _pick(row, SESSION)


def device(row: Any) -> dict[str, Any]:
    """Return a device's columns as JSON values."""
    return _pick(row, DEVICE)


def event(row: Any) -> dict[str, Any]:
    """Return an event's columns as JSON values; a purge's mark without the MAC that it names."""
    picked = _pick(row, EVENT)
    if isinstance(row.detail, dict):
        picked["detail"] = {key: value for key, value in row.detail.items() if key != "mac"}
    return picked


def value_of(value: Any) -> Any:
    """Return a column's value as JSON has it: ids as text, times in ISO 8601 and UTC."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, uuid.UUID) else value


def _pick(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value_of(getattr(row, name)) for name in names}
