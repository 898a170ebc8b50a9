"""Every cookie jar ever issued, tried again after each way a session can end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.signing import Purpose
from flask_device_sessions.testing import Browser
from flask_device_sessions.tokens import SessionToken
from tests.support import User, add_user, db, jar_of, replay, sign_in, who

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


class Story:
    """One browser that collects a copy of its cookies whenever they may have changed."""

    def __init__(self, app: Flask, user: User) -> None:
        self.app = app
        self.user = user
        self.extension: DeviceSessions = app.extensions["device_sessions"]
        self.browser = Browser(app)
        self.jars: list[dict[str, str]] = []

    def sign_in(self, **fields: Any) -> None:
        """Sign the browser in and keep its jar."""
        sign_in(self.browser, **fields)
        self.jars.append(jar_of(self.browser))


def _logout(story: Story) -> None:
    story.browser.post("/logout")


def _revoke(story: Story) -> None:
    (session,) = story.extension.sessions_of(story.user)
    story.extension.revoke(session)


def _revoke_all(story: Story) -> None:
    story.extension.revoke_all(story.user)


def _revoke_everyone(story: Story) -> None:
    story.extension.revoke_everyone()


def _replace(story: Story) -> None:
    story.sign_in()
    _logout(story)


def _evict(story: Story) -> None:
    for _ in range(5):
        sign_in(Browser(story.app))


def _delete_by_orm(story: Story) -> None:
    db.session.delete(story.user)
    db.session.commit()


def _delete_in_bulk(story: Story) -> None:
    db.session.execute(sa.delete(User))
    db.session.commit()


def _delete_and_reuse_the_number(story: Story) -> None:
    number = story.user.id
    _delete_in_bulk(story)
    add_user("eve@example.com", id=number)


def _disable(story: Story) -> None:
    db.session.execute(sa.update(User).values(is_enabled=False))
    db.session.commit()


def _disable_and_enable(story: Story) -> None:
    _disable(story)
    who(story.browser)
    db.session.execute(sa.update(User).values(is_enabled=True))
    db.session.commit()


ENDINGS: list[Callable[[Story], None]] = [
    _logout,
    _revoke,
    _revoke_all,
    _revoke_everyone,
    _replace,
    _evict,
    _delete_by_orm,
    _delete_in_bulk,
    _delete_and_reuse_the_number,
    _disable,
    _disable_and_enable,
]


@pytest.fixture
def story(app: Flask, ada: User) -> Story:
    """A browser of Ada's."""
    return Story(app, ada)


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("remember", [{}, {"remember": "y"}])
def test_no_copy_of_the_cookies_signs_in_after_the_end(
    story: Story, end: Callable[[Story], None], remember: dict[str, str]
) -> None:
    """Once a session ended, no copy of its cookies is accepted anywhere (ASVS V7.4.1, V7.4.2)."""
    story.sign_in(**remember)
    before = who(replay(story.app, story.jars[0]))

    end(story)

    assert before == "ada@example.com"
    assert [who(replay(story.app, jar)) for jar in story.jars] == [None] * len(story.jars)


@pytest.mark.parametrize(
    ("limit", "reason"), [(timedelta(days=14), "idle"), (timedelta(days=30), "expired")]
)
def test_a_session_ends_on_the_second(story: Story, limit: timedelta, reason: str) -> None:
    """Idle and absolute limit are kept on the server, to the second (ASVS V7.3.1, V7.3.2)."""
    with time_machine.travel(NOW, tick=False) as clock:
        story.sign_in(remember="y")
        if reason == "expired":
            for day in range(7, 30, 7):
                clock.move_to(NOW + timedelta(days=day))
                who(story.browser)
        clock.move_to(NOW + limit - timedelta(seconds=1))
        session = story.extension.sessions_of(story.user)
        last = who(replay(story.app, story.jars[0])) if reason == "expired" else "not asked"

        clock.move_to(NOW + limit)
        after = who(replay(story.app, story.jars[0]))

    assert len(session) == 1
    assert last in ("ada@example.com", "not asked")
    assert after is None
    assert [s.end_reason for s in story.extension.sessions_of(story.user, ended=True)] == [reason]


def test_one_second_before_the_idle_limit_the_session_lives(story: Story) -> None:
    """The idle limit does not come early."""
    with time_machine.travel(NOW, tick=False) as clock:
        story.sign_in()
        clock.move_to(NOW + timedelta(days=14) - timedelta(seconds=1))

        assert who(story.browser) == "ada@example.com"


def test_a_new_secret_makes_the_old_one_worthless(story: Story) -> None:
    """Each sign-in issues a new credential, and the one before is dead (ASVS V7.2.4)."""
    story.sign_in()
    story.sign_in()

    signed_in = [who(replay(story.app, jar)) for jar in story.jars]

    assert signed_in == [None, "ada@example.com"]


def test_the_database_holds_no_credential(story: Story) -> None:
    """Nothing of a cookie's secret stands in any row (ASVS V7.2.3)."""
    story.sign_in()
    cookie = story.jars[0]["device_session"]
    text = story.extension.signatures.unsign(Purpose.SESSION, cookie)
    secret = SessionToken.parse(text).secret

    dump = "".join(
        str(tuple(row))
        for table in db.metadata.sorted_tables
        for row in db.session.execute(sa.select(table))
    )

    assert secret.hex() not in dump
    assert text not in dump
