"""The forms of the pages. Every one carries Flask-WTF's CSRF token."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_wtf import FlaskForm
from wtforms import BooleanField, HiddenField, PasswordField, StringField

from ..config import Settings
from ..i18n import gettext


class PageForm(FlaskForm):
    """A form of a page: what it reads is what a form sent, never a JSON body."""

    class Meta(FlaskForm.Meta):
        """Flask-WTF would take JSON for a form, and fail on JSON that is no object."""

        def wrap_formdata(self, form: Any, formdata: Any) -> Any:
            """Return the fields that were posted."""
            return request.form if form.is_submitted() else None


def is_genuine() -> bool:
    """Whether the request's CSRF token is one of ours: all that a form of one button asks."""
    return bool(PageForm().validate())


class LoginForm(PageForm):
    """Sign in. The password is taken as it was typed: no trimming, no composition rules."""

    identifier = StringField()
    password = PasswordField()
    remember = BooleanField()
    next = HiddenField()

    @classmethod
    def for_settings(cls, settings: Settings) -> LoginForm:
        """Return the form as this app wants it, its labels in the reader's language."""
        form = cls()
        form.identifier.label.text = _identifier_label(settings.identifier_field)
        form.password.label.text = gettext("Password")
        form.remember.label.text = gettext("Keep me signed in on this device")
        if settings.remember != "ask":
            del form.remember
        return form

    @property
    def wants_to_be_remembered(self) -> bool:
        """Whether the box was there and ticked."""
        return "remember" in self and bool(self.remember.data)


class ConfirmForm(PageForm):
    """The password once more, and what waits for it."""

    password = PasswordField()
    next = HiddenField()
    action = HiddenField()


def _identifier_label(field: str) -> str:
    if field == "email":
        return gettext("Email")
    return gettext("Username") if field == "username" else gettext("Account")
