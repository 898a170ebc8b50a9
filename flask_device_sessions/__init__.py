"""See every device that is signed in, sign any of them out, know why each session ended."""

from __future__ import annotations

from .chain import AuditReport
from .decorators import allow_anonymous, fresh_session_required, scopes_required
from .errors import (
    ConfigError,
    DeviceSessionsError,
    NoSuchUser,
    SchemaError,
    SessionLimitReached,
    StoreUnavailable,
    TooManyAttempts,
)
from .extension import DeviceSessions
from .models import END_REASONS, DeviceMixin, DeviceSessionMixin, SessionEventMixin
from .proxies import current_session, current_user_id
from .retention import Purged
from .signals import (
    device_first_seen,
    ip_changed,
    login_failed,
    login_throttled,
    not_me_reported,
    session_confirmed,
    session_ended,
    session_rotated,
    session_started,
    suspicious_login,
    token_issued,
)
from .tokens import IssuedToken

__version__ = "0.1.0.dev0"

__all__ = [
    "END_REASONS",
    "AuditReport",
    "ConfigError",
    "DeviceMixin",
    "DeviceSessionMixin",
    "DeviceSessions",
    "DeviceSessionsError",
    "IssuedToken",
    "NoSuchUser",
    "Purged",
    "SchemaError",
    "SessionEventMixin",
    "SessionLimitReached",
    "StoreUnavailable",
    "TooManyAttempts",
    "allow_anonymous",
    "current_session",
    "current_user_id",
    "device_first_seen",
    "fresh_session_required",
    "ip_changed",
    "login_failed",
    "login_throttled",
    "not_me_reported",
    "scopes_required",
    "session_confirmed",
    "session_ended",
    "session_rotated",
    "session_started",
    "suspicious_login",
    "token_issued",
]
