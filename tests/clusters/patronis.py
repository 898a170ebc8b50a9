"""Three PostgreSQL servers that Patroni watches, with etcd to agree on who is the primary."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.clusters import postgresql
from tests.load.serving import ROOT, free_port, listens, wait_until

#: How long a leader that says nothing stays the leader, in seconds: Patroni takes no less.
TTL = 20

#: As the user that PostgreSQL insists on, who may still read the Python of whoever runs this.
_AS_POSTGRES = [
    "setpriv",
    "--reuid=postgres",
    "--regid=postgres",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]


class Member(postgresql.Server):
    """One server, with the Patroni that starts, promotes and demotes it."""

    def __init__(self, name: str, folder: Path, etcd: int) -> None:
        super().__init__(name, folder)
        self._config = folder / f"{name}.yml"
        self._log = folder / f"{name}.log"
        self._patroni: subprocess.Popen[bytes] | None = None
        self._config.write_text(json.dumps(self._settings(etcd)))

    def _settings(self, etcd: int) -> dict[str, object]:
        rest, address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{self.port}"
        return {
            "scope": "site",
            "name": self.name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    "synchronous_mode": "quorum",
                    "postgresql": {"use_pg_rewind": True},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self.data),
                "bin_dir": str(Path(postgresql.program("postgres")).parent),
                "pgpass": str(self.data.parent / f"{self.name}.pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres"},
                    "replication": {"username": "postgres"},
                },
                "parameters": {
                    "unix_socket_directories": str(self.data.parent),
                    "shared_buffers": "32MB",
                    "fsync": "off",
                },
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust"]
                + ["host replication all 127.0.0.1/32 trust"],
            },
        }

    def start(self) -> None:
        """Start Patroni, which does the rest in its own time."""
        command = [sys.executable, "-m", "patroni", str(self._config)]
        with self._log.open("ab") as log:
            self._patroni = subprocess.Popen(
                [*(_AS_POSTGRES if os.getuid() == 0 else []), *command],
                stdout=log,
                stderr=log,
                cwd=self.data.parent,
            )

    def kill(self) -> float:
        """End both as the death of the machine would."""
        now = time.monotonic()
        if self._patroni is not None:
            self._patroni.kill()
            self._patroni.wait()
        super().kill()
        return now

    def signal(self, number: signal.Signals) -> float:
        """Freeze (``SIGSTOP``) or thaw (``SIGCONT``) all of the machine; return when."""
        now = time.monotonic()
        assert self._patroni is not None
        for pid in [self._patroni.pid, *self.processes()]:
            os.kill(pid, number)
        return now

    def is_primary(self) -> bool:
        """Whether it answers and takes changes."""
        return self._is("NOT pg_is_in_recovery()")

    def is_standby(self) -> bool:
        """Whether it answers and receives the changes of a primary."""
        return self._is("EXISTS (SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming')")

    def _is(self, condition: str) -> bool:
        try:
            return bool(self.execute(f"SELECT {condition}")[0][0])
        except psycopg.Error:
            return False


@contextmanager
def run(folder: Path) -> Iterator[list[Member]]:
    """Start etcd and three members; give them when one leads and two follow; end them all."""
    assert importlib.util.find_spec("patroni"), "Patroni must be there: `make test-clusters`"
    folder.mkdir()
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with _etcd(folder) as etcd:
        members = [Member(name, folder, etcd) for name in ("a", "b", "c")]
        try:
            members[0].start()
            wait_until(members[0].is_primary, "the first one leads")
            for member in members[1:]:
                member.start()
            wait_until(lambda: all(m.is_standby() for m in members[1:]), "the others follow")
            quorum = {(member.name, "quorum") for member in members[1:]}
            wait_until(lambda: members[0].streams() == quorum, "it waits for one of them")
            yield members
        finally:
            for member in members:
                member.kill()


@contextmanager
def _etcd(folder: Path) -> Iterator[int]:
    program = shutil.which("etcd", path="/usr/bin:/usr/local/bin")
    assert program is not None, "etcd must be there: `tools/services.sh clusters`"
    port, peers = free_port(), f"http://127.0.0.1:{free_port()}"
    clients = f"http://127.0.0.1:{port}"
    command = [program, "--name", "etcd", "--data-dir", str(folder / "etcd")]
    command += ["--listen-client-urls", clients, "--advertise-client-urls", clients]
    command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]
    command += ["--initial-cluster", f"etcd={peers}"]
    with (
        (folder / "etcd.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT) as process,
    ):
        try:
            wait_until(lambda: listens(port), "etcd answers")
            yield port
        finally:
            process.kill()
