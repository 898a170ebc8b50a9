"""A pool of one connection: every route works with it, and says so when it is taken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, g
from flask_login import current_user, login_required

from tests.engines import Engine
from tests.faults.conftest import Note
from tests.faults.watch import ALL_DOWN, PEOPLE, Watch, age_sessions
from tests.support import db

pytestmark = pytest.mark.faults

ID = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def config() -> dict[str, Any]:
    """One connection, and a second's patience."""
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1, "poolclass": sa.QueuePool}
    return {"SQLALCHEMY_ENGINE_OPTIONS": pool, "DEVICE_SESSIONS_LOGIN_RATE_LIMIT": None}


def _every_route(app: Flask) -> Iterator[tuple[str, str]]:
    """Yield method and path of each route, its parameters filled in."""
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        values = {name: "x" if name == "signed" else ID for name in rule.arguments}
        if "filename" not in values and rule.endpoint != "device_sessions.logout":
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, adapter.build(rule.endpoint, values, method=method)


def test_every_route_works_with_one_connection(app: Flask, schema: Engine, note: Note) -> None:
    """Pool of one, no overflow: no route asks for a second connection while it holds one."""
    watch = Watch(app)
    age_sessions(app)
    laptop = watch.laptops[PEOPLE[0]]

    seen = [(watch.ask(laptop, *route).status_code, route) for route in _every_route(app)]
    watch.come_back(PEOPLE[0])
    done = watch.everything()

    assert [route for status, route in seen if status >= 500] == []
    assert 503 not in done.values()
    what = f"{len(seen)} routes, none waited"
    note("pool of one", f"{schema.name}, pool_size=1, max_overflow=0", what)


def test_a_view_without_sql_holds_no_connection(app: Flask) -> None:
    """With a pool of one, two people are in the same slow view at once, each known by name."""
    both_are_in = threading.Barrier(2, timeout=10)

    @app.get("/slow")
    @login_required
    def slow() -> str:
        email = str(g.current_session and current_user.email)
        both_are_in.wait()
        return email

    watch = Watch(app)
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda email: watch.laptops[email].get("/slow").text, PEOPLE)

    assert tuple(answers) == tuple(PEOPLE)


def test_a_pool_that_is_exhausted(app: Flask, schema: Engine, note: Note) -> None:
    """Somebody holds the only connection: 503 after the pool's timeout, then all is well."""
    watch = Watch(app)
    with app.app_context():
        engine = db.engine
    is_taken, give_back = threading.Event(), threading.Event()

    def hold() -> None:
        with engine.connect():
            is_taken.set()
            give_back.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    is_taken.wait()
    down = {"restore": watch.restore(PEOPLE[0]), "sign-in": watch.sign_in()}
    open_to_all = watch.ask(watch.laptops[PEOPLE[0]], "GET", "/open").status_code
    longest = watch.longest
    give_back.set()
    holder.join()
    soon = watch.recovers()

    assert down == {name: ALL_DOWN[name] for name in down}
    assert open_to_all == 200
    assert watch.nothing_was_lost()
    what = f"503 after {longest:.1f} s at most; works again after {soon:.2f} s"
    note("pool exhausted", f"{schema.name}, its one connection held", what)
