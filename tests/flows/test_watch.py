"""What the extension notices about a sign-in, and what it tells the person."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask

from flask_device_sessions import DeviceSessions, suspicious_login
from flask_device_sessions.notifications import Mail
from flask_device_sessions.testing import IPHONE, PIXEL, Browser, listen_to
from tests.geography import BERLIN_RECORD, TOKYO_RECORD, write_mmdb
from tests.support import PASSWORD, User, add_user, add_views, bare_app, db, sign_in, who

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
BERLIN, TOKYO, UNKNOWN = "192.0.2.1", "198.51.100.7", "203.0.113.5"

Make = Callable[..., Flask]


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands still until it is moved."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@dataclass
class Box:
    """A mailer that keeps what it is given."""

    mails: list[Mail] = field(default_factory=list)

    def __call__(self, mail: Mail) -> None:
        """Keep the mail."""
        self.mails.append(mail)


@pytest.fixture
def box() -> Box:
    """The mailer of the apps under test."""
    return Box()


@pytest.fixture
def make(tmp_path: Path, box: Box) -> Iterator[Make]:
    """Make an app with these settings that mails and knows where addresses are."""
    database = write_mmdb(
        tmp_path / "city.mmdb",
        {"192.0.2.0/24": BERLIN_RECORD, "198.51.100.0/24": TOKYO_RECORD},
    )
    contexts = []

    def make(**config: Any) -> Flask:
        settings = {"GEOIP_DATABASE": database, "BASE_URL": "https://example.com"} | config
        app = bare_app(**{f"DEVICE_SESSIONS_{name}": value for name, value in settings.items()})
        db.init_app(app)
        DeviceSessions(app, mailer=box)
        add_views(app)
        context = app.app_context()
        context.push()
        contexts.append(context)
        db.create_all()
        add_user()
        return app

    yield make
    for context in reversed(contexts):
        context.pop()


def _extension(app: Flask) -> DeviceSessions:
    extension: DeviceSessions = app.extensions["device_sessions"]
    return extension


def _sign_in(app: Flask, ip: str, agent: str = IPHONE, **fields: Any) -> list[str]:
    """Sign in with a browser that nobody knows; return the reasons that were announced."""
    with listen_to(suspicious_login) as heard:
        sign_in(Browser(app, agent, ip=ip), **fields)
    assert _extension(app)._states[app].notifier.outbox.flush(60)
    return [reason for event in heard for reason in event["reasons"]]


# -- Where -----------------------------------------------------------------------------------------


def test_a_session_knows_its_place(make: Make, clock: time_machine.Traveller) -> None:
    """From the sign-in on, and where it moves to."""
    app = make()
    browser = Browser(app, ip=BERLIN)
    sign_in(browser)
    user = db.session.query(User).one()
    (session,) = _extension(app).sessions_of(user)
    first = (session.country, session.city, session.location)
    browser.environ_base["REMOTE_ADDR"] = TOKYO

    browser.get("/whoami")

    db.session.expire_all()
    assert first == ("Germany", "Berlin", "Berlin, Germany")
    assert session.location == "Tokyo, Japan"


# -- What is unusual -------------------------------------------------------------------------------


def test_the_first_sign_in_ever_is_never_unusual(make: Make) -> None:
    """There is nothing to compare it with."""
    assert _sign_in(make(), TOKYO) == []


def test_a_new_country_at_an_impossible_speed(make: Make, clock: time_machine.Traveller) -> None:
    """Berlin to Tokyo in two hours (ASVS V6.3.5); each reason is in the trail, too."""
    app = make()
    _sign_in(app, BERLIN)
    clock.shift(timedelta(hours=2))

    reasons = _sign_in(app, TOKYO)

    events = _extension(app).events_of(db.session.query(User).one())
    assert reasons == ["new_country", "impossible_travel"]
    assert [e.detail for e in events if e.action == "suspicious_login"] == [{"reasons": reasons}]


def test_a_traveller_who_took_the_plane_is_only_in_a_new_country(
    make: Make, clock: time_machine.Traveller
) -> None:
    """A day later the speed is nothing unusual; back home neither is anything else."""
    app = make()
    _sign_in(app, BERLIN)
    clock.shift(timedelta(days=1))
    away = _sign_in(app, TOKYO)
    clock.shift(timedelta(days=1))

    assert away == ["new_country"]
    assert _sign_in(app, BERLIN) == []


def test_the_speed_is_a_setting(make: Make, clock: time_machine.Traveller) -> None:
    """None asks nobody."""
    app = make(TRAVEL_SPEED_LIMIT=None)
    _sign_in(app, BERLIN)
    clock.shift(timedelta(hours=2))

    assert _sign_in(app, TOKYO) == ["new_country"]


def test_two_places_within_the_hour(make: Make, clock: time_machine.Traveller) -> None:
    """Another network while the account was just in use; not inside one (ASVS V6.3.5)."""
    app = make(GEOIP_DATABASE=None)
    _sign_in(app, BERLIN)
    clock.shift(timedelta(minutes=59))
    inside = _sign_in(app, "192.0.2.200", PIXEL)
    outside = _sign_in(app, UNKNOWN)
    clock.shift(timedelta(minutes=61))

    assert inside == []
    assert outside == ["two_places"]
    assert _sign_in(app, TOKYO) == []


@pytest.mark.parametrize("storage", ["full", "truncate", "hash"])
def test_whatever_is_kept_of_addresses_places_are_compared(make: Make, storage: str) -> None:
    """A hash tells networks apart, and the row keeps the country's name."""
    app = make(IP_STORAGE=storage)
    _sign_in(app, BERLIN)

    reasons = _sign_in(app, TOKYO)

    assert {"new_country", "two_places"} <= set(reasons)


@pytest.mark.parametrize("storage", ["full", "truncate", "hash"])
def test_an_ignored_network_says_nothing(make: Make, storage: str) -> None:
    """An office's VPN is in many countries a day."""
    app = make(IGNORED_NETWORKS=["198.51.100.0/24"], IP_STORAGE=storage)
    _sign_in(app, BERLIN)

    assert _sign_in(app, TOKYO) == []


def test_success_after_many_failures(make: Make, clock: time_machine.Traveller) -> None:
    """Five wrong passwords and then the right one (ASVS V6.3.5); the next time is a new count."""
    app = make()
    _sign_in(app, BERLIN)
    for _ in range(5):
        _sign_in(app, BERLIN, password="wrong")

    reasons = _sign_in(app, BERLIN)

    assert reasons == ["many_failures"]
    assert _sign_in(app, BERLIN) == []


# -- Mail ------------------------------------------------------------------------------------------


def test_the_very_first_device_is_silent(make: Make, box: Box) -> None:
    """People know that they just made an account."""
    _sign_in(make(), BERLIN)

    assert box.mails == []


def test_a_new_device_is_one_mail(make: Make, box: Box) -> None:
    """Keyed by the browser's cookie, not its address; at most once a device (ASVS V6.3.5)."""
    app = make()
    _sign_in(app, BERLIN)
    phone = Browser(app, PIXEL, ip=BERLIN)

    for _ in range(3):
        sign_in(phone)
        phone.post("/logout")

    assert _extension(app)._states[app].notifier.outbox.flush(60)
    (mail,) = box.mails
    assert mail.to == "ada@example.com"
    assert "Pixel 8" in mail.text
    assert "Berlin, Germany" in mail.text
    assert "https://example.com/devices/" in mail.text


def test_notify_new_device_is_a_switch(make: Make, box: Box) -> None:
    """Off: no mail for a device; one for what is suspicious all the same."""
    app = make(NOTIFY_NEW_DEVICE=False)
    _sign_in(app, BERLIN)
    _sign_in(app, BERLIN, PIXEL)
    before = len(box.mails)

    _sign_in(app, TOKYO)

    assert before == 0
    assert len(box.mails) == 1


def test_an_unusual_sign_in_is_one_mail_that_says_why(make: Make, box: Box) -> None:
    """Not two, though the device is new as well (ASVS V6.3.5)."""
    app = make()
    _sign_in(app, BERLIN)

    _sign_in(app, TOKYO)

    (mail,) = box.mails
    assert "It came from a country where you had not signed in before." in mail.text
    assert "Tokyo, Japan" in mail.text


def test_a_changed_password_is_a_mail(make: Make, box: Box) -> None:
    """Whoever changed it (ASVS V6.3.7)."""
    app = make()
    user = db.session.query(User).one()

    _extension(app).password_changed(user)

    assert _extension(app)._states[app].notifier.outbox.flush(60)
    assert [mail.to for mail in box.mails] == ["ada@example.com"]


def test_no_mail_leaves_before_the_commit(make: Make, box: Box) -> None:
    """What the app rolls back was never mailed."""
    app = make()
    _sign_in(app, BERLIN)
    user = db.session.query(User).one()
    with app.test_request_context(environ_base={"REMOTE_ADDR": BERLIN}):
        _extension(app).login(user, commit=False)
        db.session.rollback()

    assert _extension(app)._states[app].notifier.outbox.flush(60)
    assert box.mails == []


def test_links_never_lead_to_the_host_of_a_request(make: Make, box: Box) -> None:
    """Anybody can send one (ASVS V14.1; Decided: BASE_URL only)."""
    app = make()
    _sign_in(app, BERLIN)
    browser = Browser(app, PIXEL, ip=BERLIN)

    browser.post(
        "/login",
        data={"identifier": "ada@example.com", "password": PASSWORD},
        base_url="https://evil.example",
    )

    assert _extension(app)._states[app].notifier.outbox.flush(60)
    assert "evil" not in box.mails[0].text + box.mails[0].html


@pytest.mark.parametrize("is_unusual", [False, True], ids=["new device", "unusual"])
def test_the_mails_link_signs_the_stranger_out(make: Make, box: Box, is_unusual: bool) -> None:
    """From the mail to the page to the button, in a browser that is signed in nowhere."""
    app = make()
    _sign_in(app, BERLIN)
    thief = Browser(app, PIXEL, ip=TOKYO if is_unusual else BERLIN)
    sign_in(thief)
    before = who(thief)
    assert _extension(app)._states[app].notifier.outbox.flush(60)
    (mail,) = box.mails
    links = set(
        re.findall(r"https://example\.com(/devices/not-me/\S+?)(?=[\s\"])", mail.text + mail.html)
    )
    (link,) = links
    reader = Browser(app, IPHONE, ip=UNKNOWN)

    shown = reader.get(link)
    done = reader.post(link)

    assert ("Unusual" in mail.subject) is is_unusual
    assert "Pixel 8" in shown.text
    assert done.status_code == 200
    assert [before, who(thief)] == ["ada@example.com", None]


def test_mails_are_sent_without_our_pages(make: Make, box: Box) -> None:
    """PAGES off: their templates are there all the same, and no link leads nowhere."""
    app = make(PAGES=False)
    user = db.session.query(User).one()
    for agent in (IPHONE, PIXEL):
        with app.test_request_context(
            environ_base={"REMOTE_ADDR": BERLIN, "HTTP_USER_AGENT": agent}
        ):
            _extension(app).login(user)

    assert _extension(app)._states[app].notifier.outbox.flush(60)
    (mail,) = box.mails
    assert "Pixel 8" in mail.text
    assert "https://" not in mail.text
