"""Who is calling: the session of a request, and what is noted of it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from flask import Flask, Request, Response, current_app
from flask_login.config import EXEMPT_METHODS

from .. import cookies, decorators, forgery, lifecycle, login, messages, signals, store
from ..ambient import utc_now
from ..audit import Entry
from ..errors import NoSuchUser, StoreUnavailable
from ..faults import STORE_FAULTS
from ..logs import Throttled
from ..networks import normalize
from ..parts import Parts, tell
from ..proxies import (
    current_user,
    forget_caller,
    known_visit,
    running_app,
    running_request,
    set_visit,
)
from ..tokens import Credential
from ..transport import is_bearer, vary
from ..visit import NO_COOKIES, Visit
from .departures import Departures

_logger = logging.getLogger("flask_device_sessions")
_touch_warning = Throttled(_logger, timedelta(minutes=1))


class Arrivals(Departures):
    """Restores the session of each request, before its view."""

    def visit(self) -> Visit:
        """Return the state of the running request, restoring its session if need be."""
        caller = running_request()
        visit = known_visit(caller)
        if visit is None:
            app, state = running_app(), self._state
            visit = self._arrive(app, state, caller, _read_token(app, state, caller))
        return visit

    def _welcome(self, app: Flask, state: Parts, caller: Request) -> Any:
        """Restore the session; return an answer to whom ``REQUIRE_LOGIN`` keeps out."""
        login.ensure_joined(app)
        forgery.ensure_sparing(app)
        by_token = is_bearer(caller)
        if by_token:
            forgery.spare_forms()
        if known_visit(caller) is None:
            token = _read_token(app, state, caller)
            if token is not None or by_token or cookies.carries(app, caller):
                self._arrive(app, state, caller, token)
            else:
                forget_caller()  # nobody; what more there is to know, whoever asks will find out
        if not state.settings.require_login or _is_open(caller.endpoint):
            return None
        if caller.method in EXEMPT_METHODS or app.config.get("LOGIN_DISABLED"):
            return None  # as login_required does
        return None if current_user.is_authenticated else login.unauthorized()

    def _arrive(self, app: Flask, state: Parts, caller: Request, token: Credential | None) -> Visit:
        """Make the state of a request, and restore its session."""
        visit = Visit(
            caller,
            normalize(caller.remote_addr),
            partial(state.transport.client_from, app, caller),
            utc_now(),
            is_bearer=is_bearer(caller),
        )
        set_visit(visit)
        if token is not None:
            self._restore(state, visit, token)
        # Flask's session says so already where it is empty and the caller is not fresh.
        if not _is_static(caller.endpoint) and (
            cookies.carries(app, caller) or self._is_fresh(visit, state.settings.freshness)
        ):
            self._follow_freshness(visit)
        return visit

    def _restore(self, state: Parts, visit: Visit, token: Credential) -> None:
        """Find out whether the caller's credential is good, and note their activity."""
        try:
            outcome = state.lifecycle.restore(token, visit.address, visit.now)
        except StoreUnavailable as fault:
            _logger.error("Nobody can be recognised: %s", fault)
            visit.fault = fault
            return
        if isinstance(outcome, lifecycle.Refused):
            visit.refused = outcome
            if outcome.found is not None and state.store.is_clean:
                self._write_down_refusal(visit, outcome.found, outcome)
            return
        visit.found = outcome.found
        visit.session_id, visit.user_id = visit.found.id, visit.found.user_id
        self._write_down_activity(state, visit, outcome, token)

    # -- What is written down ----------------------------------------------------------------------

    def _write_down_activity(
        self, state: Parts, visit: Visit, restored: lifecycle.Restored, token: Credential
    ) -> None:
        """Note a move, a new secret, activity: what is due. The request goes on in any case."""
        rules, found, due = state.lifecycle, restored.found, []
        if rules.has_moved(found, visit.address):
            due.append(partial(self._move, visit, found))
        if rules.is_rotation_due(restored, visit.now):
            due.append(partial(self._rotate_on_clock, visit, found, token))
        elif rules.is_settling_due(restored):
            due.append(partial(rules.settle, found, visit.now))
        if rules.is_touch_due(found, visit.now):
            due.append(partial(rules.touch, found, visit.address, visit.now))
        if not due or not state.store.is_clean:
            return
        try:
            for write in due:
                write()
        except (StoreUnavailable, NoSuchUser, *STORE_FAULTS) as error:
            _touch_warning.warning("Activity could not be noted: %s", error)
        found.refresh()  # a commit or a rollback has expired what the app holds

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
        def unit() -> dict[str, Any]:
            rotated = self._state.lifecycle.rotate_on_clock(token, found, visit.client, visit.now)
            if rotated is None:
                return {}
            session, newest, values = rotated
            self._send_new_secret(visit, session, newest, signals.session_rotated)
            return values

        found.note(**self._state.store.run(unit))

    def _write_down_refusal(
        self, visit: Visit, found: store.Found, refused: lifecycle.Refused
    ) -> None:
        """Mark the row of a session that ended by itself: nothing revives it then."""
        reason = str(refused.reason)

        def unit() -> None:
            ended = self._state.lifecycle.end_found(found, reason, visit.client, visit.now)
            self._announce_ends(dict.fromkeys(ended, reason))

        if refused.is_due:
            self._write_down("The end of a session", unit)
        elif self._noted.is_due(found.id):
            entry = Entry("ended_session_used", found, detail={"reason": reason})
            note = partial(self._state.lifecycle.note, found.user_id, entry)
            self._write_down("The end of a session", lambda: note(visit.client, visit.now))

    def _write_down(self, what: str, unit: Callable[[], object]) -> None:
        """Run a unit without which the request goes on; what it was about is in the warning."""
        try:
            self._state.store.run(unit)
        except (StoreUnavailable, NoSuchUser) as error:
            _touch_warning.warning("%s could not be noted: %s", what, error)

    def note_foreign_id(self, kind: str, row_id: uuid.UUID) -> None:
        """Record that the person who is signed in tried an id that is not theirs.

        Once a minute and person: whoever tries many must not fill the table. Nobody looks
        whether somebody else's row has the id, so both cost the same.

        Args:
            kind: ``"session"`` or ``"device"``.
            row_id: what was tried.
        """
        visit, state = self.visit(), self._state
        if visit.user_id is None or not state.foreign_ids.is_due(visit.user_id):
            return
        detail = {"kind": kind, "id": str(row_id)}
        entry = Entry("foreign_id_tried", visit.session, detail=detail)
        note = partial(state.lifecycle.note, visit.user_id, entry, visit.client, visit.now)
        self._write_down("The use of a foreign id", note)

    # -- After the view ----------------------------------------------------------------------------

    def _after_request(self, app: Flask, state: Parts, response: Response) -> Response:
        caller = running_request()
        visit = known_visit(caller)
        if visit is None:
            if response.is_streamed and not _is_static(caller.endpoint):
                vary(response)  # whoever makes the body may ask yet
            return response
        if not _is_static(caller.endpoint):
            outgoing = NO_COOKIES if visit.is_bearer else visit.outgoing
            state.transport.write(app, response, outgoing)
        if visit.is_in_flask:
            login.forget_freshness()
        if visit.is_bearer:
            forgery.forget_sparing()
        return response

    # -- What views ask ----------------------------------------------------------------------------

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

    def why_signed_out(self) -> str | None:
        """Return a sentence on why the caller's session ended, if their cookie had one."""
        reason = self.visit().ended_because
        return None if reason is None else messages.why_you_are_out(reason)

    def forget_ended(self) -> None:
        """Delete the cookie of a session that is no more; its owner has been told."""
        visit = self.visit()
        if visit.refused is not None:
            visit.outgoing = replace(visit.outgoing, is_clearing=True)


def _read_token(app: Flask, state: Parts, caller: Request) -> Credential | None:
    """Return the credential that a request carries; what is static is for everybody."""
    return None if _is_static(caller.endpoint) else state.transport.read_token(app, caller)


def _is_static(endpoint: str | None) -> bool:
    return endpoint is not None and (endpoint == "static" or endpoint.endswith(".static"))


def _is_open(endpoint: str | None) -> bool:
    """Whether ``REQUIRE_LOGIN`` leaves this endpoint alone."""
    view = current_app.view_functions.get(endpoint or "")
    is_public = view is None or decorators.allows_anonymous(view)
    return is_public or _is_static(endpoint) or login.is_login_view()
