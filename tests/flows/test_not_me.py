"""It wasn't me: a link in a mail shows a device, and a click on the page ends all there."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from flask_device_sessions import DeviceSessions, not_me_reported, session_ended
from flask_device_sessions.errors import BadToken
from flask_device_sessions.lifecycle import Lifecycle
from flask_device_sessions.signing import Purpose
from flask_device_sessions.store import Store
from flask_device_sessions.testing import PIXEL, Browser, DeviceSessionFactory, listen_to
from tests.support import User, add_user, db, make_app, sign_in, statements, who

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
WEEK = timedelta(days=7)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands still until it is moved."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def thief(ada: User, laptop: Browser, phone: Browser) -> Browser:
    """A phone on which somebody is signed in as Ada, whose own device is the laptop."""
    sign_in(laptop)
    sign_in(phone)
    return phone


@pytest.fixture
def reader(app: Flask) -> Browser:
    """A browser that is signed in nowhere, in which Ada reads her mail."""
    return Browser(app, PIXEL, ip="203.0.113.77")


def _session(extension: DeviceSessions, user: User, name: str = "iPhone") -> Any:
    return next(s for s in extension.sessions_of(user) if s.device_name == name)


def _link(extension: DeviceSessions, user: User) -> str:
    """Return the path of the mail about the phone."""
    return f"/devices/not-me/{extension.not_me_text(_session(extension, user))}"


def _token(extension: DeviceSessions, user: User, issuer: Any, name: str) -> uuid.UUID:
    """Give the person a token that was issued in a session; return its id."""
    token: Any = DeviceSessionFactory(user=user, token=True, issuer_id=issuer, name=name)
    db.session.commit()
    key: uuid.UUID = token.id
    return key


def _delete(user: User) -> None:
    """Delete a person behind the back of the ORM: what hangs on them is the database's affair."""
    db.session.execute(sa.delete(User).where(User.id == user.id))
    db.session.commit()


def _actions(extension: DeviceSessions, user: User) -> list[str]:
    return [event.action for event in extension.events_of(user)]


# -- The page --------------------------------------------------------------------------------------


def test_the_link_shows_the_device_and_changes_nothing(
    app: Flask, extension: DeviceSessions, ada: User, thief: Browser, reader: Browser
) -> None:
    """Mail scanners open links: only the button acts, and no sign-in is needed to see it."""
    link = _link(extension, ada)
    before = _actions(extension, ada)

    with statements(app) as seen:
        answers = [reader.get(link), reader.head(link), reader.options(link)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "iPhone" in answers[0].text
    assert "It wasn’t me: sign that device out" in answers[0].text
    assert {statement.split()[0] for statement in seen} == {"SELECT"}
    assert _actions(extension, ada) == before
    assert who(thief) == ada.email


def test_the_button_ends_the_session_and_forgets_the_device(
    extension: DeviceSessions, ada: User, thief: Browser, laptop: Browser, reader: Browser
) -> None:
    """Ada's own device stays; the trail says what happened, in order (ASVS V7.4.1)."""
    session_id, device_id = _session(extension, ada).id, _session(extension, ada).device_id

    answer = reader.post(_link(extension, ada))

    events = extension.events_of(ada)[:3][::-1]
    (ended,) = extension.sessions_of(ada, ended=True)
    assert answer.status_code == 200
    assert "That device is signed out" in answer.text
    assert [who(thief), who(laptop)] == [None, ada.email]
    assert (ended.id, ended.end_reason) == (session_id, "not_me")
    assert device_id not in {device.id for device in extension.devices_of(ada)}
    assert [(e.action, e.session_id, e.device_id) for e in events] == [
        ("not_me_reported", session_id, device_id),
        ("session_ended", session_id, device_id),
        ("device_forgotten", session_id, device_id),
    ]
    assert {e.ip_address for e in events} == {"203.0.113.77"}
    assert extension.verify_audit(ada)


def test_whoever_was_signed_out_reads_why(
    extension: DeviceSessions, ada: User, thief: Browser, reader: Browser
) -> None:
    """The device's next page is the login page, with the reason."""
    reader.post(_link(extension, ada))

    page = thief.get("/login")

    assert "someone reported that this was not them" in page.text


def test_its_next_sign_in_is_that_of_a_new_device(
    extension: DeviceSessions, ada: User, thief: Browser, reader: Browser
) -> None:
    """So that, should the thief come back, a mail is due again."""
    reader.post(_link(extension, ada))

    sign_in(thief)

    since = _actions(extension, ada)
    assert "device_first_seen" in since[: since.index("device_forgotten")]


def test_all_that_hangs_on_the_device_ends_with_it(
    extension: DeviceSessions, ada: User, thief: Browser, reader: Browser
) -> None:
    """Every session there, the tokens issued in one of them, and those issued by such a token."""
    session, own = _session(extension, ada), _session(extension, ada, "Linux PC")
    beside = DeviceSessionFactory(user=ada, device_id=session.device_id)
    ids = {session.id, beside.id}
    first = _token(extension, ada, session.id, "first")
    ids |= {first, _token(extension, ada, first, "second")}
    ids.add(_token(extension, ada, beside.id, "third"))
    _token(extension, ada, own.id, "mine")
    _token(extension, ada, None, "older")

    with listen_to(session_ended) as ends:
        reader.post(_link(extension, ada))

    assert {end["session"].id for end in ends} == ids
    assert {end["reason"] for end in ends} == {"not_me"}
    assert {s.name for s in extension.sessions_of(ada)} == {None, "mine", "older"}
    assert len(extension.sessions_of(ada)) == 3


def test_a_token_without_a_device_ends_alone(extension: DeviceSessions, ada: User) -> None:
    """Two sessions without a device share none, and neither issued what the other did."""
    tokens = [_token(extension, ada, None, name) for name in ("one", "two")]
    _token(extension, ada, tokens[1], "by two")
    signed = extension.not_me_text(extension.find_session(ada, tokens[0]))

    ended = extension.report_not_me(signed)

    assert ended == 1
    assert {s.name for s in extension.sessions_of(ada)} == {"two", "by two"}
    assert _actions(extension, ada) == ["session_ended", "not_me_reported"]


def test_in_the_reported_browser_itself_the_person_is_signed_out(
    extension: DeviceSessions, ada: User, thief: Browser
) -> None:
    """Who clicks there ends their own session, and the page says so to nobody in particular."""
    answer = thief.post(_link(extension, ada))

    assert answer.status_code == 200
    assert "Sign out" not in re.sub(r"<h1.*?</h1>", "", answer.text)
    assert who(thief) is None


def test_the_app_is_told_after_the_commit(
    app: Flask, extension: DeviceSessions, ada: User, thief: Browser, reader: Browser
) -> None:
    """The app asks for a new password: it gets the session and the person."""
    session_id = _session(extension, ada).id

    with listen_to(not_me_reported) as heard:
        reader.post(_link(extension, ada))

    assert [(told["session"].id, told["user"].email) for told in heard] == [(session_id, ada.email)]


def test_what_the_app_rolls_back_was_not_reported(
    extension: DeviceSessions, ada: User, thief: Browser
) -> None:
    """``commit=False`` makes it part of the app's own transaction."""
    signed = extension.not_me_text(_session(extension, ada))

    with listen_to(not_me_reported) as heard:
        ended = extension.report_not_me(signed, commit=False)
        db.session.rollback()

    assert ended == 1
    assert heard == []
    assert who(thief) == ada.email


# -- What the link cannot do -----------------------------------------------------------------------


def test_it_works_once(
    extension: DeviceSessions, ada: User, thief: Browser, reader: Browser
) -> None:
    """Afterwards a page says so, and nothing happens (ASVS V14.2)."""
    link = _link(extension, ada)
    reader.post(link)
    before = _actions(extension, ada)

    answers = [reader.post(link), reader.get(link)]

    assert [answer.status_code for answer in answers] == [410, 410]
    assert all("That sign-in is over already" in answer.text for answer in answers)
    assert _actions(extension, ada) == before


def test_the_second_of_two_at_once_finds_it_done(
    extension: DeviceSessions,
    ada: User,
    thief: Browser,
    reader: Browser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the look and the lock another click was first: one report, and a clear page."""
    link, report = _link(extension, ada), extension._state.lifecycle.report_not_me
    session = _session(extension, ada)

    def be_late(*args: Any) -> list[Any]:
        thief.post("/logout")
        return report(*args)

    monkeypatch.setattr(Lifecycle, "report_not_me", lambda rules, *args: be_late(*args))

    with listen_to(not_me_reported) as heard:
        answer = reader.post(link)

    db.session.expire_all()
    assert answer.status_code == 410
    assert session.end_reason == "logout"
    assert "not_me_reported" not in _actions(extension, ada)
    assert heard == []


def test_it_dies_with_the_person(
    ada: User, extension: DeviceSessions, thief: Browser, reader: Browser
) -> None:
    """Also where the database keeps the rows of a deleted person (ASVS V7.4.2)."""
    link = _link(extension, ada)
    _delete(ada)

    answers = [reader.get(link), reader.post(link)]

    assert [answer.status_code for answer in answers] == [410, 410]


def test_the_person_may_go_between_the_look_and_the_lock(
    ada: User,
    extension: DeviceSessions,
    thief: Browser,
    reader: Browser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clear page, not an error."""
    link, lock = _link(extension, ada), Store.lock_user

    def lock_too_late(store: Store, user_id: Any) -> Any:
        db.session.execute(sa.delete(User).where(User.id == user_id))
        return lock(store, user_id)

    monkeypatch.setattr(Store, "lock_user", lock_too_late)

    answer = reader.post(link)

    assert answer.status_code == 410
    assert "That sign-in is over already" in answer.text


@pytest.mark.parametrize("how", ["logout", "idle", "purged"])
def test_it_dies_with_the_session(
    extension: DeviceSessions,
    ada: User,
    thief: Browser,
    reader: Browser,
    clock: time_machine.Traveller,
    how: str,
) -> None:
    """However that ended, written down or not."""
    session = _session(extension, ada)
    session.last_active_at = NOW - timedelta(days=13)
    session.expires_at = NOW + timedelta(days=30)
    db.session.commit()
    link = _link(extension, ada)
    if how == "logout":
        thief.post("/logout")
    elif how == "idle":
        clock.shift(timedelta(days=1))
    else:
        db.session.delete(session)
        db.session.commit()

    answers = [reader.get(link), reader.post(link)]

    assert [answer.status_code for answer in answers] == [410, 410]
    assert "not_me_reported" not in _actions(extension, ada)


def test_a_thief_who_signs_in_again_does_not_get_rid_of_it(
    extension: DeviceSessions, ada: User, thief: Browser, reader: Browser
) -> None:
    """While that device is signed in, its owner's link works, for tokens of before, too."""
    session = _session(extension, ada)
    token = _token(extension, ada, session.id, "from before")
    link = _link(extension, ada)
    sign_in(thief)

    answers = [reader.get(link), reader.post(link), reader.post(link)]

    assert [answer.status_code for answer in answers] == [200, 200, 410]
    assert who(thief) is None
    ended = extension.find_session(ada, token)
    assert ended is not None
    assert ended.end_reason == "not_me"


def test_reporting_what_is_over_ends_nothing(
    extension: DeviceSessions, ada: User, thief: Browser
) -> None:
    """The verb says so, as the page does."""
    signed = extension.not_me_text(_session(extension, ada))
    thief.post("/logout")

    assert extension.report_not_me(signed) == 0


def test_idle_at_the_click_is_over_too(
    extension: DeviceSessions, ada: User, thief: Browser, clock: time_machine.Traveller
) -> None:
    """The rule itself looks at the clock, under the person's lock."""
    session = _session(extension, ada)
    rules = extension._state.lifecycle
    late = session.last_active_at + timedelta(days=14)

    ended = extension._state.store.run(
        lambda: rules.report_not_me(ada.id, session, extension._caller()[0], late)
    )

    assert ended == []


def test_it_works_for_a_week(
    extension: DeviceSessions,
    ada: User,
    thief: Browser,
    reader: Browser,
    clock: time_machine.Traveller,
) -> None:
    """To the second; the session may live longer (ASVS V7.3)."""
    sign_in(thief)
    link = _link(extension, ada)
    clock.shift(WEEK)
    in_time = reader.get(link)
    clock.shift(timedelta(seconds=1))

    answers = [reader.get(link), reader.post(link)]

    assert in_time.status_code == 200
    assert [answer.status_code for answer in answers] == [404, 404]
    assert all("This link does not work" in answer.text for answer in answers)
    assert who(thief) == ada.email


@pytest.mark.parametrize(
    "spoil",
    [
        lambda signed: signed[:-9] + ("A" if signed[-9] != "A" else "B") + signed[-8:],
        lambda signed: signed[1:],
        lambda signed: "",
        lambda signed: "x",
        lambda signed: signed * 50,
        lambda signed: signed + "é",
        lambda signed: signed + "\x00",
    ],
)
def test_what_was_not_signed_by_us_is_one_clear_page(
    app: Flask, extension: DeviceSessions, ada: User, thief: Browser, reader: Browser, spoil: Any
) -> None:
    """Forged, cut or glued: the same answer, without SQL, and nothing is changed."""
    signed = spoil(extension.not_me_text(_session(extension, ada)))

    with statements(app) as seen:
        answers = [ask(f"/devices/not-me/{signed}") for ask in (reader.get, reader.post)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert not signed or all("This link does not work" in answer.text for answer in answers)
    assert seen == []
    assert who(thief) == ada.email


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.NOT_ME])
def test_what_was_signed_for_another_purpose_is_refused(
    extension: DeviceSessions, ada: User, thief: Browser, reader: Browser, purpose: Purpose
) -> None:
    """No signed value is taken in another's place (ASVS V9.2)."""
    facts = {"session": str(_session(extension, ada).id)}
    signed = extension.signatures.dump(purpose, facts)

    assert reader.post(f"/devices/not-me/{signed}").status_code == 404


def test_the_text_can_do_nothing_but_end_the_session(
    extension: DeviceSessions, ada: User, thief: Browser, reader: Browser
) -> None:
    """It is no credential: as a cookie it signs nobody in (ASVS V14.2)."""
    signed = extension.not_me_text(_session(extension, ada))
    reader.set_cookie("device_session", signed)

    assert who(reader) is None
    assert _session(extension, ada).token_digest not in signed


def test_a_forged_text_is_refused_by_the_verb_too(extension: DeviceSessions, ada: User) -> None:
    """With an error that an app can catch."""
    with pytest.raises(BadToken):
        extension.report_not_me("forged")


# -- In other apps ---------------------------------------------------------------------------------


def test_the_button_needs_its_csrf_token() -> None:
    """Another site cannot click it, even knowing the link (ASVS V3.5.1)."""
    app = make_app(WTF_CSRF_ENABLED=True)
    with app.app_context():
        db.create_all()
        user = add_user()
        extension = app.extensions["device_sessions"]
        with app.test_request_context():
            session = extension.login(user)
            link = f"/devices/not-me/{extension.not_me_text(session)}"
        reader = Browser(app)
        field = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', reader.get(link).text)
        assert field is not None

        without = reader.post(link)
        is_alive = bool(extension.sessions_of(user))
        with_it = reader.post(link, data={"csrf_token": field[1]})

    assert (without.status_code, is_alive) == (400, True)
    assert with_it.status_code == 200


def test_an_app_that_needs_a_session_everywhere_shows_it_all_the_same() -> None:
    """``REQUIRE_LOGIN``: whoever reads the mail may be signed in nowhere."""
    app = make_app(DEVICE_SESSIONS_REQUIRE_LOGIN=True)

    answer = Browser(app).get("/devices/not-me/x")

    assert answer.status_code == 404
    assert "This link does not work" in answer.text


def test_without_a_database_the_link_says_to_come_back() -> None:
    """No session is taken for over because nobody could look."""
    app = make_app()
    extension = app.extensions["device_sessions"]
    with app.app_context():
        signed = extension.signatures.dump(Purpose.NOT_ME, {"session": str(uuid.uuid4())})

    answer = Browser(app).get(f"/devices/not-me/{signed}")

    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
