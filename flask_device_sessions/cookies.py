"""Flask's own session, for apps that hardly need it any more: costs nothing while unused.

Who is signed in does not stand there. Flask derives its keys and makes a serializer for each
request all the same: a third of what a request without a view costs.
"""

from __future__ import annotations

from flask import Flask, Request, Response
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin


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
    name = app.config["SESSION_COOKIE_NAME"]
    return name in request.environ.get("HTTP_COOKIE", "") and name in request.cookies


def spare(app: Flask) -> None:
    """Let an app that has Flask's own session interface have this one."""
    if type(app.session_interface) is SecureCookieSessionInterface:
        sparing = SparingSessionInterface()
        vars(sparing).update(vars(app.session_interface))  # such as a salt of the app's own
        app.session_interface = sparing
