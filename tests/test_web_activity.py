"""The activity page: every event in words, in pages, one person's own."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import END_REASONS, DeviceSessions
from flask_device_sessions.audit import ACTIONS
from flask_device_sessions.ids import new_id
from flask_device_sessions.suspicion import REASONS
from flask_device_sessions.testing import FIREFOX, Browser
from flask_device_sessions.web import activity
from tests.support import User, add_user, db, sign_in, statements

NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)

SHOWN = [action for action in ACTIONS if action not in activity.HIDDEN]

#: What should not stand in a row, but might: written by hand, or by a later version.
ODD: list[Any] = [
    None,
    [],
    "text",
    7,
    {"reason": None, "method": 5, "reasons": "new_country", "name": ["x"], "old": {}, "new": 1},
    {"reason": "unheard_of", "method": "", "reasons": ["unheard_of", 3, {}], "name": "\x00"},
    {"old": "1f" * 16, "new": "2e" * 16, "reasons": []},
]


def _write(user: User, *actions: str, **columns: Any) -> None:
    """Put events into the person's trail, behind those that are there, as nothing verifies."""
    table = db.metadata.tables["device_session_events"]
    last = db.session.scalar(
        sa.select(sa.func.max(table.c.sequence)).where(table.c.user_id == user.id)
    )
    values = {"created_at": NOON, "user_agent": FIREFOX, "detail": {}, "mac": ""} | columns
    rows = [
        {"id": new_id(), "user_id": user.id, "action": action, "sequence": number, **values}
        for number, action in enumerate(actions, (last or 0) + 1)
    ]
    db.session.execute(sa.insert(table), rows)
    db.session.commit()


def _sentences(page: str) -> list[str]:
    return re.findall(r'<p class="ds-event-sentence">(.*?)</p>', page)


def _named(count: int) -> dict[str, Any]:
    return {"detail": {"name": f"device {count}"}}


@pytest.fixture
def reader(ada: User, laptop: Browser) -> Browser:
    """A laptop on which Ada is signed in."""
    sign_in(laptop)
    return laptop


# -- In words --------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", SHOWN)
@pytest.mark.parametrize("detail", [{}, *ODD])
def test_every_action_is_a_sentence_whatever_its_detail(action: str, detail: Any) -> None:
    """No key, no placeholder, and never an error (ASVS V7.5.2: people can read their activity)."""
    sentence = activity.sentence_of(action, detail)

    assert re.fullmatch(r"[A-Z].*\.", sentence)
    assert action not in sentence
    assert not re.search(r"%\(|None|\{|\x00|1f1f|unheard_of", sentence)


@pytest.mark.parametrize(
    ("action", "detail", "sentence"),
    [
        ("session_started", {"method": "password"}, "Signed in with the password."),
        ("session_started", {"method": "app"}, "Signed in."),
        ("session_started", {"method": "passkey"}, "Signed in (passkey)."),
        ("session_ended", {"reason": "logout"}, "Signed out."),
        ("login_failed", {"reason": "password"}, "A wrong password was tried."),
        (
            "login_failed",
            {"reason": "disabled"},
            "A sign-in was refused: the account is disabled.",
        ),
        (
            "suspicious_login",
            {"reasons": ["many_failures"]},
            "Unusual sign-in. Several wrong passwords were tried before it.",
        ),
        (
            "ip_changed",
            {"old": "192.0.2.1", "new": "2001:db8::1"},
            "A device moved from network 192.0.2.1 to 2001:db8::1.",
        ),
        ("device_renamed", {"name": "Télé"}, "A device was named “Télé”."),
        ("device_renamed", {"name": None}, "The name of a device was taken away."),
        ("token_issued", {"name": "CI", "scopes": []}, "The access token “CI” was made."),
        ("from_the_future", {}, "Something else happened (from_the_future)."),
    ],
)
def test_what_the_detail_says_is_told(action: str, detail: Any, sentence: str) -> None:
    """How, why, which name, which network."""
    assert activity.sentence_of(action, detail) == sentence


def test_every_reason_is_a_sentence_of_its_own() -> None:
    """Of ends and of suspicions alike."""
    ends = {activity.sentence_of("session_ended", {"reason": reason}) for reason in END_REASONS}
    odd = {activity.sentence_of("suspicious_login", {"reasons": [reason]}) for reason in REASONS}

    assert len(ends) == len(END_REASONS)
    assert len(odd) == len(REASONS)


def test_every_shown_action_is_in_one_group() -> None:
    """So that each can be found by a filter, and by one only."""
    grouped = [action for _, _, actions in activity.GROUPS for action in actions]

    assert sorted(grouped) == sorted(SHOWN)


@pytest.mark.parametrize(
    ("user_agent", "text"),
    [(FIREFOX, "Firefox 140 on Linux PC"), ("curl/8.0", "curl"), ("", ""), (None, "")],
)
def test_the_device_is_told_from_the_events_own_user_agent(
    user_agent: str | None, text: str
) -> None:
    """The row may have lost its device; the event says what was used."""
    event: Any = SimpleNamespace(
        action="session_started",
        detail={},
        created_at=NOON,
        user_agent=user_agent,
        ip_address="192.0.2.1",
    )

    line = activity.line_of(event)

    assert (line.device_text, line.ip_address) == (text, "192.0.2.1")


def test_where_an_administrator_sits_is_not_told() -> None:
    """The person learns that it was one, not from which address."""
    event: Any = SimpleNamespace(
        action="session_ended",
        detail={"reason": "admin"},
        created_at=NOON,
        user_agent=FIREFOX,
        ip_address="203.0.113.9",
    )

    line = activity.line_of(event)

    assert line.sentence == "A device was signed out by an administrator."
    assert (line.device_text, line.ip_address) == ("", None)


# -- The page --------------------------------------------------------------------------------------


def test_the_page_tells_what_happened_newest_first(
    reader: Browser, extension: DeviceSessions, ada: User
) -> None:
    """A sign-in, a wrong password and a name, as their owner reads them."""
    (device,) = extension.devices_of(ada)
    sign_in(Browser(reader.application), password="wrong")
    reader.post(f"/devices/{device.id}/rename", data={"name": "<b>Desk</b>"})

    answer = reader.get("/devices/activity")

    assert answer.status_code == 200
    assert _sentences(answer.text) == [
        "A device was named “&lt;b&gt;Desk&lt;/b&gt;”.",
        "A wrong password was tried.",
        "Signed in with the password.",
        "First sign-in on this device.",
    ]
    assert "Firefox 140 on Linux PC" in answer.text
    assert "192.0.2.1" in answer.text


def test_strangers_are_sent_to_sign_in(ada: User, laptop: Browser) -> None:
    """And come back from there."""
    answer = laptop.get("/devices/activity?page=2")

    assert (answer.status_code, answer.location) == (
        302,
        "/login?next=%2Fdevices%2Factivity%3Fpage%3D2",
    )


def test_nobody_reads_of_anothers_account(reader: Browser) -> None:
    """Not even of the same device (ASVS V8.2.2)."""
    _write(add_user("bob@example.com"), "device_renamed", detail={"name": "Bob's"})

    assert "Bob" not in reader.get("/devices/activity").text


def test_what_concerns_the_app_alone_is_hidden(reader: Browser, ada: User) -> None:
    """Its storage, its purges."""
    before = len(_sentences(reader.get("/devices/activity").text))
    _write(ada, *activity.HIDDEN, "from_the_future")

    sentences = _sentences(reader.get("/devices/activity").text)

    assert len(sentences) == before + 1
    assert sentences[0] == "Something else happened (from_the_future)."


@pytest.mark.parametrize("count", [0, 23, 24, 49])
def test_a_page_has_25_events(reader: Browser, ada: User, count: int) -> None:
    """Beside the two of the sign-in; a next page is offered if there is one."""
    for number in range(count):
        _write(ada, "device_renamed", **_named(number))

    pages = [reader.get(f"/devices/activity?page={number}").text for number in (1, 2, 3)]

    sizes = [len(_sentences(page)) for page in pages]
    assert sizes == [min(25, max(0, count + 2 - start)) for start in (0, 25, 50)]
    assert ['rel="next"' in page for page in pages] == [count + 2 > end for end in (25, 50, 75)]
    assert ['rel="prev"' in page for page in pages] == [False, True, True]


def test_a_page_costs_one_select_beside_the_restore(app: Flask, reader: Browser, ada: User) -> None:
    """However many events there are (no N+1), on any page, with or without a filter."""
    _write(ada, *["session_started"] * 60)

    for query in ("", "?page=2", "?action=sign-ins", "?page=3&action=sign-ins"):
        with statements(app) as seen:
            answer = reader.get(f"/devices/activity{query}")

        assert len(_sentences(answer.text)) >= 10
        assert len([statement for statement in seen if statement.startswith("SELECT")]) == 2
        assert len(seen) == 2


# -- Filters ---------------------------------------------------------------------------------------


def test_a_filter_shows_its_group_alone_and_the_pages_keep_it(reader: Browser, ada: User) -> None:
    """The choice stays in the form and in the links."""
    _write(ada, *["login_failed"] * 30, "password_changed")

    page = reader.get("/devices/activity?action=failed").text

    assert set(_sentences(page)) == {"A wrong password was tried."}
    assert '<option value="failed" selected>Failed attempts</option>' in page
    assert "page=2&amp;action=failed" in page
    assert len(_sentences(reader.get("/devices/activity?action=failed&page=2").text)) == 5


def test_each_group_can_be_empty(reader: Browser) -> None:
    """Then the page says so."""
    assert "Nothing to show here yet." in reader.get("/devices/activity?action=failed").text


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1.5", "9" * 30, "9" * 5000, "10001", "\x00"])
def test_a_page_that_is_none_is_the_first(reader: Browser, page: str) -> None:
    """Numbers come from outside: no error, and nothing that a database cannot count to."""
    answer = reader.get("/devices/activity", query_string={"page": page})

    assert answer.status_code == 200
    assert len(_sentences(answer.text)) == 2


@pytest.mark.parametrize("action", ["", "x", "login_failed", "' OR 1=1", "\x00", "Sign-ins"])
def test_a_filter_that_is_none_shows_everything(reader: Browser, action: str) -> None:
    """And stands in no link."""
    answer = reader.get("/devices/activity", query_string={"action": action})

    assert answer.status_code == 200
    assert len(_sentences(answer.text)) == 2
    assert '<option value="" selected>Everything</option>' in answer.text
