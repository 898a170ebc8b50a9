"""Login limits: how many passwords may be tried on one account, and from one network.

Every attempt is counted before its password is looked at, so that parallel guesses cannot pass
while the first is being hashed, and it is counted the same whether the account exists or not.
The window moves (a fixed one lets nearly twice the limit through at its edge).

Two counts hold at once. The one in this process always does; the one in Redis, through the
``limits`` library, is shared by all processes and holds in addition, for as long as it answers.
So a storage that is down, frozen, emptied or replaced never means more attempts than the limit
in any process, and what this process has seen is still known when the storage comes back.
With ``memory://`` there is only the first: three worker processes let three times the limit by.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

from .errors import ConfigError
from .logs import Throttled
from .text import clean

if TYPE_CHECKING:  # what runs imports it when it is needed: it takes as long as this package
    from limits import RateLimitItem
    from limits.storage import RedisStorage

_logger = logging.getLogger("flask_device_sessions")

#: How long a Redis may keep one login waiting, in seconds, unless its URI says otherwise.
SOCKET_TIMEOUT = 0.5

#: How long a storage that failed is left alone before one login tries it again, in seconds.
PAUSE = 5.0

#: The shortest time between two reports that the storage is down.
REPORT_INTERVAL = timedelta(minutes=1)

#: Longer names are cut before they are walked through; no column of identifiers is as long.
_LONGEST_ACCOUNT = 1000

#: Marks, invisible characters and spaces: what databases overlook in comparing text.
_OVERLOOKED = frozenset("MCZ")

#: The storages of :mod:`limits` whose every wait can be limited (not so in a Redis Cluster).
_SCHEMES = frozenset({"redis", "rediss", "redis+unix", "redis+sentinel"}) | frozenset(
    {"valkey", "valkeys", "valkey+unix", "valkey+sentinel"}
)


class _Window(NamedTuple):
    """One limit on one subject: this many attempts under a key in this many seconds."""

    key: str
    amount: int
    seconds: int


class Admission(NamedTuple):
    """What :meth:`Throttle.admit` says to one attempt.

    Attributes:
        wait: whole seconds to wait, at least 1, for ``Retry-After``; ``None`` is: go on.
        network: where the attempt took a place, to be given back if it succeeds; ``None`` for
            an attempt that had a place of its device's own, or none.
    """

    wait: int | None
    network: str | None


class Throttle:
    """Counts attempts to sign in and says how long the next one has to wait.

    Args:
        limit: attempts allowed per account and per network, such as ``"10 per 3 minutes"``;
            several at once with ``;`` between them (the syntax of :mod:`limits`). ``None``: any.
        storage_uri: ``memory://``, or Redis: ``redis://``, ``rediss://``, ``redis+unix://``,
            ``redis+sentinel://`` and the same of Valkey. No connection is made here. A query
            of ``socket_timeout`` and ``socket_connect_timeout`` (seconds) replaces
            :data:`SOCKET_TIMEOUT`.
        key: secret under which the subjects are hashed; the same in all processes. Without
            one, whoever reads the storage can try out which accounts were counted.
        on_storage_down: called without arguments when the storage does not answer, at most
            once per :data:`REPORT_INTERVAL`, in the request that found out.

    Raises:
        ConfigError: the limit or the URI is malformed, or the client package is missing.
    """

    def __init__(
        self,
        limit: str | None,
        storage_uri: str,
        *,
        key: bytes = b"",
        on_storage_down: Callable[[], object] = lambda: None,
    ) -> None:
        self._items = () if limit is None else _parsed(limit)
        self._key = key
        self._here = _Here()
        self._shared = _shared(storage_uri) if self._items else None
        self._outage = _Outage(on_storage_down)

    def admit(
        self,
        account: str,
        network: str | None,
        browser_digest: str | None,
        is_known_device: Callable[[], bool],
    ) -> Admission:
        """Count one attempt, before any password is hashed.

        A refused attempt uses up nothing: neither the network's count when it is the account's
        turn to refuse, nor the other way round. A browser that signed in to this account before
        has an allowance of its own then, so that nobody locks the owner out by guessing.

        Args:
            account: what was typed as the name, whether or not such an account exists.
            network: what :func:`.networks.network_of` gives for the caller's address (an IPv6
                site is one caller, not 2**64); ``None`` without an address: not counted.
            browser_digest: of the browser's own cookie; ``None`` for a browser without one.
            is_known_device: whether that browser signed in to this account before. Called at
                most once, and only when a count is used up; what it raises is passed on.
        """
        account = normal_account(account)
        wait = self._take(self._common(account, network))
        if not wait:
            return Admission(None, network)
        if browser_digest is not None and is_known_device():
            wait = min(wait, self._take(self._windows("device", account, browser_digest)))
        return Admission(wait or None, None)

    def clear(self, account: str, browser_digest: str | None, network: str | None = None) -> None:
        """Forget the attempts on an account and on a device's allowance, after a success.

        Of the network's, only the place that this success took is given back, so that an office
        can sign in one after the other. With more, an attacker would start anew at will by
        signing in to an account of his own.

        Args:
            account: as for :meth:`admit`.
            browser_digest: as for :meth:`admit`.
            network: that of the :class:`Admission`.
        """
        account = normal_account(account)
        windows = self._windows("account", account)
        if browser_digest is not None:
            windows += self._windows("device", account, browser_digest)
        places = [] if network is None else self._windows("network", network)
        self._here.clear(windows)
        self._here.give_back(places)
        self._ask(lambda shared: shared.clear(windows, places))

    def _common(self, account: str, network: str | None) -> list[_Window]:
        # The network first: when two attempts race for an account's last place, the one that
        # loses has used up a place of its own network, not of the account it attacks.
        of_network = [] if network is None else self._windows("network", network)
        return of_network + self._windows("account", account)

    def _windows(self, *subject: str) -> list[_Window]:
        digest = hmac.new(self._key, "\0".join(subject).encode(), hashlib.sha256).hexdigest()
        return [
            _Window(
                item.key_for("device-sessions", subject[0], digest[:32]),
                item.amount,
                item.get_expiry(),
            )
            for item in self._items
        ]

    def _take(self, windows: list[_Window]) -> int:
        """Count an attempt in all windows; return 0, or the seconds to wait if one is full."""
        wait = self._here.take(windows)
        if not wait:
            wait = self._ask(lambda shared: shared.take(windows))
            if wait:
                self._here.give_back(windows)
        return wait

    def _ask(self, question: Callable[[_Shared], int]) -> int:
        """Return what the shared storage answers; 0 without one or while it is down."""
        if self._shared is None or not self._outage.is_time_to_ask():
            return 0
        try:
            answer = question(self._shared)
        except Exception as error:  # whatever a driver raises: the login goes on
            self._outage.begin(error)
            return 0
        self._outage.end()
        return answer


class _Here:
    """The counts of this process: an attempt is counted in all its windows, or in none.

    The storage for memory that comes with ``limits`` (5.8) is not used: a ``clear`` beside a
    count raises KeyError there, and each key ever seen is kept and read again 10 ms after
    every count, so that made-up account names eat memory and processor.
    """

    _FEW = 1000

    def __init__(self) -> None:
        self._lock = Lock()
        self._times: dict[str, list[float]] = {}
        self._longest = 0
        self._sweep_at = self._FEW

    def take(self, windows: Sequence[_Window]) -> int:
        """Count an attempt; return 0, or the seconds to wait if a window is full."""
        now = time.time()
        with self._lock:
            wait = max((self._wait(window, now) for window in windows), default=0)
            if not wait:
                self._count(windows, now)
        return wait

    def give_back(self, windows: Iterable[_Window]) -> None:
        """Undo the latest count."""
        with self._lock:
            for window in windows:
                if times := self._times.get(window.key):
                    times.pop()

    def clear(self, windows: Iterable[_Window]) -> None:
        """Forget these windows."""
        with self._lock:
            for window in windows:
                self._times.pop(window.key, None)

    def _wait(self, window: _Window, now: float) -> int:
        times = self._times.get(window.key, ())
        if len(times) < window.amount:
            return 0
        return _seconds_until(times[-window.amount] + window.seconds, now)

    def _count(self, windows: Iterable[_Window], now: float) -> None:
        for window in windows:
            times = self._times.setdefault(window.key, [])
            times.append(now)
            del times[: -window.amount]
            self._longest = max(self._longest, window.seconds)
        if len(self._times) >= self._sweep_at:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        """Drop what is over. Next when the keys have doubled, so that a count stays cheap."""
        since = now - self._longest
        self._times = {
            key: times for key, times in self._times.items() if times and times[-1] >= since
        }
        self._sweep_at = max(self._FEW, 2 * len(self._times))


class _Shared:
    """The counts of all processes, in Redis: each window is taken atomically."""

    def __init__(self, storage: RedisStorage) -> None:
        self._storage = storage

    def take(self, windows: Sequence[_Window]) -> int:
        """Count an attempt; return 0, or the seconds to wait if a window is full."""
        # The others are looked at first, so that a refusal uses up nothing. Only attempts that
        # race for a last place get past this, and taking, which is atomic, decides among them.
        is_open = not self._wait(windows[1:])
        if is_open and all(self._storage.acquire_entry(*window) for window in windows):
            return 0
        return max(1, self._wait(windows))

    def clear(self, windows: Iterable[_Window], places: Iterable[_Window]) -> int:
        """Forget the windows, give one place back in each of the others; nothing to wait for."""
        for window in windows:
            self._storage.clear(window.key)
        for window in places:
            # A window is a list of times, the newest first; `limits` cannot take one out.
            self._storage.storage.lpop(self._storage.prefixed_key(window.key))
        return 0

    def _wait(self, windows: Iterable[_Window]) -> int:
        return max(map(self._wait_for, windows), default=0)

    def _wait_for(self, window: _Window) -> int:
        oldest, count = self._storage.get_moving_window(*window)
        return 0 if count < window.amount else _seconds_until(oldest + window.seconds, time.time())


class _Outage:
    """Whether the storage answers, when to try it again, and who is told."""

    def __init__(self, on_down: Callable[[], object]) -> None:
        self._on_down = on_down
        self._warnings = Throttled(_logger, REPORT_INTERVAL)
        self._lock = Lock()
        self._ask_at: float | None = None
        self._report_at = 0.0

    def is_time_to_ask(self) -> bool:
        """Whether this login may use the storage: always, or one per pause while it is down."""
        with self._lock:
            if self._ask_at is None:
                return True
            if time.monotonic() < self._ask_at:
                return False
            self._ask_at = time.monotonic() + PAUSE
        return True

    def begin(self, error: Exception) -> None:
        """Note that the storage failed."""
        with self._lock:
            now = time.monotonic()
            self._ask_at = now + PAUSE
            self._warnings.warning(
                "The storage of the login limits is down, each process limits alone: %s: %s",
                type(error).__name__,
                clean(str(error), 200),
            )
            if now < self._report_at:
                return
            self._report_at = now + REPORT_INTERVAL.total_seconds()
        self._report()

    def end(self) -> None:
        """Note that the storage answered."""
        with self._lock:
            was_down, self._ask_at = self._ask_at is not None, None
        if was_down:
            _logger.info("The storage of the login limits answers again")

    def _report(self) -> None:
        try:
            self._on_down()
        except Exception:  # telling is not worth a login
            _logger.exception("Telling that the storage of the login limits is down failed")


def normal_account(account: str) -> str:
    """Return the one text under which all writings of an account's name are counted.

    Case, accents, spaces, invisible and compatibility characters make no difference: a database
    may find the same account by them (MariaDB's collations do), and each would be another
    allowance of guesses. Two accounts that differ only so share one count.
    """
    # Folded before marks go, too: one of them, the Greek iota below, folds to a letter (Unicode
    # 3.13, D146).
    folded = unicodedata.normalize("NFD", account[:_LONGEST_ACCOUNT]).casefold()
    plain = unicodedata.normalize("NFKD", folded)
    kept = "".join(c for c in plain if unicodedata.category(c)[0] not in _OVERLOOKED)
    return kept.casefold()


def _seconds_until(moment: float, now: float) -> int:
    """Return whole seconds after which ``moment`` is over for certain; 0 if it is now."""
    # At the very moment an attempt still counts (as in `limits`), hence not the ceiling.
    return max(0, math.floor(moment - now) + 1)


def _parsed(limit: str) -> tuple[RateLimitItem, ...]:
    from limits import parse_many

    try:
        # A limit that is written twice would count each attempt twice.
        items = tuple(dict.fromkeys(parse_many(limit)))
    except ValueError:
        items = ()
    if not items or any(item.amount < 1 for item in items):
        raise ConfigError(
            "DEVICE_SESSIONS_LOGIN_RATE_LIMIT must be limits of at least 1, such as "
            f"'10 per 3 minutes' or '5 per minute; 50 per day', or None, not {limit!r}."
        )
    return items


def _shared(uri: str) -> _Shared | None:
    """Return the storage that a URI names; ``None`` for ``memory://``."""
    scheme, separator, _ = uri.partition("://")
    if scheme == "memory" and separator:
        return None
    # No message shows the URI, nor what others say about it: a password may stand in it.
    if scheme not in _SCHEMES or not separator:
        raise ConfigError(
            "DEVICE_SESSIONS_RATE_LIMIT_STORAGE_URI must be memory:// or a Redis, such as "
            "redis://localhost:6379/0."
        )
    client = "valkey" if scheme.startswith("valkey") else "redis"
    if find_spec(client) is None:
        raise ConfigError(
            f"DEVICE_SESSIONS_RATE_LIMIT_STORAGE_URI starts with {scheme}://, but the package "
            f"{client} is not installed: `pip install {client}`, or use memory://."
        )
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    try:
        return _Shared(cast("RedisStorage", storage_from_string(uri, **_options(uri, scheme))))
    except (ConfigurationError, ValueError):
        raise ConfigError(
            f"DEVICE_SESSIONS_RATE_LIMIT_STORAGE_URI starts with {scheme}://, but the rest of it "
            f"is malformed, or the installed {client} or limits is too old for it. Compare "
            "https://limits.readthedocs.io/en/stable/storage.html"
        ) from None


def _options(uri: str, scheme: str) -> dict[str, Any]:
    """Return what keeps a frozen server from freezing the login."""
    query = parse_qs(urlsplit(uri).query)
    names = ["socket_timeout"]
    if not scheme.endswith("+unix"):
        names.append("socket_connect_timeout")
    timeouts: dict[str, Any] = {
        name: float(query.get(name, [str(SOCKET_TIMEOUT)])[0]) for name in names
    }
    if not scheme.endswith("+sentinel"):
        return timeouts
    # Sentinels are asked through clients of their own, which else retry for seconds.
    return {**timeouts, "sentinel_kwargs": {**timeouts, "retry": None}}
