"""One request's state: who called, what the credential turned out to be, what goes out."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from flask import Request
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.utils import cached_property  # the standard library's locks, up to Python 3.11

from .clients import Client
from .errors import StoreUnavailable
from .lifecycle import Refused
from .store import Found
from .tokens import SessionToken


@dataclass(frozen=True)
class Outgoing:
    """Cookies that the answer sets, once the change behind them is committed.

    Attributes:
        token: the session cookie's new credential.
        expires_at: when the browser forgets it; ``None`` is with the end of the browser.
        is_clearing: the session cookie is deleted.
        browser_id: the browser cookie's new content.
    """

    token: SessionToken | None = None
    expires_at: datetime | None = None
    is_clearing: bool = False
    browser_id: bytes | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.token is not None or self.is_clearing or self.browser_id is not None


#: Nothing to set.
NO_COOKIES = Outgoing()


class Visit:
    """What is known of the request that is running.

    Args:
        request: the request itself: a test's app context may outlive it.
        address: where it comes from, in the one text form.
        look: looks closer at who is calling.
        now: when the request came: the one time that all its decisions use.
        is_bearer: whether an access token decides: no cookie is read then, or set.

    Attributes:
        found: the session of a good credential.
        refused: what was wrong with one that is not.
        fault: why nobody could tell.
        session_id: the live session's id.
        user_id: whose it is.
        user: its user, once somebody asked.
        outgoing: the cookies to set.
        is_in_flask: whether Flask's session was told, for Flask-Login, if the session is fresh.
    """

    found: Found | None = None
    refused: Refused | None = None
    fault: StoreUnavailable | None = None
    session_id: uuid.UUID | None = None
    user_id: Any = None
    user: Any = None
    outgoing: Outgoing = NO_COOKIES
    is_in_flask: bool = False

    def __init__(
        self,
        request: Request,
        address: str | None,
        look: Callable[[], Client],
        now: datetime,
        *,
        is_bearer: bool = False,
    ) -> None:
        self.request = request
        self.address = address
        self.look = look
        self.now = now
        self.is_bearer = is_bearer

    @cached_property
    def client(self) -> Client:
        """Who is calling, once somebody asks."""
        return self.look()

    @cached_property
    def session(self) -> Any:
        """The live session, as ``g.current_session`` shows it; made once somebody asks."""
        if self.fault is not None:
            return unavailable(self.fault)
        return None if self.found is None else self.found.session()

    @property
    def authenticated_at(self) -> datetime:
        """When whoever is signed in last proved who they are."""
        row: Any = vars(self).get("session") or self.found
        return cast(datetime, row.authenticated_at)

    def enter(self, session: Any, session_id: uuid.UUID | None, user_id: Any, user: Any) -> None:
        """Be signed in with this session from here on, or with none."""
        self.session, self.session_id = session, session_id
        self.user_id, self.user = user_id, user

    def send(self, **cookies: Any) -> None:
        """Let the answer set these cookies, beside those that it sets already."""
        self.outgoing = replace(self.outgoing, is_clearing=False, **cookies)

    @property
    def ended_because(self) -> str | None:
        """Why the session of the caller's cookie ended, if it once was good."""
        return None if self.refused is None else self.refused.reason


class _Unavailable:
    """Takes the place of the session and the user when nobody could tell who is calling.

    Whatever it is asked, it answers 503: a view that does not ask runs, and nobody is taken for
    anonymous.
    """

    __slots__ = ("_fault",)

    def __init__(self, fault: StoreUnavailable) -> None:
        object.__setattr__(self, "_fault", fault)

    def _fail(self, *_: object) -> Any:
        fault = object.__getattribute__(self, "_fault")
        raise ServiceUnavailable(retry_after=fault.retry_after) from fault

    __getattribute__ = __setattr__ = __bool__ = __str__ = __eq__ = __ne__ = __hash__ = _fail


def unavailable(fault: StoreUnavailable) -> Any:
    """Return a stand-in that answers 503 to whoever asks it anything."""
    return _Unavailable(fault)
