"""A password check costs one hash, whoever is asked for."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.security import check_password_hash, generate_password_hash

from flask_device_sessions.errors import ConfigError
from flask_device_sessions.passwords import PASSWORD_BYTES, check, is_checkable
from tests.support import PASSWORD, User, hash_of

OTHER = "another person's password"


def _user(password: str | None = PASSWORD) -> User:
    return User(password_hash=None if password is None else hash_of(password))


class Sealed:
    """A user model that shows no hash, only whether a password is right."""

    def check_password(self, password: str) -> bool:
        """Whether this is the password."""
        return check_password_hash(hash_of(PASSWORD), password)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The cost of each password hash that is computed."""
    seen: list[dict[str, Any]] = []
    for name in ("pbkdf2_hmac", "scrypt"):
        monkeypatch.setattr(hashlib, name, _noted(seen, name))
    return seen


def _noted(seen: list[dict[str, Any]], name: str) -> Any:
    original = getattr(hashlib, name)

    def compute(*args: Any, **values: Any) -> Any:
        cost: dict[str, Any] = {key: values[key] for key in "nrp" if key in values}
        seen.append({"name": name, "rounds": args[3:], **cost})
        return original(*args, **values)

    return compute


@pytest.mark.parametrize(
    ("user", "somebody", "password", "is_right"),
    [
        (_user(), None, PASSWORD, True),
        (_user(), _user(OTHER), PASSWORD, True),
        (_user(), _user(OTHER), OTHER, False),
        (_user(), None, "wrong", False),
        (_user(None), None, PASSWORD, False),
        (_user(None), _user(), PASSWORD, False),
        (_user(""), _user(None), "", True),
        (None, _user(), PASSWORD, False),
        (None, _user(), "wrong", False),
        (None, _user(None), PASSWORD, False),
        (None, None, PASSWORD, False),
    ],
    ids=[
        "right",
        "right-of-two",
        "somebody-elses",
        "wrong",
        "no-password",
        "no-password-but-somebodys",
        "empty-password-of-the-app",
        "unknown-but-somebodys",
        "unknown",
        "unknown-and-no-password-anywhere",
        "nobody",
    ],
)
def test_every_answer_costs_exactly_one_hash(
    hashes: list[dict[str, Any]], user: Any, somebody: Any, password: str, is_right: bool
) -> None:
    """Unknown, wrong and without a password take as long as right, and are all no (ASVS V6.3.8)."""
    answer = check(user, somebody, password)

    assert answer is is_right
    assert len(hashes) == 1


def test_the_stand_in_is_as_slow_as_a_real_account(hashes: list[dict[str, Any]]) -> None:
    """For an unknown account somebody's own kind of hash is computed (ASVS V6.3.8)."""
    user = _user()
    hashes.clear()

    check(None, user, PASSWORD)
    check(user, None, PASSWORD)

    assert len(hashes) == 2
    assert hashes[0] == hashes[1]


def test_where_nobody_has_a_password_the_hash_is_werkzeugs_own(
    hashes: list[dict[str, Any]],
) -> None:
    """The stand-in of an empty app is as slow as the first account will be (ASVS V6.3.8)."""
    generate_password_hash(PASSWORD)
    check(None, None, PASSWORD)

    assert len(hashes) == 2
    assert hashes[0] == hashes[1]


def test_nobody_can_sign_in_as_the_stand_in() -> None:
    """Somebody's right password is still no password of an account that is unknown."""
    assert check(None, _user(), PASSWORD) is False


def test_an_account_without_a_visible_hash_is_asked_itself(hashes: list[dict[str, Any]]) -> None:
    """How the app stores its passwords is its own affair."""
    assert check(Sealed(), None, PASSWORD) is True
    assert check(Sealed(), None, OTHER) is False
    assert check(None, Sealed(), PASSWORD) is False


def test_the_apps_answer_is_made_a_bool() -> None:
    """A method that returns ``None`` or a number signs in or not, and nothing else leaks."""

    class Odd:
        def check_password(self, password: str) -> Any:
            return 1 if password == PASSWORD else None

    assert check(Odd(), None, PASSWORD) is True
    assert check(Odd(), None, OTHER) is False


@pytest.mark.parametrize("place", ["user", "somebody"])
def test_a_user_model_that_cannot_check_is_told_how(place: str) -> None:
    """The error names the class, the method it lacks, and the other way."""

    class Account:
        password_hash = "…"

    people = {"user": None, "somebody": None, place: Account()}
    with pytest.raises(ConfigError, match=r"Account has no check_password\(password\)") as error:
        check(people["user"], people["somebody"], PASSWORD)

    assert "@device_sessions.authenticator" in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


def test_a_fault_inside_the_apps_check_is_not_hidden() -> None:
    """An AttributeError of the app's own code is not taken for a missing method."""

    class Broken:
        def check_password(self, password: str) -> bool:
            return bool(password.no_such_attribute)  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match="no_such_attribute"):
        check(Broken(), None, PASSWORD)


@pytest.mark.parametrize(
    ("password", "is_fine"),
    [
        ("a", True),
        (" ", True),
        ("a" * PASSWORD_BYTES, True),
        ("a" * (PASSWORD_BYTES + 1), False),
        ("é" * (PASSWORD_BYTES // 2), True),
        ("é" * (PASSWORD_BYTES // 2) + "a", False),
        ("💡" * (PASSWORD_BYTES // 4), True),
        ("💡" * (PASSWORD_BYTES // 4) + "a", False),
        ("a" * 64, True),
        ("\x00", True),
        ("", False),
        (None, False),
        (5, False),
        (b"password", False),
        (["password"], False),
        (True, False),
    ],
)
def test_only_text_of_a_sane_length_is_hashed(password: object, is_fine: bool) -> None:
    """1 to 4096 bytes of UTF-8, of any characters, as typed (ASVS V6.2.8, V6.2.9)."""
    assert is_checkable(password) is is_fine


@given(st.text(st.characters(), max_size=20))
@example("\ud800")
def test_what_may_be_hashed_can_be_hashed(password: str) -> None:
    """No text passes the first look and then fails: lone surrogates are refused there."""
    if is_checkable(password):
        assert check(_user(), None, password) is False


@pytest.mark.parametrize("password", ["\ud800", "password\udfff"])
def test_a_lone_surrogate_is_no_password(password: str) -> None:
    """No hash can be made of it, so it is refused like any text that cannot be right."""
    assert not is_checkable(password)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_a_password_is_taken_as_it_is_typed(password: str) -> None:
    """Nothing is stripped, folded or normalised before the hash (ASVS V6.2.8)."""
    assert is_checkable(password)
    assert check(_user(password), None, password) is True
    assert check(_user(password), None, password + " ") is False
