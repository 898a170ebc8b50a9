"""What a database's failure means, told from the real failures of real engines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from flask_device_sessions.errors import SchemaError, StoreUnavailable
from flask_device_sessions.faults import (
    STORE_FAULTS,
    is_conflict,
    is_transient,
    missing_parts,
    translate,
    watch,
)
from tests import engines
from tests.support import db, make_app

ANSWER = "column faults_answers."

questions = sa.Table("faults_questions", sa.MetaData(), sa.Column("id", sa.Integer))
answers = sa.Table(
    "faults_answers",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("text", sa.String(20), unique=True),
    sa.Column("kind", sa.String(20)),
    sa.Column("votes", sa.Integer),
)


# SQLite is a library: it locks a file, and nothing else that happens to servers.
on_servers = pytest.mark.parametrize("engine", ["postgresql", "mariadb"], indirect=True)
on_postgresql = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
on_mariadb = pytest.mark.parametrize("engine", ["mariadb"], indirect=True)


@pytest.fixture
def database(engine: engines.Engine) -> Iterator[sa.Engine]:
    """Each engine in turn, with ``faults_answers`` as it was two versions ago."""
    database = sa.create_engine(engine.uri)
    with database.begin() as connection:
        connection.execute(
            sa.text("CREATE TABLE faults_answers (id INTEGER PRIMARY KEY, text VARCHAR(20) UNIQUE)")
        )
        connection.execute(sa.text("INSERT INTO faults_answers VALUES (1, 'one'), (2, 'two')"))
    yield database
    with database.begin() as connection:
        connection.execute(sa.text("DROP TABLE faults_answers"))
    database.dispose()


def _failure_of(work: Callable[[], object]) -> Exception:
    try:
        work()
    except STORE_FAULTS as error:
        return error
    pytest.fail("Nothing failed.")


def _execute(database: sa.Engine, *statements: str) -> None:
    with database.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


# -- A schema that is behind -------------------------------------------------------------------


def test_a_table_that_is_missing_is_named(database: sa.Engine) -> None:
    """The error says which table, and the command that makes it."""
    error = _failure_of(lambda: _execute(database, "SELECT id FROM faults_questions"))

    ours = translate(error, database, [questions])

    assert isinstance(ours, SchemaError)
    assert ours.missing == ["table faults_questions"]
    assert "lacks table faults_questions" in str(ours)
    assert "`flask db upgrade`" in str(ours)
    assert not is_transient(error)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT kind FROM faults_answers",
        "UPDATE faults_answers SET kind = 'x'",
        "INSERT INTO faults_answers (id, kind) VALUES (3, 'x')",
        "DELETE FROM faults_answers WHERE kind = 'x'",
    ],
)
def test_every_column_that_is_missing_is_named(database: sa.Engine, statement: str) -> None:
    """Whatever statement met the first, the error lists all, and the command."""
    error = _failure_of(lambda: _execute(database, statement))

    ours = translate(error, database, [answers, questions])

    assert isinstance(ours, SchemaError)
    assert ours.missing == [ANSWER + "kind", ANSWER + "votes", "table faults_questions"]
    assert "`flask db upgrade`" in str(ours)
    assert not is_transient(error)


def test_a_fault_of_the_apps_own_schema_names_none_of_ours(database: sa.Engine) -> None:
    """When our tables are whole, nothing of ours is accused."""
    error = _failure_of(lambda: _execute(database, "SELECT x FROM faults_answers"))
    whole = sa.Table("faults_answers", sa.MetaData(), sa.Column("id", sa.Integer))

    ours = translate(error, database, [whole])

    assert isinstance(ours, SchemaError)
    assert ours.missing == []
    assert "something the models map" in str(ours)


def test_the_parts_of_our_own_tables_are_found(tmp_path: Path) -> None:
    """On an empty database all three tables are named, later what a release added."""
    make_app()
    tables = [table for name, table in db.metadata.tables.items() if name.startswith("device_s")]
    database = sa.create_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    empty = missing_parts(database, tables)
    db.metadata.create_all(database)
    _execute(database, "ALTER TABLE device_session_events DROP COLUMN mac")
    older = missing_parts(database, tables)
    database.dispose()

    assert sorted(empty) == [
        "table device_session_devices",
        "table device_session_events",
        "table device_sessions",
    ]
    assert older == ["column device_session_events.mac"]


@on_postgresql
def test_a_table_in_another_schema_is_looked_for_there(database: sa.Engine) -> None:
    """Its name is told with its schema."""
    elsewhere = sa.Table("faults_answers", sa.MetaData(), sa.Column("id"), schema="elsewhere")

    assert missing_parts(database, [elsewhere]) == ["table elsewhere.faults_answers"]


def test_a_schema_that_cannot_be_looked_at_is_still_a_schema_error(tmp_path: Path) -> None:
    """With a pool of one that is in use, the advice comes without the names, and at once."""
    database = sa.create_engine(
        f"sqlite:///{tmp_path / 'one.db'}",
        poolclass=sa.QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.01,
    )
    with database.connect() as connection:
        error = _failure_of(lambda: connection.execute(sa.select(questions)))
        ours = translate(error, database, [questions])
    database.dispose()

    assert isinstance(ours, SchemaError)
    assert "`flask db upgrade`" in str(ours)


# -- What passes -------------------------------------------------------------------------------


def test_a_locked_sqlite_database_passes(tmp_path: Path) -> None:
    """The other writer will be done."""
    database = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}", connect_args={"timeout": 0})
    _execute(database, "CREATE TABLE notes (id INTEGER)")
    with database.connect() as writer:
        writer.exec_driver_sql("BEGIN IMMEDIATE")
        error = _failure_of(lambda: _execute(database, "INSERT INTO notes VALUES (1)"))
        ours = translate(error, database, [])
        writer.rollback()
    database.dispose()

    assert is_transient(error)
    assert type(ours) is StoreUnavailable
    assert str(ours) == "The database did not do its part: database is locked"


def test_a_locked_sqlite_table_passes(tmp_path: Path) -> None:
    """Connections that share a cache lock tables instead of the file."""
    uri = "sqlite:///file:faults?mode=memory&cache=shared&uri=true"
    database = sa.create_engine(uri, connect_args={"timeout": 0}, poolclass=sa.QueuePool)
    with database.connect() as writer:
        writer.exec_driver_sql("CREATE TABLE notes (id INTEGER)")
        writer.commit()
        writer.exec_driver_sql("INSERT INTO notes VALUES (1)")
        error = _failure_of(lambda: _execute(database, "SELECT id FROM notes"))
        writer.rollback()
    database.dispose()

    assert "database table is locked" in str(error)
    assert is_transient(error)


@on_servers
def test_a_deadlock_passes(database: sa.Engine) -> None:
    """Two who wait for each other: the one that was refused may try again."""
    errors: list[Exception] = []
    both_hold_one = threading.Barrier(2, timeout=30)

    def swap(first: int, second: int) -> None:
        update = "UPDATE faults_answers SET text = text WHERE id = "
        try:
            with database.begin() as connection:
                connection.execute(sa.text(f"{update}{first}"))
                both_hold_one.wait()
                connection.execute(sa.text(f"{update}{second}"))
        except STORE_FAULTS as error:
            errors.append(error)

    threads = [threading.Thread(target=swap, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (error,) = errors
    assert "deadlock" in str(error).lower()
    assert is_transient(error)
    assert not is_conflict(error)


@on_postgresql
def test_a_serialization_failure_passes(database: sa.Engine) -> None:
    """A row that changed under a snapshot is seen anew by the next try."""
    isolated = database.execution_options(isolation_level="REPEATABLE READ")
    with isolated.connect() as late:
        late.execute(sa.text("SELECT text FROM faults_answers")).all()
        _execute(database, "UPDATE faults_answers SET text = 'uno' WHERE id = 1")
        error = _failure_of(
            lambda: late.execute(sa.text("UPDATE faults_answers SET text = 'x' WHERE id = 1"))
        )
        late.rollback()

    assert is_transient(error)


@on_servers
def test_a_lock_that_was_not_waited_for_passes(database: sa.Engine) -> None:
    """``NOWAIT`` refuses a row that somebody holds: soon it is free."""
    lock = sa.text("SELECT id FROM faults_answers WHERE id = 1 FOR UPDATE NOWAIT")
    with database.connect() as holder, database.connect() as other:
        holder.execute(lock)
        error = _failure_of(lambda: other.execute(lock))
        other.rollback()
        holder.rollback()

    assert is_transient(error)


@on_servers
def test_a_connection_that_was_killed_passes(database: sa.Engine) -> None:
    """A restart of the database, or an administrator: the next connection works."""
    who, kill = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
        "mysql": ("SELECT connection_id()", "KILL {}"),
        "mariadb": ("SELECT connection_id()", "KILL {}"),
    }[database.dialect.name]
    with database.connect() as victim:
        number = victim.scalar(sa.text(who))
        _execute(database, kill.format(number))
        error = _failure_of(lambda: victim.execute(sa.text("SELECT 1")))
    ours = translate(error, database, [questions])

    assert is_transient(error)
    assert type(ours) is StoreUnavailable
    assert missing_parts(database, []) == []


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_server_that_does_not_answer_passes(driver: str) -> None:
    """Nobody listens on that port yet."""
    nobody = sa.create_engine(f"{driver}://root@127.0.0.1:1/x", connect_args={"connect_timeout": 2})
    error = _failure_of(nobody.connect)
    ours = translate(error, nobody, [questions])
    nobody.dispose()

    assert is_transient(error)
    assert type(ours) is StoreUnavailable
    assert str(ours).startswith("The database did not do its part: ")


@on_postgresql
def test_the_older_driver_of_postgresql_is_understood_too(database: sa.Engine) -> None:
    """psycopg2 calls the SQLSTATE ``pgcode``."""
    pytest.importorskip("psycopg2")
    older = sa.create_engine(database.url.set(drivername="postgresql+psycopg2"))
    missing = _failure_of(lambda: _execute(older, "SELECT id FROM faults_questions"))
    ours = translate(missing, older, [questions])
    older.dispose()
    nobody = sa.create_engine("postgresql+psycopg2://root@127.0.0.1:1/x")
    refused = _failure_of(nobody.connect)
    nobody.dispose()

    assert isinstance(ours, SchemaError)
    assert not is_transient(missing)
    assert is_transient(refused)


def test_a_pool_without_a_free_connection_passes(tmp_path: Path) -> None:
    """Somebody will give theirs back."""
    database = sa.create_engine(
        f"sqlite:///{tmp_path / 'x.db'}",
        poolclass=sa.QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=0.01,
    )
    with database.connect():
        error = _failure_of(database.connect)
    ours = translate(error, database, [questions])
    database.dispose()

    assert isinstance(error, exc.TimeoutError)
    assert is_transient(error)
    assert type(ours) is StoreUnavailable
    assert "QueuePool limit" in str(ours)
    assert "\n" not in str(ours)


@on_mariadb
@pytest.mark.parametrize(("number", "is_lost"), [(1047, True), (1180, True), (1213, False)])
def test_a_node_out_of_its_cluster_is_a_lost_connection(
    database: sa.Engine, number: int, is_lost: bool
) -> None:
    """Galera's node answers pings and refuses work: the pool has to find another."""
    signal = f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'x'"
    watch(database)
    watch(database)

    error = _failure_of(lambda: _execute(database, signal))

    assert isinstance(error, exc.DBAPIError)
    assert error.connection_invalidated is is_lost


# -- What stays --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    ["SELEC 1", "INSERT INTO faults_answers (id, text) VALUES (1, 'secret')", "SELECT f_aults(1)"],
    ids=["syntax", "duplicate", "function"],
)
def test_a_mistake_does_not_pass(database: sa.Engine, statement: str) -> None:
    """The same statement would fail the same way."""
    error = _failure_of(lambda: _execute(database, statement))

    assert not is_transient(error)
    assert type(translate(error, database, [answers])) is StoreUnavailable


def test_the_first_writer_of_a_key_is_a_conflict(database: sa.Engine) -> None:
    """Another try sees the row of whoever was first."""
    error = _failure_of(lambda: _execute(database, "INSERT INTO faults_answers VALUES (1, 'x')"))

    assert is_conflict(error)
    assert not is_transient(error)


def test_a_read_only_sqlite_database_does_not_pass(tmp_path: Path) -> None:
    """A file that may not be written is for a person to mend."""
    _execute(sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}"), "CREATE TABLE notes (id INTEGER)")
    database = sa.create_engine(f"sqlite:///file:{tmp_path / 'x.db'}?mode=ro&uri=true")
    error = _failure_of(lambda: _execute(database, "INSERT INTO notes VALUES (1)"))
    database.dispose()

    assert "readonly" in str(error)
    assert not is_transient(error)


@pytest.mark.parametrize(
    "error", [ValueError("database is locked"), exc.InvalidRequestError("x"), KeyboardInterrupt()]
)
def test_what_no_database_said_is_neither(error: BaseException) -> None:
    """Errors of the app's own code are not tried again."""
    assert not is_transient(error)
    assert not is_conflict(error)


@on_postgresql
def test_a_read_only_server_passes(database: sa.Engine) -> None:
    """After a failover the old primary refuses to write, and the new one is found soon."""
    with database.connect() as connection:
        connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        error = _failure_of(lambda: connection.execute(sa.text("DELETE FROM faults_answers")))

    assert is_transient(error)


# -- Told apart by code ------------------------------------------------------------------------


@on_postgresql
@pytest.mark.parametrize(
    ("state", "passes"),
    [
        ("40001", True),
        ("40P01", True),
        ("25006", True),
        ("55P03", True),
        ("08006", True),
        ("57P01", True),
        ("57P02", True),
        ("57P03", True),
        ("57014", False),
        ("22001", False),
        ("23505", False),
        ("42601", False),
        ("42501", False),
        ("53100", False),
    ],
)
def test_postgresql_is_understood_in_any_language(
    database: sa.Engine, state: str, passes: bool
) -> None:
    """The SQLSTATE decides, whatever the words of the server."""
    block = f"DO $$ BEGIN RAISE EXCEPTION 'Verklemmung' USING ERRCODE = '{state}'; END $$"

    error = _failure_of(lambda: _execute(database, block))

    assert "Verklemmung" in str(error)
    assert is_transient(error) is passes


@on_mariadb
@pytest.mark.parametrize(
    ("number", "passes"),
    [
        (1213, True),
        (1205, True),
        (1020, True),
        (1047, True),
        (1180, True),
        (1064, False),
        (1062, False),
        (1406, False),
        (1142, False),
        (1021, False),
    ],
)
def test_mariadb_is_understood_in_any_language(
    database: sa.Engine, number: int, passes: bool
) -> None:
    """The error number decides, whatever the words of the server."""
    signal = f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'Verklemmung'"

    error = _failure_of(lambda: _execute(database, signal))

    assert "Verklemmung" in str(error)
    assert is_transient(error) is passes


@on_postgresql
@pytest.mark.parametrize("state", ["42P01", "42703"])
def test_postgresqls_missing_parts_are_understood_in_any_language(
    database: sa.Engine, state: str
) -> None:
    """Undefined table and undefined column, by their SQLSTATE."""
    block = f"DO $$ BEGIN RAISE EXCEPTION 'Fehlt' USING ERRCODE = '{state}'; END $$"
    error = _failure_of(lambda: _execute(database, block))

    assert isinstance(translate(error, database, [questions]), SchemaError)


@on_mariadb
@pytest.mark.parametrize("number", [1146, 1054])
def test_mariadbs_missing_parts_are_understood_in_any_language(
    database: sa.Engine, number: int
) -> None:
    """Unknown table and unknown column, by their number."""
    signal = f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'Fehlt'"
    error = _failure_of(lambda: _execute(database, signal))

    assert isinstance(translate(error, database, [questions]), SchemaError)


# -- What is told ------------------------------------------------------------------------------


def test_neither_statement_nor_values_are_told(database: sa.Engine) -> None:
    """The text is the database's first line: no SQL and no bound value goes into a log."""
    statement = sa.text("SELECT f_aults(:token)")
    with database.connect() as connection:
        error = _failure_of(lambda: connection.execute(statement, {"token": "a-secret-value"}))

    text = str(translate(error, database, [answers]))

    assert "a-secret-value" in str(error)
    assert text.startswith("The database did not do its part: ")
    for part in ("a-secret-value", "SELECT", "sqlalche.me", "\n"):
        assert part not in text
