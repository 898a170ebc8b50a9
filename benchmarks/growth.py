"""Tables of any size, filled by the database itself: the same recipe on SQLite and PostgreSQL.

Of ``rows`` sessions each person has 50, begun over half a year, the last 5 alive; 5 devices, and
two events for each session. So for each session there are 0.1 devices and 2 events. A little over
1 % of the sessions are due for a purge with the default ``RETENTION``, and so are all events of
:data:`LEAVERS` more people. One person more, the collector, has :data:`COLLECTED` live sessions and
as many ended ones.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from flask_device_sessions.ambient import utc_now
from flask_device_sessions.chain import mac_of
from flask_device_sessions.ids import new_id
from flask_device_sessions.tokens import SessionToken

from .client import USER_AGENT

SESSIONS_EACH, LIVE_EACH, DEVICES_EACH, EVENTS_EACH = 50, 5, 5, 100
COLLECTED = 1000
LEAVERS, EVENTS_OF_LEAVER = 100, 20

#: Over how many days the sessions begin, and the events are written.
SESSION_DAYS, EVENT_DAYS = 183, 179

#: Ids of people begin here.
FIRST_PERSON = 1_000_000

AUDIT_KEY = "the benchmarks' audit key"

_EPOCH_MS = 1_700_000_000_000
_SECRET = bytes(16)

#: Rows of one INSERT.
_BATCH = 500_000

_POSTGRESQL_FUNCTIONS = """
CREATE FUNCTION bench_id(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT (lpad(to_hex({epoch} + n), 12, '0') || '7' || substr(md5(kind || n), 1, 3)
          || '8' || substr(md5(kind || n), 4, 15))::uuid $$;
CREATE FUNCTION bench_ago(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT '{now}'::timestamptz - seconds::float8 * interval '1 second' $$;
"""

_SERIES = (
    "WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}), "
    "r AS (SELECT n, (n - 1) % {people} AS who, (n - 1) / {people} AS k, "
    "86400.0 * {days} * (1 - n * 1.0 / {total}) AS age FROM s)"
)

_PEOPLE = (
    'INSERT INTO "user" (id, email, password_hash) ' + _SERIES + " "
    "SELECT {first_person} + n, 'person' || n || '@example.com', '-' FROM r"
)

_DEVICES = (
    "INSERT INTO device_session_devices (id, user_id, browser_digest, device_type, browser, os, "
    "first_seen_at, last_seen_at) " + _SERIES + " "
    "SELECT bench_id('device', n), {first_person} + 1 + who, "
    "md5('b' || n) || md5('c' || n), 'desktop', 'Firefox 140', 'Linux', "
    "bench_ago({days} * 86400.0), bench_ago(86400.0 * 2) FROM r"
)

_SESSIONS = (
    "INSERT INTO device_sessions (id, user_id, device_id, kind, token_digest, scopes, ip_address, "
    "last_ip_address, user_agent, auth_method, remembered, created_at, authenticated_at, "
    "last_active_at, expires_at, ended_at, end_reason) " + _SERIES + " "
    "SELECT bench_id('session', n), {first_person} + 1 + who, "
    "bench_id('device', (k % {devices_each}) * {people} + who + 1), 'browser', '{digest}', '[]', "
    "'192.0.2.1', '192.0.2.1', '{user_agent}', 'password', n % 2 = 0, "
    "bench_ago(age), bench_ago(age), "
    "CASE WHEN k >= {ended_each} THEN bench_ago(3600.0) ELSE bench_ago(age - 86400) END, "
    "bench_ago(age - 30 * 86400), "
    "CASE WHEN k < {ended_each} THEN bench_ago(age - 86400) END, "
    "CASE WHEN k < {ended_each} THEN 'logout' END FROM r"
)

_EVENTS = (
    "INSERT INTO device_session_events (id, user_id, sequence, session_id, device_id, action, "
    "created_at, ip_address, user_agent, detail, mac) " + _SERIES + " "
    "SELECT bench_id('event', n), {first_person} + 1 + who, k + 1, "
    "bench_id('session', (k / 2) * {people} + who + 1), NULL, "
    "CASE WHEN k % 2 = 0 THEN 'session_started' ELSE 'session_ended' END, bench_ago(age), "
    "'192.0.2.1', '{user_agent}', '{{\"method\": \"password\", \"new_device\": false}}', "
    "md5('m' || n) || md5('n' || n) FROM r"
)


class Filled:
    """The tables of one app, full.

    Args:
        connection: to the app's database, its tables empty.
        event_model: the app's.
        rows: how many sessions; a multiple of 50.
    """

    def __init__(self, connection: sa.Connection, event_model: type[Any], rows: int) -> None:
        if rows % SESSIONS_EACH:
            raise SystemExit(f"--rows must be multiples of {SESSIONS_EACH}, and {rows} is not.")
        self.rows = rows
        self.people = rows // SESSIONS_EACH
        self.bytes_each: dict[str, float] = {}
        self._connection = connection
        self._event: sa.Table = event_model.__table__
        self._now = utc_now()
        self._add_functions()
        sessions = {"days": SESSION_DAYS, "ended_each": SESSIONS_EACH - LIVE_EACH}
        self._insert("people", _PEOPLE, self.people)
        self._insert("devices", _DEVICES, self.people * DEVICES_EACH, days=SESSION_DAYS)
        self._insert("sessions", _SESSIONS, rows, **sessions)
        self._insert("events", _EVENTS, self.people * EVENTS_EACH, days=EVENT_DAYS)
        self._add_collector()
        self._add_leavers()
        self._settle()

    def live_session(self, number: int) -> SessionToken:
        """Return the credential of one of the live sessions.

        Args:
            number: which, from 0; any number will do.
        """
        live = self.people * LIVE_EACH
        return SessionToken(session_id(self.rows - number % live), _SECRET)

    def session_of_collector(self) -> SessionToken:
        """Return the credential of one of the collector's live sessions."""
        return SessionToken(session_id(self.rows + 2 * COLLECTED), _SECRET)

    def person(self, number: int) -> int:
        """Return the id of one of the people; any number will do."""
        return FIRST_PERSON + 1 + number % self.people

    @property
    def collector(self) -> int:
        """The id of the person with many sessions."""
        return FIRST_PERSON + self.people + 1

    # -- Filling ---------------------------------------------------------------------------

    def _insert(self, what: str, recipe: str, total: int, **numbers: int) -> None:
        """Run a recipe for the numbers 1 to ``total``, and see by how much the database grows."""
        before = self._size()
        for first in range(1, total + 1, _BATCH):
            last = min(total, first + _BATCH - 1)
            self._run(recipe, first=first, last=last, total=total, people=self.people, **numbers)
        self.bytes_each[what] = (self._size() - before) / total

    def _run(self, recipe: str, **numbers: int) -> None:
        values = {
            "days": 0,
            "first_person": FIRST_PERSON,
            "devices_each": DEVICES_EACH,
            "digest": SessionToken(uuid.UUID(int=0), _SECRET).digest,
            "user_agent": USER_AGENT,
            **numbers,
        }
        self._driver.execute(recipe.format(**values))
        self._driver.commit()

    def _add_collector(self) -> None:
        """The person with many sessions; they come after all others, with no devices."""
        values = {"people": 1, "total": self.rows, "days": 0}
        self._run(_PEOPLE, first=self.people + 1, last=self.people + 1, **values)
        first = self.rows + 1
        recipe = _SESSIONS.replace("{first_person} + 1 + who", str(self.collector))
        ended = {**values, "ended_each": self.rows * 2, "days": 30, "total": first * 2}
        self._run(recipe, first=first, last=first + COLLECTED - 1, **ended)
        live = {**values, "ended_each": 0}
        self._run(recipe, first=first + COLLECTED, last=first + 2 * COLLECTED - 1, **live)

    def _add_leavers(self) -> None:
        """People whose last event is older than ``RETENTION``, in chains that verify."""
        first = self.people + 2
        values = {"people": 1, "total": self.rows, "days": 0}
        self._run(_PEOPLE, first=first, last=first + LEAVERS - 1, **values)
        for person in range(FIRST_PERSON + first, FIRST_PERSON + first + LEAVERS):
            self._connection.execute(sa.insert(self._event), self._chain(person))
        self._connection.commit()

    def _chain(self, person: int) -> list[dict[str, Any]]:
        rows, mac = [], ""
        for sequence in range(1, EVENTS_OF_LEAVER + 1):
            row = self._event_row(person, sequence, self._now - timedelta(days=181))
            mac = row["mac"] = mac_of(AUDIT_KEY.encode(), mac, row)
            rows.append(row)
        return rows

    def _event_row(self, person: int, sequence: int, created_at: datetime) -> dict[str, Any]:
        return {
            "id": new_id(),
            "user_id": person,
            "sequence": sequence,
            "session_id": None,
            "device_id": None,
            "action": "session_started",
            "created_at": created_at,
            "ip_address": "192.0.2.1",
            "user_agent": USER_AGENT,
            "detail": {"method": "password"},
        }

    # -- What the engines do each in their own way -----------------------------------------

    @property
    def _driver(self) -> Any:
        """The driver's own connection, to which a percent sign is a percent sign."""
        return self._connection.connection.driver_connection

    @property
    def _is_sqlite(self) -> bool:
        return self._connection.dialect.name == "sqlite"

    def _add_functions(self) -> None:
        if not self._is_sqlite:
            functions = _POSTGRESQL_FUNCTIONS.format(epoch=_EPOCH_MS, now=self._now.isoformat())
            self._driver.execute(functions)
            return
        driver = self._driver
        driver.create_function("bench_id", 2, lambda kind, n: session_id(n, kind).hex)
        driver.create_function("bench_ago", 1, self._ago)
        driver.create_function("md5", 1, _md5)

    def _ago(self, seconds: float) -> str:
        then = self._now - timedelta(seconds=seconds)
        return then.strftime("%Y-%m-%d %H:%M:%S.%f")

    def _size(self) -> int:
        """Return how many bytes all tables take, indexes and what is about them included."""
        if self._is_sqlite:
            pages = self._connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            return int(pages * self._connection.exec_driver_sql("PRAGMA page_size").scalar_one())
        sizes = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND "
        user = "relnamespace = 'public'::regnamespace"
        return int(self._connection.exec_driver_sql(sizes + user).scalar_one() or 0)

    def _settle(self) -> None:
        """Let the planner know, as autovacuum would have by now."""
        if not self._is_sqlite:
            self._connection.execution_options(isolation_level="AUTOCOMMIT")
            self._connection.exec_driver_sql("VACUUM ANALYZE")


def session_id(n: int, kind: str = "session") -> uuid.UUID:
    """Return what the recipes call ``bench_id(kind, n)``: ordered like a UUIDv7."""
    digest = _md5(f"{kind}{n}")
    return uuid.UUID(f"{_EPOCH_MS + n:012x}7{digest[:3]}8{digest[3:18]}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
