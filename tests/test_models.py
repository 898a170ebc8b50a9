"""The three tables as classes: what a row says of itself, and which classes fit an app."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from flask_login import UserMixin
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from flask_device_sessions import (
    END_REASONS,
    ConfigError,
    DeviceMixin,
    DeviceSessionMixin,
    DeviceSessions,
    SessionEventMixin,
)
from flask_device_sessions.ids import new_id
from flask_device_sessions.messages import why_it_ended, why_you_are_out
from flask_device_sessions.models import (
    TIME_TYPE,
    UUID_TYPE,
    MysqlUtcDateTime,
    UtcDateTime,
    build_models,
    find_model,
    primary_key_of,
)
from flask_device_sessions.testing import IPHONE, Browser, DeviceSessionFactory
from tests.support import User, bare_app, make_app, sign_in
from tests.support import db as suite_db

NOW = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)
DIALECTS: dict[str, sa.Dialect] = {
    "sqlite": sa.make_url("sqlite://").get_dialect()(),
    "mysql": sa.make_url("mysql+pymysql://").get_dialect()(),
    "pg": sa.make_url("postgresql+psycopg://").get_dialect()(),
}


def _fresh_db() -> tuple[Any, Any]:
    """Return a Flask-SQLAlchemy object of its own with a user model on it."""
    db = SQLAlchemy()

    class Person(UserMixin, db.Model):  # type: ignore[name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str]

    return db, Person


def _row(**columns: Any) -> Any:
    """Return a session row in no database."""
    times = {"last_active_at": NOW, "authenticated_at": NOW, "expires_at": NOW + timedelta(1)}
    return build_models(suite_db, User).session(**(times | columns))


# -- What a row says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "moment", "expected"),
    [
        ({}, NOW, {"is_active": True, "is_expired": False, "is_idle": False}),
        ({"ended_at": NOW}, NOW, {"is_active": False, "is_expired": False, "is_idle": False}),
        (
            {"expires_at": NOW + timedelta(seconds=1)},
            NOW + timedelta(seconds=1),
            {"is_active": False, "is_expired": True, "is_idle": False},
        ),
        (
            {"expires_at": NOW + timedelta(seconds=1)},
            NOW + timedelta(seconds=0.9),
            {"is_active": True, "is_expired": False, "is_idle": False},
        ),
        (
            {"expires_at": None},
            NOW + timedelta(days=14),
            {"is_active": False, "is_expired": False, "is_idle": True},
        ),
        (
            {"expires_at": None},
            NOW + timedelta(days=14, seconds=-1),
            {"is_active": True, "is_expired": False, "is_idle": False},
        ),
    ],
    ids=["live", "ended", "expired", "not yet expired", "idle", "not yet idle"],
)
def test_a_row_knows_whether_it_is_live(
    columns: dict[str, Any], moment: datetime, expected: dict[str, bool]
) -> None:
    """Ended, expired and idle are told apart, to the second (ASVS V7.3.1, V7.3.2)."""
    row = _row(**columns)

    with time_machine.travel(moment, tick=False):
        assert {name: getattr(row, name) for name in expected} == expected


@pytest.mark.parametrize(("passed", "is_fresh"), [(0, True), (599, True), (600, False)])
def test_a_password_check_counts_ten_minutes(passed: int, is_fresh: bool) -> None:
    """FRESHNESS is exact to a second (ASVS V7.5.3)."""
    row = _row()

    with time_machine.travel(NOW + timedelta(seconds=passed), tick=False):
        assert row.is_fresh is is_fresh


def test_a_row_is_judged_by_its_own_app() -> None:
    """Each app's IDLE_TIMEOUT and FRESHNESS count in its own context."""
    app = make_app(
        DEVICE_SESSIONS_IDLE_TIMEOUT=timedelta(minutes=5),
        DEVICE_SESSIONS_FRESHNESS=timedelta(minutes=1),
    )
    row = _row()

    with time_machine.travel(NOW + timedelta(minutes=6), tick=False), app.app_context():
        assert (row.is_idle, row.is_fresh) == (True, False)
    with time_machine.travel(NOW + timedelta(minutes=6), tick=False):
        assert (row.is_idle, row.is_fresh) == (False, True)


@pytest.mark.parametrize(
    ("user_agent", "device_name", "browser_name"),
    [(IPHONE, "iPhone", "Mobile Safari 18"), ("", "Unknown device", "")],
)
def test_a_row_has_a_name_that_people_understand(
    user_agent: str, device_name: str, browser_name: str
) -> None:
    """The device and the browser, or words for not knowing."""
    row = _row(user_agent=user_agent)

    assert (row.device_name, row.browser_name) == (device_name, browser_name)


@pytest.mark.parametrize(
    ("city", "country", "location"),
    [("Berlin", "Germany", "Berlin, Germany"), (None, "Germany", "Germany"), (None, None, "")],
)
def test_a_location_is_what_is_known(city: str | None, country: str | None, location: str) -> None:
    """City and country, as far as they are known."""
    assert _row(city=city, country=country).location == location


@pytest.mark.parametrize(
    ("before", "now", "has_changed"),
    [
        ("192.0.2.1", "192.0.2.200", False),
        ("192.0.2.1", "192.0.3.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:3::9", False),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", True),
        ("192.0.2.1", "::ffff:192.0.2.9", False),
    ],
)
def test_an_address_has_changed_with_its_network(before: str, now: str, has_changed: bool) -> None:
    """Another address of the same /24, or IPv6 /64, is no change."""
    assert _row(last_ip_address=before).ip_changed(now) is has_changed


def test_every_end_reason_has_its_sentences() -> None:
    """For the person who is out, and for the list of devices."""
    sentences = {(why_you_are_out(reason), why_it_ended(reason)) for reason in END_REASONS}

    assert len(sentences) == len(END_REASONS)


def test_ids_come_in_the_order_of_time() -> None:
    """Later rows have later ids (RFC 9562, version 7)."""
    first, second = new_id(), new_id()

    assert first.version == 7
    assert first < second


# -- Types -------------------------------------------------------------------------------------


def test_times_come_back_as_aware_utc(app: Flask, extension: DeviceSessions, ada: User) -> None:
    """Whatever zone they went in with, to the microsecond, on each engine."""
    east = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=east)
    row: Any = DeviceSessionFactory.create(user_id=ada.id, created_at=moment, ended_at=None)

    extension.database_session.commit()

    assert row.created_at == moment
    assert row.created_at.tzinfo is timezone.utc
    assert row.created_at.microsecond == 123456
    assert row.ended_at is None


def test_a_naive_time_is_refused() -> None:
    """A time without a zone would be somebody's guess."""
    with pytest.raises(ValueError, match="time zone"):
        UtcDateTime().process_bind_param(datetime(2030, 1, 1), DIALECTS["sqlite"])


@pytest.mark.parametrize(
    "stored", [NOW.replace(tzinfo=None), NOW, NOW.astimezone(timezone(timedelta(hours=2)))]
)
def test_what_an_engine_gives_back_is_marked_or_moved_to_utc(stored: datetime) -> None:
    """SQLite and MariaDB forget the zone, PostgreSQL may answer in another."""
    result = UtcDateTime().process_result_value(stored, DIALECTS["sqlite"])

    assert result == NOW
    assert result is not None
    assert result.tzinfo is timezone.utc


@pytest.mark.parametrize("convert", ["process_bind_param", "process_result_value"])
def test_no_time_stays_no_time(convert: str) -> None:
    """Null is null, both ways."""
    assert getattr(MysqlUtcDateTime(), convert)(None, DIALECTS["mysql"]) is None


@pytest.mark.parametrize(
    ("kind", "dialect", "ddl"),
    [
        (TIME_TYPE, "sqlite", "DATETIME"),
        (TIME_TYPE, "mysql", "DATETIME(6)"),
        (TIME_TYPE, "pg", "TIMESTAMP WITH TIME ZONE"),
        (UUID_TYPE, "sqlite", "CHAR(32)"),
        (UUID_TYPE, "mysql", "CHAR(32)"),
        (UUID_TYPE, "pg", "UUID"),
    ],
)
def test_each_engine_gets_the_type_that_keeps_all(kind: Any, dialect: str, ddl: str) -> None:
    """Microseconds on MariaDB, a zone on PostgreSQL, one text form of ids everywhere else."""
    assert kind.compile(DIALECTS[dialect]) == ddl


def test_migrations_run_without_this_package() -> None:
    """The types are written into a migration as the plain ones that they store."""
    assert repr(UtcDateTime()) == "DateTime(timezone=True)"
    assert UtcDateTime.__module__ == "sqlalchemy.types"
    assert repr(MysqlUtcDateTime()) == "DATETIME(fsp=6)"
    assert MysqlUtcDateTime.__module__ == "sqlalchemy.dialects.mysql"


# -- Which classes fit -------------------------------------------------------------------------


def test_the_models_of_a_db_are_mapped_once() -> None:
    """Apps made in turn from one SQLAlchemy() share them."""
    db, person = _fresh_db()
    first, second = build_models(db, person), build_models(db, person)

    assert first == second
    assert {table for table in db.metadata.tables if table != "person"} == {
        "device_sessions",
        "device_session_devices",
        "device_session_events",
    }


def test_the_models_join_the_users_database() -> None:
    """A user model on a bind of its own takes the three tables along."""
    db = SQLAlchemy()

    class Member(UserMixin, db.Model):  # type: ignore[name-defined]
        __bind_key__ = "people"
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str]

    models = build_models(db, Member)

    assert {model.__table__.metadata for model in models} == {db.metadatas["people"]}


def test_a_second_user_model_on_one_db_is_refused() -> None:
    """The tables point at one kind of user; the error says what to do."""
    db, person = _fresh_db()
    build_models(db, person)

    class Robot(UserMixin, db.Model):  # type: ignore[name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(ConfigError, match="Person, but this app signs in Robot"):
        build_models(db, Robot)


@pytest.mark.parametrize(
    ("part", "mixin"),
    [("session", DeviceSessionMixin), ("device", DeviceMixin), ("event", SessionEventMixin)],
)
def test_a_class_without_its_mixin_is_refused(part: str, mixin: type[Any]) -> None:
    """The error names the mixin to inherit."""
    db, person = _fresh_db()

    class Stray(db.Model):  # type: ignore[name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(ConfigError, match=f"{part}_model.*{mixin.__name__}"):
        build_models(db, person, **{part: Stray})


def test_a_class_of_another_user_model_is_refused() -> None:
    """A session class that points elsewhere does not fit."""
    db, person = _fresh_db()

    class Robot(UserMixin, db.Model):  # type: ignore[name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)

    class RobotSession(DeviceSessionMixin, db.Model):  # type: ignore[name-defined]
        __user_model__ = Robot

    with pytest.raises(ConfigError, match="RobotSession belongs to the user model Robot"):
        build_models(db, person, RobotSession)


def test_a_model_is_found_by_name_or_is_itself() -> None:
    """A class needs no look-up; a name is looked up on the app's own registry."""
    db, person = _fresh_db()
    assert find_model(db.Model, "Person") is person
    assert find_model(db.Model, person) is person


def test_a_name_that_is_not_mapped_gets_advice() -> None:
    """A model whose module was not imported is the usual reason."""
    db, _ = _fresh_db()

    with pytest.raises(ConfigError, match="Import the module.*USER_MODEL"):
        find_model(db.Model, "User")


def test_the_primary_key_may_have_any_name() -> None:
    """The one primary-key column is found."""
    db = SQLAlchemy()

    class Account(UserMixin, db.Model):  # type: ignore[name-defined]
        number: Mapped[uuid.UUID] = mapped_column("account_no", primary_key=True)

    assert primary_key_of(Account).name == "account_no"


def test_a_composite_primary_key_is_refused() -> None:
    """Sessions point at a user by one column."""
    db = SQLAlchemy()

    class Tenant(UserMixin, db.Model):  # type: ignore[name-defined]
        company: Mapped[int] = mapped_column(primary_key=True)
        number: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(ConfigError, match="primary key of 2 columns"):
        primary_key_of(Tenant)


def test_a_class_that_is_not_mapped_is_refused() -> None:
    """A plain class has no table to point at."""
    with pytest.raises(ConfigError, match="not a mapped class"):
        primary_key_of(object)


# -- An app's own classes ----------------------------------------------------------------------


@pytest.mark.parametrize("is_named", [False, True], ids=["by class", "by name"])
def test_an_app_may_bring_its_own_classes(is_named: bool) -> None:
    """Subclasses of the three mixins, with columns of their own, and another user model."""
    db = SQLAlchemy()

    class Member(UserMixin, db.Model):  # type: ignore[name-defined]
        name: Mapped[str] = mapped_column(primary_key=True)

        def check_password(self, password: str) -> bool:
            return password == "open sesame"

    class Login(DeviceSessionMixin, db.Model):  # type: ignore[name-defined]
        __user_model__ = "Member" if is_named else Member
        __tablename__ = "logins"
        note: Mapped[str] = mapped_column(default="ours")

    class Gadget(DeviceMixin, db.Model):  # type: ignore[name-defined]
        __user_model__ = Member
        __tablename__ = "gadgets"
        trusted: Mapped[bool] = mapped_column(default=False)

    class Happening(SessionEventMixin, db.Model):  # type: ignore[name-defined]
        __user_model__ = Member
        __tablename__ = "happenings"
        severity: Mapped[int] = mapped_column(default=1)

    app = bare_app(DEVICE_SESSIONS_USER_MODEL="Member", DEVICE_SESSIONS_IDENTIFIER_FIELD="name")
    db.init_app(app)
    extension = DeviceSessions(app, session_model=Login, device_model=Gadget, event_model=Happening)
    app.add_url_rule("/whoami", "whoami", lambda: "")
    with app.app_context():
        db.create_all()
        member = Member(name="ali")
        db.session.add(member)
        db.session.commit()

        answer = Browser(app).post("/login", data={"identifier": "ali", "password": "open sesame"})

        assert answer.status_code == 303
        (session,) = extension.sessions_of(member)
        (device,) = extension.devices_of(member)
        assert (type(session), session.note, session.user) == (Login, "ours", member)
        assert (type(device), device.trusted) == (Gadget, False)
        assert session.device is device
        assert {(type(e), e.severity, e.user) for e in extension.events_of(member)} == {
            (Happening, 1, member)
        }
        assert set(db.metadata.tables) == {"member", "logins", "gadgets", "happenings"}


def test_a_session_links_to_its_device(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """``session.device`` and ``session.user`` are objects of the app's own database session."""
    sign_in(laptop)

    (session,) = extension.sessions_of(ada)

    assert session.device is extension.devices_of(ada)[0]
    assert session.user is ada
    assert sa.inspect(session.device).session is extension.database_session()


def test_a_dataclass_base_is_refused_with_advice() -> None:
    """What would fail deep inside SQLAlchemy is said in words."""

    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Database:
        Model = Base

    with pytest.raises(ConfigError, match="MappedAsDataclass beside db.Model"):
        build_models(Database(), User)
