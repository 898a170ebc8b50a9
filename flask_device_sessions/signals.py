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

#: A password was refused. ``identifier``: what was typed; ``reason``: ``"unknown"``,
#: ``"password"`` or ``"disabled"``. Never show the reason to the visitor.
login_failed = _namespace.signal("login-failed")

#: An attempt was refused unseen, because there were too many. ``identifier``.
login_throttled = _namespace.signal("login-throttled")

#: A session came from another network. ``session``; ``old``, ``new``: as ``IP_STORAGE`` keeps them.
ip_changed = _namespace.signal("ip-changed")

#: A sign-in was unusual. ``session``; ``reasons``: some of ``new_country``, ``many_failures``,
#: ``impossible_travel`` and ``two_places``.
suspicious_login = _namespace.signal("suspicious-login")

#: A bearer token was made. ``session``: its row, which is a session of kind ``token``.
token_issued = _namespace.signal("token-issued")

#: The person said, by the link in a mail, that a sign-in was not theirs: ask them for a new
#: password. ``session``: the one that was ended for it; ``user``.
not_me_reported = _namespace.signal("not-me-reported")
