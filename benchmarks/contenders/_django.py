"""What the contenders on Django share: the settings of ``startproject``, a person, the views.

https://docs.djangoproject.com/en/5.2/topics/http/sessions/. Connections are kept between requests
(``CONN_MAX_AGE``), as the documentation recommends where it counts, and as SQLAlchemy does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import django
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from ..databases import split
from . import EMAIL, PERSON_ID, SECRET_KEY, Contender

SESSIONS = "django.contrib.sessions"
SESSION_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH_BACKEND = "django.contrib.auth.backends.ModelBackend"


def make(
    uri: str,
    *,
    sessions: str = SESSIONS,
    session_middleware: str = SESSION_MIDDLEWARE,
    apps: Sequence[str] = (),
    middleware: Sequence[str] = (),
    **more: Any,
) -> Contender:
    """Return the app; one a process, for Django has one set of settings."""
    settings.configure(
        SECRET_KEY=SECRET_KEY,
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        DATABASES={"default": {**split(uri), "CONN_MAX_AGE": None}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            sessions,
            "django.contrib.messages",
            *apps,
        ],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            session_middleware,
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
            *middleware,
        ],
        **more,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    _add_person()
    return Contender(get_wsgi_application(), recording)


def _add_person() -> None:
    from django.contrib.auth.models import User

    User.objects.create(id=PERSON_ID, username="ada", email=EMAIL)


@contextmanager
def recording() -> Iterator[list[str]]:
    """Collect what Django's connection sends."""
    from django.db import connection

    seen: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield seen


@login_required
def _index(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.email)


def _enter(request: HttpRequest) -> HttpResponse:
    from django.contrib.auth.models import User

    login(request, User.objects.get(pk=PERSON_ID), backend=AUTH_BACKEND)
    return HttpResponse()


urlpatterns = [path("", _index), path("enter", _enter)]
