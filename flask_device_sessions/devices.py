"""From a user-agent text to what a person calls the device.

The parser's tables cost about 90 ms and 9 MB, so they are loaded with the first text that is
described, never at import, and answers are remembered.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

#: Longest user-agent text that is kept or parsed, in characters.
USER_AGENT_LENGTH = 512

#: Longest part of a description, in characters: the length of its column.
PART_LENGTH = 100

_DESKTOPS = {"Mac OS X": "Mac", "Windows": "Windows PC", "Chrome OS": "Chromebook"}
_LINUXES = {"Linux", "Ubuntu", "Fedora", "Debian", "Arch Linux", "Red Hat", "SUSE", "Gentoo"}

#: ``name/version`` at the start, as programs (curl, HTTPie, okhttp) introduce themselves.
_PROGRAM = r"^(?!Mozilla\b)([A-Za-z][A-Za-z0-9 ._-]{0,39})/\d"


class DeviceDescription(NamedTuple):
    """What can be told from a user-agent text; a text that tells nothing gives the defaults.

    Attributes:
        name: what a person calls it, such as "Pixel 8", "Mac", "curl"; may be empty.
        device_type: ``desktop``, ``mobile``, ``tablet``, ``bot`` or ``other``.
        browser: name and major version, such as "Firefox 131"; may be empty.
        os: system and version, such as "iOS 18.1"; may be empty.
    """

    name: str = ""
    device_type: str = "other"
    browser: str = ""
    os: str = ""


@lru_cache(maxsize=2048)
def describe(user_agent: str) -> DeviceDescription:
    """Describe the device that sent this text.

    Args:
        user_agent: a cleaned text; what is over :data:`USER_AGENT_LENGTH` is ignored.
    """
    text = user_agent[:USER_AGENT_LENGTH]
    if not text.strip():
        return DeviceDescription()
    program = re.match(_PROGRAM, text)
    described = _describe_program(text, program[1]) if program else _describe_parsed(_parse(text))
    return DeviceDescription(*(part[:PART_LENGTH].strip() for part in described))


def _parse(text: str) -> Any:
    from user_agents.parsers import parse

    return parse(text)


def _describe_program(text: str, program: str) -> DeviceDescription:
    device_type = "bot" if _parse(text).is_bot else "other"
    return DeviceDescription(name=program, device_type=device_type, browser=program)


def _describe_parsed(agent: Any) -> DeviceDescription:
    return DeviceDescription(
        name=_name(agent),
        device_type=_device_type(agent),
        browser=_with_version(agent.browser.family, agent.browser.version[:1]),
        os=_system(agent.os),
    )


def _system(system: Any) -> str:
    # Browsers froze these two systems' versions; a wrong number is worse than none.
    if system.family in ("Mac OS X", "Chrome OS"):
        return "macOS" if system.family == "Mac OS X" else "ChromeOS"
    return _with_version(system.family, system.version[:2])


def _name(agent: Any) -> str:
    if agent.is_bot:
        return _known(agent.browser.family) or _known(agent.device.family)
    system = agent.os.family
    if system in _DESKTOPS:
        return _DESKTOPS[system]
    if system == "Android":
        return _android_name(agent)
    if system in _LINUXES:
        return "Linux PC"
    return _known(agent.device.family)


def _android_name(agent: Any) -> str:
    model = _known(agent.device.model)
    # Chrome sends "K" for every model since its user-agent reduction; it names nothing.
    if model and model != "K" and not model.startswith(("Smartphone", "Tablet", "Generic")):
        return model
    return "Android tablet" if agent.is_tablet else "Android phone"


def _device_type(agent: Any) -> str:
    if agent.is_bot:
        return "bot"
    if agent.is_tablet:
        return "tablet"
    if agent.is_mobile:
        return "mobile"
    is_computer = agent.is_pc or agent.os.family in _LINUXES
    return "desktop" if is_computer else "other"


def _with_version(family: str | None, version: tuple[Any, ...]) -> str:
    name = _known(family)
    numbers = ".".join(str(part) for part in version if part not in ("", None))
    return f"{name} {numbers}".strip() if name else ""


def _known(name: str | None) -> str:
    return "" if name in (None, "Other") else str(name)
