"""Who may sign in: the account, its password, and how often one may try.

Unknown, wrong, disabled and without a password: the same statements, one hash, the same answer
(ASVS 5.0 6.3.8). Only the trail, the log and the signal know which it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from . import passwords, signals
from .ambient import utc_now
from .audit import Entry
from .bounds import OncePer
from .clients import Client
from .errors import NoSuchUser, TooManyAttempts
from .faults import STORE_FAULTS
from .lifecycle import Lifecycle
from .networks import network_of
from .store import Store
from .text import clean
from .throttle import Throttle, normal_account

#: Longest identifier that is looked up, in characters (RFC 5321 allows 254 for an address).
IDENTIFIER_LENGTH = 320

#: The app's own look-up, see :meth:`~flask_device_sessions.DeviceSessions.authenticator`.
Finder = Callable[..., Any]


def decides_alone(finder: Finder | None) -> bool:
    """Whether the app's look-up checks the password, too."""
    return finder is not None and len(inspect.signature(finder).parameters) > 1


class Accounts:
    """The check of one app's passwords.

    Args:
        store: finds the accounts.
        rules: records what was refused.
        identifier_field: what people sign in with.
        limit: ``LOGIN_RATE_LIMIT``.
        storage_uri: ``RATE_LIMIT_STORAGE_URI``.
        throttle_key: secret under which the throttle hashes what it counts.
        tell: sends a signal with its facts.
    """

    def __init__(
        self,
        store: Store,
        rules: Lifecycle,
        identifier_field: str,
        limit: str | None,
        storage_uri: str,
        throttle_key: bytes,
        tell: Callable[..., object],
    ) -> None:
        self._store = store
        self._rules = rules
        self._field = identifier_field
        self._tell = tell
        self._throttle = Throttle(
            limit, storage_uri, key=throttle_key, on_storage_down=self._note_storage_down
        )
        # Strangers choose both, so that both bound how much is written.
        self._noted_accounts = OncePer(timedelta(minutes=1))
        self._noted_networks = OncePer(timedelta(minutes=1))

    def authenticate(
        self, identifier: str, password: str, client: Client, now: datetime, finder: Finder | None
    ) -> Any | None:
        """Return the user with this identifier and password, who may sign in, or ``None``.

        Raises:
            TooManyAttempts: the password was not looked at.
            StoreUnavailable: the database did not answer.
        """
        name = clean(identifier, IDENTIFIER_LENGTH)
        if not name or not passwords.is_checkable(password):
            return None
        with self._explaining():
            return self._authenticate(name, password, client, now, finder)

    def confirm(
        self, user: Any, password: str, client: Client, now: datetime, finder: Finder | None
    ) -> bool:
        """Whether this is the password of a user who is signed in.

        Raises:
            TooManyAttempts: the password was not looked at.
            StoreUnavailable: the database did not answer.
        """
        if not passwords.is_checkable(password):
            return False
        with self._explaining():
            return self._confirm(user, password, client, now, finder)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except STORE_FAULTS as error:
            raise self._store.give_up(error) from error

    def _confirm(
        self, user: Any, password: str, client: Client, now: datetime, finder: Finder | None
    ) -> bool:
        name = str(getattr(user, self._field))
        network = self._admit(name, client, now, finder)
        if self._is_password_of(user, name, password, finder):
            self._throttle.clear(name, client.browser_digest, network)
            return True
        self._note_failure(user, name, "password", client, now)
        return False

    def _authenticate(
        self, name: str, password: str, client: Client, now: datetime, finder: Finder | None
    ) -> Any | None:
        network = self._admit(name, client, now, finder)
        user, is_right = self._check(name, password, finder)
        reason = _why_not(user, is_right)
        if reason is None:
            self._throttle.clear(name, client.browser_digest, network)
            return user
        self._note_failure(user, name, reason, client, now)
        return None

    # -- The password ----------------------------------------------------------------------------

    def _check(self, name: str, password: str, finder: Finder | None) -> tuple[Any | None, bool]:
        """Return the account, and whether this is its password, after exactly one hash."""
        if finder is not None and decides_alone(finder):
            allowed = finder(name, password)
            return (allowed, True) if allowed is not None else (self._find(name)[0], False)
        found, somebody = self._find(name)
        if finder is not None:
            found = finder(name)
        return found, passwords.check(found, somebody, password)

    def _named(self, name: str, finder: Finder | None) -> Any | None:
        """Return the account with this name, whatever the password."""
        if finder is not None and not decides_alone(finder):
            return finder(name)
        return self._find(name)[0]

    def _find(self, name: str) -> tuple[Any | None, Any | None]:
        """Return the account with this name, and any one account."""
        look_up = partial(self._store.find_accounts, self._field, name)
        found, somebody = self._store.look(look_up)
        if found is not None and not self._is_counted_as(name, found):
            found = None
        return found, somebody

    def _is_counted_as(self, name: str, user: Any) -> bool:
        """Whether the throttle takes what was typed for the account's name.

        A database may be more generous in comparing texts; each way of writing a name would be
        another allowance of guesses then.
        """
        return normal_account(name) == normal_account(str(getattr(user, self._field)))

    def _is_password_of(self, user: Any, name: str, password: str, finder: Finder | None) -> bool:
        if finder is None or not decides_alone(finder):
            return passwords.check(user, user, password)
        allowed = finder(name, password)
        return allowed is not None and self._store.id_of(allowed) == self._store.id_of(user)

    # -- How often -------------------------------------------------------------------------------

    def _admit(self, name: str, client: Client, now: datetime, finder: Finder | None) -> str | None:
        """Count an attempt before its password is looked at; return where it took a place."""
        network = None if client.address is None else network_of(client.address)
        digest = client.browser_digest
        admission = self._throttle.admit(
            name, network, digest, lambda: self._is_known_device(name, str(digest), finder)
        )
        if admission.wait is None:
            return admission.network
        if self._noted_networks.is_due(network) and self._noted_accounts.is_due(
            normal_account(name)
        ):
            self._note(self._named(name, finder), Entry("login_throttled"), client, now)
        self._tell(signals.login_throttled, identifier=name)
        raise TooManyAttempts(admission.wait)

    def _is_known_device(self, name: str, digest: str, finder: Finder | None) -> bool:
        user_id = self._id_of(self._named(name, finder))
        return self._store.look(partial(self._store.has_device, user_id, digest))

    # -- What is written down --------------------------------------------------------------------

    def _note_failure(
        self, user: Any | None, name: str, reason: str, client: Client, now: datetime
    ) -> None:
        entry = Entry("login_failed", detail={"reason": reason})
        self._note(user, entry, client, now)
        self._tell(signals.login_failed, identifier=name, reason=reason)

    def _note(self, user: Any | None, entry: Entry, client: Client, now: datetime) -> None:
        unit = partial(self._rules.note, self._id_of(user), entry, client, now)
        with suppress(NoSuchUser):
            # What the app has not saved yet is the app's to commit; the event goes with it.
            self._store.run(unit, commit=self._store.is_clean)

    def _id_of(self, user: Any | None) -> Any | None:
        return None if user is None else self._store.id_of(user)

    def _note_storage_down(self) -> None:
        if self._store.is_clean:
            self._note(None, Entry("throttle_storage_down"), Client(), utc_now())


def _why_not(user: Any | None, is_right: bool) -> str | None:
    """Return why this person may not sign in; ``None`` when they may."""
    if user is None:
        return "unknown"
    if not is_right:
        return "password"
    return None if user.is_active else "disabled"
