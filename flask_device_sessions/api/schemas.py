"""What comes in, checked field by field; what goes out, in the shapes of ``openapi.json``."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from flask import abort, request

from .. import problems
from ..config import LONGEST_TOKEN, are_scopes
from ..models import NAME_LENGTH
from ..text import clean

#: Rows of a page, unless the query says otherwise, and at most.
PAGE, LONGEST_PAGE = 20, 100

#: Longest text that is taken, in characters.
_TEXT_LENGTH = 4096


# -- In ------------------------------------------------------------------------------------------


class _Input:
    """Collects what is wrong, so that one answer says it all."""

    def __init__(self) -> None:
        self._errors: list[dict[str, str]] = []

    def check(self) -> None:
        """Stop with 422 if something was wrong."""
        if self._errors:
            abort(problems.make("invalid-fields", errors=self._errors))

    def _refuse(self, field: str, detail: str) -> None:
        self._errors.append({"field": field, "detail": detail})


class Body(_Input):
    """The fields of a JSON object; stops with 400 or 415 if there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._values = _read_object()

    def text(self, field: str, *, is_optional: bool = False) -> str:
        """Return a text as it was sent; an optional one that is missing or null is empty."""
        value = self._values.get(field)
        if value is None and is_optional:
            return ""
        if not isinstance(value, str) or len(value) > _TEXT_LENGTH or not (value or is_optional):
            self._refuse(field, f"must be a string of 1 to {_TEXT_LENGTH} characters")
        return str(value)

    def name(self, field: str) -> str:
        """Return a name, cleaned; it must say something."""
        value = self._values.get(field)
        cleaned = clean(value, NAME_LENGTH)
        if not cleaned or len(value or "") > NAME_LENGTH:
            self._refuse(field, f"must be a string of 1 to {NAME_LENGTH} characters, not blank")
        return cleaned

    def scopes(self, field: str, offered: Sequence[str]) -> tuple[str, ...]:
        """Return scopes, each once: some of those offered, if any are."""
        value = self._values.get(field)
        if value is None:
            return ()
        if not are_scopes(value):
            self._refuse(field, "must be a list of at most 50 scopes, without spaces in them")
            return ()
        unknown = [scope for scope in value if offered and scope not in offered]
        if unknown:
            self._refuse(field, f"may hold: {', '.join(offered)}")
        return tuple(dict.fromkeys(value))

    def days(self, field: str) -> int | None:
        """Return a number of days, or ``None`` if there is none."""
        value = self._values.get(field)
        most = LONGEST_TOKEN.days
        is_whole = type(value) is int or (type(value) is float and value.is_integer())
        if value is not None and not (is_whole and 1 <= value <= most):
            self._refuse(field, f"must be a whole number of days from 1 to {most}")
            return None
        return None if value is None else int(value)


class Query(_Input):
    """The parameters behind the question mark."""

    def limit(self) -> int:
        """Return how many rows are wanted."""
        text = request.args.get("limit")
        if text is None:
            return PAGE
        number = _number(text)
        if number is None or not 1 <= number <= LONGEST_PAGE:
            self._refuse("limit", f"must be a whole number from 1 to {LONGEST_PAGE}")
        return number or PAGE

    def row_id(self, field: str) -> uuid.UUID | None:
        """Return the id of the row that the page before ended with."""
        text = request.args.get(field)
        row_id = None if text is None else parse_id(text)
        if text is not None and row_id is None:
            self._refuse_cursor(field)
        return row_id

    def number(self, field: str) -> int | None:
        """Return the number of the row that the page before ended with."""
        text = request.args.get(field)
        number = None if text is None else _number(text)
        if text is not None and number is None:
            self._refuse_cursor(field)
        return number

    def _refuse_cursor(self, field: str) -> None:
        self._refuse(field, "must be what the page before gave as next")


def parse_id(text: str) -> uuid.UUID | None:
    """Return the id in its one spelling, or ``None``."""
    try:
        row_id = uuid.UUID(text)
    except ValueError:
        return None
    return row_id if str(row_id) == text else None


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= 18  # fits a BIGINT
    return int(text) if is_number else None


def _read_object() -> dict[str, Any]:
    if request.mimetype != "application/json":
        abort(415)
    body = request.get_data()
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        abort(problems.make("malformed-body", _why(error)))
    if not isinstance(value, dict):
        abort(problems.make("malformed-body"))
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what readers understand differently (RFC 8259 4)."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("A name stands in it twice.")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value.")


def _why(error: Exception) -> str:
    """Return what is wrong with a body, and nothing of what is in it."""
    if isinstance(error, UnicodeDecodeError):
        return "The body is not UTF-8."
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}."
    return "The body nests too deeply." if isinstance(error, RecursionError) else str(error)


# -- Out -----------------------------------------------------------------------------------------


def session(row: Any) -> dict[str, Any]:
    """Return a session; never its secret, nor the digest of it."""
    return {
        "id": str(row.id),
        "kind": row.kind,
        "name": row.name or row.device_name,
        "device": None if row.device is None else _device(row.device),
        "ip_address": row.last_ip_address or row.ip_address,
        "location": row.location or None,
        "scopes": list(row.scopes),
        "created_at": _time(row.created_at),
        "last_active_at": _time(row.last_active_at),
        "expires_at": _time(row.expires_at),
        "ended_at": _time(row.ended_at),
        "end_reason": row.end_reason,
        "is_current": row.is_current,
    }


def event(row: Any) -> dict[str, Any]:
    """Return an event of the trail."""
    return {
        "id": str(row.id),
        "action": row.action,
        "created_at": _time(row.created_at),
        "session_id": None if row.session_id is None else str(row.session_id),
        "device_id": None if row.device_id is None else str(row.device_id),
        "ip_address": row.ip_address,
        "user_agent": row.user_agent,
        "detail": row.detail,
    }


def key(user_id: Any) -> int | str:
    """Return a user's primary key as JSON can hold it."""
    return user_id if isinstance(user_id, int) else str(user_id)


def _device(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "type": row.device_type,
        "browser": row.browser,
        "os": row.os,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
