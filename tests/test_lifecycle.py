"""The rules of a session's life, without a request: what a sign-in makes, ends and locks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions, SessionLimitReached
from flask_device_sessions.audit import Entry
from flask_device_sessions.clients import Client
from flask_device_sessions.ids import new_id
from flask_device_sessions.lifecycle import Grant, Lifecycle, Restored, Started
from flask_device_sessions.testing import FIREFOX
from flask_device_sessions.tokens import SessionToken
from tests.support import User, db, statements

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
LAPTOP, PHONE, TABLET = (Client.seen("192.0.2.1", FIREFOX, letter * 64) for letter in "abc")


@pytest.fixture
def rules(extension: DeviceSessions, context: None) -> Lifecycle:
    """The rules of the app."""
    return extension._state.lifecycle


@pytest.fixture
def limit(rules: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change settings of the rules."""
    return lambda **values: monkeypatch.setattr(
        rules, "_settings", replace(rules._settings, **values)
    )


def _start(rules: Lifecycle, user: User, client: Client, now: datetime, **values: Any) -> Started:
    facts: dict[str, Any] = {
        "remembered": False,
        "method": "password",
        "authenticated_at": now,
    } | values
    return rules.start(user, client, now, **facts)


def _found(rules: Lifecycle, started: Started, now: datetime) -> Any:
    restored = rules.restore(started.token, LAPTOP.address, now)
    assert isinstance(restored, Restored)
    return restored.found


# -- What a sign-in makes --------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [True, False])
def test_a_session_keeps_how_its_person_signed_in(
    rules: Lifecycle, ada: User, remembered: bool
) -> None:
    """The method, when it was, and whether the browser may remember it."""
    then = NOW - HOUR

    session = _start(
        rules, ada, LAPTOP, NOW, remembered=remembered, method="otp", authenticated_at=then
    ).session

    assert session.remembered is remembered
    assert (session.auth_method, session.authenticated_at) == ("otp", then)


@pytest.mark.parametrize(
    ("lifetime", "longest", "span"),
    [
        (2 * HOUR, None, 2 * HOUR),
        (2 * HOUR, HOUR, HOUR),
        (HOUR, 2 * HOUR, HOUR),
        (None, HOUR, HOUR),
        (None, None, None),
    ],
)
def test_a_session_ends_at_the_earlier_of_two_limits(
    rules: Lifecycle,
    ada: User,
    limit: Callable[..., None],
    lifetime: timedelta | None,
    longest: timedelta | None,
    span: timedelta | None,
) -> None:
    """LIFETIME's and the caller's own; without either it lasts (ASVS V7.3.2)."""
    limit(lifetime=lifetime)

    session = _start(rules, ada, LAPTOP, NOW, longest=longest).session

    assert session.expires_at == (None if span is None else NOW + span)


def test_a_programs_session_was_proved_by_the_password(rules: Lifecycle, ada: User) -> None:
    """It is called what the program said, and fresh."""
    started = rules.start_program(ada, "backup", LAPTOP, NOW)

    session = started.session
    assert (session.kind, session.name) == ("token", "backup")
    assert (session.auth_method, session.authenticated_at) == ("password", NOW)


def test_only_another_device_is_news(rules: Lifecycle, ada: User) -> None:
    """The first device is one's own, and the same browser is no new one (ASVS V6.3.5)."""
    first, again = (_start(rules, ada, LAPTOP, NOW + n * HOUR) for n in range(2))
    other = _start(rules, ada, PHONE, NOW + 2 * HOUR)

    assert (first.is_new_device, first.is_first_device, first.is_news) == (True, True, False)
    assert (again.is_new_device, again.is_first_device, again.is_news) == (False, False, False)
    assert (other.is_new_device, other.is_first_device, other.is_news) == (True, False, True)


# -- What a sign-in ends ---------------------------------------------------------------------------


def test_a_browser_has_one_session_of_a_person(rules: Lifecycle, ada: User) -> None:
    """The one before is replaced, and its row says so."""
    first = _start(rules, ada, LAPTOP, NOW)

    second = _start(rules, ada, LAPTOP, NOW + HOUR)

    assert second.ended == {first.session: "replaced"}
    assert first.session.end_reason == "replaced"


def test_at_the_limit_the_least_recently_active_gives_way(
    rules: Lifecycle, ada: User, limit: Callable[..., None]
) -> None:
    """As many as MAX_PER_USER stay, the new one among them (ASVS V7.1.2)."""
    limit(max_per_user=2)

    one, two, three = (
        _start(rules, ada, client, NOW + n * HOUR)
        for n, client in enumerate((LAPTOP, PHONE, TABLET))
    )

    assert one.ended == two.ended == {}
    assert three.ended == {one.session: "evicted"}


def test_at_the_limit_a_sign_in_can_be_refused(
    rules: Lifecycle, ada: User, limit: Callable[..., None]
) -> None:
    """With LIMIT_POLICY "refuse" those who are in stay in, the latest first (ASVS V7.1.2)."""
    limit(max_per_user=2, limit_policy="refuse")
    one, two = (_start(rules, ada, c, NOW + n * HOUR) for n, c in enumerate((LAPTOP, PHONE)))

    with pytest.raises(SessionLimitReached) as refused:
        _start(rules, ada, TABLET, NOW + 2 * HOUR)

    assert refused.value.sessions == [two.session, one.session]


def test_a_device_is_news_while_there_is_another_or_a_past(rules: Lifecycle, ada: User) -> None:
    """A forgotten device was not the first one; nor is one beside devices whose past is purged."""
    started = _start(rules, ada, LAPTOP, NOW)
    rules.report_not_me(ada.id, started.session, LAPTOP, NOW)
    after_forgetting = _start(rules, ada, PHONE, NOW)
    db.session.execute(sa.delete(rules._store.models.event))
    after_purging = _start(rules, ada, TABLET, NOW)

    assert (after_forgetting.is_first_device, after_purging.is_first_device) == (False, False)


# -- What is good ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "reason"), [(HOUR - timedelta(microseconds=1), None), (HOUR, "expired")]
)
def test_a_session_is_good_until_the_moment_of_its_end(
    rules: Lifecycle, ada: User, limit: Callable[..., None], after: timedelta, reason: str | None
) -> None:
    """Not at that moment any more (ASVS V7.3.2)."""
    limit(lifetime=HOUR)
    started = _start(rules, ada, LAPTOP, NOW)

    answer = rules.restore(started.token, LAPTOP.address, NOW + after)

    assert getattr(answer, "reason", None) == reason


def test_what_has_ended_before_is_not_due_to_be_written_down(rules: Lifecycle, ada: User) -> None:
    """What ends just now is; a credential that never was one has nothing to write."""
    started = _start(rules, ada, LAPTOP, NOW)
    db.session.commit()
    late = rules.restore(started.token, LAPTOP.address, NOW + timedelta(days=400))
    rules.end(ada.id, "logout", LAPTOP, NOW)
    db.session.commit()

    ended = rules.restore(started.token, LAPTOP.address, NOW)
    unknown = rules.restore(SessionToken.issue(new_id()), LAPTOP.address, NOW)

    assert [getattr(answer, "is_due", None) for answer in (late, ended, unknown)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(("after", "is_due"), [(HOUR, False), (HOUR + TICK, True)])
def test_activity_is_noted_once_the_interval_is_over(
    rules: Lifecycle, ada: User, limit: Callable[..., None], after: timedelta, is_due: bool
) -> None:
    """And what was noted is what is known of the session from then on."""
    limit(touch_interval=HOUR)
    started = _start(rules, ada, LAPTOP, NOW)
    db.session.commit()
    found = _found(rules, started, NOW + after)

    due = rules.is_touch_due(found, NOW + after)
    rules.touch(found, "198.51.100.7", NOW + after)

    assert due is is_due
    assert found.last_active_at == (NOW + after if is_due else NOW)
    assert found.last_ip_address == ("198.51.100.7" if is_due else LAPTOP.address)


@pytest.mark.parametrize(("is_enabled", "reason"), [(True, None), (False, "user_disabled")])
def test_a_session_is_good_while_its_person_may_be_signed_in(
    rules: Lifecycle, ada: User, is_enabled: bool, reason: str | None
) -> None:
    """Whom the app disables is out with the next request (ASVS V7.4.2)."""
    started = _start(rules, ada, LAPTOP, NOW)
    ada.is_enabled = is_enabled
    db.session.commit()

    answer = rules.restore(started.token, LAPTOP.address, NOW)

    assert getattr(answer, "reason", None) == reason


# -- What is written down --------------------------------------------------------------------------

Step = Callable[[Lifecycle, Any], object]


@pytest.mark.parametrize(
    ("step", "action", "at"),
    [
        (lambda rules, s: rules.rotate(s, LAPTOP, NOW + HOUR), "session_rotated", NOW),
        (
            lambda rules, s: rules.rotate(s, LAPTOP, NOW + HOUR, confirmed=True),
            "session_confirmed",
            NOW + HOUR,
        ),
        (
            lambda rules, s: rules.confirm_token(s, LAPTOP, NOW + HOUR),
            "session_confirmed",
            NOW + HOUR,
        ),
    ],
    ids=["rotate", "confirm", "confirm a token"],
)
def test_a_new_secret_and_a_proof_are_told_apart(
    extension: DeviceSessions, rules: Lifecycle, ada: User, step: Step, action: str, at: datetime
) -> None:
    """Only a proof makes the session fresh, and the trail says which it was (ASVS V16.3)."""
    session = _start(rules, ada, LAPTOP, NOW).session

    step(rules, session)

    assert extension.events_of(ada)[0].action == action
    assert session.authenticated_at == at


# -- What is locked --------------------------------------------------------------------------------


Verb = Callable[[Lifecycle, User], object]

VERBS: dict[str, Verb] = {
    "start": lambda rules, user: _start(rules, user, LAPTOP, NOW),
    "start_program": lambda rules, user: rules.start_program(user, "backup", LAPTOP, NOW),
    "issue_token": lambda rules, user: rules.issue_token(
        user.id, Grant("script", (), HOUR, NOW), LAPTOP, NOW
    ),
    "end": lambda rules, user: rules.end(user.id, "logout", LAPTOP, NOW),
    "note": lambda rules, user: rules.note(user.id, Entry("login_failed"), LAPTOP, NOW),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_each_change_waits_for_those_before_it(
    app: Flask, rules: Lifecycle, ada: User, verb: Verb
) -> None:
    """The person's lock is the first statement, before anything is read (ASVS V15.4)."""
    assert ada.id

    with statements(app) as seen:
        verb(rules, ada)

    assert seen[0].startswith("UPDATE") or seen[0].endswith("FOR UPDATE")
