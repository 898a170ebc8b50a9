"""The settings: each key with its type, its default and one sentence, read once and frozen.

``docs/configuration.md`` lists the same; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from .errors import ConfigError
from .networks import check_networks

PREFIX = "DEVICE_SESSIONS_"


class Profile(NamedTuple):
    """Longest life and longest pause of a session at an assurance level."""

    lifetime: timedelta
    idle_timeout: timedelta | None


#: NIST SP 800-63B-4 (2025), sections 2.1.3, 2.2.3 and 2.3.3: reauthentication limits.
PROFILES = {
    "AAL1": Profile(timedelta(days=30), None),
    "AAL2": Profile(timedelta(hours=24), timedelta(hours=1)),
    "AAL3": Profile(timedelta(hours=12), timedelta(minutes=15)),
}

Check = Callable[[Any], bool]


def key_list(value: Any) -> list[bytes]:
    """Return one key, or several, as a list of bytes; what is no key at all gives none."""
    several = [value] if isinstance(value, (str, bytes)) else value
    if not isinstance(several, (list, tuple)):
        return []
    if not all(isinstance(key, (str, bytes)) for key in several):
        return []
    return [key.encode() if isinstance(key, str) else key for key in several]


class _Kind(NamedTuple):
    """What a value must be, in words and as a check."""

    words: str
    check: Check


def _one_of(*values: object) -> _Kind:
    words = ", ".join(repr(value) for value in values)
    return _Kind(f"one of {words}", lambda value: any(_is_same(value, v) for v in values))


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other  # 1 == True, and is not what was meant


def _optional(kind: _Kind) -> _Kind:
    return _Kind(f"{kind.words}, or None", lambda value: value is None or kind.check(value))


_TEXT = _Kind("a non-empty str", lambda value: isinstance(value, str) and value != "")
_BOOL = _Kind("True or False", lambda value: isinstance(value, bool))
_PATH = _Kind(
    'a str that starts with "/"', lambda value: isinstance(value, str) and value.startswith("/")
)
_DURATION = _Kind(
    "a positive timedelta",
    lambda value: isinstance(value, timedelta) and value > timedelta(0),
)
_LIMIT = _Kind(
    "an int of at least 1, or a callable that takes the user",
    lambda value: callable(value) or (type(value) is int and value >= 1),
)
_CALLABLE = _Kind("a callable that takes the user", callable)
_USER_MODEL = _Kind(
    "a model class or its name", lambda value: isinstance(value, (str, type)) and value != ""
)


_KEYS = _Kind(
    "a key of at least 16 bytes (str or bytes), or a list of such keys",
    lambda value: bool(key_list(value)) and all(len(key) >= 16 for key in key_list(value)),
)


_SPEED = _Kind(
    "a positive number",
    lambda value: type(value) in (int, float) and value > 0 and value != float("inf"),
)
_NETWORKS = _Kind(
    "a list of addresses and networks, such as ['192.0.2.0/24', '2001:db8::/32']",
    lambda value: isinstance(value, (list, tuple)) and _are_networks(value),
)


def _several_of(*texts: str) -> _Kind:
    words = ", ".join(repr(text) for text in texts)
    return _Kind(
        f"a list of some of {words}",
        lambda value: isinstance(value, (list, tuple)) and all(v in texts for v in value),
    )


#: The longest that a token can be made for; TOKEN_LIFETIME may be None, which is for ever.
LONGEST_TOKEN = timedelta(days=3650)

#: RFC 6749 3.3: printable ASCII without space, quotation mark and backslash.
_SCOPE = r"[\x21\x23-\x5B\x5D-\x7E]{1,100}"

#: Most scopes that one token carries.
_MOST_SCOPES = 50

_PREFIX = _Kind(
    "1 to 20 letters, digits and underscores, such as 'acme'",
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"[0-9A-Za-z_]{1,20}", value)),
)


def are_scopes(value: Any) -> bool:
    """Whether this is a list of scopes: at most 50, each as in RFC 6749 3.3, without spaces."""
    if not isinstance(value, (list, tuple)) or len(value) > _MOST_SCOPES:
        return False
    return all(isinstance(scope, str) and re.fullmatch(_SCOPE, scope) for scope in value)


_SCOPES = _Kind("a list of scopes, such as ['notes:read'], without spaces in them", are_scopes)


def _are_networks(texts: Sequence[Any]) -> bool:
    try:
        check_networks([text if isinstance(text, str) else "" for text in texts])
    except ValueError:
        return False
    return True


def _setting(default: Any, kind: _Kind, doc: str) -> Any:
    return field(default=default, metadata={"kind": kind, "doc": doc})


def _secret(default: Any, kind: _Kind, doc: str) -> Any:
    """Make a setting whose value stands in no repr and in no error."""
    metadata = {"kind": kind, "doc": doc, "is_secret": True}
    return field(default=default, repr=False, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Every key an app may set, without its ``DEVICE_SESSIONS_`` prefix and in lower case."""

    user_model: str | type = _setting(
        "User", _USER_MODEL, "The app's user model: the class, or its name."
    )
    identifier_field: str = _setting(
        "email", _TEXT, "The attribute of the user model that people sign in with."
    )
    url_prefix: str | None = _setting(
        None, _optional(_PATH), "Where the pages live; None is the root of the app."
    )
    pages: bool = _setting(True, _BOOL, "Register the pages (login, logout, devices).")
    after_login: str = _setting(
        "/", _TEXT, "Endpoint or path to go to after a sign-in without `next`."
    )
    after_logout: str | None = _setting(
        None,
        _optional(_TEXT),
        "Endpoint or path to go to after a sign-out; None is the login page.",
    )
    require_login: bool = _setting(
        False, _BOOL, "Every view needs a session unless it is marked `@allow_anonymous`."
    )
    cookie_name: str | None = _setting(
        None,
        _optional(_TEXT),
        "Name of the session cookie; None is `__Host-device_session` where the browser allows "
        "that prefix (secure, path `/`, no domain), else `device_session`.",
    )
    cookie_secure: bool | None = _setting(
        None,
        _optional(_BOOL),
        "Send the cookies over HTTPS only; None is true unless the app is in debug or testing.",
    )
    cookie_domain: str | None = _setting(
        None, _optional(_TEXT), "Domain of the cookies; None is this host alone."
    )
    cookie_path: str = _setting("/", _PATH, "Path of the cookies.")
    cookie_samesite: str = _setting(
        "Lax", _one_of("Lax", "Strict", "None"), "SameSite attribute of the cookies."
    )
    remember: bool | str = _setting(
        "ask",
        _one_of("ask", True, False),
        "Whether the cookie outlives the browser: the person is asked, always, or never.",
    )
    lifetime: timedelta | None = _setting(
        timedelta(days=30),
        _optional(_DURATION),
        "Absolute life of a session from its sign-in; activity never extends it.",
    )
    idle_timeout: timedelta | None = _setting(
        timedelta(days=14), _optional(_DURATION), "A session without activity this long ends."
    )
    profile: str | None = _setting(
        None,
        _optional(_one_of(*PROFILES)),
        "Preset of LIFETIME and IDLE_TIMEOUT after NIST SP 800-63B-4.",
    )
    touch_interval: timedelta = _setting(
        timedelta(minutes=5),
        _DURATION,
        "How stale `last_active_at` may get before a request writes it; "
        "at most a tenth of IDLE_TIMEOUT is used.",
    )
    freshness: timedelta = _setting(
        timedelta(minutes=10), _DURATION, "How long a password check counts as fresh."
    )
    max_per_user: int | Callable[[Any], int | None] | None = _setting(
        5, _optional(_LIMIT), "Live browser sessions per user: int, callable of the user, or None."
    )
    limit_policy: str = _setting(
        "evict",
        _one_of("evict", "refuse"),
        "At the limit: end the least recently active session, or refuse the new one.",
    )
    login_rate_limit: str | None = _setting(
        "10 per 3 minutes",
        _optional(_TEXT),
        "Passwords that may be tried per account and per network (IPv6: /64).",
    )
    rate_limit_storage_uri: str = _setting(
        "memory://",
        _TEXT,
        "Where the tries are counted: `memory://` is each process alone, `redis://…` all of them.",
    )
    ip_change_policy: str = _setting(
        "record",
        _one_of("ignore", "record", "confirm", "revoke"),
        "When a session comes from another /24 or IPv6 /64: nothing, an event, the session is "
        "not fresh any more, or it ends.",
    )
    geoip_database: str | None = _setting(
        None, _optional(_TEXT), "Path of an `.mmdb` file that tells where addresses are."
    )
    notify_new_device: bool = _setting(
        True, _BOOL, "Mail people when their account is signed in to from a new device."
    )
    base_url: str | None = _setting(
        None,
        _optional(_TEXT),
        "Address of the app, such as `https://example.com`, for links in mails.",
    )
    mail_sender: str | None = _setting(
        None, _optional(_TEXT), "Sender of the mails; None is the default of the app's mailer."
    )
    rotate_interval: timedelta | None = _setting(
        None,
        _optional(_DURATION),
        "Give each session a new secret this often; an old one that comes back is a theft.",
    )
    clear_site_data: Sequence[str] = _setting(
        (),
        _several_of("cookies", "storage", "executionContexts"),
        "What a browser is told to clear at sign-out (the header `Clear-Site-Data`).",
    )
    travel_speed_limit: float | None = _setting(
        900, _optional(_SPEED), "Faster than this, in km/h, no traveller is; for suspicious_login."
    )
    ignored_networks: Sequence[str] = _setting(
        (),
        _NETWORKS,
        "Networks that say nothing about where a person is, such as an office's VPN; for "
        "suspicious_login.",
    )
    admin: Callable[[Any], bool] | None = _setting(
        None,
        _optional(_CALLABLE),
        "Callable of the user: who may see and end other people's sessions; None is nobody.",
    )
    audit_key: str | bytes | Sequence[str | bytes] | None = _secret(
        None,
        _optional(_KEYS),
        "Key of the audit chain, or a list of keys, newest first; None derives it from SECRET_KEY.",
    )
    api: bool = _setting(True, _BOOL, "Register the JSON API.")
    api_url_prefix: str = _setting("/api", _PATH, "Where the JSON API lives.")
    token_prefix: str = _setting(
        "fds", _PREFIX, "How the text of each bearer token begins; secret scanners look for it."
    )
    token_lifetime: timedelta | None = _setting(
        timedelta(days=90),
        _optional(_DURATION),
        "Life of a bearer token, unless its issuer says otherwise; use never extends it.",
    )
    token_scopes: Sequence[str] = _setting(
        (), _SCOPES, "Scopes that may be given to tokens, on the page and by the API; () is any."
    )
    ip_storage: str = _setting(
        "full",
        _one_of("full", "truncate", "hash", "none"),
        "What is kept of addresses: all, their network, a keyed hash of it, or nothing.",
    )
    retention: timedelta | None = _setting(
        timedelta(days=180),
        _optional(_DURATION),
        "How long ended sessions and events are kept; a purge deletes older ones.",
    )
    cli_name: str = _setting(
        "device-sessions", _TEXT, "Name of the command group: `flask device-sessions`."
    )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read and check every ``DEVICE_SESSIONS_`` key of an app's config.

        Raises:
            ConfigError: an unknown key, or a value of the wrong kind.
        """
        given = {
            key.removeprefix(PREFIX).lower(): value
            for key, value in config.items()
            if key.startswith(PREFIX)
        }
        for name, value in given.items():
            cls._check(name, value)
        settings = cls(**given)._with_profile(given)
        settings._check_together()
        return settings

    @cached_property
    def effective_touch_interval(self) -> timedelta:
        """:attr:`touch_interval`, shortened so that the idle limit stays sharp."""
        if self.idle_timeout is None:
            return self.touch_interval
        return min(self.touch_interval, self.idle_timeout / 10)

    def limit_for(self, user: Any) -> int | None:
        """Return how many live browser sessions ``user`` may have, at least 1; ``None``: any."""
        limit = self.max_per_user
        chosen = limit(user) if callable(limit) else limit
        return None if chosen is None else max(1, chosen)

    def is_idle(self, last_active_at: datetime, now: datetime) -> bool:
        """Whether :attr:`idle_timeout` has passed at ``now`` since the last activity."""
        return self.idle_timeout is not None and now - last_active_at >= self.idle_timeout

    def is_fresh(self, authenticated_at: datetime, now: datetime) -> bool:
        """Whether a password check at ``authenticated_at`` still counts at ``now``."""
        return now - authenticated_at < self.freshness

    @classmethod
    def _check(cls, name: str, value: Any) -> None:
        key = PREFIX + name.upper()
        facts = {f.name: f.metadata for f in fields(cls)}
        if name not in facts:
            known = ", ".join(PREFIX + other.upper() for other in facts)
            raise ConfigError(f"{key} is not a setting. Mistyped? The settings are: {known}.")
        kind: _Kind = facts[name]["kind"]
        if not kind.check(value):
            shown = "" if facts[name].get("is_secret") else f", not {value!r}"
            raise ConfigError(f"{key} must be {kind.words}{shown}.")

    def _with_profile(self, given: Mapping[str, Any]) -> Settings:
        """Apply the profile; what is set beside it may only be stricter."""
        if self.profile is None:
            return self
        preset = PROFILES[self.profile]
        chosen = preset._asdict()
        for name, ceiling in preset._asdict().items():
            if name in given:
                _check_ceiling(self.profile, name, given[name], ceiling)
                chosen[name] = given[name]
        return replace(self, **chosen)

    def _check_together(self) -> None:
        name = (self.cookie_name or "").lower()
        if self.needs_secure_cookie and self.cookie_secure is False:
            raise ConfigError(
                "DEVICE_SESSIONS_COOKIE_SAMESITE='None' needs DEVICE_SESSIONS_COOKIE_SECURE, and "
                "so does a DEVICE_SESSIONS_COOKIE_NAME of __Host-… or __Secure-…: browsers drop "
                "such a cookie otherwise."
            )
        if name.startswith("__host-") and not self.allows_host_prefix(True):
            raise ConfigError(
                "A cookie named __Host-… must be secure, have the path / and no domain; "
                "change DEVICE_SESSIONS_COOKIE_NAME or those settings."
            )

    @property
    def needs_secure_cookie(self) -> bool:
        """Whether browsers would drop the cookie without the Secure attribute."""
        has_prefix = (self.cookie_name or "").lower().startswith(("__host-", "__secure-"))
        return has_prefix or self.cookie_samesite == "None"

    def allows_host_prefix(self, secure: bool) -> bool:
        """Whether a browser takes a ``__Host-`` cookie then (RFC 6265bis 4.1.3)."""
        is_secure = secure if self.cookie_secure is None else self.cookie_secure
        return is_secure and self.cookie_domain is None and self.cookie_path == "/"


def _check_ceiling(
    profile: str, name: str, value: timedelta | None, ceiling: timedelta | None
) -> None:
    if ceiling is not None and (value is None or value > ceiling):
        raise ConfigError(
            f"{PREFIX}{name.upper()} is {value}, but {PREFIX}PROFILE {profile!r} allows at most "
            f"{ceiling}. Shorten it, or leave it to the profile."
        )
