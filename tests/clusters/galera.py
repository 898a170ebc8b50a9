"""Three MariaDB nodes in one Galera cluster, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pymysql

from tests.load.serving import free_port, wait_until

_PROVIDER = "/usr/lib/galera/libgalera_smm.so"

#: Where Debian has the programs, and the ones that a node calls to copy its data.
_PATHS = "/usr/sbin:/usr/bin:/sbin:/bin"

_CONFIG = """
[mysqld]
datadir = {folder}/data
socket = {folder}/server.sock
pid-file = {folder}/server.pid
log-error = {folder}/server.log
port = {port}
bind-address = 127.0.0.1
character-set-server = utf8mb4
binlog_format = ROW
innodb_autoinc_lock_mode = 2
innodb_buffer_pool_size = 64M
innodb_log_file_size = 16M
innodb_flush_log_at_trx_commit = 2
wsrep_on = ON
wsrep_provider = {provider}
wsrep_cluster_name = suite
wsrep_cluster_address = gcomm://{addresses}
wsrep_node_name = node{number}
wsrep_node_address = 127.0.0.1:{group}
wsrep_sst_method = rsync
wsrep_sst_receive_address = 127.0.0.1:{copy}
wsrep_provider_options = "{options}"
"""

#: Group communication keeps its own timeouts: a node that is silent is put out after 5 to 6
#: seconds. Shorter ones (``evs.suspect_timeout=PT1S``) cost a busy machine its quorum: the two
#: that are left suspect each other, too.
_OPTIONS = (
    "base_host=127.0.0.1; base_port={group}; gmcast.listen_addr=tcp://127.0.0.1:{group}; "
    "ist.recv_addr=127.0.0.1:{ist}; gcache.size=64M; gcache.recover=yes"
)


class Node:
    """One server of the cluster.

    Attributes:
        number: 1, 2 or 3.
        port: where clients come in.
        group: where the other nodes do.
    """

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self.folder = folder
        self.port, self.group, self._ist, self._copy = (free_port() for _ in range(4))
        self._process: subprocess.Popen[bytes] | None = None
        self._holder: Any = None

    def configure(self, addresses: str) -> None:
        """Write its configuration, for a cluster with these addresses."""
        ports = {"group": self.group, "ist": self._ist, "copy": self._copy}
        facts = ports | {"folder": self.folder, "port": self.port, "number": self.number}
        options = _OPTIONS.format(**ports)
        text = _CONFIG.format(**facts, provider=_PROVIDER, addresses=addresses, options=options)
        self._defaults.write_text(text)

    @property
    def _defaults(self) -> Path:
        return self.folder / "server.cnf"

    def start(self, *, is_first: bool = False) -> None:
        """Start it, and wait until it has all the data and answers."""
        options = ["--wsrep-new-cluster"] if is_first else self._position()
        self._process = self._run(*options)
        wait_until(self.is_synced, f"node {self.number} is synced")

    def _position(self) -> list[str]:
        """Return where a node that died stood: it is given what it missed, not everything."""
        self._run("--wsrep-recover").wait()
        lines = (self.folder / "server.log").read_text("utf-8", "replace").splitlines()
        recovered = [line for line in lines if "Recovered position:" in line]
        if not recovered:
            return []
        return ["--wsrep_start_position=" + recovered[-1].rpartition("position: ")[2].strip()]

    def _run(self, *options: str) -> subprocess.Popen[bytes]:
        program = shutil.which("mariadbd", path=_PATHS)
        assert program is not None, "MariaDB must be there: `tools/services.sh clusters`"
        user: dict[str, Any] = (
            {"user": "mysql", "group": "mysql", "extra_groups": []} if os.getuid() == 0 else {}
        )
        return subprocess.Popen(
            [program, f"--defaults-file={self._defaults}", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PATH": _PATHS},
            process_group=0,
            cwd="/",
            **user,
        )

    def is_synced(self) -> bool:
        """Whether it is in the cluster and has all its data."""
        assert self._process is not None
        assert self._process.poll() is None, self.tail_of_log()
        return self.status("wsrep_local_state_comment") == "Synced"

    def status(self, name: str) -> str | None:
        """Return one of its status variables; ``None`` when it does not answer."""
        try:
            rows = self.execute(f"SHOW STATUS LIKE '{name}'", sync_wait=0)
        except pymysql.Error:
            return None
        return str(rows[0][1]) if rows else None

    def sessions(self) -> dict[UUID, bool]:
        """Return each session that it has, with whether it has ended."""
        rows = self.execute("SELECT id, ended_at IS NOT NULL FROM device_sessions", database="site")
        return {UUID(row[0]): bool(row[1]) for row in rows}

    def execute(self, statement: str, *, sync_wait: int = 7, database: str | None = None) -> Any:
        """Run one statement on this node; return its rows."""
        with self._connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET SESSION wsrep_sync_wait = {sync_wait}")
            cursor.execute(statement)
            return cursor.fetchall()

    def _connect(self, database: str | None = None) -> Any:
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            database=database,
            connect_timeout=2,
            read_timeout=30,
            autocommit=True,
        )

    @contextmanager
    def isolated(self) -> Iterator[float]:
        """Cut it off from the other nodes; clients still reach it. Give when, by the clock."""
        now = time.monotonic()
        self._provide("gmcast.isolate=1")
        yield now
        self._provide("gmcast.isolate=0")

    def _provide(self, option: str) -> None:
        self.execute(f"SET GLOBAL wsrep_provider_options = '{option}'", sync_wait=0)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Let it apply nothing that other nodes write, until :meth:`release`."""
        self._holder = self._connect()
        with self._holder, self._holder.cursor() as cursor:
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            yield

    def release(self) -> None:
        """Let it catch up."""
        with self._holder.cursor() as cursor:
            cursor.execute("UNLOCK TABLES")

    def kill(self) -> float:
        """End it as a power cut would; return when, by the monotonic clock."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        return now

    def freeze(self) -> float:
        """Let it stand still: its connections stay open, and nothing answers."""
        now = time.monotonic()
        self._signal(signal.SIGSTOP)
        return now

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def tail_of_log(self) -> str:
        """Return what it said last."""
        return (self.folder / "server.log").read_text("utf-8", "replace")[-3000:]


class Cluster:
    """The three nodes."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    def addresses(self, first: int = 0) -> list[list[Any]]:
        """Return where clients find the nodes, one of them first."""
        nodes = self.nodes[first:] + self.nodes[:first]
        return [["127.0.0.1", node.port] for node in nodes]

    def wait_until_whole(self) -> float:
        """Wait until all nodes know of all three and have all data; return how long that took."""
        return wait_until(self._is_whole, "the cluster is whole")

    def _is_whole(self) -> bool:
        # One that has just thawed still believes in the cluster of before, whose number is another.
        numbers = {node.status("wsrep_cluster_conf_id") for node in self.nodes}
        sizes = {node.status("wsrep_cluster_size") for node in self.nodes}
        is_synced = all(node.is_synced() for node in self.nodes)
        return is_synced and len(numbers) == 1 and sizes == {"3"}


@contextmanager
def run(folder: Path) -> Iterator[Cluster]:
    """Start a cluster of three; end it in any case."""
    assert Path(_PROVIDER).exists(), "Galera must be there: `tools/services.sh clusters`"
    nodes = [Node(number, folder / f"node{number}") for number in (1, 2, 3)]
    _prepare(nodes)
    try:
        for node in nodes:
            node.start(is_first=node is nodes[0])
        yield Cluster(nodes)
    finally:
        for node in nodes:
            node.kill()


def _prepare(nodes: list[Node]) -> None:
    addresses = ",".join(f"127.0.0.1:{node.group}" for node in nodes)
    for node in nodes:
        data = node.folder / "data"
        data.mkdir(parents=True)
        node.configure(addresses)
        if node is nodes[0]:
            _install(data)
        else:
            shutil.copytree(nodes[0].folder / "data", data, dirs_exist_ok=True)
        for path in [node.folder, *node.folder.rglob("*")] if os.getuid() == 0 else []:
            shutil.chown(path, "mysql", "mysql")


def _install(data: Path) -> None:
    command = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db"]
    command += ["--auth-root-authentication-method=normal", "--innodb-log-file-size=16M"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
