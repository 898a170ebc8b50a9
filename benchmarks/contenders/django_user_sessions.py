"""django-user-sessions: https://django-user-sessions.readthedocs.io/en/stable/installation.html."""

from __future__ import annotations

from . import Contender, _django


def make(uri: str) -> Contender:
    """Return the app: its sessions take the place of Django's."""
    return _django.make(
        uri,
        sessions="user_sessions",
        session_middleware="user_sessions.middleware.SessionMiddleware",
        SESSION_ENGINE="user_sessions.backends.db",
        SILENCED_SYSTEM_CHECKS=["admin.E410"],
    )
