"""What a view says about the session it needs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial, wraps
from typing import Any, TypeVar, overload

from flask import current_app

from . import problems
from .login import needs_refresh, unauthorized
from .proxies import current_extension, current_user, current_visit

V = TypeVar("V", bound=Callable[..., Any])

_ANONYMOUS = "_device_sessions_allow_anonymous"


def allow_anonymous(view: V) -> V:
    """Let people who are not signed in reach a view although ``REQUIRE_LOGIN`` is on."""
    setattr(view, _ANONYMOUS, True)
    return view


def allows_anonymous(view: Any) -> bool:
    """Whether :func:`allow_anonymous` was put on the view."""
    return bool(getattr(view, _ANONYMOUS, False))


@overload
def fresh_session_required(view: V) -> V: ...


@overload
def fresh_session_required(*, max_age: timedelta | None = None) -> Callable[[V], V]: ...


def fresh_session_required(view: Any = None, *, max_age: timedelta | None = None) -> Any:
    """Let a view run only if the password was checked a short while ago (ASVS 5.0 7.5.1).

    Others are sent to the LoginManager's ``refresh_view``, which is our confirm page unless the
    app has its own, and come back from there; who is not signed in goes to the login page.
    Use it bare, or as ``@fresh_session_required(max_age=timedelta(minutes=2))``.

    Args:
        view: the view function.
        max_age: how long ago at most; default: ``DEVICE_SESSIONS_FRESHNESS``.
    """
    if view is None:
        return partial(_require_fresh, max_age=max_age)
    return _require_fresh(view, max_age=max_age)


def _require_fresh(view: Any, *, max_age: timedelta | None) -> Any:
    @wraps(view)
    def guarded(*args: Any, **values: Any) -> Any:
        if not current_user.is_authenticated:
            return unauthorized()
        if not current_extension.is_fresh(max_age):
            return needs_refresh()
        return current_app.ensure_sync(view)(*args, **values)

    return guarded


def scopes_required(*scopes: str) -> Callable[[V], V]:
    """Let a view run for a bearer token only if it has all these scopes; a browser has all.

    Others get 403 with the challenge ``insufficient_scope`` (RFC 6750 3.1); who is not signed
    in gets what ``login_required`` answers.

    Args:
        *scopes: what the token must be allowed.

    Raises:
        TypeError: it was used without scopes.
    """
    if not scopes or not all(isinstance(scope, str) for scope in scopes):
        raise TypeError('Name the scopes: @scopes_required("notes:read").')
    return partial(_require_scopes, scopes=scopes)


def _require_scopes(view: Any, *, scopes: tuple[str, ...]) -> Any:
    @wraps(view)
    def guarded(*args: Any, **values: Any) -> Any:
        if not current_user.is_authenticated:
            return unauthorized()
        if not has_scopes(scopes):
            return problems.insufficient_scope(scopes)
        return current_app.ensure_sync(view)(*args, **values)

    return guarded


def has_scopes(scopes: tuple[str, ...]) -> bool:
    """Whether the current session may do all this; a key of the app's own is no session."""
    session = current_visit().session
    return bool(session) and (session.kind == "browser" or set(scopes) <= set(session.scopes))
