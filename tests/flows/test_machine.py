"""Anything people and time can do, in any order: what was ended never lives again.

Hypothesis makes up stories of fifty steps, of browsers and programs that move between networks.
Each step is done in the app and in a :class:`~tests.flows.world.World` beside it. After each step
every credential that there ever was is tried again, but for those whose use has consequences,
which is a step of its own; and the database is compared with the world, row by row.

``make test`` runs few stories; 2,000 whole ones and some that stop early come from
``DEVICE_SESSIONS_TEST_STORIES=3200 pytest tests/flows/test_machine.py -s``.
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
from flask import Flask, current_app, request
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
from flask_device_sessions.tokens import AccessToken, SessionToken
from tests.canary import Canary
from tests.flows.world import (
    FRESHNESS,
    IDLE_TIMEOUT,
    LIFETIME,
    LIMIT,
    NETWORKS,
    POLICIES,
    ROTATE_INTERVAL,
    TOKEN_LIFETIME,
    TOUCH_INTERVAL,
    UNPROVEN,
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
    "device_forgotten",
    "token_issued",
    "ip_changed",
    "not_me_reported",
}

#: Columns that a row and a session of the world have both.
COLUMNS = (
    "kind",
    "remembered",
    "issuer_id",
    "created_at",
    "authenticated_at",
    "last_active_at",
    "last_ip_address",
    "rotated_at",
    "previous_ended_at",
    "expires_at",
    "ended_at",
    "end_reason",
)

HOME, THIEF = "192.0.2.1", "203.0.113.5"
PROGRAM = "curl/8.5.0"
TOKEN = re.compile(r"fds_[0-9A-Za-z]{49}")

emails = st.sampled_from(EMAILS)
browsers = st.integers(0, len(BROWSERS) - 1)
addresses = st.sampled_from(list(NETWORKS))
programs = st.sampled_from(["backup", "phone app"])
spans = st.sampled_from(
    [
        timedelta(minutes=4),
        TOUCH_INTERVAL,
        FRESHNESS,
        ROTATE_INTERVAL,
        IDLE_TIMEOUT - timedelta(seconds=9),
        IDLE_TIMEOUT,
        LIFETIME,
    ]
)


@cache
def _app(policy: str) -> Flask:
    app = make_app(
        "sqlite://",
        DEVICE_SESSIONS_IP_CHANGE_POLICY=policy,
        DEVICE_SESSIONS_ROTATE_INTERVAL=ROTATE_INTERVAL,
        DEVICE_SESSIONS_TOKEN_LIFETIME=TOKEN_LIFETIME,
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
    extension: DeviceSessions = current_app.extensions["device_sessions"]
    current_user.password_hash = hash_of(request.form["new"])
    extension.password_changed(current_user)
    return "changed"


class Machine(RuleBasedStateMachine):
    """Two people, four browsers, and time."""

    lengths: ClassVar[list[int]] = []
    replays: ClassVar[int] = 0
    canary: ClassVar[Canary]

    def __init__(self) -> None:
        super().__init__()
        self.travel = time_machine.travel(NOW, tick=False)
        self.clock = self.travel.start()
        self.length = 0

    @initialize(policy=st.sampled_from(POLICIES), first=browsers, second=browsers, email=emails)
    def begin(self, policy: str, first: int, second: int, email: str) -> None:
        """A person is signed in on one browser or two."""
        self.app = _app(policy)
        self.app.config.update(SECRET_KEY=KEYS[0], SECRET_KEY_FALLBACKS=[])
        self.extension: DeviceSessions = self.app.extensions["device_sessions"]
        self.world = World(policy)
        self.browsers = [Browser(self.app, agent, ip=HOME) for agent in BROWSERS]
        self.holds: list[Copy | None] = [None] * len(BROWSERS)
        self.copies: list[Copy] = []
        self.seen: dict[uuid.UUID, Any] = {}
        self._empty()
        for person in EMAILS:
            self._join(person)
        self.sign_in_well(first, email)
        self.sign_in_well(second, email)

    def teardown(self) -> None:
        """Use every copy once more, as a thief would; no credential was said; stop the clock."""
        try:
            for copy in self.copies:
                self._use(copy, THIEF)
            assert self.canary.sing() == []
        finally:
            self.canary.forget()
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

    # -- Requests, time and credentials --------------------------------------------------------

    def _ask(
        self, number: int, path: str, method: str = "POST", **form: str
    ) -> tuple[TestResponse, Session | None]:
        """Send a request from a browser.

        Returns:
            The answer, and the session that the world lets the browser in with.
        """
        browser = self.browsers[number]
        current = self.world.arrive(self._keep(number), self.now, _address_of(browser))
        return browser.open(path, method=method, data=form), current

    def _call(
        self, copy: Copy, address: str, path: str, method: str = "GET", **fields: object
    ) -> tuple[TestResponse, Session | None]:
        """Send a program's request, with a token; else as :meth:`_ask`."""
        current = self.world.arrive(copy, self.now, address)
        body = fields if method == "POST" else None
        return self._client(copy, address).open(path, method=method, json=body), current

    def _client(self, copy: Copy, address: str) -> Browser:
        """Return who has a credential and nothing else."""
        if copy.token is None:
            client = replay(self.app, copy.jar)
        else:
            client = Browser(self.app, PROGRAM)
            client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {copy.token}"
        client.environ_base["REMOTE_ADDR"] = address
        return client

    def _tick(self) -> None:
        self.clock.shift(timedelta(seconds=1))
        self.now = datetime.now(timezone.utc)

    def _keep(self, number: int) -> Copy | None:
        """Take a copy of the browser's cookies if they carry a new credential."""
        self.holds[number] = self._copy_of(jar_of(self.browsers[number]), self.holds[number])
        return self.holds[number]

    def _copy_of(self, jar: dict[str, str], held: Copy | None) -> Copy | None:
        """Return the copy of these cookies; a new one is kept among all copies."""
        cookie = jar.get("device_session")
        if cookie is None:
            return None
        if held is not None and held.jar["device_session"] == cookie:
            return held
        with self.app.app_context():
            text = self.extension.signatures.unsign(Purpose.SESSION, cookie)
        session_id = SessionToken.parse(text).id
        known = self.world.sessions.get(session_id)
        copy = Copy(session_id, known.secret if known else 1, jar)
        self.copies.append(copy)
        return copy

    def _new_session(
        self, session_id: str | uuid.UUID, owner: Person, kind: str, **more: Any
    ) -> Session:
        """Return a session that begins now, as it has to be."""
        life = LIFETIME if kind == "browser" else TOKEN_LIFETIME
        values = {"device": None, "authenticated_at": self.now, "last_ip_address": None} | more
        key = uuid.UUID(str(session_id))
        return Session(key, owner, kind, created_at=self.now, expires_at=self.now + life, **values)

    # -- Signing in and out ------------------------------------------------------------------

    @rule(number=browsers, email=emails, remember=st.booleans(), is_right=st.integers(0, 3))
    def sign_in(self, number: int, email: str, remember: bool, is_right: int) -> None:
        """Somebody types a name and a password, mostly the right one."""
        self._tick()
        person = self.world.people.get(email)
        password = person.password if person and is_right else "a wrong password"
        form = {"identifier": email, "password": password} | ({"remember": "y"} if remember else {})
        answer, current = self._ask(number, "/login", **form)
        if person is None or not person.is_enabled or not is_right:
            assert answer.status_code == 401
            return
        assert answer.status_code == 303
        before = self.holds[number]
        copy = self._keep(number)
        assert copy is not None
        assert copy is not before
        where = {"device": number, "last_ip_address": _address_of(self.browsers[number])}
        new = self._new_session(copy.session_id, person, "browser", remembered=remember, **where)
        self.world.sign_in(new, current)

    @rule(number=browsers, email=emails)
    def sign_in_well(self, number: int, email: str) -> None:
        """The same with the right password: half of all stories would hold no session else."""
        self.sign_in(number, email, remember=True, is_right=1)

    @rule(number=browsers)
    def log_out(self, number: int) -> None:
        """Somebody presses "Sign out", signed in or not."""
        self._tick()
        answer, current = self._ask(number, "/logout")
        assert answer.status_code == 303
        self.world.end([current] if current else [], "logout", self.now)

    @rule(number=browsers, is_right=st.booleans())
    def confirm(self, number: int, is_right: bool) -> None:
        """Somebody types their password again."""
        self._tick()
        self._confirm(number, is_right, "")

    def _confirm(
        self, number: int, is_right: bool, action: str
    ) -> tuple[TestResponse, Session | None]:
        """Type the password; return the answer, and the session if it was right."""
        held = self._keep(number)
        session = self.world.sessions.get(held.session_id) if held else None
        password = session.owner.password if session and is_right else "a wrong password"
        answer, current = self._ask(number, "/confirm", password=password, action=action)
        if current is None:
            assert answer.status_code == 302
        elif is_right:
            self.world.confirm(current, self.now)
        else:
            assert answer.status_code == 401
        return answer, current if is_right else None

    # -- The page's buttons --------------------------------------------------------------------

    def _press(
        self, number: int, path: str, is_right: bool, *, is_asked: bool = True, **form: str
    ) -> tuple[TestResponse, Session | None]:
        """Press a button; type the password where that is asked.

        Returns:
            The answer to the deed, and the session that did it; the session is ``None`` when
            nothing may have been done.
        """
        self._tick()
        answer, current = self._ask(number, path, **form)
        if current is None:
            assert answer.status_code == 302
            return answer, None
        if not is_asked or current.is_fresh(self.now):
            return answer, current
        assert answer.status_code == 403
        found = re.search(r'name="action"[^>]*value="([^"]+)"', answer.text)
        assert found is not None
        return self._confirm(number, is_right, found[1])

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
        answer, current = self._press(number, path, is_right, is_asked=not is_own)
        if current is None:
            return
        is_theirs = session.owner is current.owner
        assert answer.status_code == (303 if is_theirs else 404)
        self.world.end([session] if is_theirs else [], "revoked", self.now)

    @rule(number=browsers, is_right=st.booleans(), which=browsers)
    def revoke_device(self, number: int, is_right: bool, which: int) -> None:
        """Somebody ends what runs on one of their devices."""
        device_id = self._device_of(number, which)
        answer, current = self._press(number, f"/devices/{device_id}/revoke", is_right)
        if current is None:
            return
        assert answer.status_code == (303 if which in current.owner.devices else 404)
        mine = self.world.live_of(current.owner)
        self.world.end([s for s in mine if s.device == which], "revoked", self.now)

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
        answer, current = self._press(number, "/devices/revoke-others", is_right)
        if current is not None:
            assert answer.status_code == 303
            others = [s for s in self.world.live_of(current.owner) if s is not current]
            self.world.end(others, "revoked", self.now)

    @rule(number=browsers, is_right=st.booleans())
    def revoke_all(self, number: int, is_right: bool) -> None:
        """Somebody ends everything, where they are included."""
        answer, current = self._press(number, "/devices/revoke-all", is_right)
        if current is not None:
            assert answer.status_code == 303
            self.world.end(self.world.live_of(current.owner), "revoked", self.now)

    @rule(number=browsers, which=browsers, name=st.sampled_from(["My own", "", "a" * 150]))
    def rename(self, number: int, which: int, name: str) -> None:
        """Somebody names a device, or tries to name another person's."""
        path = f"/devices/{self._device_of(number, which)}/rename"
        self._tick()
        answer, current = self._ask(number, path, name=name)
        if current is None:
            assert answer.status_code == 302
        elif which in current.owner.devices:
            assert answer.status_code == 303
            current.owner.trail["device_renamed", None, None] += 1
        else:
            assert answer.status_code == 404

    @rule(number=browsers)
    def look(self, number: int) -> None:
        """The page lists the live sessions of the one who looks, no other."""
        self._tick()
        for path, kinds in ("/devices/", ("browser", "token")), ("/devices/tokens", ("token",)):
            answer, current = self._ask(number, path, "GET")
            if current is None:
                assert answer.status_code == 302
                continue
            found = re.findall(r"/devices/sessions/([0-9a-f-]{36})/revoke", answer.text)
            mine = self._listed(current.owner) - {str(current.id)}
            expected = [key for key in mine if self.world.sessions[uuid.UUID(key)].kind in kinds]
            assert sorted(found) == sorted(expected)

    def _listed(self, owner: Person) -> set[str]:
        """Return the ids of what a person is to see among the live ones."""
        return {str(s.id) for s in self.world.live_of(owner) if s.is_listed(self.now)}

    # -- Programs --------------------------------------------------------------------------------

    @rule(email=emails, name=programs, address=addresses, is_right=st.integers(0, 3))
    def program_signs_in(self, email: str, name: str, address: str, is_right: int) -> None:
        """A program sends a name and a password, mostly the right one."""
        self._tick()
        person = self.world.people.get(email)
        password = person.password if person and is_right else "a wrong password"
        form = {"identifier": email, "password": password, "name": name}
        answer = Browser(self.app, PROGRAM, ip=address).post("/api/session", json=form)
        if person is None or not person.is_enabled or not is_right:
            assert answer.status_code == 401
            return
        new = self._take_token(answer, person, device=name, last_ip_address=address)
        self.world.sign_in_program(new)

    def _take_token(self, answer: TestResponse, owner: Person, **more: Any) -> Session:
        """Take the token from the API's answer; return the session that it opens."""
        assert answer.status_code == 201
        assert answer.json is not None
        return self._token(answer.json["session"]["id"], answer.json["token"], owner, **more)

    def _token(
        self, session_id: str | uuid.UUID, token: str, owner: Person, **more: Any
    ) -> Session:
        new = self._new_session(session_id, owner, "token", **more)
        self.copies.append(Copy(new.id, token=token))
        return new

    @rule(number=browsers, is_right=st.booleans())
    def make_token(self, number: int, is_right: bool) -> None:
        """Somebody makes a token on the page."""
        answer, current = self._press(number, "/devices/tokens", is_right, name="CI")
        if current is None:
            return
        assert answer.status_code == 200
        found = TOKEN.search(answer.text)
        assert found is not None
        new = self._token(
            AccessToken.parse(found[0], "fds").id,
            found[0],
            current.owner,
            issuer_id=current.id,
            authenticated_at=current.authenticated_at,
        )
        self.world.issue_token(new)

    @rule(email=emails)
    def issue_token(self, email: str) -> None:
        """The app makes a token for a person."""
        self._for(email, self._issue_token)

    def _issue_token(self, user: User, person: Person) -> None:
        issued = self.extension.issue_token(user, name="deployment")
        self.world.issue_token(self._token(issued.session.id, issued.token, person))

    @rule(data=st.data(), address=addresses)
    def program_makes_token(self, data: st.DataObject, address: str) -> None:
        """A program makes a token for another one."""
        copy = self._draw(data, lambda copy: copy.token is not None)
        if copy is None:
            return
        answer, current = self._call(copy, address, "/api/tokens", "POST", name="helper")
        if self._may_act(answer, current):
            assert current is not None
            proof = {"issuer_id": current.id, "authenticated_at": current.authenticated_at}
            self.world.issue_token(self._take_token(answer, current.owner, **proof))

    def _draw(self, data: st.DataObject, is_meant: Callable[[Copy], bool]) -> Copy | None:
        """Return one of the copies of a kind, if there are any; time goes on."""
        self._tick()
        those = [copy for copy in self.copies if is_meant(copy)]
        return those[data.draw(st.integers(0, len(those) - 1))] if those else None

    def _may_act(self, answer: TestResponse, current: Session | None) -> bool:
        """Whether a program may do what asks people for their password."""
        if current is not None and current.is_fresh(self.now):
            return True
        error = "invalid_token" if current is None else "insufficient_user_authentication"
        assert answer.status_code == 401
        assert f'error="{error}"' in answer.headers["WWW-Authenticate"]
        return False

    @rule(data=st.data(), address=addresses)
    def program_looks(self, data: st.DataObject, address: str) -> None:
        """A program lists what its person's page lists, and itself."""
        copy = self._draw(data, lambda copy: copy.token is not None)
        if copy is None:
            return
        answer, current = self._call(copy, address, "/api/sessions")
        if current is None:
            assert answer.status_code == 401
            return
        assert answer.json is not None
        found = [session["id"] for session in answer.json["sessions"]]
        assert sorted(found) == sorted(self._listed(current.owner))

    @rule(data=st.data(), address=addresses)
    def program_signs_out(self, data: st.DataObject, address: str) -> None:
        """A program ends its session, or tries to with a token that is dead."""
        copy = self._draw(data, lambda copy: copy.token is not None)
        if copy is None:
            return
        answer, current = self._call(copy, address, "/api/session", "DELETE")
        assert answer.status_code == (204 if current else 401)
        self.world.end([current] if current else [], "logout", self.now)

    @rule(data=st.data(), address=addresses)
    def program_revokes(self, data: st.DataObject, address: str) -> None:
        """A program ends a session, or tries to: an ended one, or another person's."""
        copy = self._draw(data, lambda copy: copy.token is not None)
        if copy is None:
            return
        session = self.world.sessions.get(data.draw(st.sampled_from(self.copies)).session_id)
        path = f"/api/sessions/{session.id if session else uuid.uuid4()}"
        answer, current = self._call(copy, address, path, "DELETE")
        if current is None:
            assert answer.status_code == 401
        elif session not in self.world.live_of(current.owner) or session.is_over(self.now):
            assert answer.status_code == 404
        elif session is current or self._may_act(answer, current):
            assert answer.status_code == 204
            self.world.end([session], "revoked", self.now)

    @rule(data=st.data(), address=addresses)
    def program_revokes_others(self, data: st.DataObject, address: str) -> None:
        """A program ends everything but itself."""
        copy = self._draw(data, lambda copy: copy.token is not None)
        if copy is None:
            return
        answer, current = self._call(copy, address, "/api/sessions/revoke-others", "POST")
        if self._may_act(answer, current):
            assert current is not None
            assert answer.status_code == 200
            others = [s for s in self.world.live_of(current.owner) if s is not current]
            self.world.end(others, "revoked", self.now)

    # -- Networks and thieves --------------------------------------------------------------------

    @rule(number=browsers, address=addresses)
    def move(self, number: int, address: str) -> None:
        """Somebody goes elsewhere with their browser, and looks who they are there."""
        self.browsers[number].environ_base["REMOTE_ADDR"] = address
        self._tick()
        self._look_who(number)

    def _look_who(self, number: int) -> None:
        answer, current = self._ask(number, "/whoami", "GET")
        assert answer.json is not None
        assert answer.json["user"] == (current.owner.email if current else None)

    @rule(number=browsers, is_later=st.booleans())
    def lose_answer(self, number: int, is_later: bool) -> None:
        """An answer gets lost, with the new secret that it may have carried."""
        self.clock.shift(ROTATE_INTERVAL if is_later else timedelta())
        self._tick()
        browser = self.browsers[number]
        jar = jar_of(browser)
        self._look_who(number)
        for name, value in jar.items():
            browser.set_cookie(name, value)

    @rule(data=st.data(), address=addresses)
    def use_copy(self, data: st.DataObject, address: str) -> None:
        """Somebody uses any credential that there ever was, from anywhere."""
        copy = self._draw(data, lambda _: True)
        if copy is not None:
            self._use(copy, address)

    def _use(self, copy: Copy, address: str) -> None:
        """Use a copy, and keep what is given for it."""
        self._tick()
        client = self._client(copy, address)
        expected = self.world.arrive(copy, self.now, address)
        name = who(client)
        assert name == (expected.owner.email if expected else None), (copy, expected)
        if copy.token is None:
            self._copy_of(jar_of(client), copy)

    @rule(number=browsers, data=st.data())
    def report(self, number: int, data: st.DataObject) -> None:
        """Somebody reads in a mail of a sign-in, an old one perhaps, and says it wasn't them."""
        copy = self._draw(data, lambda copy: copy.session_id in self.world.sessions)
        if copy is None:
            return
        reported = self.world.sessions[copy.session_id]
        with self.app.app_context():
            row = db.session.get(self.extension.session_model, reported.id)
            link = f"/devices/not-me/{self.extension.not_me_text(row)}"
        answer, _ = self._ask(number, link)
        assert answer.status_code == (200 if self.world.report(reported, self.now) else 410)

    # -- The app, and time -----------------------------------------------------------------------

    @rule(number=browsers)
    def change_password(self, number: int) -> None:
        """Somebody changes their password where they are signed in."""
        self._tick()
        new = f"password at {self.now}"
        answer, current = self._ask(number, "/password", new=new)
        if current is None:
            assert answer.status_code == 302
            return
        assert answer.text == "changed"
        current.owner.password = new
        self.world.change_password(current.owner, current, self.now)

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

    @invariant()
    def a_step_was_taken(self) -> None:
        """Count it, and keep what the browsers were given; by its name, this is looked at first."""
        self.length += 1
        for number in range(len(BROWSERS)):
            self._keep(number)

    @invariant()
    def no_copy_lets_in_but_the_live_ones(self) -> None:
        """Each copy is let in with its own session while that lives, and never again."""
        for copy in self.copies:
            now = datetime.now(timezone.utc)
            if self.world.changes_nothing(copy, now):
                session = self.world.sessions.get(copy.session_id)
                address = (session and session.last_ip_address) or HOME
                with self.app.test_request_context("/", environ_overrides=_environ(copy, address)):
                    found = self.extension.visit().session
                    email = found.user.email if found else None
                expected = self.world.arrive(copy, now, address)
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
            browsers = [s for s in self.world.live_of(person) if s.kind == "browser"]
            assert len(browsers) <= LIMIT

    def _times_go_forward(self, rows: dict[uuid.UUID, Any]) -> None:
        for row_id, row in rows.items():
            before = self.seen.get(row_id, row)
            assert row.created_at == before.created_at
            assert row.expires_at == before.expires_at
            assert row.last_active_at >= before.last_active_at
            assert row.authenticated_at in (
                UNPROVEN,
                max(row.authenticated_at, before.authenticated_at),
            )
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


def _facts(row: Any) -> dict[str, Any]:
    return {column: getattr(row, column) for column in COLUMNS}


def _address_of(browser: Browser) -> str:
    return str(browser.environ_base["REMOTE_ADDR"])


def _environ(copy: Copy, address: str) -> dict[str, str]:
    """Return what a request with a credential is made of."""
    if copy.token is not None:
        return {"HTTP_AUTHORIZATION": f"Bearer {copy.token}", "REMOTE_ADDR": address}
    return {"HTTP_COOKIE": _header(copy.jar), "REMOTE_ADDR": address}


def _header(jar: dict[str, str]) -> str:
    return "; ".join(dump_cookie(name, value).partition(";")[0] for name, value in jar.items())


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_story_brings_an_ended_session_back(
    listening: Canary, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever happens in whatever order, dead stays dead (ASVS V7.2.1, V7.4.1, V7.4.2, V16.3)."""
    Machine.canary = listening
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
