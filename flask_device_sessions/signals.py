"""Blinker signals. The sender is the Flask app; each is sent after the commit succeeded.

An app connects like this::

    from flask_device_sessions import session_ended

    @session_ended.connect_via(app)
    def tell(app, session, reason, **extra):
        ...
"""

from __future__ import annotations

from blinker import Namespace

_namespace = Namespace()

#: A session began. ``session``; ``new_device``: bool, this account never signed in there before.
session_started = _namespace.signal("session-started")

#: A session ended. ``session``; ``reason``: one of :data:`flask_device_sessions.END_REASONS`.
session_ended = _namespace.signal("session-ended")

#: The password was checked again in a live session, which is fresh now. ``session``.
session_confirmed = _namespace.signal("session-confirmed")

#: A session got a new secret; the old one is dead. ``session``.
session_rotated = _namespace.signal("session-rotated")

#: An account signed in from a browser for the first time. ``device``; ``session``.
device_first_seen = _namespace.signal("device-first-seen")
