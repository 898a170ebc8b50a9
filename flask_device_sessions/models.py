"""The three tables, as mixins for an app's own classes, and as ready models.

Predicates only: what is asked of the database is in :mod:`~flask_device_sessions.store`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.orm import (
    Mapped,
    MappedAsDataclass,
    declared_attr,
    foreign,
    mapped_column,
    relationship,
)

from .ambient import ambient, utc_now
from .devices import PART_LENGTH, USER_AGENT_LENGTH, describe
from .errors import ConfigError
from .i18n import gettext
from .networks import ADDRESS_LENGTH, normalize, same_network

#: Longest name that a person may give to a device or token, in characters.
NAME_LENGTH = 100

#: Why a session ended: every value that ``end_reason`` takes.
END_REASONS = (
    "logout",
    "revoked",
    "replaced",
    "evicted",
    "expired",
    "idle",
    "password_changed",
    "user_disabled",
    "not_me",
    "ip_changed",
    "admin",
    "reused",
)


class _Utc(sa.types.TypeDecorator[datetime]):
    """A time that is aware UTC in Python on every engine, to the microsecond.

    SQLite and MariaDB drop the offset, so it is UTC on the way in and marked on the way out.
    """

    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse a naive time; give the database UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; use datetime.now(timezone.utc).")
        return value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Mark what came back as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            return value.replace(tzinfo=timezone.utc)
        return value.astimezone(timezone.utc)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        """Read SQLite's text in one call; several of them come with each request."""
        if dialect.name == "sqlite":
            return _from_text
        return super().result_processor(dialect, coltype)


def _from_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text + "+00:00")


# Alembic writes a type into a migration by its module and its repr. A migration must run
# without this package, so these two are written as the plain types that they store.


class UtcDateTime(_Utc):
    """:class:`_Utc` where times know zones or microseconds by themselves."""

    __module__ = "sqlalchemy.types"
    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def __repr__(self) -> str:
        return "DateTime(timezone=True)"


class MysqlUtcDateTime(_Utc):
    """:class:`_Utc` on MySQL and MariaDB, which cut microseconds unless told not to."""

    __module__ = "sqlalchemy.dialects.mysql"
    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """Load the type with the dialect: its module is large, and most apps never need it."""
        from sqlalchemy.dialects import mysql

        return dialect.type_descriptor(mysql.DATETIME(fsp=6))

    def __repr__(self) -> str:
        return "DATETIME(fsp=6)"


TIME_TYPE = UtcDateTime().with_variant(MysqlUtcDateTime(), "mysql", "mariadb")

#: CHAR(32) on MySQL and MariaDB whatever the SQLAlchemy: 2.1 would ask a 2.0 column in another
#: text form and silently find nothing.
UUID_TYPE = sa.Uuid().with_variant(sa.Uuid(native_uuid=False), "mysql", "mariadb")

_DIGEST_TYPE = sa.String(64)


class _OwnedMixin:
    """What all three tables share: a time-ordered UUID, and the person it belongs to."""

    #: The app's user model: the class, or its name when it is mapped before this one.
    __user_model__: ClassVar[str | type] = "User"

    id: Mapped[uuid.UUID] = mapped_column(UUID_TYPE, primary_key=True, sort_order=-2)

    if TYPE_CHECKING:
        user_id: Mapped[Any]
        user: Mapped[Any]


def _user_key(cls: Any, **options: Any) -> Mapped[Any]:
    """Make the ``user_id`` column: the type and the target are the user model's primary key."""
    user_model = find_model(cls, cls.__user_model__)
    key = primary_key_of(user_model)
    return mapped_column(sa.ForeignKey(key, ondelete="CASCADE"), sort_order=-1, **options)


def _user_relationship(cls: Any) -> Mapped[Any]:
    return relationship(find_model(cls, cls.__user_model__))


class DeviceSessionMixin(_OwnedMixin):
    """One signed-in browser or program: the columns of ``device_sessions``.

    Rows outlive their end (``ended_at``, ``end_reason``) until they are purged.
    """

    __tablename__ = "device_sessions"

    @declared_attr
    def user_id(cls) -> Mapped[Any]:
        """Whose session this is."""
        return _user_key(cls, nullable=False)

    @declared_attr
    def user(cls) -> Mapped[Any]:
        """The app's user object."""
        return _user_relationship(cls)

    # No foreign key: without an index of its own it would make deleting a device, or a person,
    # read the whole table; devices are deleted with what points at them.
    device_id: Mapped[uuid.UUID | None] = mapped_column(UUID_TYPE)
    kind: Mapped[str] = mapped_column(sa.String(16), default="browser")
    token_digest: Mapped[str] = mapped_column(_DIGEST_TYPE)
    # Rotation on a clock: the secret before this one, since when this one is the newest, and
    # since when the one before works no more.
    previous_digest: Mapped[str | None] = mapped_column(_DIGEST_TYPE)
    rotated_at: Mapped[datetime | None] = mapped_column(TIME_TYPE)
    previous_ended_at: Mapped[datetime | None] = mapped_column(TIME_TYPE)
    # The session in which a token was issued.
    issuer_id: Mapped[uuid.UUID | None] = mapped_column(UUID_TYPE)
    name: Mapped[str | None] = mapped_column(sa.String(NAME_LENGTH))
    scopes: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    ip_address: Mapped[str | None] = mapped_column(sa.String(ADDRESS_LENGTH))
    last_ip_address: Mapped[str | None] = mapped_column(sa.String(ADDRESS_LENGTH))
    user_agent: Mapped[str] = mapped_column(sa.String(USER_AGENT_LENGTH), default="")
    country: Mapped[str | None] = mapped_column(sa.String(100))
    city: Mapped[str | None] = mapped_column(sa.String(100))
    auth_method: Mapped[str] = mapped_column(sa.String(32), default="password")
    remembered: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(TIME_TYPE)
    authenticated_at: Mapped[datetime] = mapped_column(TIME_TYPE)
    last_active_at: Mapped[datetime] = mapped_column(TIME_TYPE)
    expires_at: Mapped[datetime | None] = mapped_column(TIME_TYPE, index=True)
    ended_at: Mapped[datetime | None] = mapped_column(TIME_TYPE, index=True)
    end_reason: Mapped[str | None] = mapped_column(sa.String(32))

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        # An index in which a person's live rows stand together: ended ones cost a list nothing.
        # As a constraint it is part of CREATE TABLE. MariaDB refuses to drop an index that a
        # foreign key uses, and that is what an autogenerated downgrade would begin with.
        name = f"uq_{cls.__tablename__}_user_id"
        return (sa.UniqueConstraint("user_id", "ended_at", "id", name=name),)

    @property
    def is_active(self) -> bool:
        """Whether the session would be restored now: not ended, not expired, not idle."""
        return self.ended_at is None and not self.is_expired and not self.is_idle

    @property
    def is_expired(self) -> bool:
        """Whether the absolute limit, ``LIFETIME`` from the sign-in, has passed."""
        return self.expires_at is not None and utc_now() >= self.expires_at

    @property
    def is_idle(self) -> bool:
        """Whether ``IDLE_TIMEOUT`` has passed since the last activity."""
        return ambient.settings().is_idle(self.last_active_at, utc_now())

    @property
    def is_fresh(self) -> bool:
        """Whether the password was checked within ``FRESHNESS``."""
        return ambient.settings().is_fresh(self.authenticated_at, utc_now())

    @property
    def is_current(self) -> bool:
        """Whether this is the session of the request that is running."""
        return self.id == ambient.session_id()

    @property
    def device_name(self) -> str:
        """What a person calls the device: "Pixel 8", "Mac", "Unknown device"."""
        return describe(self.user_agent).name or gettext("Unknown device")

    @property
    def browser_name(self) -> str:
        """Browser and major version, such as "Firefox 131"; empty when unknown."""
        return describe(self.user_agent).browser

    @property
    def location(self) -> str:
        """City and country as far as they are known, such as "Berlin, Germany"."""
        return ", ".join(part for part in (self.city, self.country) if part)

    def ip_changed(self, ip: str) -> bool:
        """Whether ``ip`` lies in another network (/24, IPv6 /64) than the last address seen."""
        return not same_network(self.last_ip_address, ambient.stored_address(normalize(ip)))


class DeviceMixin(_OwnedMixin):
    """One browser as one person uses it: the columns of ``device_session_devices``."""

    __tablename__ = "device_session_devices"

    @declared_attr
    def user_id(cls) -> Mapped[Any]:
        """Whose device this is."""
        return _user_key(cls, nullable=False)

    @declared_attr
    def user(cls) -> Mapped[Any]:
        """The app's user object."""
        return _user_relationship(cls)

    browser_digest: Mapped[str] = mapped_column(_DIGEST_TYPE)
    name: Mapped[str | None] = mapped_column(sa.String(NAME_LENGTH))
    device_type: Mapped[str] = mapped_column(sa.String(16), default="other")
    browser: Mapped[str] = mapped_column(sa.String(PART_LENGTH), default="")
    os: Mapped[str] = mapped_column(sa.String(PART_LENGTH), default="")
    first_seen_at: Mapped[datetime] = mapped_column(TIME_TYPE)
    last_seen_at: Mapped[datetime] = mapped_column(TIME_TYPE)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        name = f"uq_{cls.__tablename__}_user_id"
        return (sa.UniqueConstraint("user_id", "browser_digest", name=name),)


class SessionEventMixin(_OwnedMixin):
    """One line of the audit trail: the columns of ``device_session_events``. Insert-only.

    ``sequence`` counts a person's events from 1 without gaps, and ``mac`` chains each to the
    one before (see :mod:`~flask_device_sessions.audit`). The unique pair also makes two changes
    of one person's sessions that ran at the same time, on any node of a cluster, collide.
    """

    __tablename__ = "device_session_events"

    @declared_attr
    def user_id(cls) -> Mapped[Any]:
        """Whose event this is; null when nobody's account was named."""
        return _user_key(cls, nullable=True)

    @declared_attr
    def user(cls) -> Mapped[Any]:
        """The app's user object, or ``None``."""
        return _user_relationship(cls)

    sequence: Mapped[int | None] = mapped_column(sa.BigInteger)
    session_id: Mapped[uuid.UUID | None] = mapped_column(UUID_TYPE)
    device_id: Mapped[uuid.UUID | None] = mapped_column(UUID_TYPE)
    action: Mapped[str] = mapped_column(sa.String(32))
    created_at: Mapped[datetime] = mapped_column(TIME_TYPE, index=True)
    ip_address: Mapped[str | None] = mapped_column(sa.String(ADDRESS_LENGTH))
    user_agent: Mapped[str] = mapped_column(sa.String(USER_AGENT_LENGTH), default="")
    detail: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    mac: Mapped[str] = mapped_column(_DIGEST_TYPE)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        name = f"uq_{cls.__tablename__}_user_id"
        return (sa.UniqueConstraint("user_id", "sequence", name=name),)


class Models(NamedTuple):
    """The four classes that belong together in one app."""

    user: type[Any]
    session: type[Any]
    device: type[Any]
    event: type[Any]


#: Per Flask-SQLAlchemy object and user model, what was mapped: apps made in turn share it.
_built: WeakKeyDictionary[Any, dict[str, type[Any]]] = WeakKeyDictionary()

_PARTS = {
    "session": ("DeviceSession", DeviceSessionMixin),
    "device": ("DeviceSessionDevice", DeviceMixin),
    "event": ("DeviceSessionEvent", SessionEventMixin),
}


def build_models(
    db: Any,
    user_model: type[Any],
    session: type[Any] | None = None,
    device: type[Any] | None = None,
    event: type[Any] | None = None,
) -> Models:
    """Return the models of an app, mapping on ``db.Model`` those that it does not bring.

    Args:
        db: the app's Flask-SQLAlchemy object; each of ours is mapped once on it.
        user_model: the app's user class.
        session: the app's own subclass of :class:`DeviceSessionMixin`, if it has one.
        device: the same of :class:`DeviceMixin`.
        event: the same of :class:`SessionEventMixin`.

    Raises:
        ConfigError: a class does not fit.
    """
    own = {"session": session, "device": device, "event": event}
    mapped = {
        part: _own_model(part, model, user_model) if model else _our_model(db, part, user_model)
        for part, model in own.items()
    }
    models = Models(user_model, **mapped)
    _link_device(models)
    return models


def _own_model(part: str, model: type[Any], user_model: type[Any]) -> type[Any]:
    mixin = _PARTS[part][1]
    if not issubclass(model, mixin):
        raise ConfigError(f"{part}_model must be a class that inherits {mixin.__name__}.")
    _check_same_user(model, user_model)
    return model


def _our_model(db: Any, part: str, user_model: type[Any]) -> type[Any]:
    if issubclass(db.Model, MappedAsDataclass):
        raise ConfigError(
            "db.Model is a dataclass base (MappedAsDataclass). Flask-SQLAlchemy 3.1 cannot have "
            "one under SQLAlchemy 2.1, and ours cannot be mapped on one: let your own models "
            "inherit MappedAsDataclass beside db.Model instead."
        )
    models = _built.setdefault(db, {})
    if part not in models:
        name, mixin = _PARTS[part]
        body = {"__user_model__": user_model, "__module__": __name__}
        if bind_key := getattr(user_model, "__bind_key__", None):
            body["__bind_key__"] = bind_key
        models[part] = type(db.Model)(name, (mixin, db.Model), body)
    _check_same_user(models[part], user_model)
    return models[part]


def _check_same_user(model: type[Any], user_model: type[Any]) -> None:
    owner = find_model(model, model.__user_model__)
    if owner is not user_model:
        raise ConfigError(
            f"{model.__name__} belongs to the user model {owner.__name__}, but this app signs in "
            f"{user_model.__name__}. Use one SQLAlchemy() object per user model, or set "
            f"__user_model__ = {user_model.__name__} on it."
        )
    theirs = getattr(user_model, "__bind_key__", None)
    if getattr(model, "__bind_key__", None) != theirs:
        raise ConfigError(
            f"{model.__name__} is in another database than {user_model.__name__}, and one SELECT "
            f"finds both: set __bind_key__ = {theirs!r} on it."
        )


def _link_device(models: Models) -> None:
    """Add ``session.device``: neither mixin can name the other's final class."""
    mapper = sa.inspect(models.session)
    if not mapper.has_property("device"):
        pair = models.device.id == foreign(models.session.device_id)
        mapper.add_property("device", relationship(models.device, primaryjoin=pair, viewonly=True))


def find_model(base: Any, named: str | type) -> type[Any]:
    """Return the model class, found by name on ``base``'s registry where it is a name.

    Raises:
        ConfigError: no such class is mapped there.
    """
    if isinstance(named, type):
        return named
    root = next(parent for parent in reversed(base.__mro__) if "registry" in vars(parent))
    for model in _subclasses(root):
        if model.__name__ == named and sa.inspect(model, raiseerr=False) is not None:
            return model
    raise ConfigError(
        f"There is no model named {named!r} on this SQLAlchemy object. Import the module that "
        "defines it first, or name yours with DEVICE_SESSIONS_USER_MODEL (or user_model=…; or "
        "__user_model__ on a class of your own)."
    )


def _subclasses(model: type[Any]) -> Iterator[type[Any]]:
    for child in model.__subclasses__():
        yield child
        yield from _subclasses(child)


def primary_key_of(user_model: type[Any]) -> sa.Column[Any]:
    """Return the one primary-key column of the user model.

    Raises:
        ConfigError: it is no mapped class, or its key has several columns.
    """
    mapper = sa.inspect(user_model, raiseerr=False)
    if mapper is None:
        raise ConfigError(f"{user_model.__name__} is not a mapped class: let it inherit db.Model.")
    if len(mapper.primary_key) != 1:
        raise ConfigError(
            f"{user_model.__name__} has a primary key of {len(mapper.primary_key)} columns; "
            "sessions point at a user by a key of one column (any type)."
        )
    key: sa.Column[Any] = mapper.primary_key[0]
    return key
