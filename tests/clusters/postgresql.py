"""A PostgreSQL primary with two standbys, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from tests.load.serving import free_port, wait_until

#: Killing a server takes nothing from the system's own memory: there is no need to wait for disks.
_OPTIONS = {
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "max_wal_senders": "8",
    "hot_standby": "on",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "200ms",
}


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs, of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    assert path is not None, "PostgreSQL must be there: `tools/services.sh clusters`"
    return path


def _run(*command: str) -> None:
    user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}
    done = subprocess.run(
        [program(command[0]), *command[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd="/",
        **(user if os.getuid() == 0 else {}),
    )
    assert done.returncode == 0, done.stderr


class Server:
    """One server: ``a``, ``b`` or ``c``."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.data = folder / name
        self.port = free_port()

    def initialise(self, synchronous: str) -> None:
        """Make it a primary that waits for standbys as ``synchronous`` says."""
        _run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        options = _OPTIONS | {"synchronous_standby_names": synchronous}
        with (self.data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = '{value}'\n" for name, value in options.items())

    def copy(self, primary: Server) -> None:
        """Make it a standby of another, with all of its data."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        _run(
            "pg_basebackup", "-D", str(self.data), "-d", source, "-R", "-X", "stream", "-c", "fast"
        )
        with (self.data / "postgresql.auto.conf").open("a") as config:
            config.write(f"primary_conninfo = '{self._follows(primary)}'\n")

    def _follows(self, primary: Server) -> str:
        name = f"application_name={self.name}"
        return f"host=127.0.0.1 port={primary.port} user=postgres {name}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self.data} -c cluster_name={self.name}"
        log = str(self.data / "server.log")
        _run("pg_ctl", "-D", str(self.data), "-l", log, "-o", options, "-w", "start")

    def kill(self) -> float:
        """End it as a power cut would; return when, by the monotonic clock."""
        now = time.monotonic()
        processes = self.processes()
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(_is_running, processes)), f"{self.name} is dead")
        return now

    def processes(self) -> list[int]:
        """Return its own process, if it runs, and those that it started."""
        pid_file = self.data / "postmaster.pid"
        return _family(int(pid_file.read_text().split()[0])) if pid_file.exists() else []

    def promote(self) -> None:
        """Make a standby the primary."""
        _run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def follow(self, primary: Server) -> None:
        """Let a standby follow another primary."""
        self.execute(f"ALTER SYSTEM SET primary_conninfo = '{self._follows(primary)}'")
        self.execute("SELECT pg_reload_conf()")

    def cut_off(self) -> None:
        """Let a standby receive nothing any more, as when the network between is cut."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.execute("SELECT pg_reload_conf()")
        wait_until(lambda: not self.execute("SELECT 1 FROM pg_stat_wal_receiver"), "cut off")

    def received(self) -> int:
        """Return how far it has received the primary's writes."""
        asked = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')"
        return int(self.execute(asked)[0][0])

    def streams(self) -> set[tuple[str, str]]:
        """Return which standbys follow it, and how: ``async``, ``quorum``."""
        asked = "SELECT application_name, sync_state FROM pg_stat_replication"
        return set(self.execute(f"{asked} WHERE state = 'streaming'"))

    def sessions(self) -> dict[UUID, bool]:
        """Return each session that it has, with whether it has ended."""
        return dict(self.execute("SELECT id, ended_at IS NOT NULL FROM device_sessions", "site"))

    def has(self, sessions: dict[UUID, bool]) -> bool:
        """Whether it answers, and has these and no others."""
        try:
            return self.sessions() == sessions
        except psycopg.Error:
            return False

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement on this server; return its rows."""
        target = f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"
        with psycopg.connect(target, autocommit=True, connect_timeout=2) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


def _family(pid: int) -> list[int]:
    """Return a server's own process, if it is there, and those that it started."""
    children = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) == pid]
    return [pid, *children] if _is_running(pid) else []


def _is_running(pid: int) -> bool:
    return _state(Path(f"/proc/{pid}"))[0] not in "ZX"


def _parent(process: Path) -> int:
    return int(_state(process)[1])


def _state(process: Path) -> list[str]:
    """Return what the system says of a process: state, parent, and more."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", "0"]


@contextmanager
def run(folder: Path, synchronous: str) -> Iterator[list[Server]]:
    """Start a primary and two standbys; end them in any case.

    Args:
        folder: for their data.
        synchronous: ``synchronous_standby_names`` of the primary; empty: it waits for none.
    """
    folder.mkdir()
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    servers = [Server(name, folder) for name in ("a", "b", "c")]
    primary, *standbys = servers
    try:
        primary.initialise(synchronous)
        primary.start()
        for standby in standbys:
            standby.copy(primary)
            standby.start()
        wait_until(lambda: len(primary.streams()) == 2, "both standbys follow")
        yield servers
    finally:
        for server in servers:
            server.kill()


def uri_of(servers: Sequence[Server]) -> str:
    """Return the URI that finds whichever is the primary."""
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in servers)
    options = "target_session_attrs=read-write&connect_timeout=2"
    return f"postgresql+psycopg://postgres@/site?{hosts}&{options}"


def fail_over(standbys: list[Server]) -> Server:
    """Make the standby that has received most the primary; the other one follows it.

    Returns:
        The new primary.
    """
    best, other = sorted(standbys, key=Server.received, reverse=True)
    best.promote()
    other.follow(best)
    return best
