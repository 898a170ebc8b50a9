"""Whether JSON has the shape that ``openapi.json`` gives it: what is used there of JSON Schema."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: type(value) is int,
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
}

_FORMATS: dict[str, Callable[[str], object]] = {
    "uuid": uuid.UUID,
    "date-time": datetime.fromisoformat,
    "password": str,
}


def misfits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """Return what is wrong with a value."""
    return list(_misfits(document, schema, value, "$"))


def _misfits(
    document: dict[str, Any], schema: dict[str, Any], value: Any, at: str
) -> Iterator[str]:
    if "$ref" in schema:
        yield from _misfits(document, resolve(document, schema["$ref"]), value, at)
        return
    if "anyOf" in schema:
        if all(misfits(document, one, value) for one in schema["anyOf"]):
            yield f"{at} is none of its alternatives"
        return
    types = schema.get("type", list(_TYPES))
    if not any(_TYPES[name](value) for name in ([types] if isinstance(types, str) else types)):
        yield f"{at} is no {types}"
    elif value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{at} is {value!r}"
    elif isinstance(value, str) and "format" in schema:
        _FORMATS[schema["format"]](value)
    elif isinstance(value, dict):
        yield from _object_misfits(document, schema, value, at)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _misfits(document, schema["items"], item, f"{at}[{place}]")


def _object_misfits(
    document: dict[str, Any], schema: dict[str, Any], value: dict[str, Any], at: str
) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            yield f"{at}.{name} is missing"
    for name, item in value.items():
        if name in known:
            yield from _misfits(document, known[name], item, f"{at}.{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{at}.{name} is not documented"


def resolve(document: dict[str, Any], pointer: str) -> dict[str, Any]:
    """Return what ``#/a/b`` points at."""
    found: Any = document
    for step in pointer.removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)
