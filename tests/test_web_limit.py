"""At the limit with ``LIMIT_POLICY="refuse"``: the page, its ticket, and who may use it."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from flask_device_sessions import DeviceSessions
from flask_device_sessions.ids import new_id
from flask_device_sessions.signing import Purpose, Signatures
from flask_device_sessions.testing import Browser
from tests.support import User, add_user, db, hash_of, jar_of, make_app, sign_in, who

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
EXPIRED = "That took too long. Please sign in again."


@pytest.fixture
def config() -> dict[str, Any]:
    """At most one session each, and no room is made."""
    return {"DEVICE_SESSIONS_MAX_PER_USER": 1, "DEVICE_SESSIONS_LIMIT_POLICY": "refuse"}


@pytest.fixture
def refused(ada: User, phone: Browser, laptop: Browser) -> TestResponse:
    """The answer to the laptop, whose place the phone holds."""
    sign_in(phone)
    answer: TestResponse = sign_in(laptop, next="/open", remember="y")
    return answer


def _ticket_in(answer: TestResponse) -> str:
    found = re.search(r'name="ticket" value="([^"]+)"', answer.text)
    assert found is not None
    return found[1]


def _choices_in(answer: TestResponse) -> list[str]:
    return re.findall(r'name="end_session" value="([^"]+)"', answer.text)


def _finish(browser: Browser, ticket: str, chosen: str) -> TestResponse:
    return browser.post("/login", data={"ticket": ticket, "end_session": chosen})


# -- The page ------------------------------------------------------------------------------------


def test_the_page_says_so_and_offers_the_devices(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser, refused: TestResponse
) -> None:
    """After the right password: 409, no session, and what could be signed out."""
    (held,) = extension.sessions_of(ada)

    assert refused.status_code == 409
    assert "Too many devices" in refused.text
    assert "iPhone" in refused.text
    assert _choices_in(refused) == [str(held.id)]
    assert "device_session=" not in str(refused.headers)
    assert refused.headers["Cache-Control"] == "no-store"
    assert who(laptop) is None
    assert who(phone) == ada.email


def test_a_wrong_password_sees_no_devices(ada: User, laptop: Browser, phone: Browser) -> None:
    """The list is for the person alone (ASVS V8.2.2)."""
    sign_in(phone)

    answer = sign_in(laptop, password="wrong")

    assert answer.status_code == 401
    assert "iPhone" not in answer.text


def test_the_page_holds_no_header_of_somebody_signed_in(refused: TestResponse) -> None:
    """Nobody is: there is nothing to sign out of."""
    assert "/logout" not in refused.text


def test_this_browsers_own_session_is_replaced_without_asking(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Signing in again in the same browser takes no place more."""
    sign_in(laptop)

    assert sign_in(laptop).status_code == 303
    assert len(extension.sessions_of(ada)) == 1


# -- Finishing it --------------------------------------------------------------------------------


def test_choosing_one_signs_it_out_and_this_one_in(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser, refused: TestResponse
) -> None:
    """One click, with what the form had asked for: ``next`` and being remembered."""
    answer = _finish(laptop, _ticket_in(refused), _choices_in(refused)[0])

    assert (answer.status_code, answer.location) == (303, "/open")
    assert who(laptop) == ada.email
    assert who(phone) is None
    assert extension.sessions_of(ada)[0].remembered
    assert extension.sessions_of(ada, ended=True)[0].end_reason == "revoked"


def test_a_session_that_ended_meanwhile_leaves_its_place(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser, refused: TestResponse
) -> None:
    """It was signed out over there: the choice is still good."""
    phone.post("/logout")

    answer = _finish(laptop, _ticket_in(refused), _choices_in(refused)[0])

    assert answer.location == "/open"
    assert who(laptop) == ada.email


def test_a_place_that_somebody_took_is_asked_for_again(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser, refused: TestResponse
) -> None:
    """With ``next`` and being remembered still in the ticket."""
    phone.post("/logout")
    sign_in(phone)

    again = _finish(laptop, _ticket_in(refused), _choices_in(refused)[0])
    answer = _finish(laptop, _ticket_in(again), _choices_in(again)[0])

    assert again.status_code == 409
    assert _choices_in(again) != _choices_in(refused)
    assert answer.location == "/open"
    assert extension.sessions_of(ada)[0].remembered


@pytest.mark.parametrize("length", [1000, 1500, 2000])
def test_a_long_next_is_kept(ada: User, laptop: Browser, phone: Browser, length: int) -> None:
    """Whatever ``next`` the form takes, the ticket takes."""
    place = f"/{secrets.token_urlsafe(length)[:length]}"
    sign_in(phone)
    refused = sign_in(laptop, next=place)

    answer = _finish(laptop, _ticket_in(refused), _choices_in(refused)[0])

    assert answer.location == place


# -- Who may not ---------------------------------------------------------------------------------


def _resigned(ticket: str, extension: DeviceSessions) -> str:
    facts = extension.signatures.load(Purpose.LIMIT, ticket, max_age=600)
    return Signatures("another secret key").dump(Purpose.LIMIT, facts)


def _of_another_purpose(ticket: str, extension: DeviceSessions) -> str:
    facts = extension.signatures.load(Purpose.LIMIT, ticket, max_age=600)
    return extension.signatures.dump(Purpose.ACTION, facts)


@pytest.mark.parametrize(
    "forge",
    [
        lambda ticket, extension: "",
        lambda ticket, extension: "junk",
        lambda ticket, extension: ticket[:-1],
        lambda ticket, extension: ticket + "x",
        lambda ticket, extension: "a" * 2**20,
        lambda ticket, extension: "ä\ud800".encode("utf-8", "replace").decode(),
        _resigned,
        _of_another_purpose,
        lambda ticket, extension: extension.signatures.sign(Purpose.LIMIT, "1"),
    ],
    ids=["empty", "junk", "cut", "longer", "megabyte", "text", "re-signed", "purpose", "cookie"],
)
def test_a_forged_ticket_signs_nobody_in(
    extension: DeviceSessions,
    ada: User,
    laptop: Browser,
    phone: Browser,
    refused: TestResponse,
    forge: Any,
) -> None:
    """Back to the login page; nobody is signed in or out (ASVS V9.1.1, V9.2.4)."""
    ticket = forge(_ticket_in(refused), extension)

    answer = _finish(laptop, ticket, _choices_in(refused)[0])

    if answer.status_code != 413:  # older Werkzeugs refuse the megabyte before we see it
        assert (answer.status_code, answer.location) == (303, "/login")
        assert EXPIRED in laptop.get("/login").text
    assert who(laptop) is None
    assert who(phone) == ada.email


@pytest.mark.parametrize(("passed", "place"), [(600, "/open"), (601, "/login")])
def test_a_ticket_is_good_for_ten_minutes(
    ada: User, laptop: Browser, phone: Browser, passed: int, place: str
) -> None:
    """To the second."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(phone)
        refused = sign_in(laptop, next="/open")
        clock.shift(timedelta(seconds=passed))

        answer = _finish(laptop, _ticket_in(refused), _choices_in(refused)[0])

        assert answer.location == place


def _foreign(app: Flask) -> str:
    """Return the id of another person's session."""
    add_user("bob@example.com")
    browser = Browser(app)
    sign_in(browser, "bob@example.com")
    extension: DeviceSessions = app.extensions["device_sessions"]
    bob = db.session.scalars(db.select(User).filter_by(email="bob@example.com")).one()
    return str(extension.sessions_of(bob)[0].id)


@pytest.mark.parametrize(
    "choose",
    [_foreign, lambda app: str(new_id()), lambda app: "", lambda app: "1", lambda app: "ä" * 9999],
    ids=["somebody else's", "unknown", "empty", "no id", "long"],
)
def test_only_a_session_of_ones_own_can_be_chosen(
    app: Flask,
    extension: DeviceSessions,
    ada: User,
    laptop: Browser,
    phone: Browser,
    refused: TestResponse,
    choose: Any,
) -> None:
    """Another's, an unknown and a malformed id answer the same, and nothing ends (ASVS V8.2.2)."""
    answer = _finish(laptop, _ticket_in(refused), choose(app))

    assert (answer.status_code, answer.location) == (303, "/login")
    assert who(laptop) is None
    assert who(phone) == ada.email
    assert not any(extension.sessions_of(user, ended=True) for user in db.session.query(User))


@pytest.mark.parametrize("what", ["disabled", "deleted"])
def test_a_person_who_is_out_meanwhile_stays_out(
    ada: User, laptop: Browser, refused: TestResponse, what: str
) -> None:
    """The ticket was right when it was written, and the account is asked again (ASVS V7.4.2)."""
    if what == "disabled":
        ada.is_enabled = False
    else:
        db.session.delete(ada)
    db.session.commit()

    answer = _finish(laptop, _ticket_in(refused), _choices_in(refused)[0])

    assert (answer.status_code, answer.location) == (303, "/login")
    assert who(laptop) is None
    assert "device_session" not in jar_of(laptop)


@pytest.mark.parametrize("where", ["another browser", "a browser without cookies"])
def test_a_ticket_is_good_in_its_own_browser_only(
    app: Flask, ada: User, phone: Browser, refused: TestResponse, where: str
) -> None:
    """Read over a shoulder or found in a cache, it is worth nothing elsewhere (ASVS V7.2.1)."""
    thief = Browser(app, ip="203.0.113.66")
    if where == "another browser":
        add_user("bob@example.com")
        sign_in(thief, "bob@example.com")
        thief.post("/logout")

    answer = _finish(thief, _ticket_in(refused), _choices_in(refused)[0])

    assert answer.location == "/login"
    assert who(thief) is None
    assert who(phone) == ada.email


def test_a_ticket_is_dead_once_the_password_changed(
    ada: User, laptop: Browser, phone: Browser, refused: TestResponse
) -> None:
    """It stands for the password that was right then (ASVS V7.4.3)."""
    ada.password_hash = hash_of("a new password")
    db.session.commit()

    answer = _finish(laptop, _ticket_in(refused), _choices_in(refused)[0])

    assert answer.location == "/login"
    assert who(laptop) is None
    assert who(phone) == ada.email


def test_a_ticket_needs_a_choice(laptop: Browser, phone: Browser, refused: TestResponse) -> None:
    """A form without the field is none."""
    answer = laptop.post("/login", data={"ticket": _ticket_in(refused)})

    assert answer.location == "/login"
    assert who(laptop) is None
    assert who(phone) is not None


@pytest.mark.parametrize("name", ["identifier", "password"])
def test_a_ticket_in_the_address_is_no_ticket(
    ada: User, laptop: Browser, refused: TestResponse, name: str
) -> None:
    """It counts from the form alone, never from a link (ASVS V14.2.1)."""
    query = {"ticket": _ticket_in(refused), "end_session": _choices_in(refused)[0], name: "x"}

    assert laptop.get("/login", query_string=query).status_code == 200
    assert laptop.post("/login", query_string=query).status_code == 401
    assert who(laptop) is None


# -- What the ticket is bound to -------------------------------------------------------------------


def test_a_ticket_works_in_its_own_browser_only(
    app: Flask, ada: User, refused: TestResponse
) -> None:
    """A copy of the page is of no use elsewhere."""
    thief = Browser(app)

    answer = _finish(thief, _ticket_in(refused), _choices_in(refused)[0])

    assert answer.location == "/login"
    assert who(thief) is None


def test_a_ticket_dies_with_the_password(
    extension: DeviceSessions, ada: User, laptop: Browser, refused: TestResponse
) -> None:
    """It stood for a password that is not the password any more."""
    ada.password_hash = hash_of("another password")
    db.session.commit()

    answer = _finish(laptop, _ticket_in(refused), _choices_in(refused)[0])

    assert answer.location == "/login"
    assert who(laptop) is None


def test_a_ticket_that_led_to_another_grows_no_younger(
    ada: User, laptop: Browser, phone: Browser
) -> None:
    """The ten minutes count from the password, however often the place was taken."""
    now = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
    with time_machine.travel(now, tick=False) as clock:
        sign_in(phone)
        first = sign_in(laptop)
        phone.post("/logout")
        sign_in(phone)
        clock.shift(timedelta(minutes=6))
        second = _finish(laptop, _ticket_in(first), _choices_in(first)[0])
        clock.shift(timedelta(minutes=6))

        answer = _finish(laptop, _ticket_in(second), _choices_in(second)[0])

    assert second.status_code == 409
    assert answer.location == "/login"


def test_where_the_policy_gives_no_tickets_none_is_taken(
    app: Flask, ada: User, laptop: Browser, refused: TestResponse
) -> None:
    """With "evict", not even a good signature signs anybody in."""
    other = make_app(app.config["SQLALCHEMY_DATABASE_URI"])
    browser = Browser(other)
    for name, value in jar_of(laptop).items():
        browser.set_cookie(name, value)

    answer = _finish(browser, _ticket_in(refused), _choices_in(refused)[0])

    assert answer.location == "/login"
    assert who(browser) is None
