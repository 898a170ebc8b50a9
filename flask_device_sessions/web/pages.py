"""A page: a template of ours, with the words it needs, behind the headers it needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import (
    Response,
    current_app,
    make_response,
    render_template,
    request,
)
from flask_login import AnonymousUserMixin, current_user, login_required
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup

from .. import i18n
from ..login import unauthorized
from ..messages import why_it_ended
from ..proxies import current_session, current_visit
from ..transport import vary

#: ASVS 5.0 3.4.3: nothing inline, nothing from elsewhere, no framing.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": Flask-WTF compares the referrer on HTTPS.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def page(name: str, status: int = 200, **values: Any) -> Response:
    """Return the page of the template ``device_sessions/<name>.html``."""
    html = render_template(f"device_sessions/{name}.html", **{**_context(), **values})
    return protect(make_response(html, status))


def error_page(status: int, heading: str, message: str) -> Response:
    """Return a page that says what went wrong, without asking who is calling."""
    values = {"code": status, "heading": heading, "message": message}
    return page("error", status, current_user=AnonymousUserMixin(), **values)


def protect(response: Response) -> Response:
    """Put the headers on; one that an app set itself stays."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if not (request.endpoint or "").endswith(".static"):
        response.headers["Cache-Control"] = "no-store"
        vary(response)
    return response


def signed_in(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let in who has a session: a user of the app's ``request_loader`` has none to manage."""

    @wraps(view)
    def guarded(**values: Any) -> Any:
        return view(**values) if current_session else unauthorized()

    return login_required(guarded)  # type: ignore[no-any-return]


def _context() -> dict[str, Any]:
    lang, text_direction = i18n.language()
    return {
        "_": _gettext,
        "gettext": _gettext,
        "ngettext": _ngettext,
        "lang": lang,
        "text_direction": text_direction,
        "current_user": current_user,
        "time_ago": _time_ago,
        "end_reason": _end_reason,
        "csrf_field": _csrf_field,
        "has_endpoint": _has_endpoint,
    }


# As Jinja's own ("newstyle"): the text is HTML, what is filled in is escaped, and a percent sign
# is written twice. An app's layout may hold `{% trans %}`, which goes by that.


def _gettext(message: str, /, **values: Any) -> Markup:
    return Markup(i18n.translate(message)) % values


def _ngettext(one: str, many: str, number: int, /, **values: Any) -> Markup:
    return Markup(i18n.translate_number(one, many, number)) % {"num": number, **values}


def _time_ago(moment: Any) -> str:
    return i18n.time_ago(moment, current_visit().now)


def _end_reason(device_session: Any) -> str:
    return why_it_ended(device_session.end_reason)


def _csrf_field() -> Markup:
    if not current_app.config.get("WTF_CSRF_ENABLED", True):
        return Markup("")
    name = current_app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")
    return Markup('<input type="hidden" name="{}" value="{}">').format(name, generate_csrf())


def _has_endpoint(endpoint: str) -> bool:
    return endpoint in current_app.view_functions
