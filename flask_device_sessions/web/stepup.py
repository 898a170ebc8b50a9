"""Ask for the password before a deed that an intruder would do first, then do it.

What was asked for travels through the confirm page as a signed value. It names the session and
its present secret: nobody else can put one there, and once the password was right the secret is
new and the value is worth nothing, so the deed is done once.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from flask import url_for
from werkzeug.wrappers import Response as AnyResponse

from ..errors import BadToken
from ..login import confirm_elsewhere, is_our_page
from ..proxies import current_extension, current_session, current_user
from ..signing import Purpose
from ..tokens import digest_of
from . import forms
from .pages import page

#: Seconds that a person may take to type the password.
_ACTION_AGE = 600


class Action(NamedTuple):
    """A deed that waits for the password.

    Attributes:
        name: which one.
        values: what it was asked to do it with; JSON values.
    """

    name: str
    values: dict[str, Any]


def ask(action: Action) -> AnyResponse:
    """Show the confirm page, which carries the action; an app's own page cannot carry it."""
    if not is_our_page():
        return cast("AnyResponse", confirm_elsewhere(url_for(".devices")))
    form = forms.ConfirmForm()
    form.password.data = None
    form.action.data = seal(action)
    form.next.data = None
    return page("confirm", 403, form=form)


def seal(action: Action) -> str:
    """Return the action as signed text that only this session can use, until it is confirmed."""
    facts = {"bound": _binding(), "name": action.name, "values": action.values}
    return current_extension.signatures.dump(Purpose.ACTION, facts)


def unseal(text: str) -> Action:
    """Return the action that :func:`seal` wrote for this session.

    Raises:
        BadToken: forged, too old, made in another session, or used before.
    """
    facts = current_extension.signatures.load(Purpose.ACTION, text, max_age=_ACTION_AGE)
    if facts["bound"] != _binding():
        raise BadToken("This action was asked for in another session, or is done already.")
    return Action(facts["name"], facts["values"])


def is_needed() -> bool:
    """Whether the password must be asked for in this request.

    Not of people who have none: an app that signs them in elsewhere can set the LoginManager's
    ``refresh_view``, and otherwise ending one's own sessions must not be impossible.
    """
    can_ask = current_extension.can_confirm(current_user) or not is_our_page()
    return can_ask and not current_extension.is_fresh()


def _binding() -> str:
    """Name the session with its present secret, so that neither can be read from it."""
    bound = f"{current_session.id} {current_session.token_digest}"
    return digest_of(bound.encode())[:32]
