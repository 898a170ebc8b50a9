"""PostgreSQL: the primary dies under load, and a standby takes over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clusters import postgresql
from tests.clusters.conftest import Report, populate
from tests.load.people import Crowd
from tests.load.serving import site, wait_until

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(300)]

CROWD = [f"{number}@example.com" for number in range(24)]


def _prepare(servers: list[postgresql.Server]) -> str:
    """Make the database with people in it; return the URI that finds the primary."""
    servers[0].execute("CREATE DATABASE site")
    uri = postgresql.uri_of(servers)
    populate(uri, CROWD)
    return uri


def _wait_for(crowd: Crowd, changes: int, what: str) -> None:
    done = crowd.count()
    wait_until(lambda: crowd.count() >= done + changes, what)


def test_nothing_acknowledged_is_lost_with_synchronous_standbys(
    folder: Path, report: Report
) -> None:
    """The primary is killed under load; whom it told of a success, that is so on each standby."""
    with postgresql.run(folder / "sync", "ANY 1 (a, b, c)") as servers:
        primary, *standbys = servers
        uri = _prepare(servers)
        with site(folder, uri=uri, threads=8) as port:
            crowd = Crowd([port], CROWD, threads=8)
            crowd.start()
            _wait_for(crowd, 300, "before")
            primary.kill()
            new = postgresql.fail_over(standbys)
            _wait_for(crowd, 300, "after")
            tally = crowd.finish()
        new_rows = new.sessions()
        (other,) = {*standbys} - {new}
        wait_until(lambda: other.has(new_rows), "the other one has all, too")

    statuses = {failure.status for failure in tally.failures}
    report(
        f"{tally.requests} requests, {len(tally.live | tally.ended)} sessions acknowledged, "
        f"{len(tally.ended)} ends; lost {tally.lost(new_rows)}; failed "
        f"{len(tally.failures)} {statuses or ''}; longest time without a change "
        f"{tally.longest_gap():.1f} s"
    )
    assert tally.wrong == []
    assert tally.lost(new_rows) == (0, 0)
    assert statuses <= {503}
    assert min(len(tally.live), len(tally.ended)) > 50


def test_asynchronous_standbys_lose_what_was_acknowledged(folder: Path, report: Report) -> None:
    """Both standbys are cut off, the primary goes on by itself and dies: that is gone."""
    with postgresql.run(folder / "async", "") as servers:
        primary, *standbys = servers
        uri = _prepare(servers)
        with site(folder, uri=uri, threads=8) as port:
            crowd = Crowd([port], CROWD, threads=8)
            crowd.start()
            _wait_for(crowd, 100, "before")
            for standby in standbys:
                standby.cut_off()
            _wait_for(crowd, 100, "cut off")
            tally = crowd.finish()
        primary.kill()
        missing = tally.lost(postgresql.fail_over(standbys).sessions())

    report(f"lost {missing[0]} sessions and {missing[1]} ends of {len(tally.successes)} changes")
    assert tally.wrong == []
    assert missing[0] > 0
    assert missing[1] > 0


def test_synchronous_standbys_that_are_cut_off_let_nothing_be_acknowledged(
    folder: Path, report: Report
) -> None:
    """The same with ``ANY 1``: changes wait until a standby is back, and none is lost."""
    with postgresql.run(folder / "cut", "ANY 1 (a, b, c)") as servers:
        primary, *standbys = servers
        uri = _prepare(servers)
        with site(folder, uri=uri, threads=8) as port:
            crowd = Crowd([port], CROWD, threads=8)
            crowd.start()
            _wait_for(crowd, 100, "before")
            for standby in standbys:
                standby.cut_off()
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            wait_until(lambda: len(primary.execute(waiting)) > 3, "changes wait")
            acknowledged = crowd.count()
            primary.kill()
            new = postgresql.fail_over(standbys)
            _wait_for(crowd, 100, "after")
            tally = crowd.finish()
        missing = tally.lost(new.sessions())

    report(
        f"lost {missing} of {acknowledged} changes acknowledged before, {tally.requests} requests"
    )
    assert tally.wrong == []
    assert missing == (0, 0)
