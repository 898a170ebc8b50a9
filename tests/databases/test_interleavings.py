"""Every pair of changes to one session, interleaved statement by statement, on every engine.

Cut short once, each way round, the pairs take about a minute. All orders with two switches:
``DEVICE_SESSIONS_TEST_SWITCHES=2 pytest tests/databases/test_interleavings.py -s``.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from itertools import combinations_with_replacement
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask, Response
from flask_login import current_user, login_required

from flask_device_sessions import DeviceSessions, housekeeping
from flask_device_sessions.bounds import OncePer
from flask_device_sessions.proxies import current_extension
from flask_device_sessions.testing import FIREFOX, IPHONE, PIXEL, SAFARI, Browser
from tests.databases.steps import Pair, every_order
from tests.engines import Engine
from tests.support import PASSWORD, User, add_user, db, hash_of, jar_of, sign_in

pytestmark = [pytest.mark.slow]

SWITCHES = int(os.environ.get("DEVICE_SESSIONS_TEST_SWITCHES", "1"))
LIMIT = 2
AGES = timedelta(days=3)


@pytest.fixture
def config() -> dict[str, Any]:
    """Two sessions are allowed, as many as there are."""
    return {
        "DEVICE_SESSIONS_MAX_PER_USER": LIMIT,
        "DEVICE_SESSIONS_LOGIN_RATE_LIMIT": None,
        "DEVICE_SESSIONS_NOTIFY_NEW_DEVICE": False,
    }


class Stage:
    """Ada's laptop, least recently active and due for a touch, and her phone; always the same."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.extension: DeviceSessions = app.extensions["device_sessions"]
        app.add_url_rule("/password", view_func=login_required(_change_password), methods=["POST"])
        with app.app_context():
            add_user()
        laptop, phone = Browser(app, FIREFOX), Browser(app, IPHONE)
        with time_machine.travel(datetime.now(timezone.utc) - AGES):
            sign_in(laptop)
            laptop.post("/logout")
        sign_in(laptop)
        sign_in(phone)
        self.laptop, self.phone = jar_of(laptop), jar_of(phone)
        with app.app_context():
            extension = self.extension
            models = (extension.event_model, extension.session_model, extension.device_model)
            self.tables = [model.__table__ for model in models]
            user = db.session.scalars(sa.select(User)).one()
            old = next(s for s in self.extension.sessions_of(user) if s.user_agent == FIREFOX)
            old.last_active_at -= timedelta(minutes=10)
            self.session_id: uuid.UUID = old.id
            db.session.commit()
            self.rows = [(table, self._rows_of(table)) for table in reversed(self.tables)]
            db.session.rollback()
        self.browsers: list[Browser] = []

    def _rows_of(self, table: sa.Table) -> list[dict[str, Any]]:
        return [dict(row) for row in db.session.execute(sa.select(table)).mappings()]

    def set_up(self) -> None:
        """Put everything back to where it was."""
        with self.app.app_context():
            for table in self.tables:
                db.session.execute(table.delete())
            for table, rows in self.rows:
                db.session.execute(table.insert(), rows)
            db.session.commit()
        self.extension._noted = OncePer(timedelta(hours=1))
        self.browsers = []

    def browser(self, jar: dict[str, str], user_agent: str) -> Browser:
        """Return a browser with these cookies."""
        browser = Browser(self.app, user_agent)
        for name, value in jar.items():
            browser.set_cookie(name, value)
        self.browsers.append(browser)
        return browser

    # -- The changes ---------------------------------------------------------------------------

    def touch(self, number: int) -> Callable[[], Any]:
        """The laptop asks for a page."""
        laptop = self.browser(self.laptop, FIREFOX)
        return lambda: laptop.get("/whoami")

    def revoke(self, number: int) -> Callable[[], Any]:
        """The phone ends the laptop's session."""
        phone = self.browser(self.phone, IPHONE)
        return lambda: phone.post(f"/devices/sessions/{self.session_id}/revoke")

    def log_in(self, number: int) -> Callable[[], Any]:
        """A third device, or a fourth, signs in: the laptop's session has to go."""
        other = self.browser({}, (PIXEL, SAFARI)[number])
        return lambda: sign_in(other)

    def log_out(self, number: int) -> Callable[[], Any]:
        """The laptop signs out."""
        laptop = self.browser(self.laptop, FIREFOX)
        return lambda: laptop.post("/logout")

    def change_password(self, number: int) -> Callable[[], Any]:
        """The password is changed on the phone."""
        phone = self.browser(self.phone, IPHONE)
        return lambda: phone.post("/password")

    def confirm(self, number: int) -> Callable[[], Any]:
        """The password is typed again on the laptop, which gets a new secret."""
        laptop = self.browser(self.laptop, FIREFOX)
        return lambda: laptop.post("/confirm", data={"password": PASSWORD})

    def purge(self, number: int) -> Callable[[], Any]:
        """What ended ages ago is deleted, with its events."""

        def purge() -> Response:
            with self.app.app_context():
                self.extension.purge(older_than=AGES / 2)
            return Response()

        return purge

    # -- Afterwards ----------------------------------------------------------------------------

    def check(self, order: Sequence[int]) -> None:
        """An ended session is ended, told once, and lets nobody in; the limit holds."""
        with self.app.app_context():
            session, event = self.extension.session_model, self.extension.event_model
            columns = sa.select(session.id, session.ended_at)
            ended_at = {row[0]: row[1] for row in db.session.execute(columns)}
            columns = sa.select(event.action, event.session_id)
            told = Counter((row[0], row[1]) for row in db.session.execute(columns))
            assert self.extension.verify_audit(), order
        live = {row_id for row_id, at in ended_at.items() if at is None}
        ends = {row_id: n for (action, row_id), n in told.items() if action == "session_ended"}
        assert ends == dict.fromkeys(ended_at.keys() - live, 1), order
        assert len(live) <= LIMIT, order
        for jar in [jar_of(browser) for browser in self.browsers]:
            assert self.enters(jar) in {None, *live}, order
        for jar in (self.laptop, self.phone):
            entered = self.enters(jar)
            assert entered in {None, *live}, order
            assert not told["session_confirmed", entered] + told["session_rotated", entered], order

    def enters(self, jar: dict[str, str]) -> uuid.UUID | None:
        """Return the session that a copy of these cookies is let in with."""
        answer = self.browser(jar, FIREFOX).get("/whoami").json
        assert answer is not None
        return uuid.UUID(answer["session"]) if answer["session"] else None


def _change_password() -> str:
    current_user.password_hash = hash_of(PASSWORD)
    current_extension.password_changed(current_user)
    return "changed"


CHANGES = [
    Stage.touch,
    Stage.revoke,
    Stage.log_in,
    Stage.log_out,
    Stage.change_password,
    Stage.confirm,
    Stage.purge,
]

#: What each may answer: done; or, where its session was ended first, "sign in" or "no".
ANSWERS = {200, 302, 303, 401}


@pytest.fixture
def stage(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The laptop and the phone; a purge waits where all do, and the pair sees that it waits."""
    monkeypatch.setattr(housekeeping, "_PATIENCE", 0)
    return Stage(app)


@pytest.fixture
def control(schema: Engine) -> Iterator[sa.Connection]:
    """A connection beside the app's, to ask the database who waits."""
    engine = sa.create_engine(schema.uri, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize(
    "changes",
    list(combinations_with_replacement(CHANGES, 2)),
    ids=lambda changes: "-".join(change.__name__ for change in changes),
)
def test_an_ended_session_never_lives_again(
    stage: Stage, control: sa.Connection, changes: tuple[Any, Any]
) -> None:
    """Two changes at once, in every order of their statements (ASVS V15.4.1, V15.4.2)."""
    with stage.app.app_context():
        engine = db.engine

    def run(order: Sequence[int]) -> list[tuple[int, list[int]]]:
        stage.set_up()
        pair = Pair(engine, control, [change(stage, n) for n, change in enumerate(changes)])
        made = pair.run(order)
        assert {runner.answer.status_code for runner in pair.runners} <= ANSWERS, order
        stage.check(order)
        return made

    orders = list(every_order(run, SWITCHES))

    assert len({tuple(order) for order in orders}) == len(orders) > 2
    print(f"{len(orders)} orders")  # noqa: T201 (for -rP)
