"""The account's activity in words: what each event says, and the groups that people filter by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from ..devices import describe
from ..i18n import N_, gettext
from ..messages import why_suspicious
from ..networks import is_hashed
from ..suspicion import REASONS
from ..text import clean

#: How many events a page shows.
PAGE_SIZE = 25

#: Beyond this page nothing is looked for: skipping rows costs time, and the number comes from
#: outside.
_LAST_PAGE = 10_000

#: Longest text from an event that stands in a sentence, in characters.
_LONGEST = 100

#: What is about the operation of the app, and tells a person nothing about their account.
HIDDEN = ("throttle_storage_down", "events_purged", "user_erased")

#: What can be filtered by: value in the URL, label, actions.
GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "sign-ins",
        N_("Sign-ins"),
        ("session_started", "device_first_seen", "suspicious_login", "session_confirmed"),
    ),
    ("sign-outs", N_("Sign-outs"), ("session_ended", "not_me_reported", "device_forgotten")),
    (
        "failed",
        N_("Failed attempts"),
        ("login_failed", "login_throttled", "ended_session_used", "foreign_id_tried"),
    ),
    (
        "changes",
        N_("Changes"),
        ("password_changed", "device_renamed", "token_issued", "ip_changed", "session_rotated"),
    ),
)

_ENDED = {
    "logout": N_("Signed out."),
    "revoked": N_("A device was signed out."),
    "replaced": N_("A sign-in was replaced by a new one in the same browser."),
    "evicted": N_("A device was signed out to make room for a newer one."),
    "expired": N_("A sign-in has expired."),
    "idle": N_("A device was signed out after a long time without activity."),
    "password_changed": N_("A device was signed out because the password was changed."),
    "user_disabled": N_("A device was signed out because the account was disabled."),
    "not_me": N_("A device was signed out after “This wasn’t me”."),
    "ip_changed": N_("A device was signed out because its network changed."),
    "admin": N_("A device was signed out by an administrator."),
    "reused": N_("A device was signed out because a copy of its session was used elsewhere."),
}

_PLAIN = {
    "session_ended": N_("A sign-in has ended."),
    "session_confirmed": N_("The password was confirmed."),
    "session_rotated": N_("A session was given a new key."),
    "password_changed": N_("The password was changed."),
    "device_first_seen": N_("First sign-in on this device."),
    "device_renamed": N_("The name of a device was taken away."),
    "device_forgotten": N_("A device was forgotten."),
    "login_failed": N_("A wrong password was tried."),
    "login_throttled": N_("Too many passwords were tried. Further attempts had to wait."),
    "suspicious_login": N_("Unusual sign-in."),
    "ip_changed": N_("A device came from another network."),
    "ended_session_used": N_("Something tried to use a sign-in that had ended."),
    "foreign_id_tried": N_("Something was tried on a device that is not one of yours."),
    "not_me_reported": N_("You reported that a sign-in was not you."),
    "token_issued": N_("An access token was made."),
}


class Line(NamedTuple):
    """One event as the page shows it.

    Attributes:
        action: what happened, as the trail calls it.
        sentence: the same in words.
        created_at: when.
        device_text: what it was done with, such as "Firefox 140 on Linux PC"; may be empty.
        ip_address: from where, as ``IP_STORAGE`` keeps it.
    """

    action: str
    sentence: str
    created_at: datetime
    device_text: str
    ip_address: str | None


def line_of(event: Any) -> Line:
    """Return an event of the trail as a line of the page.

    What an administrator did is shown without where they did it from.
    """
    line = Line(event.action, sentence_of(event.action, event.detail), event.created_at, "", None)
    if _detail(event.detail).get("reason") == "admin":
        return line
    return line._replace(device_text=_device_text(event.user_agent), ip_address=event.ip_address)


def page_number(text: str | None) -> int:
    """Return the number of the page that was asked for; what is none is the first."""
    try:
        number = int(text or "")
    except ValueError:
        return 1
    return number if 1 <= number <= _LAST_PAGE else 1


def actions_of(group: str | None) -> tuple[str, ...]:
    """Return the actions of a group; none for all of them, and for what is no group."""
    return next((actions for value, _, actions in GROUPS if value == group), ())


def filters(group: str | None) -> list[tuple[str, str, bool]]:
    """Return what can be filtered by: value, label, and whether it is chosen."""
    chosen = group if actions_of(group) else ""
    options = [("", N_("Everything")), *((value, label) for value, label, _ in GROUPS)]
    return [(value, gettext(label), value == chosen) for value, label in options]


def sentence_of(action: str, detail: Any) -> str:
    """Tell what an event says; never fails, whatever is in its row.

    Args:
        action: one of :data:`.audit.ACTIONS`, or what a later version wrote.
        detail: what the row says beside it.
    """
    teller = _TELLERS.get(action)
    told = teller(_detail(detail)) if teller else None
    if told is not None:
        return told
    plain = _PLAIN.get(action)
    return gettext(plain) if plain else gettext("Something else happened (%(what)s).", what=action)


def _detail(detail: Any) -> dict[str, Any]:
    return detail if isinstance(detail, dict) else {}


def _text(detail: dict[str, Any], name: str) -> str:
    value = detail.get(name)
    return clean(value, _LONGEST) if isinstance(value, str) else ""


def _tell_start(detail: dict[str, Any]) -> str:
    method = _text(detail, "method")
    if method == "password":
        return gettext("Signed in with the password.")
    # "app" says only that the app has called login_user().
    if method in ("", "app"):
        return gettext("Signed in.")
    return gettext("Signed in (%(method)s).", method=method)


def _tell_end(detail: dict[str, Any]) -> str | None:
    told = _ENDED.get(_text(detail, "reason"))
    return gettext(told) if told else None


def _tell_failure(detail: dict[str, Any]) -> str | None:
    is_disabled = detail.get("reason") == "disabled"
    return gettext("A sign-in was refused: the account is disabled.") if is_disabled else None


def _tell_suspicion(detail: dict[str, Any]) -> str | None:
    reasons = detail.get("reasons")
    if not isinstance(reasons, list):
        return None
    known = [why_suspicious(reason) for reason in REASONS if reason in reasons]
    return " ".join([gettext("Unusual sign-in."), *known])


def _tell_move(detail: dict[str, Any]) -> str | None:
    old, new = _text(detail, "old"), _text(detail, "new")
    if is_hashed(old) or is_hashed(new):
        return None  # so are those that are not kept: it says nothing to a person
    return gettext("A device moved from network %(old)s to %(new)s.", old=old, new=new)


def _tell_name(detail: dict[str, Any]) -> str | None:
    name = _text(detail, "name")
    return gettext("A device was named “%(name)s”.", name=name) if name else None


def _tell_token(detail: dict[str, Any]) -> str | None:
    name = _text(detail, "name")
    return gettext("The access token “%(name)s” was made.", name=name) if name else None


#: What is told from the detail; ``None`` from one of them: there is nothing in it to tell.
_TELLERS: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "session_started": _tell_start,
    "session_ended": _tell_end,
    "login_failed": _tell_failure,
    "suspicious_login": _tell_suspicion,
    "ip_changed": _tell_move,
    "device_renamed": _tell_name,
    "token_issued": _tell_token,
}


def _device_text(user_agent: str | None) -> str:
    seen = describe(user_agent or "")
    if seen.name and seen.browser and seen.name != seen.browser:
        return gettext("%(browser)s on %(device)s", browser=seen.browser, device=seen.name)
    return seen.name or seen.browser
