"""The benchmarks are honest: what is timed does what the figure claims.

The contenders that this environment can import are checked here; `python -m benchmarks check` does
the same with all of them, in the environment of the benchmarks.
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import client, contenders, cost, databases, honesty, scale
from benchmarks.contenders import ALL, BY_NAME, EMAIL, Entry
from benchmarks.field import Dishonest, Process, field
from flask_device_sessions import DeviceSessions
from flask_device_sessions.lifecycle import Lifecycle
from tests import engines

ROOT = Path(__file__).parents[1]

IMPORTABLE = [entry for entry in ALL if entry.is_importable]
PAIRS = [(engine, entry) for entry in IMPORTABLE for engine in entry.engines]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """An empty SQLite database."""
    return f"sqlite:///{tmp_path / 'bench.db'}"


@pytest.mark.parametrize(("engine", "entry"), PAIRS, ids=[f"{p[1].name}-{p[0]}" for p in PAIRS])
def test_contender_is_honest(engine: str, entry: Entry) -> None:
    """It answers who is signed in and nobody else; ours touches, expires and revokes besides."""
    if why := engines.why_absent(engine):
        assert not engines.IS_COMPLETE, f"{engine} must be there: {why}"
        pytest.skip(f"{engine} does not answer")

    with field([entry], engine) as (process,):  # which checks it
        ran, counted = process.ask("run 3"), process.ask("count")

    assert ran["seconds"] > 0
    assert (counted["writes"], counted["cookies"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not engines.IS_COMPLETE, reason="installs the peers; `make test` does that")
def test_all_peers_are_honest() -> None:
    """Every contender passes, on both engines, in the environment that `make bench` uses."""
    command = [sys.executable, "-m", "benchmarks", "check"]

    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert said.returncode == 0, said.stderr
    assert "LEFT OUT" not in said.stderr
    assert [line for line in said.stdout.splitlines() if line] == [
        f"{engine}: {sum(engine in entry.engines for entry in ALL)} contenders are what they "
        "claim to be."
        for engine in contenders.ENGINES
    ]


def test_every_contender_has_a_module() -> None:
    """No row of the table is without code to read."""
    modules = {entry.name: find_spec(f"benchmarks.contenders.{entry.module}") for entry in ALL}

    assert [name for name, module in modules.items() if module is None] == []


def test_a_page_that_is_open_to_all_is_found(uri: str) -> None:
    """A contender that asks for nothing cannot be timed as one that does."""
    entry = BY_NAME["bare"]._replace(is_protected=True)

    problems = list(honesty.problems(entry, entry.make(uri)))

    assert problems == ["answers no cookie: 200 OK", "answers a forged cookie: 200 OK"]


def test_a_wrong_answer_is_found(uri: str) -> None:
    """Whoever answers something else is not timed."""
    entry = BY_NAME["bare"]._replace(answer="grace@example.com")

    problems = list(honesty.problems(entry, entry.make(uri)))

    assert problems == ["does not answer the person who is signed in: 200 OK"] * 2


def test_sessions_that_cannot_be_revoked_are_found(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is our own app timed if what it is there for does not work."""
    monkeypatch.setattr(DeviceSessions, "revoke", lambda *_: 0)

    problems = list(honesty.problems(BY_NAME["ours"], BY_NAME["ours"].make(uri)))

    assert problems == ["lets a session in that was revoked"]


def test_sessions_that_are_never_touched_are_found(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A touch that is left out would be a saving that no app has."""
    monkeypatch.setattr(Lifecycle, "touch", lambda *_: False)

    problems = list(honesty.problems(BY_NAME["ours"], BY_NAME["ours"].make(uri)))

    assert problems == ["does not touch a session that is due for it"]


def test_a_dishonest_contender_stops_the_run() -> None:
    """Nothing is timed after a check that fails."""

    class Liar(Process):
        def __init__(self) -> None:
            self.entry = BY_NAME["bare"]

        def ask(self, command: str) -> dict[str, list[str]]:
            return {"problems": ["answers everybody"]}

    with pytest.raises(Dishonest, match="bare: answers everybody"):
        Liar().check()


def test_forged_cookies_keep_their_shape() -> None:
    """What is refused is refused for its signature, not for its length."""
    cookies = {"session": "abcdefgh.ijklmnop", "other": "x"}

    forged = client.forge(cookies)

    assert forged.keys() == cookies.keys()
    assert all(forged[name] != value for name, value in cookies.items())
    assert all(len(forged[name]) == len(value) for name, value in cookies.items())


def test_ratios_are_taken_within_a_round() -> None:
    """A round in which the machine was slow for all does not change a ratio."""
    assert cost._ratio([1.0, 10.0, 2.0], [2.0, 20.0, 4.0]) == cost.Spread(0.5, 0.5, 0.5)


@pytest.mark.slow
def test_operations_are_measured_on_tables_that_fit_the_package() -> None:
    """The recipes for full tables follow the models: each operation works on what they make."""
    table = scale.report("sqlite", [1000])

    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert any(row.startswith("| restore |") and row.endswith("; 1 |") for row in rows)
    assert any(row.startswith("| purge, a batch of `device_sessions`") for row in rows)
    assert any(row.startswith("| purge, a batch of `device_session_events`") for row in rows)
    assert EMAIL not in table


def test_partitions_of_the_documentation_work() -> None:
    """With the events in partitions the app works as before, and a purge leaves them whole."""
    if why := engines.why_absent("postgresql"):
        assert not engines.IS_COMPLETE, f"postgresql must be there: {why}"
        pytest.skip("postgresql does not answer")
    page = (ROOT / "docs/performance.md").read_text("utf-8")
    (sql,) = re.findall(r"```sql\n(BEGIN;.*?)```", page, re.DOTALL)
    with databases.database("postgresql", "partitions") as uri:
        made = BY_NAME["ours"].make(uri)
        client.sign_in(made.application)
        connection = databases.connect(uri)
        connection.execute(sql)
        connection.close()

        problems = list(honesty.problems(BY_NAME["ours"], made))
        with made.application.app_context():
            purged = made.extension.purge(older_than=timedelta(0))
            report = made.extension.verify_audit()

    assert problems == []
    assert purged.events > 5
    assert report
