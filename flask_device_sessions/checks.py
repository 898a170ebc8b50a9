"""What ``flask device-sessions check`` looks at: how the app is deployed.

A problem is something to mend before people sign in; a hint is something to know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from .config import Settings, key_list
from .faults import STORE_FAULTS, missing_parts
from .store import Store

OK, HINT, PROBLEM = "ok", "hint", "problem"

#: NIST SP 800-57 part 1: the strength of HMAC-SHA-256 takes a key of 256 bits; 128 is the least.
_STRONG_KEY_BYTES = 32
_SHORTEST_KEY_BYTES = 16

#: What tutorials write as a secret key, in pieces and small letters.
_KNOWN_KEY_PARTS = (
    b"changeme",
    b"change-me",
    b"change_me",
    b"change this",
    b"secret-key",
    b"secret_key",
    b"secret key",
    b"secretkey",
    b"you-will-never-guess",
    # from Flask's own documentation, the earlier and the later one
    b'_5#y2l"f4q8z',
    b"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
)

#: A random key of 16 bytes in hexadecimal has fewer different bytes once in a million times.
_LEAST_VARIETY = 6


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        name: of the check.
        level: ``"ok"``, ``"hint"`` or ``"problem"``.
        sentence: what is so, and what to do about it.
    """

    name: str
    level: str
    sentence: str


class Deployment(NamedTuple):
    """What is looked at.

    Attributes:
        app: the app as it is configured.
        settings: ours.
        store: the database.
        is_cookie_secure: whether browsers send the cookie over HTTPS only.
        has_mailer: whether mails can be sent.
    """

    app: Flask
    settings: Settings
    store: Store
    is_cookie_secure: bool
    has_mailer: bool


def look(deployment: Deployment) -> list[Finding]:
    """Run every check, in the order of :data:`CHECKS`."""
    return [Finding(name, *check(deployment)) for name, check in CHECKS.items()]


def _secret_key(here: Deployment) -> tuple[str, str]:
    fallbacks = key_list(here.app.config.get("SECRET_KEY_FALLBACKS") or ())
    keys = [*key_list(here.app.secret_key), *fallbacks]
    advice = "Make one with: python -c 'import secrets; print(secrets.token_hex())'"
    if any(_can_be_guessed(key) for key in keys):
        return PROBLEM, f"SECRET_KEY, or one of its fallbacks, can be guessed. {advice}"
    shortest = min(map(len, keys))
    if shortest < _STRONG_KEY_BYTES:
        return HINT, f"SECRET_KEY has {shortest} bytes; {_STRONG_KEY_BYTES} are better. {advice}"
    return OK, "SECRET_KEY is long, and none that is known to be weak."


def _can_be_guessed(key: bytes) -> bool:
    is_poor = len(key) < _SHORTEST_KEY_BYTES or len(set(key)) < _LEAST_VARIETY
    return is_poor or any(part in key.lower() for part in _KNOWN_KEY_PARTS)


def _cookie(here: Deployment) -> tuple[str, str]:
    if here.is_cookie_secure:
        return OK, "Browsers send the session cookie over HTTPS only."
    return PROBLEM, (
        "Browsers send the session cookie over plain HTTP, where others can read it. Serve the "
        "app over HTTPS, leave DEVICE_SESSIONS_COOKIE_SECURE alone, and debug and testing off."
    )


def _tables(here: Deployment) -> tuple[str, str]:
    tables = [model.__table__ for model in here.store.models[1:]]
    try:
        missing = missing_parts(here.store.engine, tables)
    except STORE_FAULTS as error:
        return PROBLEM, str(here.store.explain(error))
    if missing:
        return PROBLEM, f"The database lacks {', '.join(missing)}. Run `flask db upgrade`."
    return OK, "All tables and columns are there."


def _migrations(here: Deployment) -> tuple[str, str]:
    # Here, for it costs each worker's start more than all the rest of this package.
    from alembic.util import CommandError

    migrate = here.app.extensions.get("migrate")
    if migrate is None:
        return HINT, "The app has no Flask-Migrate: whether migrations are in step is unknown."
    try:
        wanted, found = _heads(here.store, migrate)
    except STORE_FAULTS as error:
        return PROBLEM, str(here.store.explain(error))
    except CommandError as error:
        return PROBLEM, f"The migrations cannot be read: {error}"
    if wanted != found:
        return PROBLEM, (
            f"The database is at revision {_names(found)}, and the migrations are at "
            f"{_names(wanted)}. Run `flask db upgrade`."
        )
    return OK, f"The database is at the newest revision, {_names(found)}."


def _heads(store: Store, migrate: Any) -> tuple[set[str], set[str]]:
    """Return the newest revisions of the migrations, and those of the database."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = migrate.migrate.get_config(migrate.directory)
    wanted = set(ScriptDirectory.from_config(config).get_heads())
    names = ("version_table", "version_table_schema")
    options = {
        name: migrate.configure_args[name] for name in names if name in migrate.configure_args
    }
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        return wanted, set(context.get_current_heads())


def _names(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions)) or "none"


def _login_limits(here: Deployment) -> tuple[str, str]:
    if here.settings.login_rate_limit is None:
        return HINT, "DEVICE_SESSIONS_LOGIN_RATE_LIMIT is None: passwords may be guessed freely."
    if not here.settings.rate_limit_storage_uri.startswith("memory://"):
        return OK, "Tries to sign in are counted for all workers together."
    advice = "DEVICE_SESSIONS_RATE_LIMIT_STORAGE_URI to a redis://… that all workers share"
    workers = _workers()
    if workers > 1:
        return PROBLEM, f"Each of {workers} workers counts tries to sign in alone. Set {advice}."
    return HINT, f"Tries to sign in are counted in one process. With several workers, set {advice}."


def _workers() -> int:
    """Return how many workers gunicorn is asked for; its arguments win over the variable."""
    arguments = os.environ.get("GUNICORN_CMD_ARGS", "")
    found = re.search(r"(?:^|\s)(?:-w|--workers)[\s=]*(\d+)", arguments)
    text = found[1] if found else os.environ.get("WEB_CONCURRENCY", "")
    return int(text) if text.isascii() and text.isdigit() else 1


def _proxy(here: Deployment) -> tuple[str, str]:
    if any(isinstance(layer, ProxyFix) and layer.x_for for layer in _layers(here.app.wsgi_app)):
        return OK, "ProxyFix tells the callers' addresses. Trust as many proxies as there are."
    return HINT, (
        "The app has no ProxyFix. That is right without a proxy; behind one, everybody seems to "
        "come from its address, and shares its login limit."
    )


def _layers(application: Any) -> Iterator[Any]:
    """Yield the WSGI middleware around an app, from the outside in."""
    while application is not None:
        yield application
        # `app` is what Werkzeug and most others call what they wrap.
        inner = getattr(application, "app", None) or getattr(application, "wsgi_app", None)
        application = None if isinstance(inner, Flask) else inner


def _links_in_mails(here: Deployment) -> tuple[str, str]:
    if not here.has_mailer:
        return HINT, "The app has no mailer: nobody is told of new devices by mail."
    if here.settings.base_url is None:
        return PROBLEM, "Mails are sent without links. Set DEVICE_SESSIONS_BASE_URL."
    return OK, f"Links in mails lead to {here.settings.base_url}."


def _places(here: Deployment) -> tuple[str, str]:
    path = here.settings.geoip_database
    if path is None:
        return OK, "Addresses are not looked up: there is no DEVICE_SESSIONS_GEOIP_DATABASE."
    if not (os.path.isfile(path) and os.access(path, os.R_OK)):
        return PROBLEM, f"DEVICE_SESSIONS_GEOIP_DATABASE is {path!r}, which cannot be read."
    return OK, f"Addresses are looked up in {path}."


def _audit_key(here: Deployment) -> tuple[str, str]:
    own = key_list(here.settings.audit_key)
    if set(own) & set(key_list(here.app.secret_key)):
        return HINT, "AUDIT_KEY is SECRET_KEY, too: a key of its own would protect more."
    if own:
        return OK, "The audit chain has a key of its own."
    return HINT, (
        "The key of the audit chain comes from SECRET_KEY: keep an old SECRET_KEY among its "
        "fallbacks as long as events are, or set DEVICE_SESSIONS_AUDIT_KEY."
    )


#: Every check by name: a function of the deployment that returns level and sentence.
CHECKS: dict[str, Callable[[Deployment], tuple[str, str]]] = {
    "secret-key": _secret_key,
    "cookie": _cookie,
    "tables": _tables,
    "migrations": _migrations,
    "login-limits": _login_limits,
    "proxy": _proxy,
    "mail-links": _links_in_mails,
    "places": _places,
    "audit-key": _audit_key,
}
