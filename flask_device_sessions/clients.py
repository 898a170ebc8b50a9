"""Who is calling, in plain values taken from a request."""

from __future__ import annotations

from typing import NamedTuple

from .devices import USER_AGENT_LENGTH, DeviceDescription, describe
from .networks import normalize
from .text import clean


class Client(NamedTuple):
    """The caller of one request.

    Attributes:
        address: the address in its one text form, or ``None`` when there is none.
        user_agent: the cleaned user-agent text, at most 512 characters.
        browser_digest: SHA-256 (hex) of the name in the browser cookie, or ``None``.
    """

    address: str | None = None
    user_agent: str = ""
    browser_digest: str | None = None

    @classmethod
    def seen(
        cls, address: str | None, user_agent: str, browser_digest: str | None = None
    ) -> Client:
        """Make a client of what the network sent: anything at all."""
        return cls(normalize(address), clean(user_agent, USER_AGENT_LENGTH), browser_digest)

    @property
    def device(self) -> DeviceDescription:
        """What the user agent says about the device."""
        return describe(self.user_agent)
