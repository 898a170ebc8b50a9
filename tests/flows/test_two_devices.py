"""The main story: two devices, each seen from the other, one signed out."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.ambient import utc_now
from flask_device_sessions.testing import Browser
from tests.support import User, db, sign_in, who


def _sessions(extension: DeviceSessions, user: User) -> dict[str, Any]:
    return {session.device_name: session for session in extension.sessions_of(user)}


def test_both_devices_are_listed_and_this_one_is_named(
    ada: User, laptop: Browser, phone: Browser
) -> None:
    """The list shows every live session, and says which one is looking."""
    sign_in(laptop)
    sign_in(phone)

    page = laptop.get("/devices/").text

    assert "Linux PC" in page
    assert "iPhone" in page
    assert len(re.findall("This device", page)) == 1


def test_revoking_the_other_device_signs_it_out_at_its_next_request(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """One click here, and the other is out (ASVS V7.4.1)."""
    sign_in(laptop)
    sign_in(phone)
    session = _sessions(extension, ada)["iPhone"]

    answer = laptop.post(f"/devices/sessions/{session.id}/revoke")

    assert answer.status_code == 303
    assert who(phone) is None
    assert who(laptop) == ada.email


def test_the_one_signed_out_is_told_why(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """The login page says that it was another device, once, and forgets the dead cookie."""
    sign_in(laptop)
    sign_in(phone)
    laptop.post("/devices/revoke-others")

    answer = phone.get("/private", follow_redirects=True)
    again = phone.get("/login")

    assert "You were signed out from another device." in answer.text
    assert "signed out from another device" not in again.text


def test_revoke_others_keeps_only_this_device(
    app: Flask, ada: User, laptop: Browser, phone: Browser
) -> None:
    """Every other browser is out, however many there are."""
    tablet = Browser(app, ip="198.51.100.8")
    for browser in (laptop, phone, tablet):
        sign_in(browser)

    laptop.post("/devices/revoke-others")

    assert [who(browser) for browser in (laptop, phone, tablet)] == [ada.email, None, None]


def test_revoke_all_signs_this_device_out_too(ada: User, laptop: Browser, phone: Browser) -> None:
    """Signing out everywhere leads to the login page."""
    sign_in(laptop)
    sign_in(phone)

    answer = laptop.post("/devices/revoke-all")

    assert answer.location == "/login"
    assert [who(laptop), who(phone)] == [None, None]


def test_revoking_a_device_ends_its_sessions(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """A device is signed out as a whole."""
    sign_in(laptop)
    sign_in(phone)
    device = _sessions(extension, ada)["iPhone"].device

    laptop.post(f"/devices/{device.id}/revoke")

    assert who(phone) is None


def test_a_device_can_be_renamed(extension: DeviceSessions, ada: User, laptop: Browser) -> None:
    """The person's own name replaces the guessed one."""
    sign_in(laptop)
    device = extension.devices_of(ada)[0]

    answer = laptop.post(
        f"/devices/{device.id}/rename", data={"name": "Kitchen\x00 laptop"}, follow_redirects=True
    )

    assert "Kitchen laptop" in answer.text


def test_logout_ends_the_session_and_the_list_remembers_it(
    ada: User, laptop: Browser, phone: Browser
) -> None:
    """An ended session stays on the page with its reason."""
    sign_in(laptop)
    sign_in(phone)

    answer = phone.post("/logout")

    assert answer.location == "/login"
    assert who(phone) is None
    assert "Signed out there." in laptop.get("/devices/").text


@pytest.mark.parametrize(
    ("column", "reason"), [("last_active_at", "idle"), ("expires_at", "expired")]
)
def test_a_sign_in_notes_which_sessions_ended_by_themselves(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser, column: str, reason: str
) -> None:
    """What nobody visited since it ran out is not evicted, and takes no place."""
    sign_in(phone)
    long_ago = utc_now() - timedelta(days=60)
    db.session.execute(sa.update(extension.session_model).values({column: long_ago}))
    db.session.commit()

    sign_in(laptop)

    assert [s.end_reason for s in extension.sessions_of(ada, ended=True)] == [reason]
