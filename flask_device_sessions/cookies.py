"""Cookies that cost no more than they are worth: one of many, and Flask's own session.

Who is signed in does not stand in that. Flask derives its keys and makes a serializer for each
request all the same: a third of what a request without a view costs. To parse all cookies costs
as much as a query.
"""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, Request, Response
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin

#: Where a request keeps its cookies, cut apart.
_PAIRS = "_device_sessions_cookies"


class SparingSessionInterface(SecureCookieSessionInterface):
    """Flask's session in its signed cookie, the same to the byte."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return what the cookie says; nothing, without one, if there is a key to sign one."""
        if app.secret_key and not carries(app, request):
            return self.session_class()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the cookie if the session asks for it; one that was not touched asks for nothing."""
        if session or session.accessed or session.modified:
            super().save_session(app, session, response)


def carries(app: Flask, request: Request) -> bool:
    """Whether the request carries a cookie of Flask's session."""
    return sent(request, app.config["SESSION_COOKIE_NAME"]) is not None


def sent(request: Request, name: str) -> str | None:
    """Return what ``request.cookies.get(name)`` does; nothing is parsed where it cannot be there.

    Args:
        request: the request.
        name: of the cookie; only ASCII, and no separators.
    """
    kept = vars(request)
    pairs: Mapping[str, str] | None = kept.get(_PAIRS)
    if pairs is None:
        header: str = request.environ.get("HTTP_COOKIE", "")
        if name not in header:
            return None
        pairs = kept[_PAIRS] = _cut(header) or request.cookies
    return pairs.get(name)


def _cut(header: str) -> dict[str, str]:
    """Return the first value of each name; nothing if it takes Werkzeug's parser to tell."""
    # A quoted value may contain what looks like another. Of control characters, and of spaces
    # within a value, the versions of Werkzeug think differently.
    if '"' in header or not (header.isascii() and header.isprintable()):
        return {}
    pairs: dict[str, str] = {}
    for pair in header.split(";"):
        name, _, value = pair.partition("=")
        value = value.strip(" ")
        if " " in value:
            return {}
        pairs.setdefault(name.strip(" "), value)
    return pairs


def spare(app: Flask) -> None:
    """Let an app that has Flask's own session interface have this one."""
    if type(app.session_interface) is SecureCookieSessionInterface:
        sparing = SparingSessionInterface()
        vars(sparing).update(vars(app.session_interface))  # such as a salt of the app's own
        app.session_interface = sparing
