"""The field: one module a contender, set up as its documentation recommends.

Each serves the same protected page, ``/``, which answers with the signed-in person's email
(:data:`EMAIL`), and ``/enter``, which signs that person in without a password. Beside a contender
stands what it needs to be installed; nothing of that is imported here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any, NamedTuple

#: The one person of every contender's database.
EMAIL = "ada@example.com"
PERSON_ID = 271828

#: Key of every contender; as long as the documentation of Flask and Django asks for.
SECRET_KEY = "benchmarks-benchmarks-benchmarks-benchmarks-benchmarks"

ENGINES = ("sqlite", "postgresql")

#: What runs inside the block is collected, statement by statement.
Recording = Callable[[], AbstractContextManager[list[str]]]


class Contender(NamedTuple):
    """What a contender's ``make(uri)`` gives.

    Attributes:
        application: the app, as WSGI.
        recording: collects the statements that it sends to its database.
        extension: the ``DeviceSessions`` of our own app.
    """

    application: Any
    recording: Recording
    extension: Any = None


class Entry(NamedTuple):
    """One row of the table.

    Attributes:
        name: what ``--only`` calls it.
        title: what the table calls it.
        module: where its ``make`` is.
        needs: modules without which it is left out.
        path: what is asked for.
        answer: the right answer.
        cookies: ``own``, ``forged`` (all cookies that it set, with changed values), ``foreign``
            (a cookie of somebody else's) or ``none``.
        is_protected: whether ``path`` must refuse who is not signed in.
        engines: the databases it is measured on.
    """

    name: str
    title: str
    module: str
    needs: tuple[str, ...] = ("flask",)
    path: str = "/"
    answer: str = EMAIL
    cookies: str = "own"
    is_protected: bool = True
    engines: tuple[str, ...] = ENGINES

    @property
    def is_importable(self) -> bool:
        """Whether all that it needs is installed here."""
        return all(find_spec(name) is not None for name in self.needs)

    def make(self, uri: str) -> Contender:
        """Return its app on an empty database.

        Args:
            uri: the database, as SQLAlchemy writes it.
        """
        module = importlib.import_module(f"{__name__}.{self.module}")
        made: Contender = module.make(uri)
        return made


_LOGIN = ("flask", "flask_login", "flask_sqlalchemy")
_OURS = (*_LOGIN, "flask_device_sessions")


def _open_view(name: str, title: str, cookies: str) -> Entry:
    """Return what our app costs a view that asks nobody who they are."""
    return Entry(name, title, "ours", _OURS, "/open", cookies=cookies, is_protected=False)


ALL = (
    Entry("bare", "bare Flask view, no identity", "bare", is_protected=False),
    Entry("limit", "**limit**: signed cookie + one raw DBAPI select", "limit"),
    Entry(
        "limit_autocommit",
        "the limit in autocommit",
        "limit_autocommit",
        engines=("postgresql",),
    ),
    Entry("flask_login", "Flask-Login alone (user by id)", "flask_login_alone", _LOGIN),
    Entry("ours", "**ours**: `current_user` and `g.current_session`", "ours", _OURS),
    Entry(
        "ours_session",
        "ours: only `g.current_session`",
        "ours",
        _OURS,
        "/session",
        str(PERSON_ID),
    ),
    Entry(
        "ours_who",
        "ours: only who (`current_user_id()`)",
        "ours",
        _OURS,
        "/who",
        str(PERSON_ID),
    ),
    _open_view("ours_forged", "ours: forged cookie, open view", "forged"),
    _open_view("ours_foreign", "ours: somebody else's cookie, open view", "foreign"),
    _open_view("ours_none", "ours: no cookie, open view", "none"),
    Entry(
        "flask_session_sqlalchemy",
        "Flask-Login + Flask-Session, SQLAlchemy",
        "flask_session_sqlalchemy",
        (*_LOGIN, "flask_session"),
    ),
    Entry(
        "flask_session_redis",
        "Flask-Login + Flask-Session, Redis",
        "flask_session_redis",
        (*_LOGIN, "flask_session", "redis"),
    ),
    Entry(
        "flask_security",
        "Flask-Security",
        "flask_security_alone",
        (*_LOGIN, "flask_security"),
    ),
    Entry("django", "Django, database sessions + auth", "django_sessions", ("django",)),
    Entry(
        "django_user_sessions",
        "django-user-sessions",
        "django_user_sessions",
        ("django", "user_sessions"),
    ),
    Entry(
        "allauth",
        "allauth usersessions, activity tracked",
        "allauth_usersessions",
        ("django", "allauth"),
    ),
)

BY_NAME = {entry.name: entry for entry in ALL}
