"""The forms: whose labels, which fields, and what a missing CSRF token is worth."""

from __future__ import annotations

from typing import Any

import pytest

from flask_device_sessions.config import Settings
from flask_device_sessions.web.forms import ConfirmForm, LoginForm, is_genuine
from tests.support import PASSWORD, make_app

POST: dict[str, Any] = {"method": "POST"}


@pytest.mark.parametrize(
    ("field", "label"), [("email", "Email"), ("username", "Username"), ("number", "Account")]
)
def test_the_identifier_is_called_what_people_sign_in_with(field: str, label: str) -> None:
    """By the name of the identifier field."""
    with make_app().test_request_context():
        form = LoginForm.for_settings(Settings(identifier_field=field))

        assert form.identifier.label.text == label


@pytest.mark.parametrize(("remember", "is_asked"), [("ask", True), (True, False), (False, False)])
def test_people_are_asked_about_remembering_only_if_they_decide(
    remember: bool | str, is_asked: bool
) -> None:
    """REMEMBER other than "ask" leaves the box out, and a sent one counts for nothing."""
    with make_app().test_request_context(data={"remember": "y"}, **POST):
        form = LoginForm.for_settings(Settings(remember=remember))

        assert ("remember" in form) is is_asked
        assert form.wants_to_be_remembered is is_asked


@pytest.mark.parametrize("password", [" padded ", "\tä\u200b", "x" * 5000, "a\x00b"])
def test_a_password_is_taken_as_it_was_typed(password: str) -> None:
    """No trimming, no changing, no cutting (ASVS V6.2.8)."""
    with make_app().test_request_context(data={"password": password}, **POST):
        login, confirm = LoginForm.for_settings(Settings()), ConfirmForm()

        assert login.password.data == confirm.password.data == password


def test_a_password_is_never_written_into_the_page() -> None:
    """Neither form shows what was typed (ASVS V6.2.6, V14.2.1)."""
    with make_app().test_request_context(data={"password": PASSWORD}, **POST):
        for form in (LoginForm.for_settings(Settings()), ConfirmForm()):
            html = str(form.password())

            assert 'type="password"' in html
            assert PASSWORD not in html


@pytest.mark.parametrize(("is_enabled", "expected"), [(True, False), (False, True)])
def test_a_form_without_its_token_is_not_genuine(is_enabled: bool, expected: bool) -> None:
    """Unless the app has switched CSRF protection off, as its tests may (ASVS V3.5.1)."""
    with make_app(WTF_CSRF_ENABLED=is_enabled).test_request_context(**POST):
        assert is_genuine() is expected
