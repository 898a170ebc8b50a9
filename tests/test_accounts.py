"""Passwords are counted before they are looked at, and what is refused is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from flask_device_sessions import (
    DeviceSessions,
    TooManyAttempts,
    login_failed,
    login_throttled,
)
from flask_device_sessions.testing import Browser, listen_to
from tests.support import PASSWORD, User, add_user, db, make_app, sign_in, statements

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands still until it is moved."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every password that was hashed since."""
    from flask_device_sessions import passwords
    from tests import support

    seen: list[str] = []
    for module in (passwords, support):
        monkeypatch.setattr(
            module, "check_password_hash", _counting(module.check_password_hash, seen)
        )
    return seen


def _counting(check: Callable[[str, str], bool], seen: list[str]) -> Callable[[str, str], bool]:
    def counted(pwhash: str, password: str) -> bool:
        seen.append(password)
        return check(pwhash, password)

    return counted


def _guess(browser: Browser, email: str = "ada@example.com", times: int = 1) -> list[int]:
    return [sign_in(browser, email, password="wrong").status_code for _ in range(times)]


def _actions(extension: DeviceSessions, user: User) -> list[str]:
    return [event.action for event in extension.events_of(user)][::-1]


def _nobodys(extension: DeviceSessions) -> list[Any]:
    model = extension.event_model
    return list(db.session.scalars(db.select(model).where(model.user_id.is_(None))))


# -- The limit -------------------------------------------------------------------------------------


def test_the_eleventh_guess_waits(clock: time_machine.Traveller, ada: User, phone: Browser) -> None:
    """Ten in three minutes by default, then 429 with the seconds to wait (ASVS V6.3.1)."""
    statuses = _guess(phone, times=10)
    refused = sign_in(phone)
    clock.shift(timedelta(seconds=int(refused.headers["Retry-After"])))

    assert statuses == [401] * 10
    assert refused.status_code == 429
    assert "Too many attempts. Try again in 4 minutes." in refused.text
    assert sign_in(phone).status_code == 303


def test_the_refusal_is_the_same_for_an_account_that_does_not_exist(
    app: Flask, clock: time_machine.Traveller, ada: User, hashes: list[str]
) -> None:
    """Over the limit: the same bytes, as many statements, no hash (ASVS V6.3.8)."""
    answers = []
    for number, email in enumerate(["ada@example.com", "eve@example.com"]):
        browser = Browser(app, ip=f"10.0.{number}.1")
        _guess(browser, email, 10)
        del hashes[:]
        with statements(app) as first:
            refused = sign_in(browser, email)
        with statements(app) as later:
            sign_in(browser, email)
        answers.append((len(first), len(later), len(hashes), refused.text.replace(email, "")))

    assert answers[0] == answers[1]
    assert answers[0][:3] == (5, 0, 0)


@pytest.mark.connections
def test_fifty_parallel_guesses_compute_ten_hashes(
    app: Flask, ada: User, hashes: list[str]
) -> None:
    """Counted before the hash, so that none slips past while another is computed (ASVS V6.3.1)."""
    browsers = [Browser(app, ip=f"10.0.{number}.1") for number in range(50)]

    with ThreadPoolExecutor(50) as pool:
        statuses = [status for (status,) in pool.map(_guess, browsers)]

    assert len(hashes) <= 10
    assert statuses.count(401) <= 10
    assert statuses.count(429) >= 40


def test_an_attack_does_not_lock_the_owner_out(
    app: Flask, ada: User, laptop: Browser, phone: Browser
) -> None:
    """A browser that was signed in to this account has an allowance of its own (ASVS V6.1.1)."""
    sign_in(laptop)
    laptop.post("/logout")
    for number in range(5):
        _guess(Browser(app, ip=f"10.0.{number}.1"), times=2)

    assert sign_in(phone).status_code == 429
    assert sign_in(laptop).status_code == 303


def test_a_success_clears_the_account(ada: User, phone: Browser) -> None:
    """Mistyping now and then adds up to nothing."""
    statuses = []
    for _ in range(3):
        statuses += [*_guess(phone, times=8), sign_in(phone).status_code]

    assert 429 not in statuses


def test_an_office_can_sign_in_one_after_the_other(app: Flask, ada: User) -> None:
    """A success gives back the place that it took in its network."""
    statuses = [sign_in(Browser(app)).status_code for _ in range(12)]

    assert statuses == [303] * 12


def test_an_account_of_ones_own_buys_no_guesses(app: Flask, ada: User, laptop: Browser) -> None:
    """Successes in between give back their own places only (ASVS V6.3.1)."""
    add_user("mallory@example.com")
    sign_in(laptop, "mallory@example.com")
    statuses = []
    for _ in range(30):
        statuses += _guess(laptop)
        sign_in(laptop, "mallory@example.com")

    assert statuses.count(401) == 10


def test_an_account_of_ones_own_buys_no_spraying(app: Flask, ada: User, laptop: Browser) -> None:
    """One password on one account after the other: the network's count stays (ASVS V6.3.1)."""
    add_user("mallory@example.com")
    sign_in(laptop, "mallory@example.com")
    statuses = []
    for number in range(30):
        statuses += _guess(laptop, f"{number}@example.com")
        sign_in(laptop, "mallory@example.com")

    assert statuses.count(401) == 10


def test_writings_that_the_database_overlooks_share_one_count(
    app: Flask, ada: User, phone: Browser
) -> None:
    """Case and accents are no further allowances, whatever the collation finds by them."""
    names = [
        "ada@example.com",
        "ADA@example.com",
        "Ada@EXAMPLE.com",
        "äda@example.com",
        " ada@example.com",
    ]

    statuses = [_guess(Browser(app, ip=f"10.0.{n}.1"), names[n % 5])[0] for n in range(15)]

    assert statuses == [401] * 10 + [429] * 5


def test_no_limit_lets_every_guess_be_looked_at() -> None:
    """LOGIN_RATE_LIMIT None is off."""
    app = make_app(DEVICE_SESSIONS_LOGIN_RATE_LIMIT=None)
    with app.app_context():
        db.create_all()

    assert _guess(Browser(app), times=15) == [401] * 15


def test_an_app_that_calls_authenticate_gets_an_error_with_the_time(
    extension: DeviceSessions, clock: time_machine.Traveller, ada: User
) -> None:
    """Outside a request there is no network: the account is counted."""
    for _ in range(10):
        extension.authenticate("ada@example.com", "wrong")

    with pytest.raises(TooManyAttempts, match="181 s") as error:
        extension.authenticate("ada@example.com", PASSWORD)
    assert error.value.retry_after == 181


def test_a_view_of_the_apps_own_answers_429(
    app: Flask, extension: DeviceSessions, ada: User, phone: Browser
) -> None:
    """An app that does not expect the error shows our page for it."""
    app.add_url_rule("/own", "own", lambda: str(extension.authenticate("ada@example.com", "x")))
    for _ in range(10):
        phone.get("/own")

    refused = phone.get("/own")

    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 170
    assert "Too many attempts" in refused.text
    assert refused.headers["Cache-Control"] == "no-store"


def test_without_pages_the_answer_is_bare() -> None:
    """PAGES off: the HTTP error, with the time."""
    app = make_app(DEVICE_SESSIONS_PAGES=False)
    with app.app_context():
        db.create_all()
    extension: DeviceSessions = app.extensions["device_sessions"]
    app.add_url_rule("/own", "own", lambda: str(extension.authenticate("ada@example.com", "x")))
    browser = Browser(app)

    statuses = [browser.get("/own").status_code for _ in range(11)]

    assert statuses == [200] * 10 + [429]
    assert "Retry-After" in browser.get("/own").headers


def test_confirming_is_limited_too(ada: User, laptop: Browser) -> None:
    """Whoever sits down at a signed-in browser cannot try out passwords (ASVS V6.3.1)."""
    sign_in(laptop)

    statuses = [laptop.post("/confirm", data={"password": "wrong"}).status_code for _ in range(21)]
    refused = laptop.post("/confirm", data={"password": PASSWORD})

    assert statuses == [401] * 20 + [429]  # its own ten, and ten as a known device
    assert refused.status_code == 429
    assert "Retry-After" in refused.headers


def test_a_fault_while_confirming_is_explained(
    ada: User, laptop: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the sign-in: 503, and the way to try again."""
    sign_in(laptop)
    for _ in range(10):
        laptop.post("/confirm", data={"password": "wrong"})

    def fail(*_: Any) -> bool:
        raise sa.exc.OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr("flask_device_sessions.store.Store.has_device", fail)
    answer = laptop.post("/confirm", data={"password": PASSWORD})

    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


@pytest.mark.parametrize(
    ("page", "form"),
    [("/login", {"identifier": "ada@example.com", "password": PASSWORD}), ("/confirm", {})],
)
def test_a_fault_in_the_apps_own_look_up_is_explained(
    extension: DeviceSessions, ada: User, laptop: Browser, page: str, form: dict[str, str]
) -> None:
    """An authenticator asks the same database, which may be away."""
    sign_in(laptop)

    @extension.authenticator
    def decide(identifier: str, password: str) -> User:
        raise sa.exc.OperationalError("SELECT", {}, Exception("gone"))

    answer = laptop.post(page, data={"password": PASSWORD, **form})

    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


def test_a_confirm_clears_the_count(ada: User, laptop: Browser) -> None:
    """The right password after wrong ones begins anew."""
    sign_in(laptop)
    statuses = []
    for _ in range(3):
        for password in ["wrong"] * 9 + [PASSWORD]:
            statuses.append(laptop.post("/confirm", data={"password": password}).status_code)

    assert statuses == ([401] * 9 + [303]) * 3


def test_what_cannot_be_a_password_is_no_attempt(ada: User, laptop: Browser) -> None:
    """Neither hashed nor counted: empty, or above 4096 bytes (ASVS V6.2.9)."""
    sign_in(laptop)

    statuses = [
        laptop.post("/confirm", data={"password": password}).status_code
        for password in ["", "x" * 5000] * 15
    ]

    assert statuses == [401] * 30
    assert laptop.post("/confirm", data={"password": PASSWORD}).status_code == 303


def test_an_account_that_only_the_database_finds_is_none(
    app: Flask, extension: DeviceSessions, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collation that takes another name for this one would give away more guesses."""
    find = extension._states[app].store.find_accounts
    monkeypatch.setattr(
        "flask_device_sessions.store.Store.find_accounts",
        lambda store, field, name: find(field, "ada@example.com"),
    )

    assert extension.authenticate("adam@example.com", PASSWORD) is None
    assert extension.authenticate("ADA@example.com", PASSWORD) is ada


# -- What is written down --------------------------------------------------------------------------


def test_each_failure_is_an_event_and_a_signal(
    extension: DeviceSessions, ada: User, phone: Browser
) -> None:
    """The account's own trail has it, with the reason that the page does not show (ASVS V16.3)."""
    add_user("off@example.com", is_enabled=False)

    with listen_to(login_failed) as heard:
        _guess(phone)
        sign_in(phone, "off@example.com")
        sign_in(phone, "nobody@example.com")

    assert heard == [
        {"identifier": "ada@example.com", "reason": "password"},
        {"identifier": "off@example.com", "reason": "disabled"},
        {"identifier": "nobody@example.com", "reason": "unknown"},
    ]
    event = extension.events_of(ada)[0]
    assert (event.action, event.detail) == ("login_failed", {"reason": "password"})
    assert event.ip_address == "198.51.100.7"
    assert "iPhone" in event.user_agent
    assert [(e.action, e.detail) for e in _nobodys(extension)] == [
        ("login_failed", {"reason": "unknown"})
    ]


def test_what_was_typed_as_a_name_is_written_nowhere(
    extension: DeviceSessions, ada: User, phone: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """People type their password there (ASVS V16.2.5)."""
    sign_in(phone, "hunter2-by-mistake")

    assert "hunter2" not in caplog.text
    assert "hunter2" not in str([vars(event) for event in _nobodys(extension)])


def test_refusals_beyond_the_limit_are_one_event_a_minute(
    extension: DeviceSessions, ada: User, phone: Browser
) -> None:
    """Strangers cannot fill the table, whichever names they make up (ASVS V16.2)."""
    _guess(phone, times=10)

    with listen_to(login_throttled) as heard:
        _guess(phone, times=5)
        for number in range(5):
            _guess(phone, f"{number}@example.com")

    assert _actions(extension, ada) == ["login_failed"] * 10 + ["login_throttled"]
    assert len(heard) == 10
    assert heard[0] == {"identifier": "ada@example.com"}
    assert _nobodys(extension) == []


def test_nobodys_events_verify(extension: DeviceSessions, ada: User, phone: Browser) -> None:
    """They carry a MAC, too; a change of one is found (ASVS V16.4)."""
    sign_in(phone, "nobody@example.com")
    before = extension.verify_audit()

    table = extension.event_model.__table__
    db.session.execute(table.update().values(detail={"reason": "password"}))
    db.session.commit()

    assert before
    assert not extension.verify_audit()


def test_a_failure_joins_what_the_app_has_open(
    app: Flask, extension: DeviceSessions, ada: User
) -> None:
    """What the app has not saved is not committed by a look at a password."""
    db.session.add(User(email="new@example.com"))

    extension.authenticate("ada@example.com", "wrong")
    db.session.rollback()

    assert extension.events_of(ada) == []
    assert db.session.query(User).count() == 1


def test_a_person_who_is_deleted_meanwhile_is_no_error(
    extension: DeviceSessions, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nobody left whose trail it could be written to."""

    def check(self: User, password: str) -> bool:
        db.session.execute(db.delete(User))
        db.session.commit()
        return False

    monkeypatch.setattr(User, "check_password", check)

    assert extension.authenticate("ada@example.com", "wrong") is None


# -- Look-ups of the app's own ---------------------------------------------------------------------


def test_a_look_up_of_the_apps_own_is_counted_and_noted(
    app: Flask, extension: DeviceSessions, ada: User, phone: Browser
) -> None:
    """By nickname, say: the failure is in the trail of whom it found."""
    extension.authenticator(lambda name: ada if name == "countess" else None)

    statuses = _guess(phone, "countess", 11)

    assert statuses == [401] * 10 + [429]
    assert _actions(extension, ada) == ["login_failed"] * 10 + ["login_throttled"]


def test_one_that_checks_the_password_is_counted_and_noted(
    extension: DeviceSessions, ada: User, phone: Browser
) -> None:
    """As with LDAP: what it refuses is noted for the account of that name, if there is one."""

    @extension.authenticator
    def ldap(name: str, password: str) -> User | None:
        return ada if password == "right" else None

    statuses = _guess(phone)
    sign_in(phone, password="right")
    confirmed = phone.post("/confirm", data={"password": "right"})

    assert statuses == [401]
    assert confirmed.status_code == 303
    assert _actions(extension, ada)[0] == "login_failed"


# -- The storage -----------------------------------------------------------------------------------


@pytest.fixture
def broken() -> Iterator[Flask]:
    """An app whose limits are in a Redis that is not there."""
    app = make_app(DEVICE_SESSIONS_RATE_LIMIT_STORAGE_URI="redis://127.0.0.1:1/0")
    with app.app_context():
        db.create_all()
        add_user()
        yield app


def test_a_storage_that_is_down_leaves_the_limit_and_an_event(broken: Flask) -> None:
    """Limits in process, never unlimited, and the trail says so once (fault: limiter storage)."""
    extension: DeviceSessions = broken.extensions["device_sessions"]
    browser = Browser(broken)

    statuses = _guess(browser, times=12)

    assert statuses == [401] * 10 + [429] * 2
    assert [event.action for event in _nobodys(extension)] == ["throttle_storage_down"]


def test_a_storage_that_is_down_does_not_commit_the_apps_work(broken: Flask) -> None:
    """Where the app has something open, the log alone says it."""
    extension: DeviceSessions = broken.extensions["device_sessions"]
    db.session.add(User(email="new@example.com"))

    extension.authenticate("ada@example.com", PASSWORD)
    db.session.rollback()

    assert _nobodys(extension) == []
    assert db.session.query(User).count() == 1


def _workers() -> list[Flask]:
    """Two apps with the same secret key, so the same counts in Redis; nobody else's."""
    config: dict[str, Any] = {
        "DEVICE_SESSIONS_RATE_LIMIT_STORAGE_URI": "redis://127.0.0.1:6379/9",
        "SECRET_KEY": uuid4().hex,
    }
    apps = [make_app(**config), make_app(**config)]
    for app in apps:
        with app.app_context():
            db.create_all()
            add_user()
    return apps


def test_two_processes_share_a_limit_in_redis() -> None:
    """One count for all workers (ASVS V6.3.1)."""
    apps = _workers()

    statuses = [_guess(Browser(apps[number % 2]))[0] for number in range(12)]

    assert statuses == [401] * 10 + [429] * 2


def test_a_success_gives_its_place_back_in_redis_too() -> None:
    """An office behind one address, and several workers."""
    apps = _workers()

    statuses = [sign_in(Browser(apps[number % 2])).status_code for number in range(12)]

    assert statuses == [303] * 12
