"""allauth's user sessions: https://docs.allauth.org/en/latest/usersessions/installation.html.

With ``USERSESSIONS_TRACK_ACTIVITY``, without which it does not know when a session was last used.
"""

from __future__ import annotations

from . import Contender, _django


def make(uri: str) -> Contender:
    """Return the app."""
    return _django.make(
        uri,
        apps=["django.contrib.humanize", "allauth", "allauth.account", "allauth.usersessions"],
        middleware=[
            "allauth.account.middleware.AccountMiddleware",
            "allauth.usersessions.middleware.UserSessionsMiddleware",
        ],
        AUTHENTICATION_BACKENDS=[
            _django.AUTH_BACKEND,
            "allauth.account.auth_backends.AuthenticationBackend",
        ],
        USERSESSIONS_TRACK_ACTIVITY=True,
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
            }
        ],
    )
