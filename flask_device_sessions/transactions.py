"""Whose transaction is it, and what may leave only after its commit.

Signals, mails and cookies are effects: each is put beside the transaction it belongs to. When
the outermost commit has succeeded, they run in order, with the database session free for new
work; when the transaction, or the savepoint they were put in, is rolled back, they are undone
and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

_KEY = "flask_device_sessions.transaction"

#: Those that are listened to. (SQLAlchemy's ``event.contains`` goes by the memory address, which
#: a registry that is gone may have left to another.)
_listened: WeakSet[scoped_session[Any]] = WeakSet()

Effect = Callable[[], object]


class _Entry(NamedTuple):
    transaction: SessionTransaction | None
    effect: Effect
    undo: Effect


class _Ledger:
    """What is known of a database session's current transaction."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.has_connection = False
        self.has_written = False
        self.is_committed = False
        self.stop_watching: Effect = lambda: None


def listen(sessions: scoped_session[Any]) -> None:
    """Keep the ledger for every session of this registry; a second call changes nothing."""
    if sessions in _listened:
        return
    _listened.add(sessions)
    for name, listener in _LISTENERS.items():
        event.listen(sessions, name, listener)


def has_connection(session: Session) -> bool:
    """Whether the session holds a database connection right now."""
    return _KEY in session.info and _ledger(session).has_connection


def is_clean(session: Session) -> bool:
    """Whether a rollback would lose nothing: nothing written yet, nothing to flush."""
    has_written = _KEY in session.info and _ledger(session).has_written
    return not (has_written or session.new or session.dirty or session.deleted)


def after_commit(session: Session, effect: Effect, undo: Effect = lambda: None) -> None:
    """Run ``effect`` after the commit of the transaction that ``session`` is in.

    Args:
        session: a session that is listened to (:func:`listen`) and is in a transaction.
        effect: called without arguments; an exception reaches whoever commits.
        undo: called instead when the transaction is rolled back.
    """
    transaction = session.get_nested_transaction() or session.get_transaction()
    _ledger(session).entries.append(_Entry(transaction, effect, undo))


def _ledger(session: Session) -> _Ledger:
    ledger: _Ledger = session.info.setdefault(_KEY, _Ledger())
    return ledger


def _on_begin(session: Session, transaction: SessionTransaction, connection: Any) -> None:
    ledger = _ledger(session)
    ledger.has_connection = True

    def on_execute(*call: Any) -> None:
        statement: str = call[2]
        if not statement.lstrip()[:6].upper().startswith("SELECT"):
            ledger.has_written = True

    event.listen(connection, "before_cursor_execute", on_execute)
    # The connection may be the app's own and outlive the transaction.
    ledger.stop_watching = partial(event.remove, connection, "before_cursor_execute", on_execute)


def _on_commit(session: Session) -> None:
    # Also called when a savepoint is released: that commits nothing yet.
    if not session.in_nested_transaction():
        _ledger(session).is_committed = True


def _on_rollback(session: Session, previous: SessionTransaction) -> None:
    ledger = _ledger(session)
    lost = [entry for entry in ledger.entries if _is_within(entry.transaction, previous)]
    ledger.entries = [entry for entry in ledger.entries if entry not in lost]
    _undo(lost)


def _undo(entries: list[_Entry]) -> None:
    for entry in reversed(entries):
        entry.undo()


def _on_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    ledger: _Ledger | None = session.info.pop(_KEY, None)
    if ledger is None:
        return
    ledger.stop_watching()
    if ledger.is_committed:
        for entry in ledger.entries:
            entry.effect()
    else:
        _undo(ledger.entries)


def _is_within(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None:
        if inner is outer:
            return True
        inner = inner.parent
    return False


_LISTENERS: dict[str, Callable[..., None]] = {
    "after_begin": _on_begin,
    "after_commit": _on_commit,
    "after_soft_rollback": _on_rollback,
    "after_transaction_end": _on_end,
}
