"""The pages. Each asks the extension; none knows SQL or cookies."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Response, abort, current_app, flash, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from ..errors import (
    BadToken,
    NoSuchUser,
    SessionLimitReached,
    StoreUnavailable,
    TooManyAttempts,
)
from ..i18n import gettext, ngettext
from ..logs import Throttled
from ..problems import REALM
from ..proxies import current_extension, current_session, current_user, current_visit
from ..redirects import safe_next
from ..text import clean
from . import activity, forms, limit, stepup
from .pages import error_page, page

_logger = logging.getLogger("flask_device_sessions")

_forgeries = Throttled(logging.getLogger("flask_device_sessions.audit"), timedelta(minutes=1))

_SEE_OTHER = 303

#: Longest primary key that is looked for, in characters.
_KEY_LENGTH = 255


# -- Signing in and out ------------------------------------------------------------------------


def login() -> AnyResponse:
    """Show the form; sign in; or, with a ticket, finish a sign-in that met the limit."""
    if request.method == "POST" and "ticket" in request.form:
        return _finish_at_limit()
    is_post = request.method == "POST"
    if not is_post and current_user.is_authenticated:
        return _go_on(request.args.get("next"))
    form = forms.LoginForm.for_settings(current_extension.settings)
    if not is_post:
        form.next.data = safe_next(request.args.get("next"))
        notice = current_extension.why_signed_out()
        current_extension.forget_ended()
        return page("login", form=form, notice=notice)
    if not form.validate():
        _note_forgery()
        return _login_again(form, gettext("This page was open for too long. Try again."), 400)
    try:
        user = current_extension.authenticate(form.identifier.data or "", form.password.data or "")
    except TooManyAttempts as error:
        return _wait(_login_again(form, _wait_a_while(error), 429), error)
    if user is None:
        return _login_again(form, gettext("The name or the password is wrong."), 401)
    try:
        current_extension.login(user, remember=form.wants_to_be_remembered)
    except NoSuchUser:
        return _login_again(form, gettext("The name or the password is wrong."), 401)
    _warn_of_lost_cookie()
    return _go_on(form.next.data)


def _login_again(form: forms.LoginForm, problem: str, status: int) -> Response:
    form.form_errors.append(problem)
    form.next.data = safe_next(form.next.data)
    response = page("login", status, form=form, notice=None)
    return _challenge(response) if status == 401 else response


def _challenge(response: Response) -> Response:
    # RFC 9110 15.5.2 asks for a challenge.
    response.headers["WWW-Authenticate"] = f'Bearer realm="{REALM}"'
    return response


def _finish_at_limit() -> AnyResponse:
    if not forms.is_genuine():
        return _expired_form()
    try:
        facts = limit.open_ticket(request.form["ticket"])
        limit.swap(facts, request.form.get("end_session", ""))
    except BadToken:
        flash(gettext("That took too long. Please sign in again."), "error")
        return redirect(url_for(".login"), _SEE_OTHER)
    return _go_on(facts["next"])


def _go_on(target: object) -> AnyResponse:
    return redirect(
        safe_next(target) or _url_of(current_extension.settings.after_login), _SEE_OTHER
    )


def _url_of(place: str) -> str:
    return place if place.startswith("/") else url_for(place)


def _warn_of_lost_cookie() -> None:
    """Tell the developer, who would otherwise see a sign-in that leads nowhere."""
    if current_extension.is_cookie_secure and not request.is_secure:
        _logger.warning(
            "The session cookie is for HTTPS only, but %s came over HTTP: a browser may drop it. "
            "Serve HTTPS (behind a proxy: werkzeug.middleware.proxy_fix.ProxyFix), run with "
            "--debug, or set DEVICE_SESSIONS_COOKIE_SECURE = False for a local try.",
            request.path,
        )


def logout() -> AnyResponse:
    """End the current session."""
    if not forms.is_genuine():
        return _expired_form()
    current_extension.logout()
    place = current_extension.settings.after_logout
    return redirect(url_for(".login") if place is None else _url_of(place), _SEE_OTHER)


# -- Devices -----------------------------------------------------------------------------------


def devices() -> Response:
    """List where the person is signed in, this device first; or another, for an admin."""
    user = _whose()
    owner_id = current_extension.id_of(user)
    owner_name = None if owner_id == current_visit().user_id else _name_of(user, owner_id)
    sessions = current_extension.sessions_of(user)
    sessions.sort(key=lambda session: not session.is_current)
    ended = current_extension.recently_ended(user)
    current_extension.load_devices([*sessions, *ended])
    return page("devices", sessions=sessions, ended=ended, owner_name=owner_name)


def _name_of(user: Any, user_id: Any) -> str:
    """Return what a person signs in with, or for one who has no such name their key."""
    return str(getattr(user, current_extension.settings.identifier_field) or user_id)


def _whose() -> Any:
    """Return the person of ``?user=``: oneself, and for an administrator anybody."""
    text = request.args.get("user")
    if not text or text == str(current_visit().user_id):
        return current_user._get_current_object()
    user = None
    if current_extension.is_admin(current_user) and clean(text, _KEY_LENGTH) == text:
        user = current_extension.find_user(text)
    return user if user is not None else abort(404)


def rename_device(device_id: uuid.UUID) -> AnyResponse:
    """Give a device a name, or take it away."""
    if not forms.is_genuine():
        return _expired_form()
    device = _or_404(current_extension.find_device(current_user, device_id), "device", device_id)
    current_extension.rename_device(device, request.form.get("name", ""))
    return _back(gettext("The device has its new name."))


def revoke_device(device_id: uuid.UUID) -> AnyResponse:
    """End every session on one device."""
    return _guarded("revoke_device", device_id=str(device_id))


def revoke_session(session_id: uuid.UUID) -> AnyResponse:
    """End one session; the current one without asking for the password."""
    return _guarded("revoke_session", session_id=str(session_id))


def revoke_others() -> AnyResponse:
    """End every session but this one."""
    return _guarded("revoke_others")


def revoke_all() -> AnyResponse:
    """End every session, this one too."""
    return _guarded("revoke_all")


def show_activity() -> Response:
    """List what happened with the person's sign-ins and devices, a page at a time."""
    number, group = activity.page_number(request.args.get("page")), request.args.get("action")
    chosen = activity.actions_of(group)
    events = current_extension.events_slice(
        current_user,
        actions=chosen,
        hidden=activity.HIDDEN,
        limit=activity.PAGE_SIZE + 1,  # one more than is shown: is there a next page?
        offset=(number - 1) * activity.PAGE_SIZE,
    )
    return page(
        "activity",
        events=[activity.line_of(event) for event in events[: activity.PAGE_SIZE]],
        filters=activity.filters(group),
        selected_action=group if chosen else None,
        page=number,
        has_previous=number > 1,
        has_next=len(events) > activity.PAGE_SIZE,
    )


# -- Tokens ------------------------------------------------------------------------------------


def tokens() -> AnyResponse:
    """List the person's bearer tokens; make one, which asks for the password."""
    form = forms.TokenForm.for_settings(current_extension.settings)
    if request.method != "POST":
        return _tokens_page(form)
    if not forms.is_genuine():
        return _expired_form()
    if not form.validate():
        return _tokens_page(form, 400)
    wanted = {"name": form.name.data, "scopes": form.scopes.data, "days": form.expires_in.data}
    return _guarded("issue_token", **wanted)


def _tokens_page(form: forms.TokenForm, status: int = 200, issued: str | None = None) -> Response:
    sessions = current_extension.sessions_of(current_user)
    those = [session for session in sessions if session.kind == "token"]
    return page("tokens", status, form=form, tokens=those, issued=issued)


# -- What asks for the password first ------------------------------------------------------------


def confirm() -> AnyResponse:
    """Ask for the password again; then go on, or do what was waiting for it."""
    form = forms.ConfirmForm()
    if request.method != "POST":
        form.next.data = safe_next(request.args.get("next"))
        return page("confirm", form=form)
    if not form.validate():
        return _expired_form()
    try:
        action = stepup.unseal(form.action.data) if form.action.data else None
    except BadToken:
        return _expired_form()
    try:
        is_right = current_extension.confirm(form.password.data or "")
    except TooManyAttempts as error:
        return _wait(_confirm_again(form, _wait_a_while(error), 429), error)
    if not is_right:
        return _challenge(_confirm_again(form, gettext("The password is wrong."), 401))
    return _go_on(form.next.data) if action is None else _DEEDS[action.name](**action.values)


def _confirm_again(form: forms.ConfirmForm, problem: str, status: int) -> Response:
    form.form_errors.append(problem)
    form.next.data = safe_next(form.next.data)
    return page("confirm", status, form=form)


def _guarded(deed: str, /, **values: Any) -> AnyResponse:
    """Do a deed, or ask for the password first (ASVS 5.0 7.5.2)."""
    if not forms.is_genuine():
        return _expired_form()
    is_own = values.get("session_id") == str(current_session.id)
    if not is_own and stepup.is_needed():
        return stepup.ask(stepup.Action(deed, values))
    return _DEEDS[deed](**values)


def _revoke_device(device_id: str) -> AnyResponse:
    key = uuid.UUID(device_id)
    device = _or_404(current_extension.find_endable_device(current_user, key), "device", key)
    reason, owner_id = _for_whom(device)
    return _back(_signed_out(current_extension.revoke_device(device, reason=reason)), owner_id)


def _revoke_session(session_id: str) -> AnyResponse:
    key = uuid.UUID(session_id)
    session = _or_404(current_extension.find_endable_session(current_user, key), "session", key)
    reason, owner_id = _for_whom(session)
    is_token = session.kind == "token"  # asked before the commit, after which it costs a query
    ended = current_extension.revoke(session, reason=reason)
    if is_token and current_session and owner_id is None:
        flash(gettext("The token does not work any more."), "success")
        return redirect(url_for(".tokens"), _SEE_OTHER)
    return _back(_signed_out(ended), owner_id)


def _for_whom(row: Any) -> tuple[str, Any]:
    """Return why a row's sessions end, and whose list to go back to if it is not one's own."""
    is_own = row.user_id == current_visit().user_id
    return ("revoked", None) if is_own else ("admin", row.user_id)


def _revoke_others() -> AnyResponse:
    return _back(_signed_out(current_extension.revoke_others()))


def _revoke_all() -> AnyResponse:
    return _back(_signed_out(current_extension.revoke_all(current_user)))


def _issue_token(name: str, scopes: list[str], days: int | None) -> AnyResponse:
    """Make a token and show it, this once."""
    if not current_extension.may_grant(scopes):
        abort(403)
    span = None if days is None else timedelta(days=days)
    user = current_user._get_current_object()
    issued = current_extension.issue_token(user, name=name, scopes=scopes, expires_in=span)
    blank = forms.TokenForm.for_settings(current_extension.settings)
    blank.name.data, blank.scopes.data = "", []
    return _tokens_page(blank, issued=issued.token)


#: What may wait for the password, by the name under which it is signed.
_DEEDS: dict[str, Callable[..., AnyResponse]] = {
    "revoke_device": _revoke_device,
    "revoke_session": _revoke_session,
    "revoke_others": _revoke_others,
    "revoke_all": _revoke_all,
    "issue_token": _issue_token,
}


def _signed_out(number: int) -> str:
    if number == 0:
        return gettext("That device was signed out already.")
    return ngettext("%(num)d device was signed out.", "%(num)d devices were signed out.", number)


def _back(message: str, owner_id: Any = None) -> AnyResponse:
    """Return to the list, or to the login page for those who signed themselves out."""
    flash(message, "success")
    endpoint = ".devices" if current_session else ".login"
    return redirect(url_for(endpoint, user=owner_id), _SEE_OTHER)


def _or_404(row: Any, kind: str, row_id: uuid.UUID) -> Any:
    """Return the row; another's and one that never was are the same error, and noted alike."""
    if row is None:
        current_extension.note_foreign_id(kind, row_id)
        abort(404)
    return row


# -- "This wasn't me" ----------------------------------------------------------------------------


def not_me(signed: str) -> Response:
    """Show the device that a mail was about; end all there when its owner says so."""
    try:
        session = current_extension.find_reportable(signed)
    except BadToken:
        return _bad_link()
    if session is None:
        return _device_is_out()
    if request.method != "POST":
        return page("not_me", device_session=session, done=False)
    if not forms.is_genuine():
        return _expired_form()
    if not current_extension.report_not_me(signed):
        return _device_is_out()  # another request was first
    return page("not_me", device_session=session, done=True)


def _bad_link() -> Response:
    return error_page(
        404,
        gettext("This link does not work"),
        gettext(
            "It is incomplete, or older than a week. You can sign out any device in the list of "
            "your devices."
        ),
    )


def _device_is_out() -> Response:
    return error_page(
        410,
        gettext("That sign-in is over already"),
        gettext(
            "Nothing is left to sign out by this link. If it wasn’t you, change your password, "
            "and look at the list of your devices."
        ),
    )


# -- What can go wrong --------------------------------------------------------------------------


def _expired_form() -> Response:
    _note_forgery()
    return error_page(
        400,
        gettext("This page was open for too long"),
        gettext("Nothing was changed. Go back, reload the page, and try again."),
    )


def _note_forgery() -> None:
    """Only in the log: it costs no SQL, and strangers cannot fill a table with it."""
    _forgeries.warning("A form without a good CSRF token came to %s", request.endpoint)


def limit_reached(error: SessionLimitReached) -> Response:
    """Answer a sign-in that met ``LIMIT_POLICY="refuse"``."""
    return limit.limit_page(error)


def unavailable(error: StoreUnavailable) -> Response:
    """Answer when the database did not do its part: nothing was changed."""
    _logger.error("%s %s failed: %s", request.method, request.path, error)
    is_for_developers = current_app.debug or current_app.testing
    response = error_page(
        503,
        gettext("Please try again in a moment"),
        str(error) if is_for_developers else gettext("Signing in and out is not possible now."),
    )
    response.headers["Retry-After"] = str(error.retry_after)
    return response


def failed(error: Exception) -> Response:
    """Answer when one of the pages met a fault of the database beside the verbs."""
    return unavailable(current_extension.fault_of(error))


def too_many_attempts(error: TooManyAttempts) -> Response:
    """Answer an attempt beyond ``LOGIN_RATE_LIMIT``, from a view of the app's own."""
    return _wait(error_page(429, gettext("Please wait"), _wait_a_while(error)), error)


def _wait_a_while(error: TooManyAttempts) -> str:
    minutes = -(-error.retry_after // 60)
    return ngettext(
        "Too many attempts. Try again in %(num)d minute.",
        "Too many attempts. Try again in %(num)d minutes.",
        minutes,
    )


def _wait(response: Response, error: TooManyAttempts) -> Response:
    response.headers["Retry-After"] = str(error.retry_after)
    return response
