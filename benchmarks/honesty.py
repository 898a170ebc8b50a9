"""What must be so before a figure counts: who is signed in is answered, everybody else is not.

For our own app also that it does, in the very configuration that is measured, what it is there
for: sessions are touched, expire, and can be revoked.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from . import client
from .contenders import EMAIL, Contender, Entry


def problems(entry: Entry, made: Contender) -> Iterator[str]:
    """Yield what is wrong with a contender; nothing is what it should be."""
    cookies = client.sign_in(made.application)
    for _ in range(2):  # the second finds what the first has left
        answer = _get(made, cookies, entry.path)
        if not answer.is_page(entry.answer):
            yield f"does not answer the person who is signed in: {answer.status}"
    if entry.is_protected:
        yield from _lets_in(entry, made, cookies)
    if made.extension is not None:
        yield from _untouched(made)
        yield from _unexpired(made)
        yield from _unrevoked(made)


def environ_of(entry: Entry, application: Any) -> dict[str, Any]:
    """Return the request that is measured."""
    cookies = client.sign_in(application)
    chosen = {
        "own": cookies,
        "forged": client.forge(cookies),
        "foreign": {"theme": "dark"},
        "none": {},
    }[entry.cookies]
    return client.environ_of(entry.path, chosen)


def _lets_in(entry: Entry, made: Contender, cookies: dict[str, str]) -> Iterator[str]:
    others = {"no cookie": {}, "a forged cookie": client.forge(cookies)}
    for what, wrong in others.items():
        answer = _get(made, wrong, entry.path)
        if not answer.is_refusal(entry.answer):
            yield f"answers {what}: {answer.status}"


def _untouched(made: Contender) -> Iterator[str]:
    """One UPDATE when a touch is due, nothing written when it is not."""
    cookies = client.sign_in(made.application)
    old = _change_newest(made, "last_active_at", -2 * _settings(made).touch_interval)
    with made.recording() as due:
        _get(made, cookies)
    with made.recording() as not_due:
        _get(made, cookies)
    if _newest(made, "last_active_at") <= old or count_writes(due) != 1:
        yield "does not touch a session that is due for it"
    if count_writes(not_due) != 0:
        yield "writes in steady state"


def _unexpired(made: Contender) -> Iterator[str]:
    """Past its absolute end a session is over, and past its idle time."""
    settings = _settings(made)
    past = {"expires_at": -settings.lifetime, "last_active_at": -settings.idle_timeout}
    for column, shift in past.items():
        cookies = client.sign_in(made.application)
        before = _is_let_in(made, cookies)
        _change_newest(made, column, shift - timedelta(minutes=1))
        if not before or _is_let_in(made, cookies):
            yield f"lets a session in whose {column} has passed"


def _unrevoked(made: Contender) -> Iterator[str]:
    cookies, extension = client.sign_in(made.application), made.extension
    before = _is_let_in(made, cookies)
    with made.application.app_context():
        extension.revoke(_find_newest(extension))
    if not before or _is_let_in(made, cookies):
        yield "lets a session in that was revoked"


def _get(made: Contender, cookies: dict[str, str], path: str = "/") -> client.Answer:
    return client.send(made.application, client.environ_of(path, cookies))


def _is_let_in(made: Contender, cookies: dict[str, str]) -> bool:
    return _get(made, cookies).is_page(EMAIL)


def _settings(made: Contender) -> Any:
    with made.application.app_context():
        return made.extension.settings


def _find_newest(extension: Any) -> Any:
    rows = extension.database_session.query(extension.session_model)
    return rows.order_by(extension.session_model.id.desc()).first()


def _newest(made: Contender, column: str) -> Any:
    """Return a column of the session that began last."""
    with made.application.app_context():
        return getattr(_find_newest(made.extension), column)


def _change_newest(made: Contender, column: str, shift: timedelta) -> Any:
    """Move a time of the session that began last; return the new one."""
    with made.application.app_context():
        session = _find_newest(made.extension)
        changed = getattr(session, column) + shift
        setattr(session, column, changed)
        made.extension.database_session.commit()
    return changed


def count_writes(statements: list[str]) -> int:
    """Return how many of the statements change rows."""
    return sum(s.lstrip()[:6].upper() in ("INSERT", "UPDATE", "DELETE") for s in statements)


def count_sql(statements: list[str]) -> int:
    """Return how many statements there are, without those that only frame a transaction."""
    framing = ("BEGIN", "COMMIT", "ROLLBA", "SAVEPO", "RELEAS")
    return sum(s.lstrip()[:6].upper() not in framing for s in statements)
