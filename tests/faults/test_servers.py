"""A database server that is killed, frozen, restarted, read-only or slow."""

from __future__ import annotations

import signal

import pytest
from flask import Flask

from tests.faults.conftest import Note
from tests.faults.servers import Database
from tests.faults.watch import ALL_DOWN, Watch

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults")]


def test_a_server_that_was_killed(near: Flask, server: Database, note: Note) -> None:
    """Down at restore, login, logout and revoke: 503, all or nothing, and again by itself."""
    watch = Watch(near)
    server.kill()

    down = watch.everything()
    server.start()
    soon = watch.recovers()

    assert down == ALL_DOWN
    assert watch.nothing_was_lost()
    note("database down", f"{server.name} kill -9", f"all 503; works again after {soon:.2f} s")
