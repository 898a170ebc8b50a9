"""Bearer tokens: sessions of programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from flask import has_request_context

from .. import lifecycle, signals
from ..config import LONGEST_TOKEN, are_scopes
from ..i18n import gettext
from ..models import NAME_LENGTH
from ..parts import tell
from ..text import clean
from ..tokens import IssuedToken, digest_of
from .arrivals import Arrivals


class Programs(Arrivals):
    """The verbs of tokens."""

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
        ``MAX_PER_USER`` and lives for ``TOKEN_LIFETIME`` instead of ``LIFETIME``.

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
        client = visit.client._replace(browser_digest=digest_of(known_by.encode()))

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
