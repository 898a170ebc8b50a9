"""``DeviceSessions``: puts the parts together, and the verbs that apps call.

A verb runs one unit of the store; what it says to the outside (signals, cookies) is handed to
:mod:`~flask_device_sessions.transactions` and leaves after the commit.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from blinker import Signal
from flask import Flask, Response, abort, current_app, g, has_request_context, request
from flask_login.config import EXEMPT_METHODS
from werkzeug.local import LocalProxy

from . import (
    api,
    decorators,
    forgery,
    lifecycle,
    login,
    messages,
    models,
    signals,
    store,
    transactions,
    web,
)
from .accounts import Finder, decides_alone
from .ambient import utc_now
from .audit import Entry
from .bounds import OncePer
from .chain import AuditReport, anchor_of, verify
from .clients import Client
from .config import LONGEST_TOKEN, Settings, are_scopes
from .errors import ConfigError, DeviceSessionsError, NoSuchUser, StoreUnavailable
from .faults import STORE_FAULTS
from .i18n import gettext
from .logs import Throttled
from .models import NAME_LENGTH
from .notifications import Mailer
from .parts import Parts, assemble, tell
from .proxies import EXTENSION, current_user
from .signing import Signatures
from .text import clean
from .tokens import Credential, IssuedToken, SessionToken, digest_of, new_browser_id
from .transport import COOKIE_AGE, is_bearer
from .visit import Outgoing, Visit, unavailable

T = TypeVar("T")
Authenticator = TypeVar("Authenticator", bound=Callable[..., Any])

_logger = logging.getLogger("flask_device_sessions")
_touch_warning = Throttled(_logger, timedelta(minutes=1))

#: How often a session's move to one network, and the use of one that has ended, is recorded.
_REPEAT_INTERVAL = timedelta(hours=1)


class DeviceSessions:
    """Server-side sessions for Flask: listed, limited, expired, audited, ended from anywhere.

    Args:
        app: the app to put it into now; or call :meth:`init_app` later.
        db: the Flask-SQLAlchemy object; default: the one the app is initialised with.
        user_model: the user class; default: ``DEVICE_SESSIONS_USER_MODEL``.
        session_model: the app's own subclass of ``DeviceSessionMixin``.
        device_model: the app's own subclass of ``DeviceMixin``.
        event_model: the app's own subclass of ``SessionEventMixin``.
        mailer: sends one :class:`~flask_device_sessions.notifications.Mail`, or raises; default:
            Flask-Mailman or Flask-Mail, whichever the app has.

    Raises:
        ConfigError: the app cannot work like this; the text says what to change.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        db: Any = None,
        user_model: type[Any] | None = None,
        session_model: type[Any] | None = None,
        device_model: type[Any] | None = None,
        event_model: type[Any] | None = None,
        mailer: Mailer | None = None,
    ) -> None:
        self._given = {
            "db": db,
            "user_model": user_model,
            "session_model": session_model,
            "device_model": device_model,
            "event_model": event_model,
            "mailer": mailer,
        }
        self._states: WeakKeyDictionary[Flask, Parts] = WeakKeyDictionary()
        self._authenticator: Finder | None = None
        self._noted = OncePer(_REPEAT_INTERVAL)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, **given: Any) -> None:
        """Put the extension into an app; takes the constructor's arguments, which then win.

        Raises:
            ConfigError: the app cannot work like this; the text says what to change.
        """
        unknown = given.keys() - self._given.keys()
        if unknown:
            raise TypeError(f"init_app() got unexpected arguments: {', '.join(sorted(unknown))}")
        if EXTENSION in app.extensions:
            raise ConfigError(
                "This app has a DeviceSessions already. Import and use that instance instead."
            )
        state = assemble(app, {**self._given, **given})
        self._states[app] = state
        app.extensions[EXTENSION] = self
        login.connect(app)
        app.register_blueprint(web.make_blueprint(state.settings))
        web.register_error_handlers(app, with_pages=state.settings.pages)
        if state.settings.api:
            api.register(app, state.settings)
        # First of all hooks: whatever the app does before a request may ask who is calling.
        app.before_request_funcs.setdefault(None, []).insert(0, self._before_request)
        app.after_request(self._after_request)

    # -- What the running app and request are ------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings of the running app."""
        return self._state.settings

    @property
    def _state(self) -> Parts:
        try:
            return self._states[_app()]
        except KeyError:
            raise ConfigError(
                "This DeviceSessions object is not initialised with the running app: "
                "call init_app(app)."
            ) from None

    @property
    def signatures(self) -> Signatures:
        """Signatures under the running app's secret keys."""
        return self._state.transport.signatures(_app())

    @property
    def session_cookie_name(self) -> str:
        """Name of the session cookie."""
        return self._state.transport.cookie_name(_app())

    @property
    def browser_cookie_name(self) -> str:
        """Name of the cookie that recognises the browser."""
        return self._state.transport.browser_cookie_name(_app())

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
        return self._state.transport.is_secure(_app())

    def visit(self) -> Visit:
        """Return the state of the running request, restoring its session if need be."""
        visit = _known_visit()
        if visit is None:
            visit = self._make_visit()
            g._device_sessions_visit = visit
            login.forget_user()
            if not _is_static(request.endpoint):
                self._restore(visit)
                login.follow_freshness(self._is_fresh(visit, self.settings.freshness))
            g.current_session = visit.session
        return visit

    # -- One request -------------------------------------------------------------------------

    def _before_request(self) -> Any:
        login.ensure_joined(_app())
        forgery.spare_programs(_app())
        self.visit()
        if not self.settings.require_login or _is_open(request.endpoint):
            return None
        if request.method in EXEMPT_METHODS or _app().config.get("LOGIN_DISABLED"):
            return None  # as login_required does
        return None if current_user.is_authenticated else login.unauthorized()

    def _make_visit(self) -> Visit:
        caller = request._get_current_object()  # type: ignore[attr-defined]
        client = self._state.transport.client_from(_app(), caller)
        return Visit(caller, client, utc_now(), is_bearer=is_bearer(caller))

    def _restore(self, visit: Visit) -> None:
        """Find out whether the caller's credential is good, and note their activity."""
        state = self._state
        token = state.transport.read_token(_app(), request)
        if token is None:
            return
        may_write = state.store.is_clean
        try:
            outcome = state.lifecycle.restore(token, visit.client, visit.now)
        except StoreUnavailable as fault:
            _logger.error("Nobody can be recognised: %s", fault)
            visit.fault, visit.session = fault, unavailable(fault)
            return
        if isinstance(outcome, lifecycle.Refused):
            visit.refused = outcome
            if outcome.found is not None and may_write:
                self._write_down_refusal(visit, outcome.found, outcome)
            return
        visit.found = outcome.found
        if may_write:
            self._write_down_activity(visit, outcome, token)
        visit.enter(visit.found.session(), visit.found.id, visit.found.user_id, None)

    def _write_down_activity(
        self, visit: Visit, restored: lifecycle.Restored, token: Credential
    ) -> None:
        """Note a move, a new secret, activity: what is due. The request goes on in any case."""
        rules, found = self._state.lifecycle, restored.found
        try:
            if rules.has_moved(found, visit.client):
                self._move(visit, found)
            if rules.is_rotation_due(restored, visit.now):
                self._rotate_on_clock(visit, found, token)
            rules.settle(restored, visit.now)
            rules.touch(found, visit.client, visit.now)
        except (StoreUnavailable, NoSuchUser, *STORE_FAULTS) as error:
            _touch_warning.warning("Activity could not be noted: %s", error)

    def _move(self, visit: Visit, found: store.Found) -> None:
        rules, old = self._state.lifecycle, found.last_ip_address
        values = rules.moved_values(visit.client)
        found.note(**values)  # also if it cannot be written: this request is not fresh
        new = values["last_ip_address"]
        if "authenticated_at" not in values and not self._noted.is_due((found.id, new)):
            return  # between two networks, to and fro

        def unit() -> None:
            for session in rules.move(found, values, visit.client, visit.now):
                facts = {"session": session, "old": old, "new": new}
                self._after_commit(partial(tell, signals.ip_changed, **facts))

        self._state.store.run(unit)

    def _rotate_on_clock(self, visit: Visit, found: store.Found, token: Credential) -> None:
        def unit() -> None:
            rotated = self._state.lifecycle.rotate_on_clock(token, found, visit.client, visit.now)
            if rotated is not None:
                self._send_new_secret(visit, *rotated, signals.session_rotated)

        self._state.store.run(unit)

    def _write_down_refusal(
        self, visit: Visit, found: store.Found, refused: lifecycle.Refused
    ) -> None:
        """Mark the row of a session that ended by itself: nothing revives it then."""
        reason = str(refused.reason)

        def unit() -> None:
            ended = self._state.lifecycle.end_found(found, reason, visit.client, visit.now)
            self._announce_ends(dict.fromkeys(ended, reason))

        try:
            if refused.is_due:
                self._state.store.run(unit)
            elif self._noted.is_due(found.id):
                entry = Entry("ended_session_used", found, detail={"reason": reason})
                note = partial(self._state.lifecycle.note, found.user_id, entry)
                self._state.store.run(lambda: note(visit.client, visit.now))
        except (StoreUnavailable, NoSuchUser) as error:
            _touch_warning.warning("The end of a session could not be noted: %s", error)

    def _after_request(self, response: Response) -> Response:
        visit = _known_visit()
        if visit is not None and not _is_static(request.endpoint):
            outgoing = Outgoing() if visit.is_bearer else visit.outgoing
            self._state.transport.write(_app(), response, outgoing)
            login.forget_freshness()
            forgery.forget_sparing()
        return response

    def load_user(self) -> Any | None:
        """Return the user of the running request for Flask-Login; ``None`` is anonymous."""
        visit = self.visit()
        if visit.fault is not None:
            return visit.session
        if visit.user is None and visit.found is not None:
            visit.user = visit.found.user()
        return visit.user

    def is_fresh(self, max_age: timedelta | None = None) -> bool:
        """Whether the current session's password check still counts.

        Args:
            max_age: how long it counts; default: ``FRESHNESS``.
        """
        return self._is_fresh(self.visit(), max_age or self.settings.freshness)

    def _is_fresh(self, visit: Visit, max_age: timedelta) -> bool:
        if visit.session_id is None:
            return False
        age: timedelta = visit.now - visit.session.authenticated_at
        return age < max_age

    def why_signed_out(self) -> str | None:
        """Return a sentence on why the caller's session ended, if their cookie had one."""
        reason = self.visit().ended_because
        return None if reason is None else messages.why_you_are_out(reason)

    def forget_ended(self) -> None:
        """Delete the cookie of a session that is no more; its owner has been told."""
        visit = self.visit()
        if visit.refused is not None:
            visit.outgoing.is_clearing = True

    # -- Signing in and out --------------------------------------------------------------------

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
        user = _unwrap(user)
        previous = (visit.user_id, visit.session_id)
        browser_id = state.transport.read_browser_id(_app(), request) or new_browser_id()
        client = replace(visit.client, browser_digest=digest_of(browser_id))
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

    # -- Programs ------------------------------------------------------------------------------

    def issue_token(
        self,
        user: Any,
        *,
        name: str,
        scopes: Sequence[str] = (),
        expires_in: timedelta | None = None,
        commit: bool = True,
    ) -> IssuedToken:
        """Make a bearer token, with which a program acts for a person.

        Its session is listed, ends and is audited like a browser's, but it takes no place of
        ``MAX_PER_USER`` and does not end by ``IDLE_TIMEOUT``.

        Args:
            user: the person.
            name: what they call it; cleaned, and cut to 100 characters.
            scopes: what it may do, for ``scopes_required``; at most 50, as in RFC 6749 3.3.
            expires_in: how long it lives; default: ``TOKEN_LIFETIME``.
            commit: commit ``db.session``; otherwise it comes with the app's commit.

        Returns:
            The session and the token in clear, which cannot be had again.

        Raises:
            ValueError: the name is empty, a scope is none, or the time is not positive.
            NoSuchUser: the person was deleted meanwhile.
            StoreUnavailable: the database refused; nothing was changed.
        """
        client, now = self._caller()
        user_id = self._state.store.id_of(user)
        current = self._current_of(user_id) if has_request_context() else None
        grant = lifecycle.Grant(
            name=_checked_name(name),
            scopes=_checked_scopes(scopes),
            lifetime=_checked_span(expires_in),
            authenticated_at=now if current is None else current.authenticated_at,
            issuer_id=None if current is None else current.id,
        )

        def unit() -> IssuedToken:
            session, token = self._state.lifecycle.issue_token(user_id, grant, client, now)
            self._after_commit(partial(tell, signals.token_issued, session=session))
            return IssuedToken(session, token.text())

        return self._state.store.run(unit, commit=commit)

    def sign_in_program(self, user: Any, name: str = "") -> IssuedToken:
        """Start a session for a program that sent the person's password, with a bearer token.

        Audit, mails and suspicions are those of :meth:`login`. The program is known again by its
        name and user agent; anybody can send the same, so that spares it no check.

        Args:
            user: whom :meth:`authenticate` returned.
            name: what the program calls itself; default: what its user agent says.

        Raises:
            NoSuchUser: the person was deleted meanwhile.
            StoreUnavailable: the database refused; nothing was changed.
        """
        visit = self.visit()
        called = clean(name, NAME_LENGTH) or visit.client.device.name or gettext("Unknown device")
        known_by = f"program\n{called}\n{visit.client.user_agent}"
        client = replace(visit.client, browser_digest=digest_of(known_by.encode()))

        def unit() -> IssuedToken:
            started = self._state.lifecycle.start_program(user, called, client, visit.now)
            self._become(visit, started.session, user)
            self._announce_start(started, user, is_quiet=False)
            return IssuedToken(started.session, started.token.text())

        return self._state.store.run(unit)

    def may_grant(self, scopes: Sequence[str]) -> bool:
        """Whether the caller may give these scopes to a token: an issued one only its own."""
        session = self.visit().session
        is_issued = session.kind == "token" and session.auth_method == "token"
        return not is_issued or set(scopes) <= set(session.scopes)

    # -- Ending others -------------------------------------------------------------------------

    def revoke(self, session: Any, *, reason: str = "revoked", commit: bool = True) -> int:
        """End one session; returns 1, or 0 when it had ended before.

        Args:
            session: any ``DeviceSession``.
            reason: one of :data:`~flask_device_sessions.END_REASONS`.
        """
        if reason not in models.END_REASONS:
            raise ValueError(f"reason must be one of {', '.join(models.END_REASONS)}.")
        return self._end(session.user_id, reason, self._is(session.id), commit=commit)

    def revoke_device(self, device: Any, *, commit: bool = True) -> int:
        """End every session on a device; returns how many ended."""
        on_device = self.session_model.device_id == device.id
        return self._end(device.user_id, "revoked", on_device, commit=commit)

    def revoke_others(self, user: Any = None, *, commit: bool = True) -> int:
        """End all sessions of a person except the current one; returns how many ended.

        Args:
            user: default: the person who is signed in.
        """
        current_id = self.visit().session_id if has_request_context() else None
        owner_id = self.visit().user_id if user is None else self._state.store.id_of(user)
        others = [] if current_id is None else [self.session_model.id != current_id]
        return 0 if owner_id is None else self._end(owner_id, "revoked", *others, commit=commit)

    def revoke_all(self, user: Any, *, commit: bool = True) -> int:
        """End all sessions of a person, the current one too; returns how many ended."""
        return self._end(self._state.store.id_of(user), "revoked", commit=commit)

    def revoke_everyone(self, *, commit: bool = True) -> int:
        """End all sessions of all people, one person a transaction; returns how many ended."""
        user_ids = self._state.store.run(self._state.store.list_user_ids_with_live, commit=False)
        return sum(self._end_of_anybody(user_id, commit) for user_id in user_ids)

    def _end_of_anybody(self, user_id: Any, commit: bool) -> int:
        try:
            return self._end(user_id, "admin", commit=commit)
        except NoSuchUser:
            return 0  # deleted, and out by that; the others must not stay in for it

    # -- Looking -------------------------------------------------------------------------------

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

    def sessions_of(self, user: Any, *, ended: bool = False) -> list[Any]:
        """Return a person's live sessions, newest activity first; or the ended ones.

        Args:
            user: the person.
            ended: return those that ended and are not purged yet, last ended first.
        """
        rows = self._state.store
        if ended:
            return rows.list_ended(rows.id_of(user))
        return rows.list_live(rows.id_of(user), *self._live_bounds())

    def page_of_sessions(
        self,
        user: Any,
        *,
        limit: int,
        kind: str | None = None,
        before: uuid.UUID | None = None,
    ) -> list[Any]:
        """Return at most ``limit`` of a person's live sessions, the last begun first.

        Args:
            user: the person.
            limit: how many.
            kind: ``"browser"`` or ``"token"``; default: both.
            before: the id of the last session on the page before.
        """
        rows = self._state.store
        bounds = self._live_bounds()
        owner_id = rows.id_of(user)
        return rows.list_live_page(owner_id, *bounds, kind=kind, before=before, limit=limit)

    def _live_bounds(self) -> tuple[datetime, datetime | None]:
        """Return the time, and since when a browser must have been active to be live."""
        now, idle_timeout = utc_now(), self.settings.idle_timeout
        return now, None if idle_timeout is None else now - idle_timeout

    def know_browser(self) -> str:
        """Return the digest of the browser's name; a browser without one is given one."""
        visit = self.visit()
        browser_id = self._state.transport.read_browser_id(_app(), request) or new_browser_id()
        visit.outgoing = replace(visit.outgoing, browser_id=browser_id)
        return digest_of(browser_id)

    def recently_ended(self, user: Any, limit: int = 5) -> list[Any]:
        """Return the person's sessions that ended last, at most ``limit``."""
        return self._state.store.list_ended(self._state.store.id_of(user), limit)

    def load_devices(self, sessions: Sequence[Any]) -> None:
        """Load the devices of these sessions at once, so that ``session.device`` asks no more."""
        self._state.store.load_devices(sessions)

    def devices_of(self, user: Any) -> list[Any]:
        """Return the browsers a person ever signed in from, last seen first."""
        return self._state.store.list_devices(self._state.store.id_of(user))

    def events_of(self, user: Any) -> list[Any]:
        """Return a person's audit events, newest first."""
        return self._state.store.list_events(self._state.store.id_of(user))

    def page_of_events(self, user: Any, *, limit: int, before: int | None = None) -> list[Any]:
        """Return at most ``limit`` of a person's audit events, newest first.

        Args:
            user: the person.
            limit: how many.
            before: ``sequence`` of the last event on the page before.
        """
        rows = self._state.store
        return rows.list_events(rows.id_of(user), limit, before=before)

    def verify_audit(
        self, user: Any = None, *, anchor: Mapping[str, Any] | None = None
    ) -> AuditReport:
        """Check the tamper-evident chain of audit events.

        Args:
            user: whose; default: everybody's.
            anchor: an earlier report's ``anchor``, kept out of the database's reach: without
                one, events cut off at a chain's end cannot be missed.

        Returns:
            A report that is true when the chain is whole, else says what is wrong, where.
        """
        rows = self._state.store
        owner_id = None if user is None else rows.id_of(user)
        if anchor is not None and owner_id is not None:
            anchor = anchor_of(anchor, owner_id)
        return verify(rows.iterate_events(owner_id), self._state.audit_keys, anchor)

    def find_session(self, user: Any, session_id: uuid.UUID) -> Any | None:
        """Return the person's session with this id; another's is ``None`` like an unknown one."""
        rows = self._state.store
        return rows.find_owned(rows.models.session, rows.id_of(user), session_id)

    def find_user(self, text: str) -> Any | None:
        """Return the user whose primary key is written like ``text``."""
        return self._state.store.find_user(text)

    def id_of(self, user: Any) -> Any:
        """Return the primary key of a user."""
        return self._state.store.id_of(user)

    def find_device(self, user: Any, device_id: uuid.UUID) -> Any | None:
        """Return the person's device with this id; another's is ``None`` like an unknown one."""
        rows = self._state.store
        return rows.find_owned(rows.models.device, rows.id_of(user), device_id)

    def rename_device(self, device: Any, name: str, *, commit: bool = True) -> None:
        """Give a device the person's own name; an empty one takes it away.

        Args:
            device: any ``DeviceSessionDevice``.
            name: cleaned, and cut to 100 characters.
        """
        client, now = self._caller()
        own_name = clean(name, NAME_LENGTH) or None
        self._state.store.run(
            lambda: self._state.lifecycle.rename(device, own_name, client, now), commit=commit
        )

    # -- Inside --------------------------------------------------------------------------------

    def _end(
        self,
        user_id: Any,
        reason: str,
        *conditions: Any,
        commit: bool,
        then: Callable[[], object] = lambda: None,
    ) -> int:
        client, now = self._caller()

        def unit() -> int:
            ended = self._state.lifecycle.end(user_id, reason, client, now, *conditions)
            self._announce_ends(dict.fromkeys(ended, reason))
            if ended:
                self._after_commit(then)
            return len(ended)

        return self._state.store.run(unit, commit=commit)

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

    def _is(self, session_id: uuid.UUID) -> Any:
        return self.session_model.id == session_id

    def _after_commit(
        self, effect: Callable[[], object], undo: Callable[[], object] = lambda: None
    ) -> None:
        transactions.after_commit(self._state.store.session(), effect, undo)

    def _become(self, visit: Visit, session: Any, user: Any) -> None:
        """Be signed in from here on; not any more if the transaction is rolled back."""
        before = (visit.session, visit.session_id, visit.user_id, visit.user)
        self._switch(visit, session, session.id, session.user_id, user)
        self._after_commit(lambda: None, undo=lambda: self._switch(visit, *before))

    def _switch(self, visit: Visit, *who: Any) -> None:
        visit.enter(*who)
        if not has_request_context():
            return  # the end of the request has rolled back: nobody will ask any more
        g.current_session = visit.session
        login.follow_freshness(self._is_fresh(visit, self.settings.freshness))
        if visit.session_id is not None and visit.user is None:
            login.forget_user()  # nobody has asked for them yet
        else:
            login.set_user(visit.user)

    def _send_cookies(
        self,
        visit: Visit,
        started: lifecycle.Started,
        browser_id: bytes,
    ) -> None:
        cookies = {
            "token": started.token,
            "expires_at": _cookie_end(started.session),
            "browser_id": browser_id,
        }
        self._after_commit(lambda: visit.send(**cookies))

    def _send_new_secret(
        self, visit: Visit, session: Any, token: SessionToken, signal: Signal
    ) -> None:
        expires_at = _cookie_end(session)

        def announce() -> None:
            visit.send(token=token, expires_at=expires_at)
            login.follow_freshness(self._is_fresh(visit, self.settings.freshness))
            tell(signal, session=session)

        self._after_commit(announce)

    def _announce_start(self, started: lifecycle.Started, user: Any, is_quiet: bool) -> None:
        def announce() -> None:
            session, device = started.session, started.device
            if not is_quiet:
                login.announce_login(user)
            if started.is_new_device:
                tell(signals.device_first_seen, device=device, session=session)
            tell(signals.session_started, session=session, new_device=started.is_new_device)
            if started.suspicions:
                tell(signals.suspicious_login, session=session, reasons=started.suspicions)
            self._mail_about(started, user)

        self._after_commit(announce)

    def _mail_about(self, started: lifecycle.Started, user: Any) -> None:
        notifier = self._state.notifier
        if started.suspicions:
            reasons = [messages.why_suspicious(reason) for reason in started.suspicions]
            notifier.suspicious(user, started.session, reasons)
        elif self.settings.notify_new_device and started.is_news:
            notifier.new_device(user, started.session)

    def _announce_ends(self, ended: dict[Any, str]) -> None:
        for session, reason in ended.items():
            self._after_commit(partial(self._tell_end, session, session.id, reason))

    def _tell_end(self, session: Any, session_id: uuid.UUID, reason: str) -> None:
        if has_request_context():
            self._leave(session_id)
        tell(signals.session_ended, session=session, reason=reason)

    def _leave(self, session_id: uuid.UUID) -> None:
        """Stop being signed in for the rest of a request whose own session has ended."""
        visit = self.visit()
        if visit.session_id == session_id:
            visit.outgoing = Outgoing(is_clearing=True)
            visit.found = None
            self._switch(visit, None, None, None, None)


def _cookie_end(session: Any) -> datetime | None:
    """Return when the browser may forget the cookie; ``None`` is when it closes."""
    if not session.remembered:
        return None
    longest = utc_now() + COOKIE_AGE
    return min(longest, session.expires_at or longest)


def _unwrap(user: Any) -> Any:
    """Return the user behind ``current_user``."""
    return user._get_current_object() if isinstance(user, LocalProxy) else user


def _known_visit() -> Visit | None:
    """Return the visit of the running request, if it has one yet."""
    visit: Visit | None = g.get("_device_sessions_visit")
    is_this = visit is not None and visit.request is request._get_current_object()  # type: ignore[attr-defined]
    return visit if is_this else None


def _app() -> Flask:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return app


def _is_static(endpoint: str | None) -> bool:
    return endpoint is not None and (endpoint == "static" or endpoint.endswith(".static"))


def _is_open(endpoint: str | None) -> bool:
    """Whether ``REQUIRE_LOGIN`` leaves this endpoint alone."""
    view = current_app.view_functions.get(endpoint or "")
    is_public = view is None or decorators.allows_anonymous(view)
    return is_public or _is_static(endpoint) or login.is_login_view()


def _checked_name(name: str) -> str:
    cleaned = clean(name, NAME_LENGTH)
    if not cleaned:
        raise ValueError("name must say what the token is for.")
    return cleaned


def _checked_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(scopes, str) or not are_scopes(list(scopes)):
        raise ValueError("scopes must be a list of at most 50 words as in RFC 6749 3.3.")
    return tuple(dict.fromkeys(scopes))


def _checked_span(span: timedelta | None) -> timedelta | None:
    if span is not None and not timedelta(0) < span <= LONGEST_TOKEN:
        raise ValueError(f"expires_in must be positive, and at most {LONGEST_TOKEN.days} days.")
    return span


def _need_request(verb: str) -> None:
    if not has_request_context():
        raise DeviceSessionsError(
            f"{verb} signs a browser in, so it needs a request. In tests, use "
            "flask_device_sessions.testing.login(client, user)."
        )
