"""Who may call a route."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import abort, request

from .. import problems
from ..decorators import allow_anonymous
from ..forgery import check_header
from ..proxies import current_extension, current_session, current_user, current_visit

View = Callable[..., Any]

_SAFE = ("GET", "HEAD", "OPTIONS")


def anybody(view: View) -> View:
    """Let everybody in: no credential of the request is looked at."""
    return allow_anonymous(view)


def signed_in(view: View) -> View:
    """Let in who has a live session; by cookie, for more than reading, with the CSRF token."""

    @wraps(view)
    def guarded(**values: Any) -> Any:
        if not current_session:
            return problems.unauthenticated()
        if request.method not in _SAFE and not current_visit().is_bearer:
            check_header()
        return view(**values)

    return allow_anonymous(guarded)  # REQUIRE_LOGIN would answer for pages


def need_fresh() -> None:
    """Stop who has not shown the password a short while ago (ASVS 5.0 7.5.2)."""
    if current_extension.can_confirm(current_user) and not current_extension.is_fresh():
        abort(problems.confirmation_required())
