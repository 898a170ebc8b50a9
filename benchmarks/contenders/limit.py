"""The limit: the least that a listed, revocable session can cost on Flask.

A signed cookie names a row; one select through the bare driver, on a connection that is kept,
finds the row and whose it is; the transaction is ended as the DBAPI asks for. No pool, no ORM, no
extension, no checks of anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, Response, abort, request
from itsdangerous import BadSignature, Signer

from ..databases import connect
from . import EMAIL, PERSON_ID, SECRET_KEY, Contender

TABLES = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(200) NOT NULL)",
    "CREATE TABLE sessions (id INTEGER PRIMARY KEY, user_id INTEGER, ended_at VARCHAR(30))",
    f"INSERT INTO users VALUES ({PERSON_ID}, '{EMAIL}')",
    f"INSERT INTO sessions VALUES (1, {PERSON_ID}, NULL)",
)
SELECT = (
    "SELECT users.email FROM sessions JOIN users ON users.id = sessions.user_id "
    "WHERE sessions.id = {} AND sessions.ended_at IS NULL"
)
COOKIE = "limit"


def make(uri: str, *, is_autocommit: bool = False) -> Contender:
    """Return the app; ``is_autocommit``: without a transaction around the select."""
    connection = connect(uri)
    for statement in TABLES:
        connection.execute(statement)
    connection.commit()
    if is_autocommit:
        connection.autocommit = True
    signer = Signer(SECRET_KEY, key_derivation="none")
    select = SELECT.format("?" if uri.startswith("sqlite") else "%s")

    def find_email() -> str | None:
        try:
            session_id = int(signer.unsign(request.cookies.get(COOKIE, "")))
        except BadSignature:
            return None
        row = connection.execute(select, (session_id,)).fetchone()
        if not is_autocommit:
            connection.rollback()
        return None if row is None else str(row[0])

    def index() -> str:
        return find_email() or abort(401)

    def enter() -> Response:
        response = Response()
        response.set_cookie(COOKIE, signer.sign("1").decode(), httponly=True, samesite="Lax")
        return response

    app = Flask(__name__)
    app.add_url_rule("/", "index", index)
    app.add_url_rule("/enter", "enter", enter)
    return Contender(app, lambda: _recording(connection))


@contextmanager
def _recording(connection: Any) -> Iterator[list[str]]:
    """Collect the statements of a bare connection, each driver in its own way."""
    seen: list[str] = []
    if hasattr(connection, "set_trace_callback"):
        connection.set_trace_callback(seen.append)
        yield seen
        connection.set_trace_callback(None)
        return
    plain = connection.cursor_factory

    class Cursor(plain):  # type: ignore[misc, valid-type]
        def execute(self, query: str, *args: Any, **options: Any) -> Any:
            seen.append(query)
            return super().execute(query, *args, **options)

    connection.cursor_factory = Cursor
    yield seen
    connection.cursor_factory = plain
