"""pgbouncer in transaction mode: each transaction may meet another connection of the server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.testing import Browser
from tests.faults.conftest import Note
from tests.faults.servers import PgBouncer, PostgreSQL
from tests.faults.watch import ALL_DOWN, PEOPLE, Watch
from tests.support import User, add_user, make_app, sign_in, who

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]


@pytest.fixture
def bouncer(server: PostgreSQL) -> Iterator[PgBouncer]:
    """One that keeps two connections for everybody."""
    bouncer = PgBouncer(server.port)
    try:
        bouncer.start()
        yield bouncer
    finally:
        bouncer.remove()


@pytest.fixture
def app(bouncer: PgBouncer) -> Flask:
    """An app that prepares no statements, as the documentation says."""
    connect = {"prepare_threshold": None, "connect_timeout": 2}
    return make_app(
        f"{bouncer.uri}postgres",
        SQLALCHEMY_ENGINE_OPTIONS={"connect_args": connect, "pool_size": 8},
        DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None,
        DEVICE_SESSIONS_MAX_PER_USER=3,
    )


on_postgresql = pytest.mark.parametrize("running", [PostgreSQL], indirect=True)


@on_postgresql
def test_everything_works_behind_pgbouncer(app: Flask, note: Note) -> None:
    """Sign-ins, requests and sign-outs of eight threads over two connections; the limit holds."""
    with app.app_context():
        for email in PEOPLE:
            add_user(email)

    def live(number: int) -> list[object]:
        browser, email = Browser(app), PEOPLE[number % 2]
        seen: list[object] = [sign_in(browser, email).status_code]
        for _ in range(10):
            seen.append(who(browser) in (email, None))
        return seen

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(live, range(24)))

    assert answers == [[303, *[True] * 10]] * 24
    with app.app_context():
        extension: DeviceSessions = app.extensions["device_sessions"]
        assert [len(extension.sessions_of(user)) for user in User.query.all()] == [3, 3]
        assert extension.verify_audit()
    note("pgbouncer", "transaction mode, 2 server connections", "24 × 303, 240 requests right")


@on_postgresql
def test_a_pgbouncer_that_was_killed(app: Flask, bouncer: PgBouncer, note: Note) -> None:
    """As with the server itself: 503, and again by itself."""
    watch = Watch(app)
    bouncer.kill()

    down = watch.everything()
    bouncer.start()
    soon = watch.recovers()

    assert down == ALL_DOWN
    note("pgbouncer", "kill -9", f"all 503; works again after {soon:.2f} s")
