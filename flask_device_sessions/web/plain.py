"""Answers of an app without our pages (``PAGES = False``): the bare HTTP errors."""

from __future__ import annotations

import logging

from flask import request
from werkzeug.exceptions import Conflict, HTTPException, ServiceUnavailable, TooManyRequests

from ..errors import SessionLimitReached, StoreUnavailable, TooManyAttempts

_logger = logging.getLogger("flask_device_sessions")


def unavailable(error: StoreUnavailable) -> HTTPException:
    """Answer when the database did not do its part: nothing was changed."""
    _logger.error("%s %s failed: %s", request.method, request.path, error)
    return ServiceUnavailable(retry_after=error.retry_after)


def limit_reached(error: SessionLimitReached) -> HTTPException:
    """Answer a sign-in that met ``LIMIT_POLICY="refuse"``."""
    return Conflict(str(error))


def too_many_attempts(error: TooManyAttempts) -> HTTPException:
    """Answer an attempt beyond ``LOGIN_RATE_LIMIT``."""
    return TooManyRequests(str(error), retry_after=error.retry_after)
