"""The documentation's plan for very many sessions: its SQL runs, and the app on top of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_device_sessions import DeviceSessions
from flask_device_sessions.testing import IPHONE, Browser
from tests import engines
from tests.support import add_user, db, make_app, sign_in, who

SQL = Path(__file__).parents[2] / "docs/snippets/databases/partitions.sql"


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_sessions_in_partitions(engine: engines.Engine, tmp_path: Path, worker_id: str) -> None:
    """Who was signed in stays so; a restore asks one partition; the rest works as ever."""
    prepared = engines.prepare(engine.variant, f"{worker_id}_partitions", tmp_path)
    app = make_app(prepared.uri)
    extension: DeviceSessions = app.extensions["device_sessions"]
    laptop, phone = Browser(app), Browser(app, IPHONE)
    with app.app_context():
        db.create_all()
        add_user()
    sign_in(laptop)

    with app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql(SQL.read_text("utf-8").replace("%", "%%"))
    stayed = who(laptop)
    sign_in(phone)
    laptop.post("/devices/revoke-others")
    with app.app_context():
        session = db.session.query(extension.session_model).first()
        asked = sa.text("EXPLAIN SELECT * FROM device_sessions WHERE id = :id")
        plan = "\n".join(db.session.execute(asked, {"id": str(session.id)}).scalars())
        whole = extension.verify_audit()
        db.session.remove()
        db.engine.dispose()
    known = who(laptop), who(phone)
    with app.app_context():
        db.engine.dispose()
    engines.remove(prepared)

    assert stayed == "ada@example.com"
    assert known == ("ada@example.com", None)
    assert whole
    assert plan.count("device_sessions_2026") >= 1
    assert plan.count(" on device_sessions_") == 1
