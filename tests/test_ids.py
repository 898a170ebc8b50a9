"""Primary keys: time-ordered UUIDs that never repeat."""

from __future__ import annotations

import threading
import time
import uuid

from flask_device_sessions.ids import new_id


def test_an_id_is_a_uuid_of_version_7() -> None:
    """It is the standard library's type, so that every driver and column takes it."""
    made = new_id()

    assert type(made) is uuid.UUID
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


def test_ids_come_in_the_order_of_time() -> None:
    """Rows that are inserted one after the other lie side by side in the index."""
    made = [new_id() for _ in range(10_000)]

    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_id_begins_with_the_time() -> None:
    """Its first 48 bits are the milliseconds since 1970 (RFC 9562)."""
    before = time.time_ns() // 1_000_000
    milliseconds = new_id().int >> 80
    after = time.time_ns() // 1_000_000

    # The counter of a crowded millisecond may borrow from the next ones.
    assert before <= milliseconds <= after + 1000


def test_ids_made_at_once_differ() -> None:
    """Threads that start sessions in the same millisecond do not collide."""
    made: list[uuid.UUID] = []
    threads = [
        threading.Thread(target=lambda: made.extend([new_id() for _ in range(2000)]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(made)) == 16_000
