"""Signing in and out, and proving again who one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from flask import abort, has_request_context, request

from .. import lifecycle, login, signals
from ..accounts import decides_alone
from ..errors import DeviceSessionsError
from ..parts import tell
from ..proxies import running_app
from ..text import clean
from ..tokens import digest_of, new_browser_id
from ..visit import Visit
from .arrivals import Arrivals
from .base import unwrap

Authenticator = TypeVar("Authenticator", bound=Callable[..., Any])


class SigningIn(Arrivals):
    """The verbs of a browser's own session."""

    def authenticator(self, function: Authenticator) -> Authenticator:
        """Decorator: let ``function`` find the account instead of the look-up by identifier.

        ``function(identifier)`` returns the user or ``None``, and the password is checked here
        as always; ``function(identifier, password)`` decides by itself and returns the user who
        may sign in, or ``None``.
        """
        self._authenticator = function
        return function

    def authenticate(self, identifier: str, password: str) -> Any | None:
        """Return the user with this identifier and password, who may sign in, or ``None``.

        It costs the same SQL and exactly one hash whether the account is unknown, disabled,
        without a password, or the password is wrong (ASVS 5.0 6.3.8). A password above 4096
        bytes is refused without a hash.

        Raises:
            TooManyAttempts: ``LOGIN_RATE_LIMIT`` is used up; the password was not looked at.
            StoreUnavailable: the database did not answer.
        """
        client, now = self._caller()
        accounts = self._state.accounts
        return accounts.authenticate(identifier, password, client, now, self._authenticator)

    def can_confirm(self, user: Any) -> bool:
        """Whether there is a password of this person's that :meth:`confirm` could check."""
        return decides_alone(self._authenticator) or hasattr(user, "check_password")

    def login(
        self, user: Any, *, remember: bool = False, method: str = "password", commit: bool = True
    ) -> Any:
        """Start a session for this browser and set its cookie.

        The session that this browser had is replaced. At ``MAX_PER_USER`` the least recently
        active one gives way, or, with ``LIMIT_POLICY="refuse"``, this one.

        Args:
            user: the person, who has proved who they are.
            remember: let the cookie outlive the browser.
            method: how they did, for the row and the trail; at most 32 characters.
            commit: commit ``db.session``; otherwise session and cookie come with the app's
                commit, or not at all.

        Returns:
            The new ``DeviceSession``.

        Raises:
            SessionLimitReached: see above.
            StoreUnavailable: the database refused; nothing was changed.
        """
        return self.start(user, remember=remember, method=method, announce=True, commit=commit)

    def start(
        self,
        user: Any,
        *,
        remember: bool,
        method: str,
        remember_for: timedelta | None = None,
        is_fresh: bool = True,
        announce: bool = False,
        commit: bool = True,
    ) -> Any:
        """Do what :meth:`login` says, for whoever signs people in.

        Args:
            remember_for: how long the session may last, where that is less than ``LIFETIME``.
            is_fresh: whether the person proved who they are just now.
            announce: tell Flask-Login's listeners.

        Other arguments, result and errors are those of :meth:`login`.
        """
        _need_request("login()")
        visit = self.visit()
        if visit.is_bearer:
            abort(400, "A sign-in of a browser cannot come with a bearer token.")
        state = self._state
        user = unwrap(user)
        previous = (visit.user_id, visit.session_id)
        browser_id = self._browser_id()
        client = visit.client._replace(browser_digest=digest_of(browser_id))
        ask = state.settings.remember == "ask"
        authenticated_at = visit.now if is_fresh else lifecycle.UNPROVEN

        def unit() -> lifecycle.Started:
            started = state.lifecycle.start(
                user,
                client,
                visit.now,
                remembered=remember if ask else bool(state.settings.remember),
                method=clean(method, 32),
                authenticated_at=authenticated_at,
                longest=remember_for,
            )
            self._become(visit, started.session, user)
            # First the cookies: a listener that raises must not cost the person their session.
            self._send_cookies(visit, started, browser_id)
            self._announce_ends(started.ended)
            self._announce_start(started, user, is_quiet=not announce)
            return started

        session = state.store.run(unit, commit=commit).session
        if previous[1] is not None and previous[0] != visit.user_id:
            # Another person's, whose cookie this browser has just lost.
            self._end(previous[0], "replaced", self._is(previous[1]), commit=commit)
        return session

    def logout(self, *, commit: bool = True) -> int:
        """End the current session and clear its cookie.

        Returns:
            How many sessions ended: 1, or 0 when nobody was signed in.
        """
        user = self.load_user()
        return self.end_current(commit=commit, then=lambda: login.announce_logout(user))

    def end_current(self, *, commit: bool = True, then: Callable[[], object] = lambda: None) -> int:
        """Do what :meth:`logout` says, without telling Flask-Login's listeners.

        Args:
            commit: as there.
            then: called after the commit.
        """
        _need_request("logout()")
        visit = self.visit()
        if visit.fault is not None:
            raise visit.fault
        if visit.session_id is None:
            return 0
        current = self._is(visit.session_id)
        return self._end(visit.user_id, "logout", current, commit=commit, then=then)

    def confirm(self, password: str, *, commit: bool = True) -> bool:
        """Check the current person's password again: step-up authentication (ASVS 5.0 7.5).

        When it is right, the session is fresh for ``FRESHNESS`` and has a new secret; the old
        one is dead.

        Returns:
            Whether it was right.

        Raises:
            TooManyAttempts: ``LOGIN_RATE_LIMIT`` is used up; the password was not looked at.
        """
        user = self.load_user()
        if user is None:
            return False
        client, now = self._caller()
        is_right = self._state.accounts.confirm(user, password, client, now, self._authenticator)
        return is_right and self.renew_current(commit=commit)

    def password_changed(self, user: Any, *, commit: bool = True) -> int:
        """End a person's other sessions and tokens after their password changed.

        Call it where the app has changed the password, in the same request. The session in
        which that happened stays, with a new secret (ASVS 5.0 7.4.3); a bearer token does not,
        for no answer could carry its new secret.

        Returns:
            How many sessions ended.
        """
        client, now = self._caller()
        user_id = self._state.store.id_of(user)
        visit = self.visit() if has_request_context() else None
        current = None if visit is None or visit.is_bearer else self._current_of(user_id)

        def unit() -> int:
            rules = self._state.lifecycle
            ended, token = rules.password_changed(user_id, current, client, now)
            self._announce_ends(dict.fromkeys(ended, "password_changed"))
            if visit is not None and token is not None:
                self._send_new_secret(visit, current, token, signals.session_rotated)
            self._after_commit(partial(self._state.notifier.password_changed, user))
            return len(ended)

        return self._state.store.run(unit, commit=commit)

    def renew_current(self, *, commit: bool = True) -> bool:
        """Make the current session fresh and give it a new secret; the old one is dead.

        A bearer token keeps its secret: no answer could carry a new one.

        Returns:
            Whether there was a live session.
        """
        visit = self.visit()
        session = visit.session
        if not session:
            return False

        def unit() -> bool:
            if visit.is_bearer:
                return self._confirm_token(visit, session)
            token = self._state.lifecycle.rotate(session, visit.client, visit.now, confirmed=True)
            if token is not None:
                self._send_new_secret(visit, session, token, signals.session_confirmed)
            return token is not None

        return self._state.store.run(unit, commit=commit)

    def _confirm_token(self, visit: Visit, session: Any) -> bool:
        is_live = self._state.lifecycle.confirm_token(session, visit.client, visit.now)
        if is_live:
            self._after_commit(partial(tell, signals.session_confirmed, session=session))
        return is_live

    def know_browser(self) -> str:
        """Return the digest of the browser's name; a browser without one is given one."""
        visit = self.visit()
        browser_id = self._browser_id()
        visit.outgoing = replace(visit.outgoing, browser_id=browser_id)
        return digest_of(browser_id)

    def _browser_id(self) -> bytes:
        """Return the browser's name, or a new one for it."""
        return self._state.transport.read_browser_id(running_app(), request) or new_browser_id()


def _need_request(verb: str) -> None:
    if not has_request_context():
        raise DeviceSessionsError(
            f"{verb} signs a browser in, so it needs a request. In tests, use "
            "flask_device_sessions.testing.login(client, user)."
        )
