"""Patroni: the leader's machine dies under load, and nobody has to do anything."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clusters import patronis
from tests.clusters.conftest import Report, populate
from tests.clusters.postgresql import uri_of
from tests.load.people import Crowd
from tests.load.serving import site, wait_until

CROWD = [f"{number}@example.com" for number in range(24)]
OTHERS = [f"other-{number}@example.com" for number in range(8)]

pytestmark = [pytest.mark.clusters, pytest.mark.slow, pytest.mark.timeout(300)]


def test_nothing_acknowledged_is_lost_when_the_leaders_machine_dies(
    folder: Path, report: Report
) -> None:
    """Another one leads by itself, the dead one comes back and follows: all three know all."""
    with patronis.run(folder / "patroni") as members:
        leader, *others = members
        leader.execute("CREATE DATABASE site")
        uri = uri_of(members)
        populate(uri, CROWD + OTHERS)
        with site(folder, uri=uri, threads=8) as port:
            crowd = Crowd([port], CROWD, threads=8)
            crowd.start()
            wait_until(lambda: crowd.count() >= 100, "before")
            leader.kill()
            before = crowd.count()
            elected = wait_until(lambda: any(m.is_primary() for m in others), "a new leader")
            wait_until(lambda: crowd.count() >= before + 100, "after")
            leader.start()
            returned = wait_until(leader.is_standby, "the old leader follows")
            wait_until(lambda: crowd.count() >= before + 200, "all three again")
            tally = crowd.finish()
        (new,) = (member for member in others if member.is_primary())
        rows = new.sessions()
        wait_until(lambda: all(member.has(rows) for member in members), "all have all")

    statuses = {failure.status for failure in tally.failures}
    report(
        f"{tally.requests} requests, {len(tally.live | tally.ended)} sessions acknowledged, "
        f"{len(tally.ended)} ends; lost {tally.lost(rows)}; failed {len(tally.failures)} "
        f"{statuses or ''}; a new leader after {elected:.1f} s, longest time without a change "
        f"{tally.longest_gap():.1f} s; the old leader back in {returned:.1f} s"
    )
    assert tally.wrong == []
    assert tally.lost(rows) == (0, 0)
    assert statuses <= {503}


def test_a_leader_that_froze_and_thaws_undoes_nothing(folder: Path, report: Report) -> None:
    """Another one led meanwhile; what the old one still had in hand is told to nobody."""
    with patronis.run(folder / "frozen") as members, ExitStack() as sites:
        leader, *others = members
        leader.execute("CREATE DATABASE site")
        uri = uri_of(members)
        populate(uri, CROWD + OTHERS)
        old = sites.enter_context(site(folder, uri=uri, threads=8))
        crowd = Crowd([old], CROWD, threads=8)
        crowd.start()
        wait_until(lambda: crowd.count() >= 50, "before")
        leader.signal(signal.SIGSTOP)
        elected = wait_until(lambda: any(m.is_primary() for m in others), "a new leader")
        new = sites.enter_context(site(folder, uri=uri_of(others), threads=4))
        others_crowd = Crowd([new], OTHERS, threads=4)
        others_crowd.start()
        wait_until(lambda: others_crowd.count() >= 50, "while it is frozen")
        done = crowd.count()
        thawed_at = leader.signal(signal.SIGCONT)
        returned = wait_until(leader.is_standby, "the old leader follows")
        wait_until(lambda: crowd.count() >= done + 50, "after")
        tally, others_tally = crowd.finish(), others_crowd.finish()
        (primary,) = (member for member in others if member.is_primary())
        rows = primary.sessions()
        wait_until(lambda: all(member.has(rows) for member in members), "all have all")

    # Until Patroni looks again, the old leader answers connections older than the freeze.
    mistakes = tally.wrong + others_tally.wrong
    stale = [one for one in mistakes if thawed_at <= one.at <= thawed_at + returned]
    report(
        f"a new leader after {elected:.1f} s, the old one follows {returned:.1f} s after the thaw; "
        f"slowest answer {tally.slowest:.1f} s, failed {len(tally.failures)}; "
        f"{len(stale)} answers by the old leader's rows; lost {tally.lost(rows)} and "
        f"{others_tally.lost(rows)}"
    )
    assert [one for one in mistakes if one not in stale] == []
    assert tally.lost(rows) == others_tally.lost(rows) == (0, 0)
    assert {failure.status for failure in tally.failures + others_tally.failures} <= {503}
