"""Gunicorn under many people: every answer names the right one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engines
from tests.load.soak import soak

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture
def uri(worker_id: str, tmp_path: Path) -> Iterator[str]:
    """An empty database on PostgreSQL."""
    if why := engines.why_absent("postgresql"):
        assert not engines.IS_COMPLETE, f"PostgreSQL must be there: {why}"
        pytest.skip("PostgreSQL does not answer")
    engine = engines.prepare("postgresql", f"soak_{worker_id}", tmp_path)
    yield engine.uri
    engines.remove(engine)


def test_every_answer_names_the_right_person(uri: str, tmp_path: Path) -> None:
    """Two workers forked late, four threads each, people mixed on each kept-alive connection.

    ``python -m tools.soak --requests 1000000`` asks for longer.
    """
    result = soak(uri, tmp_path, 6000, people=40)

    assert result.tally.wrong == []
    assert result.tally.failures == []
    assert result.strays == 0
    assert result.tally.requests >= 6000
    assert min(len(result.tally.live), len(result.tally.ended)) > 10
