"""What every verb asks: the running app's parts, who is calling, when."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from flask import Flask, has_request_context
from werkzeug.local import LocalProxy

from .. import transactions
from ..accounts import Finder
from ..ambient import utc_now
from ..bounds import OncePer
from ..clients import Client
from ..config import Settings
from ..errors import ConfigError
from ..parts import Parts
from ..proxies import running_app
from ..signing import Signatures
from ..visit import Visit

T = TypeVar("T")

#: How often a session's move to one network, and the use of one that has ended, is recorded.
_REPEAT_INTERVAL = timedelta(hours=1)

#: Told, batch by batch, how many more rows are done.
Progress = Callable[[int], object]


class Base:
    """The parts of the apps that one extension object serves."""

    def __init__(self) -> None:
        self._states: WeakKeyDictionary[Flask, Parts] = WeakKeyDictionary()
        self._authenticator: Finder | None = None
        self._noted = OncePer(_REPEAT_INTERVAL)

    # -- What the running app is -------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings of the running app."""
        return self._state.settings

    @property
    def _state(self) -> Parts:
        try:
            return self._states[running_app()]
        except KeyError:
            raise ConfigError(
                "This DeviceSessions object is not initialised with the running app: "
                "call init_app(app)."
            ) from None

    @property
    def signatures(self) -> Signatures:
        """Signatures under the running app's secret keys."""
        return self._state.transport.signatures(running_app())

    @property
    def session_cookie_name(self) -> str:
        """Name of the session cookie."""
        return self._state.transport.cookie_name(running_app())

    @property
    def browser_cookie_name(self) -> str:
        """Name of the cookie that recognises the browser."""
        return self._state.transport.browser_cookie_name(running_app())

    @property
    def database_session(self) -> Any:
        """The ``db.session`` that the verbs write through."""
        return self._state.store.session

    def stored_address(self, address: str | None) -> str | None:
        """Return what ``IP_STORAGE`` lets the database keep of an address."""
        return self._state.lifecycle.stored_address(address)

    @property
    def is_cookie_secure(self) -> bool:
        """Whether browsers send the session cookie over HTTPS only."""
        return self._state.transport.is_secure(running_app())

    @property
    def session_model(self) -> Any:
        """The running app's session class."""
        return self._state.store.models.session

    @property
    def device_model(self) -> Any:
        """The running app's device class."""
        return self._state.store.models.device

    @property
    def event_model(self) -> Any:
        """The running app's event class."""
        return self._state.store.models.event

    def id_of(self, user: Any) -> Any:
        """Return the primary key of a user."""
        return self._state.store.id_of(user)

    def find_user(self, text: str) -> Any | None:
        """Return the user whose primary key is written like ``text``."""
        return self._look(self._state.store.find_user, text)

    def _look(self, question: Callable[..., T], *about: Any, **options: Any) -> T:
        """Ask the store something; its failures are ours."""
        return self._state.store.look(partial(question, *about, **options))

    # -- Who is calling, and when ----------------------------------------------------------------

    def visit(self) -> Visit:
        """Return the state of the running request, restoring its session if need be."""
        raise NotImplementedError

    def _caller(self) -> tuple[Client, Any]:
        """Return who asks and when: the request that is running, or the app itself."""
        if not has_request_context():
            return Client(), utc_now()
        visit = self.visit()
        return visit.client, visit.now

    def _current_of(self, user_id: Any) -> Any | None:
        """Return the current session if it is this person's."""
        visit = self.visit()
        is_theirs = visit.session_id is not None and visit.user_id == user_id
        return visit.session if is_theirs else None

    def _live_bounds(self) -> tuple[datetime, datetime | None]:
        """Return the time, and since when a browser must have been active to be live."""
        now, idle_timeout = utc_now(), self.settings.idle_timeout
        return now, None if idle_timeout is None else now - idle_timeout

    def _is(self, session_id: uuid.UUID) -> Any:
        return self.session_model.id == session_id

    def _after_commit(
        self, effect: Callable[[], object], undo: Callable[[], object] = lambda: None
    ) -> None:
        transactions.after_commit(self._state.store.session(), effect, undo)


def ignore(number: int) -> None:
    """Show no progress."""


def unwrap(user: Any) -> Any:
    """Return the user behind ``current_user``."""
    return user._get_current_object() if isinstance(user, LocalProxy) else user
