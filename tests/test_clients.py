"""Who is calling, made of whatever the network sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_device_sessions.clients import Client
from flask_device_sessions.devices import USER_AGENT_LENGTH, describe
from flask_device_sessions.networks import normalize
from flask_device_sessions.testing import IPHONE
from flask_device_sessions.text import clean


def test_a_caller_is_known_by_clean_values() -> None:
    """The address is in its one form, the text is clean, the browser's digest is as given."""
    client = Client.seen("::ffff:192.0.2.1", "curl\x00/8.5\r\n", "ab" * 32)

    assert client == Client("192.0.2.1", "curl/8.5", "ab" * 32)


def test_a_caller_may_be_unknown() -> None:
    """Nobody's address, text and browser are no reason to fail."""
    client = Client.seen(None, "")

    assert client == Client(address=None, user_agent="", browser_digest=None)
    assert client.device == describe("")


@given(st.none() | st.text(max_size=60), st.text(max_size=60))
def test_anything_makes_a_caller(address: str | None, user_agent: str) -> None:
    """Whatever the network sends, the values are as the leaf modules leave them."""
    client = Client.seen(address, user_agent)

    assert client.address == normalize(address)
    assert client.user_agent == clean(user_agent, USER_AGENT_LENGTH)


def test_64_kilobytes_of_user_agent_are_cut() -> None:
    """What is kept fits the column."""
    assert len(Client.seen("192.0.2.1", "x" * 65536).user_agent) == USER_AGENT_LENGTH


def test_a_caller_says_what_device_it_is() -> None:
    """The description follows from the text."""
    device = Client.seen("192.0.2.1", IPHONE).device

    assert (device.name, device.device_type) == ("iPhone", "mobile")


def test_a_caller_cannot_be_changed() -> None:
    """One request has one caller: nothing rewrites it on the way."""
    client = Client.seen("192.0.2.1", IPHONE)

    with pytest.raises(AttributeError):
        client.address = "203.0.113.1"  # type: ignore[misc]
