"""Sentences that several surfaces share."""

from __future__ import annotations

from .i18n import N_, gettext

_END_REASONS = {
    "logout": N_("You signed out."),
    "revoked": N_("You were signed out from another device."),
    "replaced": N_("You signed in again in the same browser."),
    "evicted": N_("You were signed out because you signed in on too many devices."),
    "expired": N_("Your session has expired. Please sign in again."),
    "idle": N_("You were signed out because you were away for a long time."),
    "password_changed": N_("You were signed out because the password was changed."),
    "user_disabled": N_("This account is disabled."),
    "not_me": N_("You were signed out because someone reported that this was not them."),
    "ip_changed": N_("You were signed out because your network changed."),
    "admin": N_("You were signed out by an administrator."),
    "reused": N_("You were signed out because a copy of your session was used elsewhere."),
}

_ENDED = {
    "logout": N_("Signed out there."),
    "revoked": N_("Signed out from another device."),
    "replaced": N_("Signed in again in the same browser."),
    "evicted": N_("Signed out to make room for a newer device."),
    "expired": N_("Expired."),
    "idle": N_("Signed out after a long time without activity."),
    "password_changed": N_("Signed out because the password was changed."),
    "user_disabled": N_("Signed out because the account was disabled."),
    "not_me": N_("Signed out after “This wasn’t me”."),
    "ip_changed": N_("Signed out because the network changed."),
    "admin": N_("Signed out by an administrator."),
    "reused": N_("Signed out because a copy of the session was used elsewhere."),
}

_SUSPICIONS = {
    "new_country": N_("It came from a country where you had not signed in before."),
    "many_failures": N_("Several wrong passwords were tried before it."),
    "impossible_travel": N_("It came from too far away from where you were shortly before."),
    "two_places": N_("You were signed in from another network within the hour."),
}


def why_suspicious(reason: str) -> str:
    """Tell a person what was unusual about a sign-in.

    Args:
        reason: one of :data:`.suspicion.REASONS`.
    """
    return gettext(_SUSPICIONS[reason])


def why_you_are_out(reason: str) -> str:
    """Tell a visitor why their session ended.

    Args:
        reason: one of :data:`~flask_device_sessions.END_REASONS`.
    """
    return gettext(_END_REASONS[reason])


def why_it_ended(reason: str) -> str:
    """Tell, in a list of devices, why one was signed out."""
    return gettext(_ENDED[reason])
