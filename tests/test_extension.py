"""``DeviceSessions``: putting it into an app, its verbs, and what a request costs."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask, abort, g, url_for
from flask_login import LoginManager, UserMixin, current_user
from flask_login.signals import user_logged_out
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug import security

from flask_device_sessions import (
    ConfigError,
    DeviceSessions,
    DeviceSessionsError,
    SchemaError,
    allow_anonymous,
    current_session,
    device_first_seen,
    session_confirmed,
    session_ended,
    session_rotated,
    session_started,
)
from flask_device_sessions.testing import Browser, DeviceSessionFactory, listen_to
from flask_device_sessions.testing import login as sign_in_without_password
from tests.support import (
    PASSWORD,
    User,
    add_user,
    add_views,
    bare_app,
    db,
    hash_of,
    jar_of,
    make_app,
    replay,
    sign_in,
    statements,
    who,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)


def _kinds(seen: list[str]) -> list[str]:
    """Return the first word of each statement."""
    return [statement.split()[0] for statement in seen]


# -- Putting it into an app ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ({"SECRET_KEY": None}, "SECRET_KEY is missing.*secrets.token_hex"),
        ({"SECRET_KEY": ""}, "SECRET_KEY is missing"),
        ({"SECRET_KEY": "0123456789abcde", "TESTING": False}, "SECRET_KEY has 15 bytes"),
        ({"SECRET_KEY": b"0123456789abcde", "TESTING": False}, "at least 16"),
        ({"DEVICE_SESSIONS_LIFETIM": timedelta(1)}, "LIFETIM is not a setting.*Mistyped"),
        ({"DEVICE_SESSIONS_LIFETIME": 30}, "LIFETIME must be a positive timedelta"),
        ({"DEVICE_SESSIONS_USER_MODEL": "Usr"}, "no model named 'Usr'.*USER_MODEL"),
        ({"DEVICE_SESSIONS_IDENTIFIER_FIELD": "login"}, "no attribute 'login'.*IDENTIFIER_FIELD"),
    ],
)
def test_an_app_that_cannot_work_does_not_start(config: dict[str, Any], advice: str) -> None:
    """The error says what to change (ASVS V13.3.1 for the key)."""
    with pytest.raises(ConfigError, match=advice):
        make_app(**config)


@pytest.mark.parametrize("mode", [{"TESTING": True}, {"DEBUG": True, "TESTING": False}])
@pytest.mark.parametrize("key", ["short", b"short"])
def test_a_short_secret_key_is_fine_where_nothing_is_at_stake(
    mode: dict[str, Any], key: str | bytes
) -> None:
    """In debug and in testing, "dev" will do."""
    app = make_app(SECRET_KEY=key, **mode)

    assert "device_sessions" in app.extensions


def test_sixteen_bytes_of_secret_key_are_enough() -> None:
    """Counted in bytes, not in characters: 128 bits."""
    app = make_app(SECRET_KEY="ä" * 8, TESTING=False)

    assert "device_sessions" in app.extensions


def test_a_second_instance_is_refused() -> None:
    """Two would both write cookies; the error says to use the first."""
    app = make_app()

    with pytest.raises(ConfigError, match="has a DeviceSessions already"):
        DeviceSessions(app)


def test_flask_sqlalchemy_comes_first() -> None:
    """Without it on the app, the order is the likely mistake."""
    with pytest.raises(ConfigError, match=r"db\.init_app\(app\) before"):
        DeviceSessions(bare_app())


def test_unknown_arguments_are_refused() -> None:
    """A mistyped argument of init_app() is not ignored."""
    with pytest.raises(TypeError, match="user_modell"):
        DeviceSessions().init_app(bare_app(), user_modell=User)


def test_a_mailer_that_cannot_be_called_is_refused() -> None:
    """Nobody waits for mails that never come."""
    mailer: Any = "mailer"
    app = bare_app()
    db.init_app(app)

    with pytest.raises(ConfigError, match="mailer= must be a callable"):
        DeviceSessions(app, mailer=mailer)


def test_a_user_model_with_two_key_columns_is_refused() -> None:
    """Sessions point at a user by one column."""
    own = SQLAlchemy()

    class Tenant(UserMixin, own.Model):  # type: ignore[name-defined]
        company: Mapped[int] = mapped_column(primary_key=True)
        number: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str]

    app = bare_app()
    own.init_app(app)

    with pytest.raises(ConfigError, match="Tenant has a primary key of 2 columns"):
        DeviceSessions(app, user_model=Tenant)


def test_a_user_model_without_user_mixin_is_refused() -> None:
    """Flask-Login could not use it."""
    own = SQLAlchemy()

    class Bare(own.Model):  # type: ignore[name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str]

    app = bare_app()
    own.init_app(app)

    with pytest.raises(ConfigError, match="let it inherit flask_login.UserMixin"):
        DeviceSessions(app, user_model=Bare)


def test_a_session_model_that_does_not_fit_is_refused() -> None:
    """A class without the mixin has not the columns."""
    app = bare_app()
    db.init_app(app)

    with pytest.raises(ConfigError, match="session_model must be a class that inherits"):
        DeviceSessions(app, session_model=User)


def test_a_refused_app_is_left_as_it_was() -> None:
    """After the mistake is mended, the same app can be started."""
    app = bare_app(DEVICE_SESSIONS_LIFETIME=30)
    db.init_app(app)
    with pytest.raises(ConfigError):
        DeviceSessions(app)
    app.config["DEVICE_SESSIONS_LIFETIME"] = timedelta(days=1)

    extension = DeviceSessions(app)

    assert app.extensions["device_sessions"] is extension


# -- Apps apart ----------------------------------------------------------------------------------


def test_one_instance_serves_many_apps_each_with_its_own_settings() -> None:
    """The factory pattern: nothing of an app is kept on the instance."""
    extension = DeviceSessions()
    one, two = bare_app(DEVICE_SESSIONS_MAX_PER_USER=1), bare_app(DEVICE_SESSIONS_MAX_PER_USER=2)
    for app in (one, two):
        db.init_app(app)
        extension.init_app(app)

    with one.app_context():
        first = extension.settings.max_per_user
    with two.app_context():
        second = extension.settings.max_per_user

    assert (first, second) == (1, 2)


def test_arguments_of_init_app_win() -> None:
    """What the constructor was given holds for the apps that say nothing else."""
    app = bare_app()
    extension = DeviceSessions(user_model=int)

    extension.init_app(app, db=_with_user_on(app), user_model=User)

    assert app.extensions["device_sessions"] is extension


def _with_user_on(app: Flask) -> SQLAlchemy:
    db.init_app(app)
    return db


def test_an_instance_of_another_app_says_so() -> None:
    """Using it where it was not initialised is a mistake with a name."""
    stray = DeviceSessions()

    with make_app().app_context(), pytest.raises(ConfigError, match="call init_app"):
        _ = stray.settings


@pytest.mark.connections
def test_apps_made_in_turn_from_one_db_do_not_meet(schema: Any) -> None:
    """As a test suite does it: the same tables, other settings, no state left over."""
    names = []
    for number in range(3):
        app = make_app(schema.uri, DEVICE_SESSIONS_COOKIE_NAME=f"sid{number}")
        with app.app_context():
            add_user(f"{number}@example.com")
            browser = Browser(app)
            sign_in(browser, f"{number}@example.com")
            names.append((sorted(jar_of(browser)), who(browser)))
            for table in reversed(db.metadata.sorted_tables):
                db.session.execute(table.delete())
            db.session.commit()

    assert names == [
        ([f"sid{number}", f"sid{number}_browser"], f"{number}@example.com") for number in range(3)
    ]


@pytest.mark.parametrize("manager", ["none", "before", "after"])
@pytest.mark.parametrize("key", [int, uuid.UUID, str])
@pytest.mark.parametrize("is_factory", [True, False], ids=["factory", "plain"])
def test_a_new_users_app_runs(key: type[Any], is_factory: bool, manager: str) -> None:
    """int, UUID and str keys; with and without the factory pattern and a LoginManager."""
    app, user_model, extension = _small_app(key, is_factory, manager)
    with app.app_context():
        browser, other = Browser(app), Browser(app)

        answer = browser.post("/login", data={"identifier": "ada", "password": PASSWORD})

        user = extension.database_session.scalars(sa.select(user_model)).one()
        assert answer.status_code == 303
        assert browser.get("/me").text == str(user.id)
        assert other.get("/me").text == "nobody"
        assert extension.sessions_of(user)[0].user_id == user.id
        assert browser.get("/devices/").status_code == 200
        browser.post("/logout")
        assert browser.get("/me").text == "nobody"


@pytest.mark.parametrize("key", [int, uuid.UUID, str])
def test_the_limit_page_works_with_every_kind_of_key(key: type[Any]) -> None:
    """The ticket names the person by their key, whatever that is."""
    app, user_model, extension = _small_app(
        key, DEVICE_SESSIONS_MAX_PER_USER=1, DEVICE_SESSIONS_LIMIT_POLICY="refuse"
    )
    with app.app_context():
        form = {"identifier": "ada", "password": PASSWORD}
        Browser(app).post("/login", data=form)
        browser = Browser(app)
        page = browser.post("/login", data=form).text
        user = extension.database_session.scalars(sa.select(user_model)).one()
        (held,) = extension.sessions_of(user)
        ticket = page.partition('name="ticket" value="')[2].partition('"')[0]

        browser.post("/login", data={"ticket": ticket, "end_session": str(held.id)})

        assert browser.get("/me").text == str(user.id)


_KEY_TYPES: dict[type[Any], Any] = {int: sa.Integer, uuid.UUID: sa.Uuid, str: sa.String(50)}


def _small_app(
    key: type[Any], is_factory: bool = False, manager: str = "none", **config: Any
) -> tuple[Flask, Any, DeviceSessions]:
    """Return an app as the README shows one, with a user whose key is of this type."""
    own = SQLAlchemy()

    class Account(UserMixin, own.Model):  # type: ignore[name-defined]
        id = mapped_column(_KEY_TYPES[key], primary_key=True)
        name: Mapped[str]
        password_hash: Mapped[str]

        def check_password(self, password: str) -> bool:
            return security.check_password_hash(self.password_hash, password)

    app = bare_app(
        DEVICE_SESSIONS_USER_MODEL="Account", DEVICE_SESSIONS_IDENTIFIER_FIELD="name", **config
    )
    own.init_app(app)
    login_manager = LoginManager()
    if manager == "before":
        login_manager.init_app(app)
    extension = DeviceSessions() if is_factory else DeviceSessions(app)
    if is_factory:
        extension.init_app(app)
    if manager == "after":
        login_manager.init_app(app)
    app.add_url_rule("/me", "me", lambda: current_user.get_id() or "nobody")
    with app.app_context():
        own.create_all()
        keys: dict[Any, Any] = {int: 7, uuid.UUID: uuid.uuid4(), str: "ada/lovelace"}
        own.session.add(Account(id=keys[key], name="ada", password_hash=hash_of(PASSWORD)))
        own.session.commit()
    return app, Account, extension


@pytest.mark.parametrize(
    ("prefix", "path"), [(None, "/login"), ("/account", "/account/login"), ("/", "/login")]
)
def test_the_pages_live_under_the_prefix(prefix: str | None, path: str) -> None:
    """URL_PREFIX moves all of them."""
    app = make_app(DEVICE_SESSIONS_URL_PREFIX=prefix)

    with app.test_request_context():
        assert url_for("device_sessions.login") == path
    assert Browser(app).get(path).status_code == 200


def test_pages_can_be_left_out() -> None:
    """PAGES off registers none; the verbs work all the same."""
    app = make_app(DEVICE_SESSIONS_PAGES=False)

    rules = app.url_map.iter_rules()
    assert not [rule for rule in rules if rule.endpoint.startswith("device_sessions.")]
    assert Browser(app).get("/login").status_code == 404


# -- REQUIRE_LOGIN -------------------------------------------------------------------------------


def _closed_app(**config: Any) -> Flask:
    """Return an app in which every view needs a session."""
    app = bare_app(DEVICE_SESSIONS_REQUIRE_LOGIN=True, **config)
    db.init_app(app)
    LoginManager(app)
    DeviceSessions(app)
    add_views(app)
    app.add_url_rule("/about", "about", allow_anonymous(lambda: "about"))
    app.add_url_rule("/signin", "signin", lambda: "sign in here")
    return app


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/open", 302),
        ("/about", 200),
        ("/login", 200),
        ("/devices/", 302),
        ("/device-sessions/static/device_sessions.css", 200),
        ("/static/missing.css", 404),
        ("/no-such-page", 404),
    ],
)
def test_require_login_closes_every_view_that_does_not_say_otherwise(
    path: str, status: int
) -> None:
    """Static files, our login page and what is marked stay open; unknown pages stay unknown."""
    answer = Browser(_closed_app()).get(path)
    answer.close()

    assert answer.status_code == status


@pytest.mark.parametrize("login_view", ["signin", "/signin"], ids=["endpoint", "path"])
def test_require_login_leaves_the_apps_own_login_view_open(login_view: str) -> None:
    """However Flask-Login was told where it is; else people would be sent round in circles."""
    app = _closed_app()
    app.login_manager.login_view = login_view  # type: ignore[attr-defined]
    browser = Browser(app)

    sent_to = browser.get("/open").location
    page = browser.get("/signin")

    assert sent_to == "/signin?next=%2Fopen"
    assert (page.status_code, page.text) == (200, "sign in here")


def test_require_login_leaves_the_login_views_of_blueprints_open() -> None:
    """A blueprint's own login view is one, too."""
    app = _closed_app()
    app.login_manager.blueprint_login_views = {"shop": "signin"}  # type: ignore[attr-defined]

    assert Browser(app).get("/signin").status_code == 200


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_REQUIRE_LOGIN": True}])
def test_require_login_lets_people_in_who_signed_in(app: Flask, ada: User, laptop: Browser) -> None:
    """And remembers where they wanted to go."""
    sent_to = laptop.get("/open").location
    sign_in(laptop)

    assert sent_to == "/login?next=%2Fopen"
    assert laptop.get("/open").text == "open"


# -- Who is calling, from the first function on --------------------------------------------------


@pytest.mark.connections
def test_functions_registered_before_the_extension_know_the_user(schema: Any) -> None:
    """Whatever runs before a request may ask who is calling."""
    app = bare_app(schema.uri)
    asked: list[Any] = []
    app.before_request(lambda: asked.append((current_user.is_authenticated, bool(current_session))))
    db.init_app(app)
    DeviceSessions(app)
    with app.app_context():
        user = add_user("early@example.com")
        browser = Browser(app)
        sign_in_without_password(browser, user)

        browser.get("/login")

        assert asked == [(True, True)]
        db.session.delete(user)
        db.session.commit()


def test_an_answer_without_a_visit_is_left_alone(app: Flask) -> None:
    """Nothing of ours ran before it, so nothing is written on it."""
    with app.test_request_context():
        response = app.process_response(app.make_response("bare"))

    assert "Set-Cookie" not in response.headers
    assert "Cache-Control" not in response.headers


# -- What a request costs ------------------------------------------------------------------------


def test_the_steady_state_is_one_select(app: Flask, ada: User, laptop: Browser) -> None:
    """With ``current_user`` and ``g.current_session`` used: 1 SELECT, 0 writes, 0 Set-Cookie."""
    sign_in(laptop)

    with statements(app) as seen:
        answer = laptop.get("/whoami")

    assert answer.json is not None
    assert answer.json["user"] == ada.email
    assert _kinds(seen) == ["SELECT"]
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/open", "/whoami", "/login", "/no-such-page"])
def test_a_stranger_costs_no_sql(app: Flask, laptop: Browser, path: str) -> None:
    """No cookie, no statement, no cookie set."""
    with statements(app) as seen:
        answer = laptop.get(path)

    assert seen == []
    assert "Set-Cookie" not in answer.headers


def test_a_static_file_costs_no_sql(app: Flask, ada: User, laptop: Browser) -> None:
    """Even for somebody who is signed in, and it may be cached."""
    sign_in(laptop)

    with statements(app) as seen:
        answer = laptop.get("/device-sessions/static/device_sessions.css")
    answer.close()

    assert seen == []
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert "no-store" not in answer.headers["Cache-Control"]


def test_a_touch_is_one_update_and_one_commit_more(app: Flask, ada: User, laptop: Browser) -> None:
    """Once per TOUCH_INTERVAL, and then not again."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        clock.shift(timedelta(minutes=6))
        with statements(app) as touched:
            answer = laptop.get("/whoami")
        with statements(app) as again:
            laptop.get("/whoami")

    assert _kinds(touched) == ["SELECT", _update_word(app), "COMMIT"]
    assert "last_active_at" in touched[1]
    assert "Set-Cookie" not in answer.headers
    assert _kinds(again) == ["SELECT"]


def _update_word(app: Flask) -> str:
    """Return how an UPDATE that must not wait begins on this engine."""
    return "SET" if "mysql" in app.config["SQLALCHEMY_DATABASE_URI"] else "UPDATE"


@pytest.mark.parametrize("before", [0, 1, 4])
def test_a_sign_in_is_at_most_eight_statements_and_one_commit(
    app: Flask, ada: User, laptop: Browser, before: int
) -> None:
    """The form, from the password check to the cookie, however often they signed in before."""
    for _ in range(before):
        sign_in(Browser(app))

    with statements(app) as seen:
        answer = sign_in(laptop)

    assert answer.status_code == 303
    assert seen.count("COMMIT") == 1
    assert len(seen) - 1 <= 8


@pytest.mark.parametrize("config", [{"DEVICE_SESSIONS_MAX_PER_USER": None}])
@pytest.mark.parametrize("verb", ["revoke_others", "revoke_all"])
def test_ending_many_is_one_update_and_one_insert(
    app: Flask, extension: DeviceSessions, ada: User, verb: str
) -> None:
    """The same statements for one session and for twelve."""
    counts = []
    for number in (1, 12):
        for _ in range(number):
            sign_in_without_password(Browser(app), ada)
        user = db.session.get(User, ada.id)
        db.session.commit()
        with statements(app) as seen:
            ended = getattr(extension, verb)(user)
        ending = [s for s in seen if s.startswith("UPDATE") and "SET ended_at" in s]
        inserts = [s for s in seen if s.startswith("INSERT")]
        counts.append((ended, len(ending), len(inserts), seen.count("COMMIT"), len(seen)))

    assert [count[:4] for count in counts] == [(1, 1, 1, 1), (12, 1, 1, 1)]
    assert counts[0][4] == counts[1][4]


def test_importing_the_package_does_not_load_the_user_agent_tables() -> None:
    """They cost more than the rest of the package, and most processes need them once."""
    code = (
        "import sys, flask_device_sessions, flask_device_sessions.extension; "
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in "
        "('user_agents', 'ua_parser', 'factory')))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"


# -- authenticate --------------------------------------------------------------------------------


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the password hashes that are computed."""
    seen: list[str] = []
    original = security._hash_internal

    def compute(method: str, salt: str, password: str) -> Any:
        seen.append(method)
        return original(method, salt, password)

    monkeypatch.setattr(security, "_hash_internal", compute)
    return seen


def _people() -> None:
    add_user("first@example.com")
    add_user("ada@example.com")
    add_user("off@example.com", is_enabled=False)
    add_user("sso@example.com", password_hash=None)
    db.session.commit()


@pytest.mark.parametrize(
    ("identifier", "password"),
    [
        ("nobody@example.com", PASSWORD),
        ("ada@example.com", "wrong"),
        ("off@example.com", PASSWORD),
        ("off@example.com", "wrong"),
        ("sso@example.com", PASSWORD),
        ("\x00\ud800nobody", PASSWORD),
        ("x" * 100_000, PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ("ada@example.com", "x" * 4096),
        ("ada@example.com", "\x00"),
    ],
)
def test_every_refusal_costs_the_same(
    app: Flask,
    extension: DeviceSessions,
    context: None,
    hashes: list[str],
    identifier: str,
    password: str,
) -> None:
    """Unknown, wrong, disabled, without a password: as many statements, one hash (ASVS V6.3.8)."""
    _people()
    del hashes[:]

    with statements(app) as seen:
        user = extension.authenticate(identifier, password)

    assert user is None
    assert _kinds(seen) in (
        ["SELECT", "SELECT", "SELECT", "INSERT", "COMMIT"],
        ["SELECT", "UPDATE", "SELECT", "INSERT", "COMMIT"],  # SQLite's way to lock
    )
    assert len(hashes) == 1


def test_the_right_password_costs_as_much_as_a_wrong_one(
    app: Flask, extension: DeviceSessions, context: None, hashes: list[str]
) -> None:
    """One statement and one hash (ASVS V6.3.8)."""
    _people()
    del hashes[:]

    with statements(app) as seen:
        user = extension.authenticate(" ada@example.com\x00", PASSWORD)

    assert user is not None
    assert user.email == "ada@example.com"
    assert _kinds(seen) == ["SELECT"]
    assert len(hashes) == 1


def test_a_table_without_people_costs_a_hash_too(
    app: Flask, extension: DeviceSessions, context: None, hashes: list[str]
) -> None:
    """The first account cannot be told from none (ASVS V6.3.8)."""
    extension.authenticate("anybody", "warm up the hash of nobody")
    del hashes[:]

    assert extension.authenticate("anybody", PASSWORD) is None
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("identifier", "password"),
    [
        ("ada@example.com", "x" * 4097),
        ("ada@example.com", "ä" * 2049),
        ("ada@example.com", ""),
        ("", PASSWORD),
        ("\x00\x01", PASSWORD),
        (None, PASSWORD),
        ("ada@example.com", None),
        (["ada@example.com"], PASSWORD),
        ({"$ne": ""}, {"$ne": ""}),
        (7, 7),
        (b"ada@example.com", b"bytes"),
        (True, True),
    ],
)
def test_what_cannot_be_a_password_is_refused_at_once(
    app: Flask,
    extension: DeviceSessions,
    ada: User,
    hashes: list[str],
    identifier: Any,
    password: Any,
) -> None:
    """No SQL and no hash for what is no text, empty, or above 4096 bytes (ASVS V6.2.9)."""
    del hashes[:]

    with statements(app) as seen:
        user = extension.authenticate(identifier, password)

    assert user is None
    assert seen == []
    assert hashes == []


@pytest.mark.parametrize("identifier", ["ada@example.com", "nobody@example.com"])
def test_a_password_that_no_encoding_can_write_is_wrong(
    extension: DeviceSessions, ada: User, identifier: str
) -> None:
    r"""JSON can bring a lone surrogate ("\ud800"): it is a wrong password, not an error."""
    assert extension.authenticate(identifier, "\ud800") is None


def test_an_authenticator_of_one_parameter_finds_the_account(
    extension: DeviceSessions, ada: User
) -> None:
    """The password is checked here as always."""

    @extension.authenticator
    def find(identifier: str) -> Any:
        return db.session.scalar(sa.select(User).where(User.email == f"{identifier}@example.com"))

    assert extension.authenticate("ada", PASSWORD) is ada
    assert extension.authenticate("ada", "wrong") is None
    assert extension.authenticate("bob", PASSWORD) is None


def test_an_authenticator_of_two_parameters_decides_by_itself(
    app: Flask, extension: DeviceSessions, ada: User, hashes: list[str]
) -> None:
    """As for a directory server; only a disabled user is still refused."""
    del hashes[:]

    @extension.authenticator
    def ask_the_directory(identifier: str, password: str) -> Any:
        return db.session.get(User, ada.id) if password == f"{identifier}!" else None

    accepted = extension.authenticate("ada", "ada!")
    refused = extension.authenticate("ada", PASSWORD)
    ada.is_enabled = False
    db.session.commit()

    assert (accepted, refused) == (ada, None)
    assert extension.authenticate("ada", "ada!") is None
    assert hashes == []


def test_who_decides_by_themselves_also_confirms(
    app: Flask, extension: DeviceSessions, laptop: Browser, ada: User
) -> None:
    """The password that signed in is the one that is asked for again, also without a hash here."""

    @extension.authenticator
    def ask_the_directory(identifier: str, password: str) -> Any:
        is_right = identifier == "ada@example.com" and password == "in the directory"
        return db.session.get(User, ada.id) if is_right else None

    @app.post("/again")
    def again() -> dict[str, bool]:
        return {"is_right": extension.confirm("in the directory")}

    sign_in(laptop, password="in the directory")

    assert laptop.post("/again").json == {"is_right": True}


def test_a_user_model_without_a_password_check_gets_advice(app: Flask) -> None:
    """The error names the method to add, and the way without one."""
    own = SQLAlchemy()

    class Guest(UserMixin, own.Model):  # type: ignore[name-defined]
        id: Mapped[int] = mapped_column(primary_key=True)
        email: Mapped[str]

    small = bare_app()
    own.init_app(small)
    extension = DeviceSessions(small, user_model=Guest)
    with small.app_context():
        own.create_all()
        own.session.add(Guest(email="guest@example.com"))
        own.session.commit()

        with pytest.raises(ConfigError, match=r"check_password\(password\).*authenticator"):
            extension.authenticate("guest@example.com", PASSWORD)


def test_a_missing_user_table_is_named_as_what_it_is() -> None:
    """Asking a database without tables is an error with advice, and the session stays usable."""
    app = make_app()
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        with pytest.raises(SchemaError, match="flask db upgrade"):
            extension.authenticate("ada@example.com", PASSWORD)

        assert db.session.scalar(sa.text("SELECT 1")) == 1


# -- login and logout ----------------------------------------------------------------------------


Act = Callable[[], Any]


def _view(app: Flask, name: str, act: Act) -> str:
    """Add a view for POST; return its path."""

    def view() -> dict[str, Any]:
        return {"result": act(), "user": current_user.is_authenticated}

    app.add_url_rule(f"/{name}", name, view, methods=["POST"])
    return f"/{name}"


def test_login_needs_a_request(extension: DeviceSessions, ada: User) -> None:
    """Outside of one, the error says what to use in tests."""
    with pytest.raises(DeviceSessionsError, match=r"testing\.login\(client, user\)"):
        extension.login(ada)
    with pytest.raises(DeviceSessionsError, match="needs a request"):
        extension.end_current()


def test_login_makes_everything_current_at_once(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """In the same request: the session, the user, and how they proved who they are."""

    def act() -> Any:
        session = extension.login(db.session.get(User, ada.id), method="passkey" + "x" * 99)
        is_same = session is g.current_session is current_session._get_current_object()
        return [is_same, session.is_current, session.user == current_user, session.auth_method]

    answer = laptop.post(_view(app, "enter", act))

    assert answer.json == {"result": [True, True, True, ("passkey" + "x" * 99)[:32]], "user": True}


def test_login_takes_current_user_itself(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """``login(current_user)``, as an app does that renews a session, means the person."""
    path = _view(app, "again", lambda: str(extension.login(current_user).user_id))
    sign_in(laptop)

    answer = laptop.post(path)

    assert answer.json == {"result": str(ada.id), "user": True}
    assert who(laptop) == ada.email


def test_logging_in_again_replaces_the_session_of_this_browser(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """One browser, one session; the old credential is dead (ASVS V7.2.4)."""
    sign_in(laptop)
    before = jar_of(laptop)
    sign_in(laptop)

    assert who(replay(app, before)) is None
    assert len(extension.sessions_of(ada)) == 1
    assert [s.end_reason for s in extension.sessions_of(ada, ended=True)] == ["replaced"]


def test_another_account_in_the_same_browser_ends_the_first_ones_session(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Its cookie is lost to the browser, so nobody may keep it (ASVS V7.4.1)."""
    bob = add_user("bob@example.com")
    sign_in(laptop)
    adas_jar = jar_of(laptop)

    sign_in(laptop, "bob@example.com")

    assert who(laptop) == bob.email
    assert who(replay(app, adas_jar)) is None
    assert extension.sessions_of(ada) == []
    assert [s.end_reason for s in extension.sessions_of(ada, ended=True)] == ["replaced"]


def test_one_browser_is_a_device_of_each_person(
    extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Rows are per person and browser: nobody sees another's."""
    bob = add_user("bob@example.com")
    for email in ("ada@example.com", "bob@example.com", "ada@example.com"):
        sign_in(laptop, email)

    assert len(extension.devices_of(ada)) == len(extension.devices_of(bob)) == 1
    assert extension.devices_of(ada)[0].id != extension.devices_of(bob)[0].id


def test_logout_ends_the_session_for_the_rest_of_the_request(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """It says whether there was one."""
    path = _view(
        app, "leave", lambda: [extension.logout(), extension.logout(), bool(current_session)]
    )
    sign_in(laptop)

    answer = laptop.post(path)

    assert answer.json == {"result": [1, 0, False], "user": False}
    assert "device_session" not in jar_of(laptop)


@pytest.mark.connections
@pytest.mark.parametrize("limits", [{"ada@example.com": 1, "bob@example.com": None}])
def test_the_limit_may_depend_on_the_person(schema: Any, limits: dict[str, int | None]) -> None:
    """MAX_PER_USER as a callable is asked for each."""
    app = make_app(schema.uri, DEVICE_SESSIONS_MAX_PER_USER=lambda user: limits[user.email])
    extension: DeviceSessions = app.extensions["device_sessions"]
    with app.app_context():
        people = [add_user(email) for email in limits]
        for user in people:
            for _ in range(7):
                sign_in_without_password(Browser(app), user)

        counts = [len(extension.sessions_of(user)) for user in people]

        assert counts == [1, 7]
        for user in people:
            db.session.delete(user)
        db.session.commit()


# -- Ending --------------------------------------------------------------------------------------


@pytest.fixture
def three(app: Flask, ada: User) -> list[Browser]:
    """Three browsers that ada is signed in with."""
    browsers = [Browser(app, ip=f"192.0.2.{number}") for number in (1, 2, 3)]
    for browser in browsers:
        sign_in_without_password(browser, ada)
    return browsers


def test_revoke_ends_one_session_once(
    extension: DeviceSessions, ada: User, three: list[Browser]
) -> None:
    """The second call finds nothing to end, and the reason stays."""
    session = extension.sessions_of(ada)[0]

    first, second = extension.revoke(session, reason="admin"), extension.revoke(session)

    assert (first, second) == (1, 0)
    assert session.end_reason == "admin"
    assert len(extension.sessions_of(ada)) == 2


def test_a_reason_that_is_none_is_refused(
    extension: DeviceSessions, ada: User, three: list[Browser]
) -> None:
    """Else the page could not say why."""
    session = extension.sessions_of(ada)[0]

    with pytest.raises(ValueError, match="reason must be one of logout, revoked"):
        extension.revoke(session, reason="because")


def test_revoke_device_ends_what_runs_there(
    extension: DeviceSessions, ada: User, three: list[Browser]
) -> None:
    """All of it, and nothing else."""
    device = extension.sessions_of(ada)[0].device

    assert extension.revoke_device(device) == 1
    assert extension.revoke_device(device) == 0
    assert len(extension.sessions_of(ada)) == 2


def test_revoke_others_spares_the_current_session_only_of_its_owner(
    app: Flask, extension: DeviceSessions, ada: User, three: list[Browser], laptop: Browser
) -> None:
    """In a request it keeps this one; for another person, or in a script, it keeps none."""
    bob = add_user("bob@example.com")
    sign_in_without_password(laptop, bob)
    mine = _view(app, "others", lambda: extension.revoke_others())
    of_bob = _view(app, "bobs", lambda: extension.revoke_others(db.session.get(User, bob.id)))

    assert three[0].post(mine).json == {"result": 2, "user": True}
    assert three[0].post(of_bob).json == {"result": 1, "user": True}
    assert [who(browser) for browser in three] == [ada.email, None, None]
    assert who(laptop) is None
    assert extension.revoke_others(ada) == 1


def test_revoke_others_of_nobody_is_nothing(
    app: Flask, extension: DeviceSessions, ada: User, three: list[Browser]
) -> None:
    """A stranger ends no sessions."""
    path = _view(app, "others", lambda: extension.revoke_others())

    assert Browser(app).post(path).json == {"result": 0, "user": False}
    assert len(extension.sessions_of(ada)) == 3


def test_revoke_all_ends_the_current_one_too(
    app: Flask, extension: DeviceSessions, ada: User, three: list[Browser]
) -> None:
    """The caller is a stranger for the rest of the request."""
    path = _view(app, "all", lambda: extension.revoke_all(current_user))

    assert three[0].post(path).json == {"result": 3, "user": False}
    assert [who(browser) for browser in three] == [None] * 3


def test_revoke_everyone_ends_everybody(
    app: Flask, extension: DeviceSessions, ada: User, three: list[Browser], laptop: Browser
) -> None:
    """Every person's sessions, by an administrator (ASVS V7.4.5)."""
    bob = add_user("bob@example.com")
    sign_in(laptop, bob.email)

    assert extension.revoke_everyone() == 4
    assert extension.revoke_everyone() == 0
    assert who(laptop) is None
    assert {s.end_reason for s in extension.sessions_of(ada, ended=True)} == {"admin"}


def test_revoke_everyone_does_not_stop_at_someone_deleted(
    extension: DeviceSessions, ada: User, laptop: Browser, phone: Browser
) -> None:
    """Rows left by a bulk delete, as SQLite leaves them, keep nobody else in (ASVS V7.4.5)."""
    bob = add_user("bob@example.com")
    sign_in(laptop)
    sign_in(phone, bob.email)
    db.session.execute(sa.delete(User).where(User.id == ada.id))
    db.session.commit()

    assert extension.revoke_everyone() == 1
    assert who(phone) is None


def test_a_changed_password_ends_everything_else(
    app: Flask, extension: DeviceSessions, ada: User, three: list[Browser]
) -> None:
    """The session in which it was changed stays, with a new secret (ASVS V7.4.3, V7.2.4)."""
    path = _view(app, "changed", lambda: extension.password_changed(current_user))
    before = jar_of(three[0])

    answer = three[0].post(path)

    assert answer.json == {"result": 2, "user": True}
    assert [who(browser) for browser in three] == [ada.email, None, None]
    assert who(replay(app, before)) is None
    reasons = {s.end_reason for s in extension.sessions_of(ada, ended=True)}
    assert reasons == {"password_changed"}


@pytest.mark.parametrize("by", ["script", "somebody else"])
def test_a_password_changed_from_elsewhere_ends_every_session(
    app: Flask, extension: DeviceSessions, ada: User, three: list[Browser], laptop: Browser, by: str
) -> None:
    """A script, or an administrator's session, is none of the person's (ASVS V7.4.3)."""
    if by == "script":
        ended = extension.password_changed(ada)
    else:
        add_user("bob@example.com")
        change = lambda: extension.password_changed(db.session.get(User, ada.id))  # noqa: E731
        path = _view(app, "changed", change)
        sign_in(laptop, "bob@example.com")
        ended = (laptop.post(path).json or {})["result"]

    assert ended == 3
    assert [who(browser) for browser in three] == [None] * 3


@pytest.mark.parametrize(("password", "is_right"), [(PASSWORD, True), ("wrong", False)])
def test_confirm_renews_only_for_the_right_password(
    app: Flask,
    extension: DeviceSessions,
    ada: User,
    laptop: Browser,
    password: str,
    is_right: bool,
) -> None:
    """Right: fresh again, with a new secret; wrong: nothing changes (ASVS V7.2.4, V7.5.3)."""
    path = _view(app, "confirm-it", lambda: [extension.confirm(password), extension.is_fresh()])
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        before = jar_of(laptop)
        clock.shift(timedelta(minutes=11))

        answer = laptop.post(path)

        assert answer.json == {"result": [is_right, is_right], "user": True}
        assert (who(replay(app, before)) is None) is is_right
        assert who(laptop) == ada.email


@pytest.mark.parametrize("password", [PASSWORD, "x" * 4097, "", None])
def test_confirm_of_a_stranger_is_false(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, password: Any
) -> None:
    """There is nobody whose password it could be."""
    path = _view(app, "confirm-it", lambda: extension.confirm(password))

    assert laptop.post(path).json == {"result": False, "user": False}


def test_a_session_that_ended_meanwhile_is_not_renewed(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Between the look-up and the confirmation another device may have ended it (ASVS V7.4.1)."""

    def act() -> Any:
        table = extension.session_model.__table__
        with db.engine.begin() as elsewhere:
            elsewhere.execute(sa.update(table).values(ended_at=NOON, end_reason="revoked"))
        return extension.renew_current()

    path = _view(app, "late", act)
    sign_in(laptop)
    before = jar_of(laptop)

    answer = laptop.post(path)

    assert answer.json is not None
    assert answer.json["result"] is False
    assert who(laptop) is None
    assert who(replay(app, before)) is None


# -- Looking -------------------------------------------------------------------------------------


def test_lists_are_newest_first(
    app: Flask, extension: DeviceSessions, ada: User, three: list[Browser]
) -> None:
    """Sessions by activity, ended ones by their end, devices by last sight, events by time."""
    three[0].post("/logout")
    live, ended = extension.sessions_of(ada), extension.sessions_of(ada, ended=True)
    devices, events = extension.devices_of(ada), extension.events_of(ada)

    assert [s.ip_address for s in live] == ["192.0.2.3", "192.0.2.2"]
    assert [s.ip_address for s in ended] == ["192.0.2.1"]
    assert len(devices) == 3
    assert devices == sorted(devices, key=lambda device: device.last_seen_at, reverse=True)
    assert [event.action for event in events[:2]] == ["session_ended", "session_started"]
    assert extension.recently_ended(ada, 0) == []


@pytest.mark.parametrize("trait", ["expired", "idle", "ended"])
def test_a_list_of_sessions_holds_those_that_still_work(
    extension: DeviceSessions, ada: User, trait: str
) -> None:
    """Expired, idle and ended ones are not signed in."""
    DeviceSessionFactory.create(user_id=ada.id, **{trait: True})
    live: Any = DeviceSessionFactory.create(user_id=ada.id)

    assert extension.sessions_of(ada) == [live]


@pytest.mark.parametrize(
    "config", [{"DEVICE_SESSIONS_IDLE_TIMEOUT": None, "DEVICE_SESSIONS_LIFETIME": None}]
)
def test_without_limits_a_session_stays_in_the_list(extension: DeviceSessions, ada: User) -> None:
    """No idle limit, no end."""
    old: Any = DeviceSessionFactory.create(user_id=ada.id, created_at=NOON - timedelta(days=5000))

    assert extension.sessions_of(ada) == [old]


@pytest.mark.parametrize("text", ["not a number", "", "999999", "1e3", "None"])
def test_a_user_is_found_by_the_text_of_their_key_or_not_at_all(
    extension: DeviceSessions, ada: User, text: str
) -> None:
    """What is no key is nobody."""
    assert extension.find_user(text) is None
    assert extension.find_user(str(ada.id)) is ada


# -- Signals -------------------------------------------------------------------------------------


def test_each_change_is_told_once_with_its_facts(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Start, first sight, confirmation, rotation and end, each with the app as its sender."""
    paths = [
        _view(app, "confirm-it", lambda: extension.confirm(PASSWORD)),
        _view(app, "changed", lambda: extension.password_changed(current_user)),
    ]
    senders: list[Any] = []
    session_started.connect(lambda sender, **_: senders.append(sender), weak=False)
    with (
        listen_to(session_started) as started,
        listen_to(device_first_seen) as seen,
        listen_to(session_confirmed) as confirmed,
        listen_to(session_rotated) as rotated,
        listen_to(session_ended) as ended,
    ):
        sign_in(laptop)
        for path in paths:
            laptop.post(path)
        laptop.post("/logout")
        sign_in(laptop)

    (old,) = extension.sessions_of(ada, ended=True)
    (new,) = extension.sessions_of(ada)
    assert [(s["session"].id, s["new_device"]) for s in started] == [
        (old.id, True),
        (new.id, False),
    ]
    assert [(d["session"].id, d["device"].id) for d in seen] == [(old.id, old.device_id)]
    assert [c["session"].id for c in confirmed] == [old.id]
    assert [r["session"].id for r in rotated] == [old.id]
    assert [(e["session"].id, e["reason"]) for e in ended] == [(old.id, "logout")]
    assert senders == [app, app]


def test_signals_come_after_the_commit_with_the_database_free(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """A listener sees what others see, and may write and commit itself."""
    seen: list[int] = []

    def write(sender: Flask, **facts: Any) -> None:
        with db.engine.connect() as elsewhere:
            count = sa.select(sa.func.count()).select_from(extension.session_model.__table__)
            seen.append(elsewhere.scalar(count) or 0)
        db.session.add(User(email="made-by-a-listener@example.com"))
        db.session.commit()

    with session_started.connected_to(write, sender=app):
        answer = sign_in(laptop)

    assert answer.status_code == 303
    assert seen == [1]
    assert db.session.scalar(sa.select(sa.func.count(User.id))) == 2
    assert who(laptop) == ada.email


# -- In the app's own transaction ----------------------------------------------------------------


def _enter_within(app: Flask, extension: DeviceSessions, user_id: int, end: Act) -> str:
    """Add a view that logs in with ``commit=False``, then ends the transaction in some way."""

    def act() -> Any:
        extension.login(db.session.get(User, user_id), commit=False)
        was_in = current_user.is_authenticated
        end()
        return [was_in, current_user.is_authenticated, g.current_session is not None]

    return _view(app, "enter", act)


def test_login_within_the_apps_transaction_counts_with_its_commit(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Cookie and signals come with the app's commit, and what it wrote besides stays."""
    told: list[int] = []

    def end() -> None:
        db.session.add(User(email="bob@example.com"))
        told.append(len(started))
        db.session.commit()
        told.append(len(started))

    path = _enter_within(app, extension, ada.id, end)
    with listen_to(session_started) as started:
        answer = laptop.post(path)

    assert answer.json is not None
    assert answer.json["result"] == [True, True, True]
    assert told == [0, 1]
    assert who(laptop) == ada.email
    assert db.session.scalar(sa.select(User.id).filter_by(email="bob@example.com"))


def _roll_back() -> None:
    db.session.rollback()


def _forget() -> None:
    """Neither commit nor roll back: the end of the request does that."""


@pytest.fixture
def adas_id(app: Flask) -> int:
    """The id of a person, with no app context left open: requests then have their own."""
    with app.app_context():
        return add_user().id


@pytest.mark.parametrize("end", [_roll_back, _forget], ids=["rolled back", "forgotten"])
def test_login_that_is_not_committed_never_happened(
    app: Flask, extension: DeviceSessions, adas_id: int, laptop: Browser, end: Act
) -> None:
    """No cookie without a row, no signal, and nobody is signed in (ASVS V7.2.1)."""
    path = _enter_within(app, extension, adas_id, end)
    with listen_to(session_started) as started, listen_to(device_first_seen) as seen:
        answer = laptop.post(path)

    is_still_in = end is _forget  # until the request is over
    assert answer.json is not None
    assert answer.json["result"] == [True, is_still_in, is_still_in]
    assert "Set-Cookie" not in answer.headers
    assert (started, seen) == ([], [])
    with app.app_context():
        assert extension.sessions_of(db.session.get(User, adas_id)) == []


def test_an_error_after_login_leaves_no_cookie(
    app: Flask, extension: DeviceSessions, adas_id: int, laptop: Browser
) -> None:
    """A view that fails before its commit signs nobody in."""
    path = _enter_within(app, extension, adas_id, lambda: abort(418))

    answer = laptop.post(path)

    assert answer.status_code == 418
    assert "Set-Cookie" not in answer.headers
    with app.app_context():
        assert extension.sessions_of(db.session.get(User, adas_id)) == []


@pytest.mark.parametrize("is_kept", [True, False], ids=["released", "rolled back"])
def test_login_within_a_savepoint_shares_its_fate(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, is_kept: bool
) -> None:
    """Rolled back to before it, nobody is signed in although the app commits."""
    user_id = ada.id

    def act() -> Any:
        savepoint = db.session.begin_nested()
        extension.login(db.session.get(User, user_id), commit=False)
        savepoint.commit() if is_kept else savepoint.rollback()
        db.session.add(User(email="bob@example.com"))
        db.session.commit()
        return current_user.is_authenticated

    with listen_to(session_started) as started:
        answer = laptop.post(_view(app, "enter", act))

    assert answer.json == {"result": is_kept, "user": is_kept}
    assert len(started) == is_kept
    assert ("Set-Cookie" in answer.headers) is is_kept
    assert who(laptop) == (ada.email if is_kept else None)


def test_a_rolled_back_account_switch_leaves_the_first_person_in(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Both halves are one: neither the new session nor the end of the old one happened."""
    bob = add_user("bob@example.com")
    path = _enter_within(app, extension, bob.id, _roll_back)
    sign_in(laptop)

    answer = laptop.post(path)

    assert answer.json is not None
    assert answer.json["result"] == [True, True, True]
    assert who(laptop) == ada.email
    assert extension.sessions_of(bob) == []


@pytest.mark.parametrize("is_kept", [True, False], ids=["committed", "rolled back"])
def test_logout_within_the_apps_transaction_counts_with_its_commit(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, is_kept: bool
) -> None:
    """Until then the person is signed in, and nobody has been told otherwise."""
    told: list[int] = []

    def act() -> Any:
        ended = extension.logout(commit=False)
        told.append(len(left) + len(ends))
        db.session.commit() if is_kept else db.session.rollback()
        return ended

    path = _view(app, "leave", act)
    sign_in(laptop)
    with listen_to(user_logged_out) as left, listen_to(session_ended) as ends:
        answer = laptop.post(path)

    assert answer.json == {"result": 1, "user": not is_kept}
    assert told == [0]
    assert (len(left), len(ends)) == (is_kept, is_kept)
    assert who(laptop) == (None if is_kept else ada.email)


@pytest.mark.parametrize("verb", ["revoke_all", "revoke_others", "password_changed"])
def test_ending_within_the_apps_transaction_counts_with_its_commit(
    app: Flask, extension: DeviceSessions, ada: User, three: list[Browser], verb: str
) -> None:
    """Rolled back, every session goes on; committed, it is over."""
    with listen_to(session_ended) as ended:
        first = getattr(extension, verb)(ada, commit=False)
        db.session.rollback()
        after_rollback = ([who(browser) for browser in three], len(ended))
        second = getattr(extension, verb)(ada, commit=False)
        before_commit = len(ended)
        db.session.commit()

    assert (first, second) == (3, 3)
    assert after_rollback == ([ada.email] * 3, 0)
    assert before_commit == 0
    assert len(ended) == 3
    assert [who(browser) for browser in three] == [None] * 3


def test_a_rolled_back_confirmation_keeps_the_old_secret(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The browser's cookie is not replaced by one that no row knows."""

    def act() -> Any:
        extension.renew_current(commit=False)
        db.session.rollback()
        return True

    path = _view(app, "confirm-it", act)
    sign_in(laptop)

    answer = laptop.post(path)

    assert "Set-Cookie" not in answer.headers
    assert who(laptop) == ada.email


def test_what_the_app_has_open_is_committed_with_a_verb(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """The verbs write through ``db.session`` and commit it, as they say."""

    def act() -> Any:
        db.session.add(User(email="bob@example.com"))
        extension.login(db.session.get(User, ada.id))
        return True

    laptop.post(_view(app, "enter", act))

    assert db.session.scalar(sa.select(User.id).filter_by(email="bob@example.com"))
    assert who(laptop) == ada.email


# -- A person who is gone ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["orm", "sql"])
def test_a_deleted_person_is_out_at_the_next_request(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, how: str
) -> None:
    """Deleted through the ORM or by bulk SQL, every credential is refused (ASVS V7.4.2)."""
    sign_in(laptop)
    if how == "orm":
        db.session.delete(ada)
    else:
        for model in (extension.event_model, extension.session_model, extension.device_model, User):
            db.session.execute(sa.delete(model))
    db.session.commit()

    assert who(laptop) is None


def test_a_person_who_is_deleted_while_they_sign_in_is_not_an_error(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Between the password check and the session: refused in words, never a 500."""
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @extension.authenticator
    def find_and_lose(identifier: str, password: str) -> Any:
        user = db.session.get(User, ada.id)
        with db.engine.begin() as elsewhere:
            elsewhere.execute(sa.delete(User))
        return user

    answer = sign_in(laptop)

    assert answer.status_code in (401, 503)
    assert "Set-Cookie" not in answer.headers


# -- What may fail on the way --------------------------------------------------------------------


@pytest.mark.connections
def test_a_touch_that_must_wait_gives_way(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser
) -> None:
    """Somebody else holds the row: the view answers at once, and activity is noted later."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        clock.shift(timedelta(minutes=6))
        with db.engine.connect() as elsewhere:
            _lock_sessions(elsewhere, extension)
            meanwhile = who(laptop)
            elsewhere.rollback()
        before = _last_active_at(extension, ada)
        afterwards = who(laptop)

    assert meanwhile == afterwards == ada.email
    assert before == NOON
    assert _last_active_at(extension, ada) == NOON + timedelta(minutes=6)


def _lock_sessions(connection: sa.Connection, extension: DeviceSessions) -> None:
    """Do what makes an UPDATE of the session wait on each engine."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(sa.select(extension.session_model.__table__).with_for_update())


def _last_active_at(extension: DeviceSessions, user: User) -> datetime:
    (session,) = extension.sessions_of(user)
    db.session.refresh(session)
    seen: datetime = session.last_active_at
    return seen


@pytest.mark.parametrize("passed", [timedelta(minutes=6), timedelta(days=14)])
def test_unsaved_work_of_the_app_is_not_committed_by_a_request(
    app: Flask, extension: DeviceSessions, ada: User, laptop: Browser, passed: timedelta
) -> None:
    """Neither to note activity nor an end; who is signed in is as right as ever."""
    with time_machine.travel(NOON, tick=False) as clock:
        sign_in(laptop)
        clock.shift(passed)
        unsaved = User(email="unsaved@example.com")
        db.session.add(unsaved)

        name = who(laptop)

        assert name == (ada.email if passed < timedelta(days=1) else None)
        assert unsaved in db.session.new
        db.session.rollback()
        assert extension.sessions_of(ada, ended=True) == []
    assert db.session.scalar(sa.select(sa.func.count(User.id))) == 1


def test_an_end_that_cannot_be_written_down_is_an_end() -> None:
    """A session past its limit is refused, also when its row cannot say so (ASVS V7.3.1)."""
    app = make_app()
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        db.create_all()
        add_user()
        browser = Browser(app)
        sign_in(browser)
        app.extensions["device_sessions"].event_model.__table__.drop(db.engine)
        clock.shift(timedelta(days=14))

        page = browser.get("/login")

    assert page.status_code == 200
    assert "away for a long time" in page.text
    assert who(browser) is None


def test_require_login_lets_preflights_through() -> None:
    """OPTIONS carries no cookie, as browsers ask before a request from another origin."""
    answer = Browser(_closed_app()).options("/open")

    assert answer.status_code == 200


def test_require_login_follows_login_disabled() -> None:
    """What switches ``login_required`` off for an app's tests switches this off, too."""
    app = _closed_app()
    app.config["LOGIN_DISABLED"] = True

    assert Browser(app).get("/open").status_code == 200
