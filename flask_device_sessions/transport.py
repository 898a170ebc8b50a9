"""Credentials in, cookies out. A browser's credential and its name each travel signed.

A bearer token (RFC 6750) decides where there is one: the session cookie is not looked at then,
be the token good or bad, and no cookie is set.

``request.remote_addr`` is the caller's address: behind a proxy, let Werkzeug's ``ProxyFix``
set it. ``X-Forwarded-For`` is never read here, because anybody can send one.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from flask import Flask, Request, Response

from .ambient import utc_now
from .clients import Client
from .config import Settings
from .cookies import sent
from .encoding import decode, encode
from .errors import BadToken
from .logs import Throttled
from .signing import Purpose, Signatures
from .tokens import AccessToken, Credential, SessionToken, digest_of
from .visit import Outgoing

_junk = Throttled(logging.getLogger("flask_device_sessions.audit"), timedelta(minutes=1))

#: The longest that browsers keep a cookie (RFC 6265bis 5.5): how long a browser is recognised.
COOKIE_AGE = timedelta(days=400)


_BEARER = "bearer"


def is_bearer(request: Request) -> bool:
    """Whether the request carries a bearer token, good or bad; the scheme's case is free."""
    header: str | None = request.environ.get("HTTP_AUTHORIZATION")
    return header is not None and header.partition(" ")[0].lower() == _BEARER


def vary(response: Response) -> None:
    """Tell caches that the answer is for who asked; other answers are anybody's."""
    if response.headers.getlist("Vary"):
        response.vary.update(("Authorization", "Cookie"))
    else:
        response.headers.add("Vary", "Authorization, Cookie")


class Transport:
    """Reads and writes the cookies of one app.

    Args:
        settings: names and attributes of the cookies.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secure = settings.cookie_secure
        if self._secure is None and settings.needs_secure_cookie:
            self._secure = True
        self._cookie_names = {
            is_secure: _name_of(settings, is_secure) for is_secure in (True, False)
        }
        self._keys: tuple[Any, ...] = ()
        self._signatures: Signatures | None = None

    def signatures(self, app: Flask) -> Signatures:
        """Return the signatures under the app's secret key and fallbacks as they are now."""
        keys = (app.secret_key, *(app.config.get("SECRET_KEY_FALLBACKS") or ()))
        if self._signatures is None or keys != self._keys:
            self._keys, self._signatures = keys, Signatures(keys[0], keys[1:])
        return self._signatures

    def read_token(self, app: Flask, request: Request) -> Credential | None:
        """Return the credential that the request carries; ``None`` for none or a forged one."""
        if is_bearer(request):
            return self._read_bearer(request)
        signed = sent(request, self.cookie_name(app))
        if signed is None:
            return None
        try:
            return SessionToken.parse(self.signatures(app).unsign(Purpose.SESSION, signed))
        except BadToken:
            # Only the log: it costs no SQL, and strangers cannot fill a table with it.
            _junk.warning("A session cookie that is not ours was ignored")
            return None

    def _read_bearer(self, request: Request) -> AccessToken | None:
        text = request.environ["HTTP_AUTHORIZATION"][len(_BEARER) :].strip(" ")
        try:
            return AccessToken.parse(text, self._settings.token_prefix)
        except BadToken:
            return None

    def read_browser_id(self, app: Flask, request: Request) -> bytes | None:
        """Return the browser's name from its cookie; ``None`` for none or a forged one."""
        signed = sent(request, self.browser_cookie_name(app))
        try:
            text = self.signatures(app).unsign(Purpose.BROWSER, signed or "")
            return decode(text)
        except (BadToken, ValueError):
            return None

    def client_from(self, app: Flask, request: Request) -> Client:
        """Return who is calling, in plain values."""
        browser_id = self.read_browser_id(app, request)
        return Client.seen(
            request.remote_addr,
            request.headers.get("User-Agent", ""),
            None if browser_id is None else digest_of(browser_id),
        )

    def write(self, app: Flask, response: Response, outgoing: Outgoing) -> None:
        """Put the cookies on the answer, and keep caches from keeping it."""
        vary(response)
        if not outgoing:
            return
        response.headers["Cache-Control"] = "no-store"
        signatures = self.signatures(app)
        if outgoing.is_clearing:
            response.delete_cookie(self.cookie_name(app), **self._attributes(app))
            if self._settings.clear_site_data:
                kinds = ", ".join(f'"{kind}"' for kind in self._settings.clear_site_data)
                response.headers["Clear-Site-Data"] = kinds
        if outgoing.token is not None:
            text = signatures.sign(Purpose.SESSION, outgoing.token.text())
            self._set(app, response, self.cookie_name(app), text, outgoing.expires_at)
        if outgoing.browser_id is not None:
            text = signatures.sign(Purpose.BROWSER, encode(outgoing.browser_id))
            expires = utc_now() + COOKIE_AGE
            self._set(app, response, self.browser_cookie_name(app), text, expires)

    def cookie_name(self, app: Flask) -> str:
        """Return the name of the session cookie."""
        return self._cookie_names[self.is_secure(app)]

    def browser_cookie_name(self, app: Flask) -> str:
        """Return the name of the cookie that recognises the browser."""
        return self.cookie_name(app) + "_browser"

    def _set(
        self, app: Flask, response: Response, name: str, text: str, expires: datetime | None
    ) -> None:
        # Only Expires: with Max-Age beside it the header would pass 200 bytes.
        response.set_cookie(name, text, expires=expires, **self._attributes(app))

    def _attributes(self, app: Flask) -> dict[str, Any]:
        return {
            "path": self._settings.cookie_path,
            "domain": self._settings.cookie_domain,
            "secure": self.is_secure(app),
            "httponly": True,
            "samesite": self._settings.cookie_samesite,
        }

    def is_secure(self, app: Flask) -> bool:
        """Whether the cookies are for HTTPS only."""
        if self._secure is not None:
            return self._secure
        return not (app.debug or app.testing)


def _name_of(settings: Settings, is_secure: bool) -> str:
    """Return the name of the session cookie, by whether it is for HTTPS only."""
    if settings.cookie_name is not None:
        return settings.cookie_name
    return "__Host-device_session" if settings.allows_host_prefix(is_secure) else "device_session"
