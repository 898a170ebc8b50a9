"""Administrators and other people's sessions, and what happens to everybody else who tries."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.errors import StoreUnavailable
from flask_device_sessions.ids import new_id
from flask_device_sessions.store import Store
from flask_device_sessions.testing import PIXEL, Browser
from tests.support import PASSWORD, User, add_user, db, make_app, sign_in, statements, who

ADMIN = "root@example.com"
BOB = "bob@example.com"


def _is_admin(user: Any) -> bool:
    return bool(user.email == ADMIN)


@pytest.fixture
def config() -> dict[str, Any]:
    """Root is an administrator."""
    return {"DEVICE_SESSIONS_ADMIN": _is_admin}


@pytest.fixture
def root(app: Flask, context: None) -> Browser:
    """A browser in which the administrator is signed in."""
    add_user(ADMIN)
    browser = Browser(app, PIXEL, ip="203.0.113.1")
    sign_in(browser, ADMIN)
    return browser


@pytest.fixture
def bob(app: Flask, context: None) -> Browser:
    """A browser of somebody who is no administrator."""
    add_user(BOB)
    browser = Browser(app, ip="203.0.113.2")
    sign_in(browser, BOB)
    return browser


def _find(email: str) -> User:
    return db.session.scalars(sa.select(User).where(User.email == email)).one()


def _last(extension: DeviceSessions, user: User) -> Any:
    return extension.events_of(user)[0]


# -- What an administrator sees --------------------------------------------------------------------


def test_an_administrator_sees_anybodys_devices(ada: User, laptop: Browser, root: Browser) -> None:
    """Whose they are stands above them; what only the owner can do is not offered."""
    sign_in(laptop)

    page = root.get(f"/devices/?user={ada.id}").text

    assert "Devices of ada@example.com" in page
    assert "Linux PC" in page
    assert "Pixel 8" not in page
    assert "/rename" not in page
    assert "revoke-others" not in page
    assert "revoke-all" not in page


def test_their_own_page_is_as_anybodys(root: Browser) -> None:
    """Also by their own key."""
    pages = [root.get(f"/devices/{query}").text for query in ("", f"?user={_find(ADMIN).id}")]

    for page in pages:
        assert "Your devices" in page
        assert "Pixel 8" in page
        assert "revoke-all" in page


def test_a_person_without_sessions_has_an_empty_page(ada: User, root: Browser) -> None:
    """It says so."""
    page = root.get(f"/devices/?user={ada.id}").text

    assert "This account is not signed in on any device." in page


def test_a_person_without_a_name_is_called_by_their_key(ada: User, root: Browser) -> None:
    """The page never takes them for the administrator."""
    ada.email = ""
    db.session.commit()

    page = root.get(f"/devices/?user={ada.id}").text

    assert f"Devices of {ada.id}" in page
    assert "revoke-all" not in page


@pytest.mark.parametrize("key", ["0", "-1", "x", "9" * 30, "9" * 5000, "1\x00", " 1", "1" * 256])
def test_an_administrator_asks_for_nobody(root: Browser, key: str) -> None:
    """What is no key of anybody's is not found, and never an error."""
    assert root.get("/devices/", query_string={"user": key}).status_code == 404


# -- What everybody else sees ----------------------------------------------------------------------


def test_ones_own_key_is_ones_own_page(ada: User, laptop: Browser) -> None:
    """So is none."""
    sign_in(laptop)

    answers = [laptop.get(f"/devices/?user={key}") for key in (ada.id, "")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert all("Your devices" in answer.text for answer in answers)


def test_nobody_else_sees_another_person(app: Flask, ada: User, bob: Browser) -> None:
    """There or not: the same page at the same cost (ASVS V8.2.2)."""
    keys = (ada.id, 10**6, "x")
    with statements(app) as seen:
        answers = [bob.get(f"/devices/?user={key}") for key in keys]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert len({answer.text for answer in answers}) == 1
    assert len(seen) == 3


@pytest.mark.connections
def test_without_the_setting_nobody_is_an_administrator(ada: User, app: Flask) -> None:
    """The default is nobody."""
    other = make_app(app.config["SQLALCHEMY_DATABASE_URI"])
    add_user(ADMIN)
    browser = Browser(other)
    sign_in(browser, ADMIN)

    assert browser.get(f"/devices/?user={ada.id}").status_code == 404


# -- What an administrator ends --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["session", "device"])
def test_an_administrator_ends_anybodys_session(
    ada: User, laptop: Browser, root: Browser, extension: DeviceSessions, kind: str
) -> None:
    """The reason says so in the row, in the trail and to the person (ASVS V7.4.5)."""
    sign_in(laptop)
    (session,) = extension.sessions_of(ada)
    path = f"sessions/{session.id}" if kind == "session" else str(session.device_id)

    answer = root.post(f"/devices/{path}/revoke")

    assert (answer.status_code, answer.location) == (303, f"/devices/?user={ada.id}")
    assert "1 device was signed out." in root.get(answer.location).text
    assert _last(extension, ada).detail == {"reason": "admin"}
    assert "You were signed out by an administrator." in laptop.get("/login").text
    assert who(root) == ADMIN


@pytest.mark.parametrize("kind", ["session", "device"])
def test_what_a_deleted_person_left_is_not_found(
    ada: User, laptop: Browser, root: Browser, extension: DeviceSessions, kind: str
) -> None:
    """Their page may still be open at the administrator's; not every database cleans up."""
    sign_in(laptop)
    [session] = extension.sessions_of(ada)
    paths = {
        "session": f"/devices/sessions/{session.id}/revoke",
        "device": f"/devices/{session.device_id}/revoke",
    }
    db.session.execute(sa.delete(User).where(User.id == ada.id))
    db.session.commit()

    assert root.post(paths[kind]).status_code == 404


def test_it_asks_for_the_password_first(
    ada: User, laptop: Browser, root: Browser, extension: DeviceSessions
) -> None:
    """As ending one's own other sessions does (ASVS V7.5.2)."""
    sign_in(laptop)
    (session,) = extension.sessions_of(ada)
    with time_machine.travel(session.created_at.timestamp() + 11 * 60, tick=False):
        asked = root.post(f"/devices/sessions/{session.id}/revoke")
        before = who(laptop)
        action = re.search(r'name="action"[^>]*value="([^"]+)"', asked.text)
        assert action is not None
        done = root.post("/confirm", data={"password": PASSWORD, "action": action[1]})
        after = who(laptop)

    assert (asked.status_code, done.location) == (403, f"/devices/?user={ada.id}")
    assert [before, after] == [ada.email, None]


def test_their_own_sessions_end_as_anybodys_own(
    root: Browser, app: Flask, extension: DeviceSessions
) -> None:
    """Reason ``revoked``, and back to their own page."""
    other = Browser(app)
    sign_in(other, ADMIN)
    admin = _find(ADMIN)
    session = next(s for s in extension.sessions_of(admin) if s.device_name == "Linux PC")

    answer = root.post(f"/devices/sessions/{session.id}/revoke")

    assert answer.location == "/devices/"
    assert _last(extension, admin).detail == {"reason": "revoked"}


def test_an_administrator_renames_nobodys_device(
    ada: User, laptop: Browser, root: Browser, extension: DeviceSessions
) -> None:
    """A name is the owner's."""
    sign_in(laptop)
    (device,) = extension.devices_of(ada)

    answer = root.post(f"/devices/{device.id}/rename", data={"name": "mine"})

    assert answer.status_code == 404
    assert device.name is None


# -- Ids that are not theirs -----------------------------------------------------------------------


@pytest.fixture
def tries(ada: User, laptop: Browser, extension: DeviceSessions) -> dict[str, list[str]]:
    """Paths with Ada's ids, and the same with ids of nothing."""
    sign_in(laptop)
    (session,) = extension.sessions_of(ada)
    return {
        "foreign": _paths(session.id, session.device_id),
        "unknown": _paths(new_id(), new_id()),
    }


def _paths(session_id: uuid.UUID, device_id: uuid.UUID) -> list[str]:
    return [
        f"/devices/sessions/{session_id}/revoke",
        f"/devices/{device_id}/revoke",
        f"/devices/{device_id}/rename",
    ]


@pytest.mark.parametrize("which", ["foreign", "unknown"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_id_that_is_not_theirs_is_noted(
    bob: Browser, tries: dict[str, list[str]], extension: DeviceSessions, which: str, number: int
) -> None:
    """In the trail of whoever tried, with what was tried (ASVS V16.3.2)."""
    path = tries[which][number]

    answer = bob.post(path)

    person = _find(BOB)
    event = _last(extension, person)
    assert answer.status_code == 404
    assert event.action == "foreign_id_tried"
    assert event.detail == {
        "kind": "session" if "sessions" in path else "device",
        "id": path.split("/")[-2],
    }
    assert event.session_id == extension.sessions_of(person)[0].id
    assert extension.verify_audit(person)


def test_foreign_and_unknown_are_one_to_whoever_tries(
    app: Flask, bob: Browser, tries: dict[str, list[str]], extension: DeviceSessions
) -> None:
    """The same bytes and the same statements, so that nobody learns which ids there are."""
    bob.post(tries["unknown"][0])
    seen_by_kind = []
    bodies = set()
    for which in ("foreign", "unknown"):
        with statements(app) as seen:
            bodies |= {bob.post(path).text for path in tries[which]}
        seen_by_kind.append(list(seen))

    assert len(bodies) == 1
    assert seen_by_kind[0] == seen_by_kind[1]


def test_at_most_one_a_minute_and_person_is_noted(
    bob: Browser, tries: dict[str, list[str]], extension: DeviceSessions, ada: User, app: Flask
) -> None:
    """Whoever tries a thousand ids fills no table; another person's try is noted all the same."""
    for path in tries["foreign"] * 3 + tries["unknown"] * 3:
        bob.post(path)
    ada_too = Browser(app)
    sign_in(ada_too)
    ada_too.post(f"/devices/{new_id()}/rename")

    person = _find(BOB)
    noted = [
        [event.action for event in extension.events_of(user)].count("foreign_id_tried")
        for user in (person, ada)
    ]
    assert noted == [1, 1]


@pytest.mark.connections
def test_apps_do_not_silence_each_other(app: Flask, ada: User) -> None:
    """What one app has noted of its person 1 says nothing of another's."""
    others = [make_app(app.config["SQLALCHEMY_DATABASE_URI"]) for _ in range(2)]
    for other in others:
        browser = Browser(other)
        sign_in(browser)
        browser.post(f"/devices/{new_id()}/rename")

    events = app.extensions["device_sessions"].events_of(ada)
    assert [event.action for event in events].count("foreign_id_tried") == 2


def test_strangers_are_sent_to_sign_in_and_nothing_is_noted(
    ada: User, laptop: Browser, extension: DeviceSessions
) -> None:
    """There is nobody whose trail it could stand in."""
    answer = laptop.post(f"/devices/{new_id()}/rename")
    with laptop:
        laptop.get("/whoami")
        extension.note_foreign_id("device", new_id())

    assert answer.status_code == 302
    assert extension.events_of(ada) == []


def test_what_cannot_be_noted_is_not_found_all_the_same(
    bob: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer does not depend on the trail."""

    def fail(*_: object) -> None:
        raise StoreUnavailable("full")

    monkeypatch.setattr(Store, "add_events", fail)

    assert bob.post(f"/devices/{new_id()}/rename").status_code == 404
