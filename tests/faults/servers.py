"""Servers of the tests' own, which may be killed, frozen and reconfigured."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests import engines

#: How long a server may take to come up, in seconds.
PATIENCE = 30.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
    """Ask again and again, and return after how many seconds it was so."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < patience, f"{what}: not within {patience} s"
        time.sleep(0.02)
    return time.monotonic() - start


def find_program(name: str) -> str:
    """Return the path of a program; without it, the test is left out, but never in CI."""
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    folders += sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        assert not engines.IS_COMPLETE, f"{name} must be there: `make services`"
        pytest.skip(f"{name} is not installed")
    return path


class Server(ABC):
    """A server process with its children, on a free port of loopback.

    Attributes:
        port: where it listens.
        uri: for SQLAlchemy, or for what else speaks to it.
    """

    #: The program, and the account that it runs under when the tests run as root.
    program: str
    account: str

    def __init__(self) -> None:
        self._path = find_program(self.program)
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"device-sessions-{self.program}-"))
        self._process: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            os.chown(self.folder, *self._ids())

    @property
    @abstractmethod
    def uri(self) -> str:
        """Where it is."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return how it is started."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it does its work."""

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._process = self._spawn(self._command())
        wait_until(self._is_up, f"{self.program} answers")

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.program} ended: {self._log()}"
        return self.answers()

    def kill(self) -> None:
        """End it without a goodbye, as a power cut does."""
        self._signal(signal.SIGKILL)
        self._forget()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it in its own way."""
        if self._process is not None:
            self._process.send_signal(how)
        self._forget()

    def freeze(self) -> None:
        """Stop it in its tracks: connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)
        wait_until(self._stands_still, f"{self.program} stands still")

    def _stands_still(self) -> bool:
        """Whether all threads of its processes have stopped: a signal takes a while."""
        assert self._process is not None
        pids = (self._process.pid, *_children_of(self._process.pid))
        return all(_state_of(task) == "T" for pid in pids for task in _tasks_of(pid))

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it for good, with all its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget(self) -> None:
        if self._process is not None:
            self._process.wait(PATIENCE)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        """Tell the process, then its children, which it could replace before."""
        if self._process is None:
            return
        children = _children_of(self._process.pid)
        for pid in (self._process.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                command,
                cwd="/",
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                **self._as(),
            )

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, cwd="/", capture_output=True, check=False, **self._as())
        assert done.returncode == 0, done.stderr

    def _as(self) -> dict[str, Any]:
        """Return whom to be: these servers refuse to be root."""
        if os.getuid() != 0:
            return {}
        user, group = self._ids()
        return {"user": user, "group": group}

    def _ids(self) -> tuple[int, int]:
        entry = pwd.getpwnam(self.account)
        return entry.pw_uid, entry.pw_gid

    def _log(self) -> str:
        return (self.folder / "output").read_text("utf-8", "replace")[-2000:]


class Database(Server):
    """A server with SQL, and one empty database.

    Attributes:
        name: the engine's, as in :data:`tests.engines.NAMES`.
    """

    name: str

    def __init__(self) -> None:
        super().__init__()
        self._prepare()

    @property
    @abstractmethod
    def admin(self) -> str:
        """Where it is for the administrator; :attr:`uri` is for an app."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data directory."""

    def answers(self) -> bool:
        """Whether it accepts a connection and a query."""
        try:
            self.execute("SELECT 1")
        except sa.exc.DBAPIError:
            return False
        return True

    def execute(self, *statements: str) -> None:
        """Run statements as the administrator, on a connection of their own."""
        engine = sa.create_engine(
            self.admin,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
            connect_args={"connect_timeout": 2},
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    @abstractmethod
    def kill_connections(self) -> None:
        """End every connection but the administrator's."""

    @abstractmethod
    def be_read_only(self, is_so: bool) -> None:
        """Refuse to write, as a standby does, or as after a failover; or write again."""


class PostgreSQL(Database):
    """A PostgreSQL server."""

    name = "postgresql"
    program = account = "postgres"

    @property
    def uri(self) -> str:
        """Where it is."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def admin(self) -> str:
        """The same: a superuser's transactions are read-only, too."""
        return self.uri

    def _prepare(self) -> None:
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run([find_program("initdb"), "-D", str(self.folder / "data"), *options])

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # a process that is killed loses nothing by that
            "shared_buffers": "16MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self._path, "-D", str(self.folder / "data"), "-p", str(self.port), *options]

    def kill_connections(self) -> None:
        """End every connection but the administrator's."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def be_read_only(self, is_so: bool) -> None:
        """Refuse to write, in transactions to come; or write again."""
        word = "on" if is_so else "off"
        self.execute(
            f"ALTER SYSTEM SET default_transaction_read_only = {word}", "SELECT pg_reload_conf()"
        )


class MariaDB(Database):
    """A MariaDB server."""

    name = "mariadb"
    program = "mariadbd"
    account = "mysql"

    @property
    def uri(self) -> str:
        """Where it is."""
        return f"mysql+pymysql://app@127.0.0.1:{self.port}/app"

    @property
    def admin(self) -> str:
        """As root, whom ``read_only`` does not stop."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/"

    def _prepare(self) -> None:
        options = ["--skip-test-db", "--auth-root-authentication-method=normal"]
        program = find_program("mariadb-install-db")
        self._run([program, "--no-defaults", f"--datadir={self.folder / 'data'}", *options])

    def start(self) -> None:
        """Start it, and return when it answers."""
        super().start()
        self.execute(
            "CREATE DATABASE IF NOT EXISTS app",
            "CREATE USER IF NOT EXISTS app@127.0.0.1",
            "GRANT ALL ON app.* TO app@127.0.0.1",
        )

    def _command(self) -> list[str]:
        settings = {
            "datadir": self.folder / "data",
            "port": self.port,
            "bind-address": "127.0.0.1",
            "socket": self.folder / "socket",
            "character-set-server": "utf8mb4",
            "innodb-flush-log-at-trx-commit": 2,  # a process that is killed loses nothing by that
            "innodb-buffer-pool-size": "32M",
            "innodb-log-file-size": "8M",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [self._path, "--no-defaults", "--skip-name-resolve", *options]

    def kill_connections(self) -> None:
        """End every connection but the administrator's."""
        self.execute("KILL USER app@127.0.0.1")

    def be_read_only(self, is_so: bool) -> None:
        """Refuse to write; or write again."""
        self.execute(f"SET GLOBAL read_only = {int(is_so)}")


class Redis(Server):
    """A Redis server."""

    program = "redis-server"
    account = "redis"

    @property
    def uri(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": ""}
        return [self._path, *(word for k, v in options.items() for word in (f"--{k}", str(v)))]

    def answers(self) -> bool:
        """Whether it says PONG."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
        return False


class PgBouncer(Server):
    """A pgbouncer in transaction mode before a PostgreSQL server.

    Args:
        server: the port of PostgreSQL.
        size: how many connections to it are kept.
    """

    program = "pgbouncer"
    account = "postgres"

    def __init__(self, server: int, size: int = 2) -> None:
        super().__init__()
        self._config = self.folder / "config.ini"
        self._config.write_text(
            f"""[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
"""
        )

    @property
    def uri(self) -> str:
        """Where it is; the database is to be added."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/"

    def _command(self) -> list[str]:
        return [self._path, str(self._config)]

    def answers(self) -> bool:
        """Whether it accepts connections."""
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False


def _children_of(pid: int) -> list[int]:
    """Return the processes that this one has started."""
    task = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in task.read_text("ascii").split()]
    except FileNotFoundError:
        return []


def _tasks_of(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _state_of(task: Path) -> str:
    """Return the letter for what a thread does; ``T`` is stopped (proc(5))."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
