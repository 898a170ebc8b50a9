"""What a view says about the session it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

V = TypeVar("V", bound=Callable[..., Any])

_ANONYMOUS = "_device_sessions_allow_anonymous"


def allow_anonymous(view: V) -> V:
    """Let people who are not signed in reach a view although ``REQUIRE_LOGIN`` is on."""
    setattr(view, _ANONYMOUS, True)
    return view


def allows_anonymous(view: Any) -> bool:
    """Whether :func:`allow_anonymous` was put on the view."""
    return bool(getattr(view, _ANONYMOUS, False))
