"""One app's parts, each made of its settings and of the parts below it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from blinker import Signal
from flask import Flask

from . import login, models, store
from .accounts import Accounts
from .audit import Trail
from .bounds import OncePer
from .config import PREFIX, Settings, key_list
from .errors import ConfigError
from .housekeeping import Housekeeping
from .lifecycle import Lifecycle
from .notifications import Notifier
from .places import Atlas
from .proxies import running_app
from .signing import Purpose
from .store import Store
from .transport import Transport

#: Shortest SECRET_KEY outside debug and testing, in bytes: 128 bits.
_SECRET_KEY_BYTES = 16


@dataclass(frozen=True, eq=False, repr=False)
class Parts:
    """What the extension is made of, in one app.

    No tuple: error trackers write down what is in those, and here are keys.
    """

    settings: Settings
    store: Store
    lifecycle: Lifecycle
    transport: Transport
    accounts: Accounts
    notifier: Notifier
    audit_keys: list[bytes]
    housekeeping: Housekeeping
    foreign_ids: OncePer


def assemble(app: Flask, given: dict[str, Any]) -> Parts:
    """Put the parts together.

    Args:
        app: gives the settings, the secret key and Flask-SQLAlchemy.
        given: the arguments of :class:`~flask_device_sessions.DeviceSessions`.

    Raises:
        ConfigError: the app cannot work like this; the text says what to change.
    """
    _check_secret_key(app)
    settings = Settings.from_config(app.config)
    rows = _make_store(app, settings, given)
    transport = Transport(settings)
    keys = transport.signatures(app)
    audit_keys = key_list(settings.audit_key) or keys.derive(Purpose.AUDIT)
    trail = Trail(rows, audit_keys[0])
    rules = Lifecycle(
        rows,
        settings,
        trail,
        Atlas(settings.geoip_database),
        address_key=keys.derive(Purpose.ADDRESS)[0],
        is_user_active=_is_active if login.has_own_activity(rows.models.user) else None,
    )
    accounts = Accounts(
        rows,
        rules,
        settings.identifier_field,
        settings.login_rate_limit,
        settings.rate_limit_storage_uri,
        throttle_key=keys.derive(Purpose.THROTTLE)[0],
        tell=tell,
    )
    notifier = Notifier(
        given["mailer"],
        base_url=settings.base_url,
        sender=settings.mail_sender,
        identifier_field=settings.identifier_field,
    )
    housekeeping = Housekeeping(rows, trail, audit_keys, settings.idle_timeout)
    foreign_ids = OncePer(timedelta(minutes=1))
    return Parts(
        settings, rows, rules, transport, accounts, notifier, audit_keys, housekeeping, foreign_ids
    )


def tell(signal: Signal, **facts: Any) -> None:
    """Send a signal of the app that is running."""
    signal.send(running_app(), **facts)


def _is_active(user: Any) -> bool:
    return bool(user.is_active)


def _check_secret_key(app: Flask) -> None:
    key = app.secret_key
    advice = "Set it to the output of: python -c 'import secrets; print(secrets.token_hex())'"
    if not key:
        raise ConfigError(f"SECRET_KEY is missing: the cookies are signed with it. {advice}")
    length = len(key.encode() if isinstance(key, str) else key)
    if length < _SECRET_KEY_BYTES and not (app.debug or app.testing):
        raise ConfigError(
            f"SECRET_KEY has {length} bytes and can be guessed: it needs at least "
            f"{_SECRET_KEY_BYTES} outside debug and testing. {advice}"
        )


def _make_store(app: Flask, settings: Settings, given: dict[str, Any]) -> Store:
    db = given["db"] or _find_db(app)
    user_model = models.find_model(db.Model, given["user_model"] or settings.user_model)
    models.primary_key_of(user_model)
    login.check_user_model(user_model)
    _check_identifier(user_model, settings.identifier_field)
    own = (given[f"{part}_model"] for part in ("session", "device", "event"))
    built = models.build_models(db, user_model, *own)
    store.erase_with_user(built)
    return Store(db.session, built)


def _find_db(app: Flask) -> Any:
    db = app.extensions.get("sqlalchemy")
    if db is None:
        raise ConfigError(
            "Flask-SQLAlchemy is not on this app yet: call db.init_app(app) before "
            "DeviceSessions(app)."
        )
    return db


def _check_identifier(user_model: type[Any], field: str) -> None:
    if not hasattr(user_model, field):
        raise ConfigError(
            f"{user_model.__name__} has no attribute {field!r} to sign in with. Name the right "
            f"one with {PREFIX}IDENTIFIER_FIELD."
        )
