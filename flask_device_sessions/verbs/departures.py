"""What leaves after the commit: cookies, signals, mails; and who is signed in from then on."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from blinker import Signal
from flask import has_request_context

from .. import lifecycle, login, messages, models, signals
from ..ambient import utc_now
from ..notifications import path_of
from ..parts import tell
from ..proxies import forget_caller
from ..signing import Purpose
from ..tokens import SessionToken
from ..transport import COOKIE_AGE
from ..visit import Outgoing, Visit
from .base import Base


class Departures(Base):
    """What a change says to the outside, once it is committed."""

    def _end(
        self,
        user_id: Any,
        reason: str,
        *conditions: Any,
        commit: bool,
        then: Callable[[], object] = lambda: None,
    ) -> int:
        if reason not in models.END_REASONS:
            raise ValueError(f"reason must be one of {', '.join(models.END_REASONS)}.")
        client, now = self._caller()

        def unit() -> int:
            ended = self._state.lifecycle.end(user_id, reason, client, now, *conditions)
            self._announce_ends(dict.fromkeys(ended, reason))
            if ended:
                self._after_commit(then)
            return len(ended)

        return self._state.store.run(unit, commit=commit)

    # -- Being signed in ---------------------------------------------------------------------------

    def _become(self, visit: Visit, session: Any, user: Any) -> None:
        """Be signed in from here on; not any more if the transaction is rolled back."""
        before = (visit.session, visit.session_id, visit.user_id, visit.user)
        self._switch(visit, session, session.id, session.user_id, user)
        self._after_commit(lambda: None, undo=lambda: self._switch(visit, *before))

    def _switch(self, visit: Visit, *who: Any) -> None:
        visit.enter(*who)
        if not has_request_context():
            return  # the end of the request has rolled back: nobody will ask any more
        forget_caller()
        self._follow_freshness(visit)
        if visit.session_id is None or visit.user is not None:
            login.set_user(visit.user)

    def _leave(self, session_id: uuid.UUID) -> None:
        """Stop being signed in for the rest of a request whose own session has ended."""
        visit = self.visit()
        if visit.session_id == session_id:
            visit.outgoing = Outgoing(is_clearing=True)
            visit.found = None
            self._switch(visit, None, None, None, None)

    def _follow_freshness(self, visit: Visit) -> None:
        visit.is_in_flask = True
        login.follow_freshness(self._is_fresh(visit, self.settings.freshness))

    def _is_fresh(self, visit: Visit, max_age: timedelta) -> bool:
        if visit.session_id is None:
            return False
        return visit.now - visit.authenticated_at < max_age

    # -- Cookies -----------------------------------------------------------------------------------

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
            self._follow_freshness(visit)
            tell(signal, session=session)

        self._after_commit(announce)

    # -- Signals and mails -------------------------------------------------------------------------

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
        notifier, session = self._state.notifier, started.session
        if started.suspicions:
            reasons = [messages.why_suspicious(reason) for reason in started.suspicions]
            link = self._not_me_path(started.token.id)
            notifier.suspicious(user, session, reasons, not_me_path=link)
        elif self.settings.notify_new_device and started.is_news:
            notifier.new_device(user, session, not_me_path=self._not_me_path(started.token.id))

    def _not_me_path(self, session_id: uuid.UUID) -> str | None:
        return path_of("device_sessions.not_me", signed=self._sign_not_me(session_id))

    def _sign_not_me(self, session_id: uuid.UUID) -> str:
        return self.signatures.dump(Purpose.NOT_ME, {"session": str(session_id)})

    def _announce_ends(self, ended: dict[Any, str]) -> None:
        for session, reason in ended.items():
            self._after_commit(partial(self._tell_end, session, session.id, reason))

    def _tell_end(self, session: Any, session_id: uuid.UUID, reason: str) -> None:
        if has_request_context():
            self._leave(session_id)
        tell(signals.session_ended, session=session, reason=reason)


def _cookie_end(session: Any) -> datetime | None:
    """Return when the browser may forget the cookie; ``None`` is when it closes."""
    if not session.remembered:
        return None
    longest = utc_now() + COOKIE_AGE
    return min(longest, session.expires_at or longest)
