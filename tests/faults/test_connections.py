"""Connections that are reset, cut in the middle of an answer, or lead nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_device_sessions import DeviceSessions
from flask_device_sessions.testing import Browser
from tests.faults.conftest import Note
from tests.faults.proxy import Proxy
from tests.faults.servers import Database
from tests.faults.watch import ALL_DOWN, PEOPLE, Watch
from tests.support import PASSWORD, User, db

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]

ADA = PEOPLE[0]

#: At how many places an answer of the server is cut.
CUTS = 5


def _sign_in(watch: Watch) -> int:
    return watch.sign_in(ADA)


def _revoke(watch: Watch) -> int:
    path = f"/devices/sessions/{watch.phone_ids[ADA]}/revoke"
    status: int = watch.ask(watch.laptops[ADA], "POST", path).status_code
    return status


def _list(watch: Watch) -> int:
    status: int = watch.ask(watch.laptops[ADA], "GET", "/devices/").status_code
    return status


def _sign_out(watch: Watch) -> int:
    status: int = watch.ask(watch.phones[ADA], "POST", "/logout").status_code
    return status


def _sign_a_program_in(watch: Watch) -> int:
    form = {"identifier": ADA, "password": PASSWORD}
    status: int = watch.ask(Browser(watch.app), "POST", "/api/session", json=form).status_code
    return status


DEEDS = [_sign_in, _revoke, _list, _sign_out]

Deed = Callable[[Watch], int]


def _trail_is_whole(app: Flask) -> bool:
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        return bool(extension.verify_audit())


def _ends(app: Flask) -> int:
    """Return how many ends of Ada's sessions are recorded."""
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        ada = db.session.query(User).filter_by(email=ADA).one()
        return sum(event.action == "session_ended" for event in extension.events_of(ada))


# -- The network -------------------------------------------------------------------------------


def test_connections_that_are_reset_while_idle(far: Flask, proxy: Proxy, note: Note) -> None:
    """A firewall that forgets: each kind of request finds a new connection, once, by itself."""
    watch = Watch(far)
    seen = []

    for deed in (lambda watch: watch.restore(ADA), *DEEDS):
        proxy.reset_once()
        seen.append(deed(watch))

    assert seen == [200, 303, 303, 200, 303]
    note("connection reset while idle", f"{_name(far)}, RST by a proxy", "answered as ever")


def test_a_network_that_refuses(far: Flask, proxy: Proxy, note: Note) -> None:
    """Every connection is reset at once: 503 at once, and again by itself."""
    watch = Watch(far)
    proxy.drop()

    down = watch.everything()
    longest = watch.longest
    proxy.heal()
    soon = watch.recovers()

    assert down == ALL_DOWN
    assert watch.nothing_was_lost()
    what = f"all 503, {longest:.1f} s at most; works again after {soon:.2f} s"
    note("network refuses", f"{_name(far)}, RST by a proxy", what)


def test_a_network_that_leads_nowhere(far: Flask, proxy: Proxy, note: Note) -> None:
    """Connections stay open and carry nothing: the timeouts make it a 503."""
    watch = Watch(far)
    proxy.black_hole()

    down = {"restore": watch.restore(ADA), "sign-in": watch.sign_in()}
    longest = watch.longest
    proxy.heal()
    soon = watch.recovers()

    assert down == {"restore": 503, "sign-in": 503}
    assert longest < 10
    assert watch.nothing_was_lost()
    what = f"503 after {longest:.1f} s at most; works again after {soon:.2f} s"
    note("network black-holed", f"{_name(far)}, proxy passes nothing", what)


@pytest.mark.parametrize(
    ("deed", "is_once"), [(deed, True) for deed in DEEDS] + [(_sign_in, False), (_revoke, False)]
)
def test_an_answer_that_is_cut(
    far: Flask, proxy: Proxy, note: Note, deed: Deed, is_once: bool
) -> None:
    """Wherever the server's words end, the deed is done, or not, and can be done again."""
    watch = Watch(far)
    before = proxy.bytes_said
    deed(watch)
    length = proxy.bytes_said - before
    seen, ended = [], []

    for number in range(CUTS):
        watch.come_back(ADA)
        ends = _ends(far)
        proxy.cut_after(length * number // CUTS, is_once=is_once)
        seen.append(deed(watch))
        proxy.heal()
        watch.restore(ADA)  # finds the connections that the healing has reset
        deed(watch)
        ended.append(_ends(far) - ends)

    assert set(seen) <= {200, 303, 503}
    assert _trail_is_whole(far)
    if deed in (_revoke, _sign_out):
        assert set(ended) == {1}
    how = f"{_name(far)}, {deed.__name__[1:]} cut, {'then fine' if is_once else 'then nothing'}"
    note("connection cut mid-answer", how, _told(seen))


# -- The server --------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", [*DEEDS, _sign_a_program_in])
def test_a_connection_that_is_killed_before_a_statement(
    near: Flask, server: Database, note: Note, deed: Deed
) -> None:
    """An administrator, or a failover, at any point of a request: done or 503, and a good pool."""
    watch = Watch(near)
    with _killing(near, server, before=-1) as seen_statements:
        deed(watch)
    seen = []

    for number in range(len(seen_statements)):
        watch.come_back(ADA)
        with _killing(near, server, before=number):
            seen.append(deed(watch))
        assert watch.restore(PEOPLE[1]) == 200

    assert set(seen) <= {200, 201, 303, 503}
    assert _trail_is_whole(near)
    how = f"{server.name}, {deed.__name__[1:]}, before each of {len(seen)} statements"
    note("connection killed mid-request", how, _told(seen))


@contextmanager
def _killing(app: Flask, server: Database, *, before: int) -> Iterator[list[str]]:
    """Kill all connections before the statement of this number, once; list the statements."""
    seen: list[str] = []

    def on_execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if len(seen) == before:
            server.kill_connections()
        seen.append(statement)

    def on_error(context: Any) -> None:
        lost.append(context.is_disconnect)

    lost: list[bool] = []
    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", on_execute)
    sa.event.listen(engine, "handle_error", on_error)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", on_execute)
    sa.event.remove(engine, "handle_error", on_error)
    assert any(lost) is (before >= 0)


def _told(seen: list[int]) -> str:
    return ", ".join(f"{seen.count(status)} × {status}" for status in sorted(set(seen)))


def _name(app: Flask) -> str:
    with app.app_context():
        return db.engine.dialect.name.replace("mysql", "mariadb")
