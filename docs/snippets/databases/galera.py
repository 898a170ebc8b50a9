"""One pool over the nodes of a Galera cluster: whichever answers."""

import time
from typing import Any

import pymysql


def pool_over(nodes: list[tuple[str, int]], **account: Any) -> dict[str, Any]:
    """SQLALCHEMY_ENGINE_OPTIONS for nodes such as ("10.0.0.1", 3306)."""
    failed_at: dict[tuple[str, int], float] = {}

    def connect() -> Any:
        fault: Exception = ValueError("There are no nodes.")
        for node in sorted(nodes, key=lambda node: failed_at.get(node, 0)):
            try:
                return _connect_to(*node, **account)
            except pymysql.Error as error:
                failed_at[node], fault = time.monotonic(), error
        raise fault

    return {"creator": connect, "pool_pre_ping": True}


def _connect_to(host: str, port: int, **account: Any) -> Any:
    connection = pymysql.connect(
        host=host,
        port=port,
        connect_timeout=1,  # seconds: a node that is frozen answers nothing
        read_timeout=8,  # longer than the others need to put it out
        write_timeout=8,
        **account,
    )
    try:
        with connection.cursor() as cursor:
            # A read waits for all that any node has acknowledged before.
            cursor.execute("SET SESSION wsrep_sync_wait = 7")
            cursor.execute("SELECT 1")  # refused by a node that is not in the cluster
    except pymysql.Error:
        connection.close()
        raise
    return connection
