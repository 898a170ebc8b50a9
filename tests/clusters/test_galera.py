"""Galera: three nodes that all take writes; one dies, one freezes, both come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_device_sessions.testing import Browser
from tests.clusters import galera
from tests.clusters.conftest import Report, populate
from tests.load.people import SESSION_COOKIE, Crowd, Failure, session_id_of
from tests.load.serving import site, wait_until
from tests.load.site import make_site
from tests.load.wire import Line
from tests.support import PASSWORD, db, sign_in

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(300)]

URI = "mysql+pymysql://root@/site"
CROWD = [f"{number}@example.com" for number in range(24)]
PARALLEL = 30
LIMIT = 3


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[galera.Cluster]:
    """Three nodes with tables and people."""
    with galera.run(folder) as cluster:
        cluster.nodes[0].execute("CREATE DATABASE site CHARACTER SET utf8mb4")
        populate(URI, [*CROWD, "ada@example.com", "evict", "refuse", "narrow"], cluster.addresses())
        yield cluster


def _sites(cluster: galera.Cluster, folder: Path, **config: Any) -> Iterator[list[int]]:
    with ExitStack() as stack:
        facts = {"uri": URI, "threads": 10, **config}
        firsts = range(len(cluster.nodes))
        yield [
            stack.enter_context(site(folder, nodes=cluster.addresses(first), **facts))
            for first in firsts
        ]


@pytest.fixture(scope="module")
def sites(cluster: galera.Cluster, folder: Path) -> Iterator[list[int]]:
    """The app at three addresses, each of which prefers another node."""
    yield from _sites(cluster, folder)


def _sign_in(port: int, email: str = "ada@example.com") -> dict[str, str]:
    line = Line(port)
    answer = line.ask("/login", {}, {"identifier": email, "password": PASSWORD})
    line.close()
    return answer.cookies


def _whoami(port: int, cookies: dict[str, str]) -> bytes:
    line = Line(port)
    answer = line.ask("/whoami", cookies)
    line.close()
    return answer.body


def test_a_session_that_one_node_ended_is_refused_at_all(sites: list[int]) -> None:
    """The next request is refused wherever it arrives (ASVS 7.4.1); a hundred times over."""
    accepted = []
    line = Line(sites[0])

    for number in range(100):
        cookies = _sign_in(sites[number % 3])
        session_id = session_id_of(cookies[SESSION_COOKIE])
        before = [_whoami(port, cookies) for port in sites]
        answer = line.ask(f"/devices/sessions/{session_id}/revoke", cookies, {})
        after = [_whoami(port, cookies) for port in sites[1:]]
        accepted += [b"ada@example.com" in body for body in before]
        assert answer.status == 303
        assert not any(b"ada@example.com" in body for body in after)

    line.close()
    assert accepted == [True] * 300


def test_a_node_that_lags_answers_when_it_has_caught_up(
    sites: list[int], cluster: galera.Cluster
) -> None:
    """A read waits for what other nodes have acknowledged: ``wsrep_sync_wait``."""
    lagging = cluster.nodes[1]
    cookies = _sign_in(sites[0])
    session_id = session_id_of(cookies[SESSION_COOKIE])
    _whoami(sites[1], cookies)
    line = Line(sites[0])

    with lagging.held_back(), ThreadPoolExecutor(1) as pool:
        line.ask(f"/devices/sessions/{session_id}/revoke", cookies, {})
        late = pool.submit(_whoami, sites[1], cookies)
        unsuspecting = lagging.execute(
            f"SELECT ended_at FROM site.device_sessions WHERE id = '{session_id.hex}'", sync_wait=0
        )
        was_answered = late.done()
        lagging.release()
        body = late.result()

    line.close()
    assert unsuspecting == ((None,),)  # what it would have answered by
    assert not was_answered
    assert b"ada@example.com" not in body


def _in_flight(failure: Failure, fault_at: float) -> bool:
    return failure.began <= fault_at <= failure.ended


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_while_nodes_die_and_freeze(
    cluster: galera.Cluster, sites: list[int], report: Report
) -> None:
    """One node killed and brought back, another frozen and thawed, under load."""
    crowd = Crowd(sites, CROWD, threads=8)
    one, two, _ = cluster.nodes
    marks: dict[str, float] = {}

    def go_on(name: str, changes: int = 100) -> None:
        done = crowd.count()
        marks[name] = wait_until(lambda: crowd.count() >= done + changes, name)

    crowd.start()
    go_on("before")
    killed_at = one.kill()
    go_on("after the kill")
    one.start()
    go_on("all three again")
    frozen_at = two.freeze()
    go_on("after the freeze")
    two.thaw()
    cluster.wait_until_whole()
    go_on("all three once more")
    tally = crowd.finish()
    rows = [node.sessions() for node in cluster.nodes]

    faults = (killed_at, frozen_at)
    late = [f for f in tally.failures if not any(_in_flight(f, fault) for fault in faults)]
    report(
        f"{tally.requests} requests, {len(tally.live | tally.ended)} sessions acknowledged, "
        f"{len(tally.ended)} ends; {len(tally.failures)} failed, {len(late)} of them not in "
        f"flight at a fault; slowest {tally.slowest:.1f} s, longest time without a change "
        f"{tally.longest_gap():.1f} s; {marks}"
    )
    assert tally.wrong == []
    assert late == []
    assert [tally.lost(of_node) for of_node in rows] == [(0, 0)] * 3
    assert rows[0] == rows[1] == rows[2]
    assert min(len(tally.live), len(tally.ended)) > 50


@pytest.mark.slow
def test_a_node_that_is_cut_off_from_the_others_is_left(
    cluster: galera.Cluster, sites: list[int], report: Report
) -> None:
    """It answers pings, and refuses all work: the app goes on with the next node."""
    crowd = Crowd(sites, CROWD, threads=8)
    one, *_ = cluster.nodes

    crowd.start()
    wait_until(lambda: crowd.count() >= 50, "before")
    with one.isolated() as cut_at:
        wait_until(lambda: one.status("wsrep_cluster_status") == "non-Primary", "it is out")
        out_at = time.monotonic()
        done = crowd.count()
        went_on = wait_until(lambda: crowd.count() >= done + 50, "while it is cut off")
        in_cluster = [node.status("wsrep_cluster_size") for node in cluster.nodes]
    cluster.wait_until_whole()
    tally = crowd.finish()
    rows = [node.sessions() for node in cluster.nodes]

    late = [f for f in tally.failures if f.began > out_at]
    report(
        f"{tally.requests} requests; {len(tally.failures)} failed in the {out_at - cut_at:.1f} s "
        f"until the node knew, {len(late)} afterwards; fifty changes {went_on:.1f} s later"
    )
    assert in_cluster == ["1", "2", "2"]
    assert tally.wrong == []
    assert late == []
    assert {failure.status for failure in tally.failures} <= {503}
    assert rows[0] == rows[1] == rows[2]
    assert tally.lost(rows[0]) == (0, 0)


@pytest.mark.slow
def test_idle_connections_to_a_node_that_is_cut_off_are_given_up(
    cluster: galera.Cluster, folder: Path
) -> None:
    """It passes the pool's ping, and the first request meets its refusal: the next node answers."""
    one, *_ = cluster.nodes
    with site(folder, uri=URI, nodes=cluster.addresses()) as port:
        cookies = _sign_in(port)

        with one.isolated():
            wait_until(lambda: one.status("wsrep_cluster_status") == "non-Primary", "it is out")
            bodies = [_whoami(port, cookies) for _ in range(5)]
        cluster.wait_until_whole()

    assert all(b"ada@example.com" in body for body in bodies)


@pytest.mark.slow
def test_a_node_without_quorum_signs_nobody_out(
    cluster: galera.Cluster, folder: Path, report: Report
) -> None:
    """Two of three frozen: the third answers 503 to all who ask, and goes on by itself."""
    one, *others = cluster.nodes
    with site(folder, uri=URI, nodes=cluster.addresses()[:1]) as port:
        cookies = _sign_in(port)
        path = f"/devices/sessions/{session_id_of(cookies[SESSION_COOKIE])}/revoke"
        form = {"identifier": "ada@example.com", "password": PASSWORD}
        asked: list[tuple[str, dict[str, str], dict[str, str] | None]]
        asked = [("/whoami", cookies, None), ("/login", {}, form), (path, cookies, {})]
        line = Line(port)

        for node in others:
            node.freeze()
        wait_until(lambda: one.status("wsrep_cluster_status") == "non-Primary", "no quorum")
        answers = [line.ask(*what) for what in asked * 5]
        for node in others:
            node.thaw()
        waited = cluster.wait_until_whole()
        recovered = wait_until(lambda: b"ada@example.com" in _whoami(port, cookies), "ada is in")
        line.close()

    report(f"all synced {waited:.1f} s after the thaw, the app {recovered:.2f} s after that")
    assert {answer.status for answer in answers} == {503}
    assert [answer.cookies for answer in answers] == [{}] * 15
    assert recovered < 5


@pytest.mark.parametrize("policy", ["evict", "refuse"])
def test_a_limit_holds_across_nodes(
    cluster: galera.Cluster, folder: Path, policy: str, report: Report
) -> None:
    """Thirty sign-ins at once on three nodes at a limit of three leave three (ASVS 15.4.1)."""
    config: dict[str, Any] = {
        "DEVICE_SESSIONS_MAX_PER_USER": LIMIT,
        "DEVICE_SESSIONS_LIMIT_POLICY": policy,
    }
    barrier = threading.Barrier(PARALLEL)
    sites = _sites(cluster, folder, **config)
    ports = next(sites)

    def sign_in(number: int) -> int:
        line = Line(ports[number % len(ports)])
        form = {"identifier": policy, "password": PASSWORD}
        barrier.wait()
        answer = line.ask("/login", {}, form)
        line.close()
        return answer.status

    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(sign_in, range(PARALLEL)))
    next(sites, None)

    app = make_site(URI, cluster.addresses(), **config)
    with app.app_context():
        extension = app.extensions["device_sessions"]
        user = db.session.execute(db.text(f"SELECT id FROM user WHERE email = '{policy}'")).scalar()
        live = extension.sessions_of(extension.find_user(str(user)))
        is_whole = bool(extension.verify_audit())
        db.engine.dispose()
    report(f"answers { ({status: answers.count(status) for status in set(answers)}) }")
    assert len(live) == LIMIT
    assert is_whole
    assert set(answers) <= {303, 200, 409, 503}
    if policy == "refuse":
        assert answers.count(303) == LIMIT


@pytest.fixture
def read_committed(cluster: galera.Cluster) -> Iterator[None]:
    """New connections see with each statement what is there by then."""
    for node in cluster.nodes:
        node.execute("SET GLOBAL tx_isolation = 'READ-COMMITTED'")
    yield
    for node in cluster.nodes:
        node.execute("SET GLOBAL tx_isolation = 'REPEATABLE-READ'")


def test_a_limit_holds_where_statements_do_not_see_the_same(
    cluster: galera.Cluster, read_committed: None
) -> None:
    """Another node's sign-in between two statements of one: the limit of one still holds."""
    config: dict[str, Any] = {
        "DEVICE_SESSIONS_MAX_PER_USER": 1,
        "DEVICE_SESSIONS_LIMIT_POLICY": "refuse",
    }
    here, there = (make_site(URI, cluster.addresses(first), **config) for first in (0, 1))
    answers: list[int] = []

    def sign_in_there(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "FROM device_session_devices" in statement and not answers:
            answers.append(sign_in(Browser(there), "narrow").status_code)

    with here.app_context():
        sa.event.listen(db.engine, "after_cursor_execute", sign_in_there)
    answers.append(sign_in(Browser(here), "narrow").status_code)

    assert answers == [303, 409]
