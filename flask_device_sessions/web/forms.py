"""The forms of the pages. Every one carries Flask-WTF's CSRF token."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    HiddenField,
    IntegerField,
    PasswordField,
    SelectMultipleField,
    StringField,
    ValidationError,
)
from wtforms.validators import Optional
from wtforms.widgets import CheckboxInput, ListWidget

from ..config import LONGEST_TOKEN, Settings, are_scopes
from ..i18n import gettext
from ..models import NAME_LENGTH
from ..text import clean


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


class _Checkboxes(SelectMultipleField):
    """What is offered, each with a box; if nothing is, whatever has the shape of a scope."""

    widget = ListWidget(prefix_label=False)
    option_widget = CheckboxInput()

    def pre_validate(self, form: Any) -> None:
        """Refuse what is not offered."""
        wanted, offered = self.data or [], {str(value) for value, *_ in self.iter_choices()}
        if not are_scopes(wanted) or (offered and not set(wanted) <= offered):
            raise ValidationError(gettext("Choose from the list."))


class TokenForm(PageForm):
    """What a new token is to be."""

    name = StringField()
    scopes = _Checkboxes()
    expires_in = IntegerField(validators=[Optional()])

    @classmethod
    def for_settings(cls, settings: Settings) -> TokenForm:
        """Return the form with the scopes that this app offers."""
        lifetime = settings.token_lifetime
        form = cls(data={"expires_in": lifetime.days or None if lifetime else None})
        form.scopes.choices = [(scope, scope) for scope in settings.token_scopes]
        return form

    def validate_name(self, field: StringField) -> None:
        """Refuse a name that says nothing."""
        if not clean(field.data, NAME_LENGTH):
            raise ValidationError(gettext("Say what the token is for."))

    def validate_expires_in(self, field: IntegerField) -> None:
        """Refuse a number of days that no token can live."""
        if field.data is not None and not 1 <= field.data <= LONGEST_TOKEN.days:
            raise ValidationError(
                gettext("Choose from 1 to %(most)s days.", most=LONGEST_TOKEN.days)
            )


def _identifier_label(field: str) -> str:
    if field == "email":
        return gettext("Email")
    return gettext("Username") if field == "username" else gettext("Account")
