"""Deeds that ask for the password first, and then are done once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from flask import Flask
from werkzeug.test import TestResponse

from flask_device_sessions import DeviceSessions, session_confirmed, session_ended
from flask_device_sessions.testing import Browser, listen_to
from tests.support import PASSWORD, User, add_user, jar_of, replay, sign_in, who

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands still until it is moved."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def stale(clock: time_machine.Traveller, ada: User, laptop: Browser, phone: Browser) -> Browser:
    """A laptop beside a phone, both signed in; the password was typed eleven minutes ago."""
    sign_in(laptop)
    sign_in(phone)
    clock.shift(timedelta(minutes=11))
    return laptop


def _action_in(answer: TestResponse) -> str:
    found = re.search(r'name="action"[^>]*value="([^"]+)"', answer.text)
    assert found is not None
    return found[1]


def _confirm(browser: Browser, action: str, password: str = PASSWORD) -> TestResponse:
    return browser.post("/confirm", data={"password": password, "action": action})


def _other_session(extension: DeviceSessions, user: User) -> Any:
    return next(s for s in extension.sessions_of(user) if s.device_name == "iPhone")


def test_ending_others_asks_for_the_password_and_then_does_it(
    stale: Browser, phone: Browser
) -> None:
    """The password is the only click more (ASVS V7.5.2)."""
    asked = stale.post("/devices/revoke-others")
    before = who(phone)

    done = _confirm(stale, _action_in(asked))

    assert asked.status_code == 403
    assert before == "ada@example.com"
    assert done.location == "/devices/"
    assert [who(stale), who(phone)] == ["ada@example.com", None]


@pytest.mark.parametrize("what", ["session", "device", "all"])
def test_every_deed_on_others_waits_for_the_password(
    stale: Browser, phone: Browser, extension: DeviceSessions, ada: User, what: str
) -> None:
    """Revoking one session, one device or all ask alike, and do exactly that."""
    other = _other_session(extension, ada)
    path = {
        "session": f"/devices/sessions/{other.id}/revoke",
        "device": f"/devices/{other.device_id}/revoke",
        "all": "/devices/revoke-all",
    }[what]
    asked = stale.post(path)
    before = who(phone)

    _confirm(stale, _action_in(asked))

    assert before == "ada@example.com"
    assert who(phone) is None
    assert (who(stale) is None) == (what == "all")


def test_a_fresh_session_is_not_asked(ada: User, laptop: Browser, phone: Browser) -> None:
    """Within FRESHNESS of the sign-in the deed is done at once."""
    sign_in(phone)
    sign_in(laptop)

    answer = laptop.post("/devices/revoke-others")

    assert answer.status_code == 303
    assert who(phone) is None


def test_ending_ones_own_session_never_asks(
    stale: Browser, extension: DeviceSessions, ada: User
) -> None:
    """Who wants to leave may leave."""
    own = next(s for s in extension.sessions_of(ada) if s.device_name == "Linux PC")

    answer = stale.post(f"/devices/sessions/{own.id}/revoke")

    assert answer.location == "/login"
    assert who(stale) is None


def test_a_wrong_password_does_nothing(stale: Browser, phone: Browser) -> None:
    """The page comes again and still carries what was asked for."""
    asked = stale.post("/devices/revoke-others")

    answer = _confirm(stale, _action_in(asked), "wrong")

    assert answer.status_code == 401
    assert "The password is wrong." in answer.text
    assert _action_in(answer) == _action_in(asked)
    assert who(phone) == "ada@example.com"


def test_the_deed_is_done_once(stale: Browser, phone: Browser) -> None:
    """Sending the confirmed form again does not end what was signed in since."""
    action = _action_in(stale.post("/devices/revoke-others"))
    _confirm(stale, action)
    sign_in(phone)

    again = _confirm(stale, action)

    assert again.status_code == 400
    assert who(phone) == "ada@example.com"


def test_an_action_of_another_session_is_refused(
    app: Flask, stale: Browser, phone: Browser
) -> None:
    """What somebody else had signed for their own session does nothing in this one."""
    add_user("eve@example.com")
    eve = Browser(app)
    with time_machine.travel(NOW - timedelta(minutes=30), tick=False):
        sign_in(eve, "eve@example.com")
    planted = _action_in(eve.post("/devices/revoke-all"))

    answer = _confirm(stale, planted)

    assert answer.status_code == 400
    assert [who(stale), who(phone)] == ["ada@example.com", "ada@example.com"]


@pytest.mark.parametrize("action", ["junk", "a.b.c", "x" * 5000])
def test_a_forged_action_is_refused(stale: Browser, phone: Browser, action: str) -> None:
    """Only what was signed here is done."""
    answer = _confirm(stale, action)

    assert answer.status_code == 400
    assert who(phone) == "ada@example.com"


def test_an_action_dies_after_ten_minutes(
    clock: time_machine.Traveller, stale: Browser, phone: Browser
) -> None:
    """A confirm page that was left open is no open door."""
    action = _action_in(stale.post("/devices/revoke-others"))
    clock.shift(timedelta(minutes=11))

    answer = _confirm(stale, action)

    assert answer.status_code == 400
    assert who(phone) == "ada@example.com"


def test_confirming_gives_a_new_secret_and_says_so(app: Flask, stale: Browser) -> None:
    """After the password was checked again the old cookie is dead (ASVS V7.2.4)."""
    before = jar_of(stale)

    with listen_to(session_confirmed) as heard:
        answer = stale.post("/confirm", data={"password": PASSWORD, "next": "/private"})

    assert answer.location == "/private"
    assert len(heard) == 1
    assert who(replay(app, before)) is None
    assert who(stale) == "ada@example.com"


def test_confirm_keeps_next_on_this_site(stale: Browser) -> None:
    """A target elsewhere is replaced by the app's own page (ASVS V3.7.2)."""
    answer = stale.post("/confirm", data={"password": PASSWORD, "next": "//evil.example"})

    assert answer.location == "/whoami"


def test_the_confirm_page_is_for_people_who_are_signed_in(laptop: Browser, app: Flask) -> None:
    """Others are sent to the login page, and confirming without a session does nothing."""
    page = laptop.get("/confirm")
    with app.test_request_context():
        confirmed = app.extensions["device_sessions"].confirm(PASSWORD)

    assert page.location == "/login?next=%2Fconfirm"
    assert confirmed is False


def test_a_changed_password_signs_everything_else_out(
    app: Flask, stale: Browser, phone: Browser, extension: DeviceSessions, ada: User
) -> None:
    """Others are told why, and the session that did it has a new secret (ASVS V7.4.3)."""
    before = jar_of(stale)
    with stale:
        stale.get("/whoami")
        with listen_to(session_ended) as heard:
            ended = extension.password_changed(ada)
    reasons = [session.end_reason for session in extension.sessions_of(ada, ended=True)]

    told = phone.get("/login")

    assert ended == 1
    assert [event["reason"] for event in heard] == ["password_changed"]
    assert reasons == ["password_changed"]
    assert "because the password was changed" in told.text
    assert who(replay(app, before)) is None


def test_a_password_changed_elsewhere_signs_everything_out(
    stale: Browser, phone: Browser, extension: DeviceSessions, ada: User
) -> None:
    """Outside a request, as in a command, no session is the current one."""
    ended = extension.password_changed(ada)

    assert extension.events_of(ada)[0].action == "password_changed"
    assert ended == 2
    assert [who(stale), who(phone)] == [None, None]


def test_an_app_with_a_page_of_its_own_is_asked_there(app: Flask, stale: Browser) -> None:
    """An app that confirms people elsewhere, as with OAuth, sets its LoginManager's view."""
    app.login_manager.refresh_view = "whoami"  # type: ignore[attr-defined]

    answer = stale.post("/devices/revoke-others")

    assert answer.location == "/whoami?next=%2Fdevices%2F"


def test_an_app_may_answer_by_itself(app: Flask, stale: Browser) -> None:
    """Its ``needs_refresh_handler`` is asked, as by Flask-Login."""

    def answer_in_words() -> str:
        return "type it again"

    app.login_manager.needs_refresh_handler(answer_in_words)  # type: ignore[attr-defined]

    assert stale.post("/devices/revoke-others").text == "type it again"


def test_people_without_any_password_are_not_shut_out(
    stale: Browser, phone: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no password to ask for, ending one's own sessions stays possible."""
    monkeypatch.delattr(User, "check_password")

    answer = stale.post("/devices/revoke-others")

    assert answer.status_code == 303
    assert who(phone) is None
