"""The settings: what each may be, what they mean together, and how a mistake is told."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from flask import Flask

from flask_device_sessions.config import PREFIX, PROFILES, Settings, key_list
from flask_device_sessions.errors import ConfigError
from tests.support import User, bare_app

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
KEY = "a long key of this suite"
NAMES = [field.name for field in fields(Settings)]


def read(**values: Any) -> Settings:
    """Read settings from a config with these values."""
    return Settings.from_config({PREFIX + name.upper(): value for name, value in values.items()})


def test_an_app_that_sets_nothing_gets_the_defaults() -> None:
    """The other keys of its config are no affair of ours."""
    assert Settings.from_config(Flask("tests").config) == Settings()
    assert Settings.from_config({"SESSION_COOKIE_NAME": 5, "DEVICE_SESSION_LIFETIME": 5}) == (
        Settings()
    )


def test_the_defaults_are_safe() -> None:
    """A month at most, two weeks idle, five browsers, cookies Lax and for HTTPS (ASVS V7.1)."""
    settings = Settings()

    assert settings.lifetime == 30 * DAY
    assert settings.idle_timeout == 14 * DAY
    assert settings.max_per_user == 5
    assert settings.limit_policy == "evict"
    assert settings.freshness == 10 * MINUTE
    assert settings.touch_interval == 5 * MINUTE
    assert settings.cookie_samesite == "Lax"
    assert settings.cookie_secure is None
    assert settings.allows_host_prefix(True)


def test_the_defaults_pass_their_own_check() -> None:
    """Writing a default into the config changes nothing."""
    assert read(**{name: getattr(Settings(), name) for name in NAMES}) == Settings()


def test_settings_cannot_change_while_the_app_runs() -> None:
    """They are read once: no code path switches a limit off later."""
    with pytest.raises(FrozenInstanceError):
        Settings().max_per_user = None  # type: ignore[misc]


def test_every_setting_says_what_it_is_for() -> None:
    """Each carries one sentence for the documentation."""
    for field in fields(Settings):
        assert field.metadata["doc"].endswith("."), field.name
        assert field.metadata["kind"].words, field.name


GOOD: dict[str, list[Any]] = {
    "user_model": ["Account", User],
    "identifier_field": ["username"],
    "url_prefix": [None, "/", "/account"],
    "pages": [True, False],
    "after_login": ["/", "home", "account.home"],
    "after_logout": [None, "/", "home"],
    "require_login": [True, False],
    "cookie_name": [None, "sid"],
    "cookie_secure": [None, True, False],
    "cookie_domain": [None, "example.com"],
    "cookie_path": ["/", "/app"],
    "cookie_samesite": ["Lax", "Strict", "None"],
    "remember": ["ask", True, False],
    "lifetime": [None, SECOND, 400 * DAY],
    "idle_timeout": [None, SECOND, DAY],
    "profile": [None, *PROFILES],
    "touch_interval": [SECOND, HOUR],
    "freshness": [SECOND, HOUR],
    "max_per_user": [None, 1, 1000, len],
    "limit_policy": ["evict", "refuse"],
    "login_rate_limit": [None, "5 per minute", "10/3minutes; 100 per day"],
    "rate_limit_storage_uri": ["memory://", "redis://localhost:6379/0"],
    "ip_change_policy": ["ignore", "record", "confirm", "revoke"],
    "geoip_database": [None, "/var/lib/GeoIP/GeoLite2-City.mmdb"],
    "notify_new_device": [True, False],
    "base_url": [None, "https://example.com"],
    "mail_sender": [None, "accounts@example.com"],
    "rotate_interval": [None, SECOND, DAY],
    "clear_site_data": [(), ["storage"], ("cookies", "storage", "executionContexts")],
    "travel_speed_limit": [None, 1, 900, 0.5],
    "ignored_networks": [(), ["192.0.2.0/24", "2001:db8::/32"], ("198.51.100.7",)],
    "admin": [None, bool, lambda user: False],
    "audit_key": [None, KEY, KEY.encode(), "é" * 8, [KEY], [KEY.encode(), "x" * 16], (KEY, KEY)],
    "api": [True, False],
    "api_url_prefix": ["/api", "/", "/v1/json"],
    "token_prefix": ["fds", "acme_ci", "A1", "x" * 20],
    "token_lifetime": [None, SECOND, 365 * DAY],
    "token_scopes": [(), [], ["notes:read"], ("a", "b"), ["https://example.com/x"]],
    "ip_storage": ["full", "truncate", "hash", "none"],
    "retention": [None, DAY, 400 * DAY],
    "cli_name": ["device-sessions", "sessions"],
}

NO_TEXT = ["", 5, b"text", ["text"], True]
NO_BOOL = [0, 1, "true", "", "False", None]
NO_PATH = ["", "account", 5, b"/", " /", "https://example.com/"]
NO_DURATION = [timedelta(0), -SECOND, 5, 5.0, "5", True]

BAD: dict[str, tuple[str, list[Any]]] = {
    "user_model": ("a model class or its name", ["", None, 5, User()]),
    "identifier_field": ("a non-empty str", [*NO_TEXT, None]),
    "url_prefix": ('a str that starts with "/", or None', NO_PATH),
    "pages": ("True or False", NO_BOOL),
    "after_login": ("a non-empty str", [*NO_TEXT, None]),
    "after_logout": ("a non-empty str, or None", NO_TEXT),
    "require_login": ("True or False", NO_BOOL),
    "cookie_name": ("a non-empty str, or None", NO_TEXT),
    "cookie_secure": ("True or False, or None", NO_BOOL[:-1]),
    "cookie_domain": ("a non-empty str, or None", NO_TEXT),
    "cookie_path": ('a str that starts with "/"', [*NO_PATH, None]),
    "cookie_samesite": ("one of 'Lax', 'Strict', 'None'", ["lax", "", None, False]),
    "remember": ("one of 'ask', True, False", ["always", "", None, 2, timedelta(0), 1, 0]),
    "lifetime": ("a positive timedelta, or None", NO_DURATION),
    "idle_timeout": ("a positive timedelta, or None", NO_DURATION),
    "profile": ("one of 'AAL1', 'AAL2', 'AAL3', or None", ["aal2", "AAL4", 2, ""]),
    "touch_interval": ("a positive timedelta", [*NO_DURATION, None]),
    "freshness": ("a positive timedelta", [*NO_DURATION, None]),
    "max_per_user": (
        "an int of at least 1, or a callable that takes the user, or None",
        [0, -1, True, 5.0, "5", [5]],
    ),
    "limit_policy": ("one of 'evict', 'refuse'", ["", "block", None, True]),
    "login_rate_limit": ("a non-empty str, or None", NO_TEXT),
    "rate_limit_storage_uri": ("a non-empty str", [*NO_TEXT, None]),
    "ip_change_policy": (
        "one of 'ignore', 'record', 'confirm', 'revoke'",
        ["", "end", None, False],
    ),
    "geoip_database": ("a non-empty str, or None", NO_TEXT),
    "notify_new_device": ("True or False", NO_BOOL),
    "base_url": ("a non-empty str, or None", NO_TEXT),
    "mail_sender": ("a non-empty str, or None", NO_TEXT),
    "rotate_interval": ("a positive timedelta, or None", NO_DURATION),
    "clear_site_data": (
        "a list of some of 'cookies', 'storage', 'executionContexts'",
        ["cookies", ["cache"], ["*"], None, True, [5]],
    ),
    "travel_speed_limit": (
        "a positive number, or None",
        [0, -1, "900", True, float("inf"), float("nan")],
    ),
    "ignored_networks": (
        "a list of addresses and networks, such as ['192.0.2.0/24', '2001:db8::/32']",
        ["192.0.2.0/24", None, ["example.com"], [""], [5], [None]],
    ),
    "admin": ("a callable that takes the user, or None", [True, False, "admin", 5, ["ada"]]),
    "api": ("True or False", NO_BOOL),
    "api_url_prefix": ('a str that starts with "/"', [*NO_PATH, None]),
    "token_prefix": (
        "1 to 20 letters, digits and underscores, such as 'acme'",
        ["", "a-b", "a b", "é", "x" * 21, "fds\n", None, 5],
    ),
    "token_lifetime": ("a positive timedelta, or None", NO_DURATION),
    "token_scopes": (
        "a list of scopes, such as ['notes:read'], without spaces in them",
        ["notes:read", None, [""], ["a b"], ['"'], ["\\"], ["é"], ["x" * 101], [5], ["a"] * 51],
    ),
    "ip_storage": ("one of 'full', 'truncate', 'hash', 'none'", [None, "", "sha256", False]),
    "retention": ("a positive timedelta, or None", NO_DURATION),
    "cli_name": ("a non-empty str", [*NO_TEXT, None]),
}


# Values that nobody should read in a log, good or bad.
BAD_SECRETS: dict[str, tuple[str, list[Any]]] = {
    "audit_key": (
        "a key of at least 16 bytes (str or bytes), or a list of such keys, or None",
        ["", b"", "short", b"x" * 15, "é" * 7, [], (), [KEY, "short"], [KEY, ""], True]
        + [5, 16, [16], [KEY, 32], [None], [[1] * 16], {KEY: KEY}, {KEY}],
    ),
}


def test_every_setting_is_tried_here() -> None:
    """A new setting needs its good and bad values in this module."""
    assert set(GOOD) == set(BAD | BAD_SECRETS) == set(NAMES)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in GOOD.items() for v in values])
def test_a_value_of_the_right_kind_is_taken(name: str, value: Any) -> None:
    """Each setting takes what its documentation says."""
    assert getattr(read(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [(name, words, value) for name, (words, values) in BAD.items() for value in values],
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, words: str, value: Any) -> None:
    """The error names the key as it stands in the config, what it must be, and what it is."""
    with pytest.raises(ConfigError) as refusal:
        read(**{name: value})

    assert str(refusal.value) == f"{PREFIX}{name.upper()} must be {words}, not {value!r}."


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [(name, words, value) for name, (words, values) in BAD_SECRETS.items() for value in values],
)
def test_a_secret_of_the_wrong_kind_is_refused_and_not_told(
    name: str, words: str, value: Any
) -> None:
    """The error names the key and what it must be; a secret never shows (ASVS V14.2.1)."""
    with pytest.raises(ConfigError) as refusal:
        read(**{name: value})

    assert f"{PREFIX}{name.upper()} must be {words}" in str(refusal.value)
    assert KEY not in str(refusal.value)
    assert "short" not in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ("key", [b"key"]),
        (b"key", [b"key"]),
        ("é", [b"\xc3\xa9"]),
        (["new", b"old"], [b"new", b"old"]),
        (("new", "old"), [b"new", b"old"]),
        ([], []),
        (None, []),
        (16, []),
        ({"key": "key"}, []),
    ],
)
def test_one_key_or_several_are_a_list_of_bytes(given: Any, keys: list[bytes]) -> None:
    """The order stays: the newest first."""
    assert key_list(given) == keys


@pytest.mark.parametrize("key", ["LIFETIMES", "LIFE_TIME", "", "_", "FROM_CONFIG", "PREFIX"])
def test_an_unknown_key_is_refused_and_the_known_ones_listed(key: str) -> None:
    """A mistyped key is found at the start, not when a limit fails to hold."""
    with pytest.raises(ConfigError, match="Mistyped") as refusal:
        Settings.from_config({PREFIX + key: 5})

    assert str(refusal.value).startswith(f"{PREFIX}{key} is not a setting.")
    for name in NAMES:
        assert PREFIX + name.upper() in str(refusal.value)


# -- Profiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "lifetime", "idle_timeout"),
    [("AAL1", 30 * DAY, None), ("AAL2", DAY, HOUR), ("AAL3", 12 * HOUR, 15 * MINUTE)],
)
def test_a_profile_sets_both_limits(
    profile: str, lifetime: timedelta, idle_timeout: timedelta | None
) -> None:
    """They are those of NIST SP 800-63B-4 (ASVS V7.3.1, V7.3.2)."""
    settings = read(profile=profile)

    assert (settings.lifetime, settings.idle_timeout) == (lifetime, idle_timeout)


@pytest.mark.parametrize(
    ("profile", "stricter"),
    [
        ("AAL1", {"lifetime": DAY}),
        ("AAL1", {"idle_timeout": 60 * DAY}),
        ("AAL1", {"idle_timeout": None}),
        ("AAL2", {"lifetime": DAY}),
        ("AAL2", {"lifetime": HOUR, "idle_timeout": MINUTE}),
        ("AAL3", {"idle_timeout": 15 * MINUTE}),
        ("AAL3", {"idle_timeout": SECOND}),
    ],
)
def test_a_limit_beside_a_profile_may_be_stricter(profile: str, stricter: dict[str, Any]) -> None:
    """What the app sets holds, the rest comes from the profile."""
    settings = read(profile=profile, **stricter)

    expected = PROFILES[profile]._asdict() | stricter
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("profile", "name", "looser", "most"),
    [
        ("AAL1", "lifetime", 31 * DAY, "30 days"),
        ("AAL1", "lifetime", None, "30 days"),
        ("AAL2", "lifetime", DAY + SECOND, "1 day"),
        ("AAL2", "idle_timeout", 2 * HOUR, "1:00:00"),
        ("AAL2", "idle_timeout", None, "1:00:00"),
        ("AAL3", "lifetime", 13 * HOUR, "12:00:00"),
        ("AAL3", "idle_timeout", 15 * MINUTE + SECOND, "0:15:00"),
    ],
)
def test_a_limit_beside_a_profile_may_not_be_looser(
    profile: str, name: str, looser: timedelta | None, most: str
) -> None:
    """The error names the key, the profile and the longest that it allows."""
    with pytest.raises(ConfigError, match="Shorten it, or leave it to the profile") as refusal:
        read(profile=profile, **{name: looser})

    text = str(refusal.value)
    assert f"{PREFIX}{name.upper()} is {looser}" in text
    assert f"{PREFIX}PROFILE {profile!r}" in text
    assert f"at most {most}" in text


# -- Settings that go together -----------------------------------------------------------------


def test_samesite_none_needs_secure() -> None:
    """Browsers drop such a cookie: nobody could sign in."""
    with pytest.raises(ConfigError, match=r"COOKIE_SAMESITE='None' needs .*COOKIE_SECURE"):
        read(cookie_samesite="None", cookie_secure=False)


@pytest.mark.parametrize("secure", [None, True])
def test_samesite_none_is_fine_over_https(secure: bool | None) -> None:
    """With HTTPS it is a choice like any other."""
    assert read(cookie_samesite="None", cookie_secure=secure).cookie_samesite == "None"


@pytest.mark.parametrize(
    "broken", [{"cookie_secure": False}, {"cookie_domain": "example.com"}, {"cookie_path": "/app"}]
)
def test_a_host_prefix_that_browsers_would_refuse_is_refused(broken: dict[str, Any]) -> None:
    """Named __Host-, a cookie must be secure, without domain, and for every path (ASVS V3.3.3)."""
    with pytest.raises(ConfigError, match="__Host-") as refusal:
        read(cookie_name="__Host-sid", **broken)

    assert "DEVICE_SESSIONS_COOKIE_NAME" in str(refusal.value)


@pytest.mark.parametrize("fine", [{}, {"cookie_secure": True}, {"cookie_samesite": "Strict"}])
def test_a_host_prefix_that_browsers_take_is_taken(fine: dict[str, Any]) -> None:
    """The prefix is allowed where its rules are kept."""
    assert read(cookie_name="__Host-sid", **fine).cookie_name == "__Host-sid"


@pytest.mark.parametrize(
    ("values", "when_secure", "when_not"),
    [
        ({}, True, False),
        ({"cookie_secure": True}, True, True),
        ({"cookie_secure": False}, False, False),
        ({"cookie_domain": "example.com"}, False, False),
        ({"cookie_path": "/app"}, False, False),
        ({"cookie_secure": True, "cookie_path": "/app"}, False, False),
    ],
)
def test_when_browsers_take_a_host_prefix(
    values: dict[str, Any], when_secure: bool, when_not: bool
) -> None:
    """Secure, no domain, path "/" (RFC 6265bis); COOKIE_SECURE wins over what the app does."""
    settings = read(**values)

    assert settings.allows_host_prefix(True) is when_secure
    assert settings.allows_host_prefix(False) is when_not


@pytest.mark.parametrize(
    ("values", "needs"),
    [
        ({}, False),
        ({"cookie_name": "sid"}, False),
        ({"cookie_name": "sid__Host-"}, False),
        ({"cookie_name": "__Host-sid"}, True),
        ({"cookie_name": "__Secure-sid"}, True),
        ({"cookie_samesite": "None"}, True),
        ({"cookie_samesite": "Strict"}, False),
    ],
)
def test_when_browsers_drop_a_cookie_that_is_not_secure(
    values: dict[str, Any], needs: bool
) -> None:
    """Its name or SameSite=None asks for HTTPS, also in debug and testing (ASVS V3.3.1)."""
    assert read(**values).needs_secure_cookie is needs


# -- What the settings answer ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("touch_interval", "idle_timeout", "effective"),
    [
        (5 * MINUTE, None, 5 * MINUTE),
        (5 * MINUTE, 14 * DAY, 5 * MINUTE),
        (5 * MINUTE, 50 * MINUTE, 5 * MINUTE),
        (5 * MINUTE, 40 * MINUTE, 4 * MINUTE),
        (5 * MINUTE, 15 * MINUTE, 90 * SECOND),
        (DAY, 10 * SECOND, SECOND),
        (SECOND, HOUR, SECOND),
    ],
)
def test_activity_is_noted_at_least_ten_times_per_idle_limit(
    touch_interval: timedelta, idle_timeout: timedelta | None, effective: timedelta
) -> None:
    """A short idle limit shortens the interval, so that it stays sharp (ASVS V7.3.1)."""
    settings = read(touch_interval=touch_interval, idle_timeout=idle_timeout)

    assert settings.effective_touch_interval == effective


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [
        (3, 3),
        (None, None),
        (lambda user: 7, 7),
        (lambda user: None, None),
        (lambda user: 0, 1),
        (lambda user: -5, 1),
        (len, 4),
    ],
)
def test_the_limit_may_depend_on_the_user(limit: Any, allowed: int | None) -> None:
    """A callable is asked with the user; nobody is left without one session."""
    assert read(max_per_user=limit).limit_for("user") == allowed


@pytest.mark.parametrize(
    ("pause", "is_idle"),
    [(-DAY, False), (HOUR - timedelta(microseconds=1), False), (HOUR, True), (DAY, True)],
)
def test_idle_is_exact(pause: timedelta, is_idle: bool) -> None:
    """A session is idle at the very moment that IDLE_TIMEOUT has passed (ASVS V7.3.1)."""
    assert read(idle_timeout=HOUR).is_idle(NOW - pause, NOW) is is_idle


def test_without_an_idle_limit_nothing_is_idle() -> None:
    """None means that a pause may be as long as it likes."""
    assert not read(idle_timeout=None).is_idle(NOW - 10000 * DAY, NOW)


@pytest.mark.parametrize(
    ("passed", "is_fresh"),
    [(timedelta(0), True), (HOUR - timedelta(microseconds=1), True), (HOUR, False), (DAY, False)],
)
def test_freshness_is_exact(passed: timedelta, is_fresh: bool) -> None:
    """A password check stops counting at the very moment that FRESHNESS has passed."""
    assert read(freshness=HOUR).is_fresh(NOW - passed, NOW) is is_fresh


def test_the_suites_own_app_has_settings_that_pass() -> None:
    """The config of an app is read by its prefix alone."""
    settings = Settings.from_config(bare_app(DEVICE_SESSIONS_LIMIT_POLICY="refuse").config)

    assert (settings.after_login, settings.limit_policy) == ("/whoami", "refuse")
