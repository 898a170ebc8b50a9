"""The verbs of :class:`~flask_device_sessions.DeviceSessions`, a room for each subject.

``base``: the app's parts, and what each verb asks. ``departures``: what leaves after the commit.
``arrivals``: who is calling. On these stand ``signing_in``, ``programs``, ``managing``,
``looking`` and ``keeping``; the extension is made of all of them.
"""
