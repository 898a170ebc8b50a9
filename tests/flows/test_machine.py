"""Anything people and time can do, in any order: what was ended never lives again.

Hypothesis makes up stories of fifty steps. Each step is done in the app and in a
:class:`~tests.flows.world.World` beside it, and after each step every copy of the cookies that
any browser ever held is tried again, and the database is compared with the world, row by row.

``make test`` runs few stories; 2,000 whole ones and some that stop early come from
``DEVICE_SESSIONS_TEST_STORIES=2700 pytest tests/flows/test_machine.py -s``.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask, request
from flask_login import current_user, login_required
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from werkzeug.http import dump_cookie
from werkzeug.test import TestResponse

from flask_device_sessions import DeviceSessions
from flask_device_sessions.signing import Purpose
from flask_device_sessions.testing import FIREFOX, IPHONE, PIXEL, Browser
from flask_device_sessions.tokens import SessionToken
from tests.flows.world import (
    FRESHNESS,
    IDLE_TIMEOUT,
    LIFETIME,
    LIMIT,
    TOUCH_INTERVAL,
    Copy,
    Person,
    Session,
    World,
)
from tests.support import User, add_user, db, hash_of, jar_of, make_app, replay, who

STORIES = int(os.environ.get("DEVICE_SESSIONS_TEST_STORIES", "30"))
STEPS = 50

#: Finding a shorter story that fails alike takes minutes.
PHASES = set(Phase) - ({Phase.shrink} if os.environ.get("DEVICE_SESSIONS_TEST_SHRINK") else set())

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
EMAILS = ("ada@example.com", "eve@example.com")
BROWSERS = (FIREFOX, IPHONE, PIXEL, FIREFOX)
KEYS = ["a secret of the test suite", *(f"its successor, number {n}" for n in range(9))]

#: What the world knows of. Other events, such as of refused passwords, are other tests' affair.
ACTIONS = {
    "session_started",
    "session_ended",
    "session_confirmed",
    "session_rotated",
    "password_changed",
    "device_first_seen",
    "device_renamed",
}

emails = st.sampled_from(EMAILS)
browsers = st.integers(0, len(BROWSERS) - 1)
spans = st.sampled_from(
    [
        timedelta(minutes=4),
        TOUCH_INTERVAL,
        FRESHNESS,
        timedelta(hours=9),
        IDLE_TIMEOUT - timedelta(seconds=9),
        IDLE_TIMEOUT,
        LIFETIME,
    ]
)


@cache
def _app() -> Flask:
    app = make_app(
        "sqlite://",
        DEVICE_SESSIONS_MAX_PER_USER=LIMIT,
        DEVICE_SESSIONS_LIFETIME=LIFETIME,
        DEVICE_SESSIONS_IDLE_TIMEOUT=IDLE_TIMEOUT,
        DEVICE_SESSIONS_FRESHNESS=FRESHNESS,
        DEVICE_SESSIONS_TOUCH_INTERVAL=TOUCH_INTERVAL,
        DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None,
        DEVICE_SESSIONS_NOTIFY_NEW_DEVICE=False,
    )
    app.add_url_rule("/password", "password", login_required(_change_password), methods=["POST"])
    with app.app_context():
        db.create_all()
    return app


def _change_password() -> str:
    extension: DeviceSessions = _app().extensions["device_sessions"]
    current_user.password_hash = hash_of(request.form["new"])
    extension.password_changed(current_user)
    return "changed"


class Machine(RuleBasedStateMachine):
    """Two people, four browsers, and time."""

    lengths: ClassVar[list[int]] = []
    replays: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.travel = time_machine.travel(NOW, tick=False)
        self.clock = self.travel.start()
        self.app = _app()
        self.app.config.update(SECRET_KEY=KEYS[0], SECRET_KEY_FALLBACKS=[])
        self.extension: DeviceSessions = self.app.extensions["device_sessions"]
        self.world = World()
        self.browsers = [Browser(self.app, agent) for agent in BROWSERS]
        self.holds: list[Copy | None] = [None] * len(BROWSERS)
        self.copies: list[Copy] = []
        self.seen: dict[uuid.UUID, Any] = {}
        self._empty()
        for email in EMAILS:
            self._join(email)
        self.length = 0

    def teardown(self) -> None:
        """Try every copy once more, as a thief would, and stop the clock."""
        try:
            for copy in self.copies:
                self._expect(who(replay(self.app, copy.jar)), copy)
        finally:
            self.travel.stop()
            Machine.lengths.append(self.length - 1)  # without the beginning

    def _empty(self) -> None:
        with self.app.app_context():
            for table in reversed(db.metadata.sorted_tables):
                db.session.execute(table.delete())
            db.session.commit()

    def _join(self, email: str) -> None:
        with self.app.app_context():
            user = add_user(email, password_hash=hash_of("first password"))
            self.world.people[email] = Person(user.id, email, "first password")

    # -- Time and cookies --------------------------------------------------------------------

    def _begin(self, number: int) -> tuple[Browser, Session | None]:
        """Return the browser of the step, and the session that the world lets it in with."""
        self._tick()
        return self.browsers[number], self.world.arrive(self.holds[number], self.now)

    def _tick(self) -> None:
        self.clock.shift(timedelta(seconds=1))
        self.now = datetime.now(timezone.utc)

    def _keep(self, number: int) -> Copy | None:
        """Take a copy of the browser's cookies if they carry a new credential."""
        jar, held = jar_of(self.browsers[number]), self.holds[number]
        cookie = jar.get("device_session")
        if cookie is None:
            self.holds[number] = None
        elif held is None or held.jar["device_session"] != cookie:
            with self.app.app_context():
                text = self.extension.signatures.unsign(Purpose.SESSION, cookie)
            session_id = SessionToken.parse(text).id
            known = self.world.sessions.get(session_id)
            copy = self.holds[number] = Copy(jar, session_id, known.secret if known else 1)
            self.copies.append(copy)
        return self.holds[number]

    # -- Signing in and out ------------------------------------------------------------------

    @rule(number=browsers, email=emails, remember=st.booleans(), is_right=st.integers(0, 3))
    def sign_in(self, number: int, email: str, remember: bool, is_right: int) -> None:
        """Somebody types a name and a password, mostly the right one."""
        browser, current = self._begin(number)
        person = self.world.people.get(email)
        password = person.password if person and is_right else "a wrong password"
        form = {"identifier": email, "password": password} | ({"remember": "y"} if remember else {})
        answer = browser.post("/login", data=form)
        if person is None or not person.is_enabled or not is_right:
            assert answer.status_code == 401
            return
        assert answer.status_code == 303
        before = self.holds[number]
        copy = self._keep(number)
        assert copy is not None
        assert copy is not before
        end = self.now + LIFETIME
        new = Session(copy.session_id, person, number, remember, self.now, self.now, self.now, end)
        self.world.sign_in(new, current)

    @rule(number=browsers, email=emails)
    def sign_in_well(self, number: int, email: str) -> None:
        """The same with the right password: half of all stories would hold no session else."""
        self.sign_in(number, email, remember=True, is_right=1)

    @rule(number=browsers)
    def log_out(self, number: int) -> None:
        """Somebody presses "Sign out", signed in or not."""
        browser, current = self._begin(number)
        assert browser.post("/logout").status_code == 303
        self.world.end([current] if current else [], "logout", self.now)
        self._keep(number)

    @rule(number=browsers, is_right=st.booleans())
    def confirm(self, number: int, is_right: bool) -> None:
        """Somebody types their password again."""
        browser, current = self._begin(number)
        if current is None:
            assert browser.post("/confirm").status_code == 302
            return
        self._confirm(number, current, is_right, "")

    def _confirm(self, number: int, current: Session, is_right: bool, action: str) -> TestResponse:
        password = current.owner.password if is_right else "a wrong password"
        form = {"password": password, "action": action}
        answer = self.browsers[number].post("/confirm", data=form)
        if is_right:
            self.world.confirm(current, self.now)
            self._keep(number)
        else:
            assert answer.status_code == 401
        return answer

    # -- The page's buttons --------------------------------------------------------------------

    def _press(
        self, number: int, path: str, is_right: bool, *, is_asked: bool = True
    ) -> tuple[int, Session | None]:
        """Press a button; type the password where that is asked.

        Returns:
            The status of the answer to the deed, and the session that did it; the session is
            ``None`` when nothing may have been done.
        """
        browser, current = self._begin(number)
        answer = browser.post(path)
        if current is None:
            assert answer.status_code == 302
            return 302, None
        if not is_asked or current.is_fresh(self.now):
            return answer.status_code, current
        assert answer.status_code == 403
        found = re.search(r'name="action"[^>]*value="([^"]+)"', answer.text)
        assert found is not None
        done = self._confirm(number, current, is_right, found[1])
        return done.status_code, current if is_right else None

    @rule(number=browsers, is_right=st.booleans(), data=st.data())
    def revoke_session(self, number: int, is_right: bool, data: st.DataObject) -> None:
        """Somebody ends a session, or tries to: an ended one, or another person's."""
        if not self.world.sessions:
            return
        ids = sorted(self.world.sessions)
        session = self.world.sessions[data.draw(st.sampled_from(ids))]
        held = self.holds[number]
        path = f"/devices/sessions/{session.id}/revoke"
        is_own = held is not None and held.session_id == session.id
        status, current = self._press(number, path, is_right, is_asked=not is_own)
        if current is None:
            return
        is_theirs = session.owner is current.owner
        assert status == (303 if is_theirs else 404)
        self.world.end([session] if is_theirs else [], "revoked", self.now)
        self._keep(number)

    @rule(number=browsers, is_right=st.booleans(), which=browsers)
    def revoke_device(self, number: int, is_right: bool, which: int) -> None:
        """Somebody ends what runs on one of their devices."""
        device_id = self._device_of(number, which)
        status, current = self._press(number, f"/devices/{device_id}/revoke", is_right)
        if current is None:
            return
        assert status == (303 if which in current.owner.devices else 404)
        mine = self.world.live_of(current.owner)
        self.world.end([s for s in mine if s.browser == which], "revoked", self.now)
        self._keep(number)

    def _device_of(self, number: int, which: int) -> uuid.UUID:
        """Return the device of a browser as the person at another one has it, or a new id."""
        held = self.holds[number]
        session = self.world.sessions.get(held.session_id) if held else None
        with self.app.app_context():
            jar = jar_of(self.browsers[which])
            environ = {"HTTP_COOKIE": _header(jar)}
            with self.app.test_request_context(environ_overrides=environ) as context:
                transport = self.extension._state.transport
                digest = transport.client_from(self.app, context.request).browser_digest
            device = self.extension.device_model
            wanted = sa.select(device.id).where(
                device.browser_digest == digest,
                device.user_id == (session.owner.id if session else -1),
            )
            found: uuid.UUID | None = db.session.scalar(wanted)
        return found or uuid.uuid4()

    @rule(number=browsers, is_right=st.booleans())
    def revoke_others(self, number: int, is_right: bool) -> None:
        """Somebody ends everything but where they are."""
        status, current = self._press(number, "/devices/revoke-others", is_right)
        if current is not None:
            assert status == 303
            others = [s for s in self.world.live_of(current.owner) if s is not current]
            self.world.end(others, "revoked", self.now)

    @rule(number=browsers, is_right=st.booleans())
    def revoke_all(self, number: int, is_right: bool) -> None:
        """Somebody ends everything, where they are included."""
        status, current = self._press(number, "/devices/revoke-all", is_right)
        if current is not None:
            assert status == 303
            self.world.end(self.world.live_of(current.owner), "revoked", self.now)
            self._keep(number)

    @rule(number=browsers, which=browsers, name=st.sampled_from(["My own", "", "a" * 150]))
    def rename(self, number: int, which: int, name: str) -> None:
        """Somebody names a device, or tries to name another person's."""
        path = f"/devices/{self._device_of(number, which)}/rename"
        browser, current = self._begin(number)
        status = browser.post(path, data={"name": name}).status_code
        if current is None:
            assert status == 302
        elif which in current.owner.devices:
            assert status == 303
            current.owner.trail["device_renamed", None, None] += 1
        else:
            assert status == 404

    @rule(number=browsers)
    def look(self, number: int) -> None:
        """The page lists the live sessions of the one who looks, no other."""
        browser, current = self._begin(number)
        answer = browser.get("/devices/")
        if current is None:
            assert answer.status_code == 302
            return
        listed = re.findall(r"/devices/sessions/([0-9a-f-]{36})/revoke", answer.text)
        mine = self.world.live_of(current.owner)
        expected = {str(s.id) for s in mine if s.is_listed(self.now) and s is not current}
        assert set(listed) == expected
        assert len(listed) == len(expected)

    # -- The app, and time -----------------------------------------------------------------------

    @rule(number=browsers)
    def change_password(self, number: int) -> None:
        """Somebody changes their password where they are signed in."""
        browser, current = self._begin(number)
        new = f"password at {self.now}"
        answer = browser.post("/password", data={"new": new})
        if current is None:
            assert answer.status_code == 302
            return
        assert answer.text == "changed"
        current.owner.password = new
        self.world.change_password(current.owner, current, self.now)
        self._keep(number)

    @rule(email=emails)
    def reset_password(self, email: str) -> None:
        """Somebody changes their password without being signed in, by a mail of the app's."""
        self._for(email, self._reset)

    def _reset(self, user: User, person: Person) -> None:
        person.password = f"reset at {self.now}"
        user.password_hash = hash_of(person.password)
        self.extension.password_changed(user)
        self.world.change_password(person, None, self.now)

    def _for(self, email: str, deed: Callable[[User, Person], None]) -> None:
        """Do something with the account of a person who is there."""
        self._tick()
        person = self.world.people.get(email)
        if person is not None:
            with self.app.app_context():
                user = db.session.get(User, person.id)
                assert user is not None
                deed(user, person)

    @rule(email=emails)
    def switch(self, email: str) -> None:
        """The app disables an account, or enables it again; that revives nothing."""
        self._for(email, self._switch)

    def _switch(self, user: User, person: Person) -> None:
        person.is_enabled = user.is_enabled = not person.is_enabled
        db.session.commit()

    @rule(email=emails, in_bulk=st.booleans())
    def erase(self, email: str, in_bulk: bool) -> None:
        """The app deletes a person; the next to sign up may get the same number."""
        person = self.world.people.get(email)
        if person is None:
            self._join(email)
            return
        with self.app.app_context():
            if in_bulk:
                db.session.execute(sa.delete(User).where(User.id == person.id))
            else:
                db.session.delete(db.session.get(User, person.id))
            db.session.commit()
        self.world.erase(person)

    @rule()
    def revoke_everyone(self) -> None:
        """Somebody at the command line ends everything of everyone."""
        self._tick()
        with self.app.app_context():
            self.extension.revoke_everyone()
        self.world.end(self.world.sessions.values(), "admin", self.now)

    @rule(span=spans)
    def wait(self, span: timedelta) -> None:
        """Time passes."""
        self.clock.shift(span)

    @rule()
    def change_secret_key(self) -> None:
        """The app signs with a new key and keeps the old ones as fallbacks: nobody is out."""
        old = [self.app.config["SECRET_KEY"], *self.app.config["SECRET_KEY_FALLBACKS"]]
        if len(old) < len(KEYS):
            self.app.config.update(SECRET_KEY=KEYS[len(old)], SECRET_KEY_FALLBACKS=old)

    # -- What always holds -------------------------------------------------------------------

    @initialize(first=browsers, second=browsers, email=emails)
    def begin(self, first: int, second: int, email: str) -> None:
        """A person is signed in on one browser or two."""
        self.sign_in_well(first, email)
        self.sign_in_well(second, email)

    @invariant()
    def a_step_was_taken(self) -> None:
        """Count it."""
        self.length += 1

    @invariant()
    def no_copy_lets_in_but_the_live_ones(self) -> None:
        """Each copy is let in with its own session while that lives, and never again."""
        for copy in self.copies:
            environ = {"HTTP_COOKIE": _header(copy.jar), "REMOTE_ADDR": "192.0.2.1"}
            with self.app.test_request_context("/whoami", environ_overrides=environ):
                session = self.extension.visit().session
                email = session.user.email if session else None
            self._expect(email, copy)

    def _expect(self, email: str | None, copy: Copy) -> None:
        """Compare who a copy was let in as with who the world lets in."""
        now = datetime.now(timezone.utc)
        expected = self.world.arrive(copy, now)
        assert email == (expected.owner.email if expected else None), (copy, expected)
        self.clock.shift(timedelta(milliseconds=1))
        Machine.replays += 1

    @invariant()
    def the_rows_are_what_they_ought_to_be(self) -> None:
        """Every row of a living person is as in the world, column by column."""
        there = {person.id for person in self.world.people.values()}
        with self.app.app_context():
            rows = db.session.scalars(sa.select(self.extension.session_model)).all()
            mine = {row.id: row for row in rows if row.user_id in there}
            found = {row.id: _facts(row) for row in mine.values()}
            self._times_go_forward(mine)
        assert found == {session.id: _facts(session) for session in self.world.sessions.values()}
        for person in self.world.people.values():
            assert len(self.world.live_of(person)) <= LIMIT

    def _times_go_forward(self, rows: dict[uuid.UUID, Any]) -> None:
        for row_id, row in rows.items():
            before = self.seen.get(row_id, row)
            assert row.created_at == before.created_at
            assert row.expires_at == before.expires_at
            assert row.last_active_at >= before.last_active_at
            assert row.authenticated_at >= before.authenticated_at
            assert before.ended_at in (None, row.ended_at)
        db.session.expunge_all()
        self.seen.update(rows)

    @invariant()
    def each_change_left_one_event_and_the_chain_is_whole(self) -> None:
        """The trail is the list of what happened, each thing once, and nobody touched it."""
        with self.app.app_context():
            event = self.extension.event_model
            columns = (event.user_id, event.action, event.session_id, event.detail)
            found: dict[int, Counter[Any]] = {p.id: Counter() for p in self.world.people.values()}
            for user_id, action, session_id, detail in db.session.execute(sa.select(*columns)):
                if action in ACTIONS and user_id in found:
                    found[user_id][action, session_id, detail.get("reason")] += 1
            assert self.extension.verify_audit()
        assert found == {person.id: person.trail for person in self.world.people.values()}


def _facts(row: Any) -> tuple[Any, ...]:
    return (
        row.remembered,
        row.created_at,
        row.authenticated_at,
        row.last_active_at,
        row.expires_at,
        row.ended_at,
        row.end_reason,
    )


def _header(jar: dict[str, str]) -> str:
    return "; ".join(dump_cookie(name, value).partition(";")[0] for name, value in jar.items())


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_story_brings_an_ended_session_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever happens in whatever order, dead stays dead (ASVS V7.2.1, V7.4.1, V7.4.2, V16.3)."""
    Machine.lengths.clear()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=STORIES,
            stateful_step_count=STEPS + 1,  # the beginning is one
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )

    whole = sum(length >= STEPS for length in Machine.lengths)
    with capsys.disabled():
        did = f"{whole} stories of {STEPS} steps, {sum(Machine.lengths)} steps in all"
        sys.stdout.write(f" {did}, {Machine.replays} replays\n")
    assert sum(Machine.lengths) > STORIES * 10
