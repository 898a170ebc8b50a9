"""The only SQL. Statements and their row counts; what they mean is decided elsewhere.

Two ways in. Before the view, :meth:`Store.find` and :meth:`Store.touch` use a short connection
that is given back at once. Everything that changes state runs inside :meth:`Store.run`: one
unit, on the app's own session, committed or retried as a whole.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

import sqlalchemy as sa
from flask_sqlalchemy.session import Session as UsualSession
from sqlalchemy import event
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.orm.attributes import instance_dict, instance_state, set_committed_value

from . import faults, files, prepared, transactions
from .errors import StoreUnavailable
from .faults import STORE_FAULTS, is_conflict, is_transient, translate
from .models import Models, primary_key_of

T = TypeVar("T")

#: Key in ``session.info``: the app had read in this transaction before the person was locked.
_READS_ARE_OLD = "flask_device_sessions.reads_are_old"

#: Pauses before the tries after the first, in seconds at most (full jitter).
_PAUSES = (0.02, 0.1, 0.5)

#: How long after its start a unit is still tried again, in seconds: somebody waits for an answer.
_BUDGET = 5.0

#: Between two looks at whether SQLite's one writer's place is free, in seconds.
_LOOK_AGAIN = (0.001, 0.01)

#: What is asked of every session: whether it is good, whose it is, whether something is due.
_ASKED = (
    *("id", "user_id", "kind", "token_digest", "previous_digest", "previous_ended_at"),
    *("ended_at", "expires_at", "last_active_at", "authenticated_at", "last_ip_address"),
)

_NOTHING: Mapping[str, Any] = {}


class Found:
    """What the one SELECT of a request found: the session row and its user row.

    The objects are made when somebody asks for them; whether a session is good takes none.
    """

    def __init__(self, store: Store, row: Any) -> None:
        self._store = store
        self._row = row
        self._notes: dict[str, Any] = {}
        self._user: Any = None
        vars(self).update(zip(_ASKED, row[: len(_ASKED)], strict=True))

    def __getattr__(self, name: str) -> Any:
        """Return one of the other columns of the session row; the next time it is there."""
        try:
            value = self._row[self._store.session_shape.places[name]]
        except KeyError:
            raise AttributeError(name) from None
        vars(self)[name] = value
        return value

    def note(self, **values: Any) -> None:
        """Remember what was written to the row since it was read."""
        vars(self).update(values)
        self._notes.update(values)
        self.refresh()

    def session(self) -> Any:
        """Return the row as an object of the session model, in the app's database session."""
        store, known = self._store, self._notes
        if store.user_shape is not None:
            known = {"user": self.user(), **known}
        return store.session_shape.adopt(store.session(), self._row, known)

    def user(self) -> Any | None:
        """Return the user object, in the app's database session; ``None`` if deleted since."""
        store = self._store
        if store.user_shape is None:
            return store.look(partial(store.session.get, store.models.user, self.user_id))
        if self._user is None:
            self._user = store.user_shape.adopt(store.session(), self._row, _NOTHING)
        return self._user

    def refresh(self) -> None:
        """Bring up to date what the app's database session holds of these rows from before."""
        held = self._store.begun
        if held is None:
            return
        self._store.session_shape.refresh(held, self._row, self._notes)
        if self._store.user_shape is not None:
            self._store.user_shape.refresh(held, self._row)


class _Shape:
    """How part of a row becomes an object of a model with one table; worked out once.

    Args:
        model: the class.
        offset: where its columns begin in the rows that will come.
        first: the attributes whose columns come first.
    """

    def __init__(self, model: type[Any], offset: int = 0, first: Sequence[str] = ()) -> None:
        mapper = sa.inspect(model)
        properties = {prop.key: prop for prop in mapper.column_attrs}
        names = list(dict.fromkeys([*first, *properties]))
        self.columns = [properties[name].columns[0] for name in names]
        self.places = {name: offset + place for place, name in enumerate(names)}
        self._key_names = [mapper.get_property_by_column(c).key for c in mapper.primary_key]
        self._slice = slice(offset, offset + len(names))
        self._mapper = mapper

    def adopt(self, session: Session, row: Any, known: Mapping[str, Any]) -> Any:
        """Return a persistent object for a row that was read beside the app's session.

        One that the app's session already holds wins, for it may carry changes.

        Args:
            session: the app's.
            row: what was read.
            known: what is known better than the row says, and what else the object is to have.
        """
        values = dict(zip(self.places, row[self._slice], strict=True), **known)
        key = self._key(values)
        held = session.identity_map.get(key)
        if held is not None:
            return held
        # As SQLAlchemy's own loading does. make_transient_to_detached() and session.add() would
        # begin a transaction and look for what hangs on the object, at eight times the cost.
        instance = self._mapper.class_manager.new_instance()
        instance_dict(instance).update(values)
        state = instance_state(instance)
        state.key, state.session_id = key, session.hash_key
        session.identity_map.add(state)
        return instance

    def refresh(self, session: Session, row: Any, news: Mapping[str, Any] = _NOTHING) -> None:
        """Fill in what a commit has expired on the object that a session holds, if it does.

        Args:
            session: the app's.
            row: what was read.
            news: what has been written since; what is no news may have changes of the app's.
        """
        values = {name: row[self.places[name]] for name in self._key_names}
        held = session.identity_map.get(self._key(values))
        if held is None:
            return
        for name in (instance_state(held).unloaded & self.places.keys()) - news.keys():
            set_committed_value(held, name, row[self.places[name]])
        for name, value in news.items():
            set_committed_value(held, name, value)

    def _key(self, values: Mapping[str, Any]) -> Any:
        """Return the key in a session's identity map."""
        key = [values[name] for name in self._key_names]
        return self._mapper.identity_key_from_primary_key(key)


class Store:
    """The queries of one app.

    Args:
        session: the app's ``db.session``.
        models: the classes that :func:`~flask_device_sessions.models.build_models` gave.
    """

    def __init__(self, session: scoped_session[Any], models: Models) -> None:
        self.session = session
        self.models = models
        self._db = models.session.__fsa__
        self._bind_key = models.session.metadata.info.get("bind_key")
        self._engine: sa.Engine | None = None
        # An app's own get_bind() decides; the usual one need not be asked, nor a session begun.
        self._is_routed = session.session_factory.class_.get_bind is not UsualSession.get_bind
        self.session_shape = _Shape(models.session, first=_ASKED)
        beside = len(self.session_shape.columns)
        self.user_shape = _Shape(models.user, beside) if _is_simple(models.user) else None
        self.user_key = primary_key_of(models.user)
        self.user_key_name = sa.inspect(models.user).get_property_by_column(self.user_key).key
        self._columns = self.session_shape.columns + (
            self.user_shape.columns if self.user_shape else []
        )
        self._find = self._prepare_find()
        self._lookup = prepared.Lookup(
            self._find,
            self._columns,
            models.session.__table__.c.id,
            faults.is_lost,
            first=len(_ASKED),
        )
        transactions.listen(session)

    def id_of(self, user: Any) -> Any:
        """Return the primary key of a user object, also of one that is new or has expired."""
        state = sa.inspect(user)
        if state.pending:
            self.session.flush()
        return state.identity[0] if state.identity else getattr(user, self.user_key_name)

    # -- Before the view -----------------------------------------------------------------

    def find(self, session_id: uuid.UUID) -> Found | None:
        """Return the session with this id and its user, live or ended.

        A connection that died while idle is replaced once.

        Raises:
            StoreUnavailable: the database did not answer, or lacks our tables.
        """
        held = self.begun
        try:
            row = self._read(session_id, held)
        except STORE_FAULTS as error:
            if not getattr(error, "connection_invalidated", False):
                raise self.explain(error) from error
            row = self._find_again(session_id, held)
        if row is None:
            return None
        found = Found(self, row)
        if held is not None:
            found.refresh()
        return found

    def touch(
        self, session_id: uuid.UUID, now: datetime, due: datetime, values: dict[str, Any]
    ) -> bool:
        """Write ``last_active_at`` and ``values`` if the session lives and the last is due.

        Returns:
            Whether this call wrote it.

        Raises:
            sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError: it could not be written now.
        """
        is_due = self.models.session.__table__.c.last_active_at < due
        return self._write_briefly(session_id, is_due, {"last_active_at": now, **values})

    def retire_previous(self, session_id: uuid.UUID, digest: str, now: datetime) -> bool:
        """Let the secret before this one work no more, if this one is still the newest.

        Returns, raises: as :meth:`touch`.
        """
        table = self.models.session.__table__
        is_newest = (table.c.token_digest == digest) & table.c.previous_ended_at.is_(None)
        return self._write_briefly(session_id, is_newest, {"previous_ended_at": now})

    def _write_briefly(self, session_id: uuid.UUID, condition: Any, values: dict[str, Any]) -> bool:
        """Change a live session on a short connection.

        One guarded statement that cannot bring an ended session back nor move time backwards,
        and that gives way instead of waiting for a lock.
        """
        if _has_connection(self.begun):
            self.roll_back()  # a second connection could deadlock with a pool of one
        table = self.models.session.__table__
        live = sa.and_(table.c.id == session_id, table.c.ended_at.is_(None), condition)
        with self.engine.connect() as connection, _without_waiting(connection):
            if connection.dialect.name == "postgresql":
                free = sa.select(table.c.id).where(live).with_for_update(skip_locked=True)
                live = table.c.id.in_(free)
            written = connection.execute(sa.update(table).where(live).values(**values))
            connection.commit()
        return written.rowcount == 1

    @property
    def is_clean(self) -> bool:
        """Whether the app has nothing unsaved in its database session right now."""
        begun = self.begun
        return begun is None or transactions.is_clean(begun)

    @property
    def begun(self) -> Session | None:
        """The app's database session, if the app has begun one."""
        return self.session() if self.session.registry.has() else None

    @property
    def engine(self) -> sa.Engine:
        """The engine that the sessions table lives on, in the app that is running."""
        if self._is_routed:
            return _watched(self.session().get_bind(mapper=self.models.session).engine)
        if self._engine is None:
            self._engine = _watched(self._db.engines[self._bind_key])
        return self._engine

    def _prepare_find(self) -> sa.Select[Any]:
        """Write the SELECT of every request once: building it costs more than running it."""
        session, user = self.models.session.__table__, self.user_key.table
        return (
            sa.select(*self._columns)
            .select_from(session.join(user, session.c.user_id == self.user_key))
            .where(session.c.id == sa.bindparam("id", type_=session.c.id.type))
            .set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL)
        )

    def _read(self, session_id: uuid.UUID, held: Session | None) -> Any | None:
        """Read a session and its user on a short connection, or on the one the app holds."""
        values = {"id": session_id}
        if held is not None and transactions.has_connection(held):
            # A second connection could deadlock with a pool of one.
            connection = held.connection(bind_arguments={"mapper": self.models.session})
            return connection.execute(self._find, values).first()
        engine = self.engine
        if prepared.is_silent(engine, ours=(faults.on_error,)):
            return self._lookup.first(engine, session_id)
        with engine.connect() as connection:
            return connection.execute(self._find, values).first()

    def _find_again(self, session_id: uuid.UUID, held: Session | None) -> Any | None:
        try:
            return self._read(session_id, held)
        except STORE_FAULTS as error:
            raise self.explain(error) from error

    # -- Units ---------------------------------------------------------------------------

    def run(self, unit: Callable[[], T], *, commit: bool = True) -> T:
        """Run ``unit`` on the app's session, as a whole or not at all.

        Args:
            unit: does its reads and writes anew each time it is called.
            commit: commit it here; otherwise it is part of the app's transaction.

        Returns:
            What ``unit`` returned.

        Raises:
            StoreUnavailable: the database refused, also after up to three more tries, begun
                within 5 s, on failures that pass, where the app had nothing unsaved. All was
                rolled back.
        """
        if not commit:
            return self._run_inside(unit)
        is_ours = self.is_clean
        if is_ours and transactions.has_connection(self.session()):
            self.roll_back()  # begin anew, so that what is read inside is what is there now
        deadline = time.monotonic() + _BUDGET
        for pause in _PAUSES if is_ours else ():
            try:
                return self._run_once(unit)
            except STORE_FAULTS as error:
                if time.monotonic() > deadline or not (is_transient(error) or is_conflict(error)):
                    raise self.explain(error) from error
                time.sleep(random.uniform(0, pause))
        try:
            return self._run_once(unit, roll_back_refusals=is_ours)
        except STORE_FAULTS as error:
            raise self.explain(error) from error

    def _run_once(self, unit: Callable[[], T], *, roll_back_refusals: bool = True) -> T:
        try:
            result = unit()
            self.session.commit()
        except STORE_FAULTS:
            self.roll_back()
            raise
        except Exception:
            # A refusal (such as a limit) wrote nothing. What the app has open stays the app's.
            if roll_back_refusals:
                self.roll_back()
            raise
        return result

    def look(self, question: Callable[[], T]) -> T:
        """Ask the database something on the app's session, outside a unit.

        Where the app has nothing open there, a connection that died while idle is replaced once.

        Args:
            question: reads, and may be called twice.

        Raises:
            StoreUnavailable: the database did not answer, or lacks our tables.
        """
        if _has_connection(self.begun) or not self.is_clean:
            return self._run_inside(question)
        try:
            return self._ask(question)
        except STORE_FAULTS as error:
            if not getattr(error, "connection_invalidated", False):
                raise self.explain(error) from error
        return self._run_inside(partial(self._ask, question))

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except STORE_FAULTS:
            self.roll_back()
            raise

    def _run_inside(self, unit: Callable[[], T]) -> T:
        try:
            return unit()
        except STORE_FAULTS as error:
            raise self.explain(error) from error

    def roll_back(self) -> None:
        """Leave the app's session usable, whatever state the connection is in."""
        try:
            self.session.rollback()
        except STORE_FAULTS:
            # A Galera node without quorum refuses even ROLLBACK.
            self.session().invalidate()

    def give_up(self, error: Exception) -> StoreUnavailable:
        """Leave the app's session usable, and return the error of ours that says what happened."""
        self.roll_back()
        return self.explain(error)

    def explain(self, error: Exception) -> StoreUnavailable:
        """Return the error of ours that says what a database error means."""
        tables = [model.__table__ for model in self.models[1:]]
        return translate(error, self.engine, tables)

    def lock_user(self, user_id: Any) -> None:
        """Make every other change to this person's sessions wait until this unit ends.

        Count-then-insert lets sessions in above a limit on every database without it. With
        ``None``, nobody's, it costs the same and locks nothing.
        """
        self.session().info[_READS_ARE_OLD] = transactions.has_connection(self.session())
        if self.engine.dialect.name == "sqlite":
            # One writer at a time: an UPDATE takes the lock even when it matches no row.
            session = self.models.session.__table__
            statement: Any = sa.update(session).where(sa.false()).values(end_reason=None)
        else:
            is_person = self.user_key == sa.literal(user_id, self.user_key.type)
            statement = sa.select(self.user_key).where(is_person).with_for_update()
        self.execute(statement)

    def lock_file(self, patience: float) -> None:
        """Begin a unit that nobody waits for as SQLite's one writer; other engines have many.

        Who waits for it otherwise looks each 0.1 s, and beside people who sign in one after the
        other it is free for shorter than that.

        Args:
            patience: how long to look, in seconds, before waiting as everybody does.
        """
        if self.engine.dialect.name != "sqlite":
            return
        deadline = time.monotonic() + patience
        while self.is_clean and time.monotonic() < deadline:
            try:
                with _without_waiting(self.session.connection({"mapper": self.models.session})):
                    self.lock_user(None)
                return
            except STORE_FAULTS as error:
                self.roll_back()
                if not is_transient(error):
                    raise
            time.sleep(random.uniform(*_LOOK_AGAIN))
        self.lock_user(None)

    def execute(self, statement: Any, *values: Any, **options: Any) -> Any:
        """Run a statement on the app's session, in the database that our tables are in.

        Without being told, Flask-SQLAlchemy sends a SELECT of columns to the default one.
        """
        where = {"mapper": self.models.session}
        return self.session.execute(statement, *values, bind_arguments=where, **options)

    def _as_of_now(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        """Let a read behind the person's lock see what the holder before has committed.

        MariaDB answers from the transaction's first read, unless the read locks. Locking reads
        lock gaps too, over which new people's sign-ins deadlock: so only where it is needed.
        """
        is_old = self.session().info.get(_READS_ARE_OLD)
        is_mysql = self.engine.dialect.name in ("mysql", "mariadb")
        return statement.with_for_update() if is_old and is_mysql else statement

    def list_tail(self, user_id: Any, limit: int) -> list[Any]:
        """Return sequence, MAC and action of the person's newest events, newest first.

        Returns:
            One row of ``None`` when there is no event yet; none when there is no such person.
        """
        user, events = self.user_key.table, self.models.event.__table__
        newest = (
            sa.select(events.c.sequence, events.c.mac, events.c.action)
            .select_from(user.outerjoin(events, events.c.user_id == self.user_key))
            .where(self.user_key == sa.literal(user_id, self.user_key.type))
            .order_by(events.c.sequence.desc())
            .limit(limit)
        )
        return list(self.execute(self._as_of_now(newest)))

    def list_devices_in_use(
        self, user_id: Any, browser_digest: str, recent: int
    ) -> list[tuple[Any, Any]]:
        """Return this browser's device, and those with a live browser session or a recent one.

        Args:
            user_id: the person.
            browser_digest: of this browser.
            recent: how many of the newest sessions count as recent, ended ones too.

        Returns:
            Pairs of device and session; the session is ``None`` for a device without one.
        """
        device, session = self.models.device, self.models.session
        is_theirs = sa.and_(session.user_id == user_id, session.kind == "browser")
        # By its time-ordered id. Inside another SELECT, for MariaDB has no LIMIT in an IN.
        newest = sa.select(session.id).where(is_theirs).order_by(session.id.desc()).limit(recent)
        is_recent = session.id.in_(sa.select(newest.subquery().c.id))
        is_meant = sa.and_(
            is_theirs, session.device_id == device.id, session.ended_at.is_(None) | is_recent
        )
        statement = (
            sa.select(device, session)
            .outerjoin(session, is_meant)
            .where(
                device.user_id == user_id,
                sa.or_(device.browser_digest == browser_digest, session.id.is_not(None)),
            )
            .execution_options(populate_existing=True)
        )
        return [(row[0], row[1]) for row in self.execute(self._as_of_now(statement))]

    def add(self, *objects: Any) -> None:
        """Insert new rows."""
        self.session.add_all(objects)
        self.session.flush()

    def add_events(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert audit events, all in one statement."""
        self.execute(sa.insert(self.models.event.__table__), rows)

    def lock_live(self, user_id: Any, *conditions: Any) -> list[Any]:
        """Return the person's live sessions that meet the conditions, as they are now."""
        session = self.models.session
        statement = (
            sa.select(session)
            .where(session.user_id == user_id, session.ended_at.is_(None), *conditions)
            .order_by(session.last_active_at.desc())
            .execution_options(populate_existing=True)
        )
        return list(self.session.scalars(self._as_of_now(statement)))

    def end(self, reasons: dict[Any, str], now: datetime) -> int:
        """End sessions in one statement; one that ended already keeps its reason.

        Args:
            reasons: session objects, each with why it ends.
            now: when.

        Returns:
            How many ended: the database's count.
        """
        table = self.models.session.__table__
        by_id = {session.id: reason for session, reason in reasons.items()}
        distinct = set(by_id.values())
        # Compared one by one: as the `value` of a CASE, ids would not get the column's type.
        cases = ((table.c.id == id_, reason) for id_, reason in by_id.items())
        why = distinct.pop() if len(distinct) == 1 else sa.case(*cases)
        ended: Any = self.execute(
            sa.update(table)
            # An expression, for SQLite would walk the index of `ended_at` through all live rows.
            .where(table.c.id.in_(by_id), sa.func.coalesce(table.c.ended_at, None).is_(None))
            .values(ended_at=now, end_reason=why)
        )
        for session, reason in reasons.items():
            set_committed_value(session, "ended_at", now)
            set_committed_value(session, "end_reason", reason)
        return int(ended.rowcount)

    def change(self, row: Any, **values: Any) -> None:
        """Set columns of one row; a session only while it lives."""
        table = row.__table__
        condition = table.c.id == row.id
        if "ended_at" in table.c:
            condition &= table.c.ended_at.is_(None)
        self.execute(sa.update(table).where(condition).values(**values))
        for name, value in values.items():
            set_committed_value(row, name, value)

    def list_session_ids(self, user_id: Any, device_id: uuid.UUID) -> set[uuid.UUID]:
        """Return the ids of the sessions that the person ever had on a device, and has still."""
        session = self.models.session
        on_it = sa.select(session.id).where(
            session.user_id == user_id, session.device_id == device_id
        )
        return set(self.session.scalars(on_it))

    def delete_device(self, device_id: uuid.UUID) -> None:
        """Delete a device; the sessions on it keep its id, which leads nowhere then."""
        device = self.models.device
        self.execute(sa.delete(device).where(device.id == device_id))

    # -- Look-ups for pages and verbs ------------------------------------------------------

    def find_accounts(self, field: str, identifier: str) -> tuple[Any | None, Any | None]:
        """Return the user with this identifier, and any one user: ``(found, somebody)``.

        Both by one statement, which costs the same whether or not the account exists. The
        somebody lets a password check be as long for an account that does not exist.
        """
        user = self.models.user
        anyone = sa.select(self.user_key).order_by(self.user_key).limit(1)
        if hasattr(user, "password_hash"):
            anyone = anyone.where(user.password_hash.is_not(None))
        is_match = getattr(user, field) == identifier
        statement = sa.select(user, is_match).where(
            sa.or_(is_match, self.user_key == anyone.scalar_subquery())
        )
        rows = self.execute(statement).all()
        found = next((row[0] for row in rows if row[1]), None)
        return found, next((row[0] for row in rows), None)

    def has_device(self, user_id: Any, browser_digest: str) -> bool:
        """Whether this person was signed in in this browser before; ``None``: nobody was."""
        device = self.models.device
        is_theirs = device.user_id == sa.literal(user_id, self.user_key.type)
        known = sa.select(device.id).where(is_theirs, device.browser_digest == browser_digest)
        return self.execute(known).first() is not None

    def find_user(self, text: str) -> Any | None:
        """Return the user whose primary key is written like ``text``."""
        try:
            user_id = self.user_key.type.python_type(text)
        except ValueError:
            return None
        if isinstance(user_id, int) and abs(user_id) >= 2**63:
            return None  # drivers and databases cannot even ask for it
        return self.session.get(self.models.user, user_id)

    def find_anybodys(self, model: type[Any], row_id: uuid.UUID) -> Any | None:
        """Return the row with this id, whoever it belongs to; not that of a deleted person.

        Where the database does not keep foreign keys, SQLite's default, their rows outlive them.
        """
        is_there = sa.exists().where(self.user_key == model.user_id)
        statement = sa.select(model).where(model.id == row_id, is_there)
        return self.session.scalars(statement).first()

    def find_owned(self, model: type[Any], user_id: Any, row_id: uuid.UUID) -> Any | None:
        """Return the row with this id if it is this person's."""
        statement = sa.select(model).where(model.id == row_id, model.user_id == user_id)
        return self.session.scalars(statement).first()

    def list_live(self, user_id: Any, now: datetime, active_since: datetime | None) -> list[Any]:
        """Return the sessions that would be restored at ``now``, newest activity first."""
        newest_first = self.models.session.last_active_at.desc()
        live = self._select_live(user_id, now, active_since)
        return list(self.session.scalars(live.order_by(newest_first)))

    def list_live_page(
        self,
        user_id: Any,
        now: datetime,
        active_since: datetime | None,
        *,
        kind: str | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> list[Any]:
        """Return at most ``limit`` of the same, of one kind, the last begun first.

        Args:
            user_id: whose.
            now: they live then.
            active_since: they were active since then.
            kind: ``"browser"``, ``"token"`` or ``None``: both.
            before: the id of the last one of the page before.
            limit: how many.
        """
        session = self.models.session
        statement = self._select_live(user_id, now, active_since)
        if kind is not None:
            statement = statement.where(session.kind == kind)
        if before is not None:
            statement = statement.where(session.id < before)
        return list(self.session.scalars(statement.order_by(session.id.desc()).limit(limit)))

    def _select_live(self, user_id: Any, now: datetime, active_since: datetime | None) -> Any:
        session = self.models.session
        statement = sa.select(session).where(
            session.user_id == user_id,
            session.ended_at.is_(None),
            sa.or_(session.expires_at.is_(None), session.expires_at > now),
        )
        if active_since is not None:
            statement = statement.where(session.last_active_at > active_since)
        return statement

    def list_ended(self, user_id: Any, limit: int | None = None) -> list[Any]:
        """Return ended sessions, the one that ended last first."""
        session = self.models.session
        statement = (
            sa.select(session)
            .where(session.user_id == user_id, session.ended_at.is_not(None))
            .order_by(session.ended_at.desc())
            .limit(limit)
        )
        return list(self.session.scalars(statement))

    def list_sessions(self, user_id: Any) -> list[Any]:
        """Return all sessions of a person, live or ended, the newest first."""
        session = self.models.session
        statement = sa.select(session).where(session.user_id == user_id)
        return list(self.session.scalars(statement.order_by(session.created_at.desc())))

    def find_session(self, session_id: uuid.UUID) -> Any | None:
        """Return anybody's session with this id."""
        return self.session.get(self.models.session, session_id)

    def list_devices(self, user_id: Any) -> list[Any]:
        """Return the person's devices, last seen first."""
        device = self.models.device
        statement = sa.select(device).where(device.user_id == user_id)
        return list(self.session.scalars(statement.order_by(device.last_seen_at.desc())))

    def load_devices(self, sessions: Sequence[Any]) -> None:
        """Set ``session.device`` on all of these with one statement."""
        device = self.models.device
        wanted = {session.device_id for session in sessions} - {None}
        rows = self.session.scalars(sa.select(device).where(device.id.in_(wanted)))
        devices = {row.id: row for row in rows}
        for session in sessions:
            set_committed_value(session, "device", devices.get(session.device_id))

    def list_events(
        self, user_id: Any, limit: int | None = None, *, before: int | None = None
    ) -> list[Any]:
        """Return the person's audit events, newest first; those with a number below ``before``."""
        event = self.models.event
        statement = sa.select(event).where(event.user_id == user_id)
        if before is not None:
            statement = statement.where(event.sequence < before)
        newest_first = statement.order_by(event.sequence.desc()).limit(limit)
        return list(self.session.scalars(newest_first))

    def list_events_slice(
        self,
        user_id: Any,
        actions: Sequence[str],
        hidden: Sequence[str],
        limit: int,
        offset: int,
    ) -> list[Any]:
        """Return some of the person's audit events, newest first.

        Args:
            user_id: whose.
            actions: only these; none given: all.
            hidden: but not these.
            limit: how many.
            offset: how many newer ones are skipped.
        """
        event = self.models.event
        statement = sa.select(event).where(event.user_id == user_id, event.action.not_in(hidden))
        if actions:
            statement = statement.where(event.action.in_(actions))
        newest_first = statement.order_by(event.sequence.desc()).limit(limit).offset(offset)
        return list(self.session.scalars(newest_first))

    def list_all_events(self, limit: int) -> list[Any]:
        """Return everybody's newest events, and nobody's, the newest first."""
        event = self.models.event
        statement = sa.select(event).order_by(event.created_at.desc(), event.id.desc())
        return list(self.session.scalars(statement.limit(limit)))

    def iterate_events(self, user_id: Any | None) -> Iterator[Any]:
        """Yield audit events as mappings, each person's in order; ``None``: everybody's."""
        events = self.models.event.__table__
        statement = sa.select(events).order_by(events.c.user_id, events.c.sequence)
        if user_id is not None:
            statement = statement.where(events.c.user_id == user_id)
        options = {"yield_per": 1000}
        yield from self.execute(statement, execution_options=options).mappings()

    def list_user_ids_with_live(self) -> list[Any]:
        """Return the ids of everyone who has a session that has not ended."""
        session = self.models.session
        statement = sa.select(session.user_id).where(session.ended_at.is_(None)).distinct()
        return list(self.session.scalars(statement))


def erase_with_user(models: Models) -> None:
    """Let a person's rows go when the person does, also where foreign keys are off.

    Deleting through the ORM deletes them first. SQLite may give a deleted person's number to
    the next one, so there a new person also starts by clearing what an earlier one left.
    """
    for name, listener in (("before_delete", _erase), ("after_insert", _erase_leftovers)):
        bound = partial(listener, models)
        if models.user not in _erasing[name]:
            _erasing[name].add(models.user)
            event.listen(models.user, name, bound, propagate=True)


_erasing: dict[str, WeakSet[type[Any]]] = {
    "before_delete": WeakSet(),
    "after_insert": WeakSet(),
}


def _erase(models: Models, mapper: Any, connection: sa.Connection, user: Any) -> None:
    user_id = sa.inspect(user).mapper.primary_key_from_instance(user)[0]
    for model in (models.event, models.session, models.device):
        connection.execute(sa.delete(model.__table__).where(model.user_id == user_id))


def _erase_leftovers(models: Models, mapper: Any, connection: sa.Connection, user: Any) -> None:
    if connection.dialect.name == "sqlite" and sa.inspect(connection).has_table(
        models.session.__tablename__
    ):
        _erase(models, mapper, connection, user)


def _watched(engine: sa.Engine) -> sa.Engine:
    faults.watch(engine)
    files.watch(engine)
    return engine


def _has_connection(begun: Session | None) -> bool:
    return begun is not None and transactions.has_connection(begun)


def _is_simple(model: type[Any]) -> bool:
    """Whether a row of the model's one table is all that loading an object takes."""
    mapper = sa.inspect(model)
    is_one_table = isinstance(mapper.persist_selectable, sa.Table) and not mapper.inherits
    are_columns = all(isinstance(p.columns[0], sa.Column) for p in mapper.column_attrs)
    is_one_table &= mapper.polymorphic_on is None
    return is_one_table and are_columns and not mapper.class_manager.dispatch.load


@contextmanager
def _without_waiting(connection: sa.Connection) -> Iterator[None]:
    """Make a locked row or database an error at once; PostgreSQL skips it by its statement."""
    if connection.dialect.name == "sqlite":
        raw: Any = connection.connection.dbapi_connection
        (timeout,) = raw.execute("PRAGMA busy_timeout").fetchone()
        raw.execute("PRAGMA busy_timeout = 0")
        try:
            yield
        finally:
            raw.execute(f"PRAGMA busy_timeout = {timeout}")
        return
    if getattr(connection.dialect, "is_mariadb", False):
        event.listen(connection, "before_cursor_execute", _refuse_to_wait, retval=True)
    yield


def _refuse_to_wait(
    connection: sa.Connection, cursor: Any, statement: str, parameters: Any, *_: Any
) -> tuple[str, Any]:
    return f"SET STATEMENT innodb_lock_wait_timeout=0 FOR {statement}", parameters
