"""What the clusters share: loud figures, and people with accounts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.load.site import make_site
from tests.support import add_user, db

#: Told what was measured; it stands in the summary of the run.
Report = Callable[[str], None]

#: What the data of all clusters takes, and more, in bytes.
_ROOM = 8 << 30

_figures: list[str] = []


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Note a figure for the end of the run."""
    return lambda text: _figures.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if _figures:
        terminalreporter.section("clusters")
        for line in _figures:
            terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the servers' own users may enter: pytest's own are closed to them.

    In memory where there is plenty: a dozen servers wait for no disk then.
    """
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM
    parent = memory if has_room else None
    with tempfile.TemporaryDirectory(prefix="clusters-", dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def populate(uri: str, emails: list[str], nodes: list[list[object]] | None = None) -> None:
    """Make the tables and the people."""
    app = make_site(uri, nodes)
    with app.app_context():
        db.create_all()
        for email in emails:
            add_user(email)
        db.engine.dispose()
