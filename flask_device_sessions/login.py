"""The bridge to Flask-Login: its signals come in, its user comes out of the device session.

Flask-Login keeps the user's id in Flask's session cookie and, with "remember me", in a cookie
of its own. Both work again when they are replayed after a sign-out. So neither is written nor
asked here: the LoginManager of the app takes its user from the device session alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from blinker import Signal
from flask import Flask, current_app, flash, g, redirect, request
from flask import session as flask_session
from flask_login import LoginManager, UserMixin, login_url
from flask_login.signals import (
    user_accessed,
    user_logged_in,
    user_logged_out,
    user_login_confirmed,
    user_needs_refresh,
    user_unauthorized,
)

from . import problems
from .errors import ConfigError
from .i18n import N_, gettext
from .proxies import EXTENSION, current_extension, current_user, running_app, running_globals

LOGIN_ENDPOINT = "device_sessions.login"
CONFIRM_ENDPOINT = "device_sessions.confirm"

#: What ``login_user`` leaves in Flask's session, all of which could be replayed.
_LEFTOVERS = ("_user_id", "_id", "_fresh", "_remember", "_remember_seconds")


def connect(app: Flask) -> None:
    """Join the app's LoginManager, or make one, and listen to Flask-Login's signals."""
    if not hasattr(app, "login_manager"):
        _make_manager(app)
    user_logged_in.connect(_on_logged_in, sender=app)
    user_logged_out.connect(_on_logged_out, sender=app)
    user_login_confirmed.connect(_on_confirmed, sender=app)
    user_unauthorized.connect(_on_unauthorized, sender=app)


def check_user_model(user_model: type[Any]) -> None:
    """Refuse a user model that Flask-Login cannot use.

    Raises:
        ConfigError: an attribute is missing.
    """
    wanted = ("is_authenticated", "is_active", "is_anonymous", "get_id")
    missing = [name for name in wanted if not hasattr(user_model, name)]
    if missing:
        raise ConfigError(
            f"{user_model.__name__} has no {', '.join(missing)}: let it inherit "
            "flask_login.UserMixin."
        )


def has_own_activity(user_model: type[Any]) -> bool:
    """Whether the model can say that a user is disabled, which takes looking at the user."""
    return getattr(user_model, "is_active", None) is not UserMixin.is_active


def ensure_joined(app: Flask) -> None:
    """Let the app's LoginManager, the present one, take its user from the device session."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    if "_load_user" not in vars(manager):
        manager._load_user = _loader_of(manager)
        manager.unauthorized = _refuser_of(manager)
        _answer_programs(manager)
        if LOGIN_ENDPOINT in app.view_functions:
            manager.login_view = manager.login_view or LOGIN_ENDPOINT
            manager.refresh_view = manager.refresh_view or CONFIRM_ENDPOINT


def _make_manager(app: Flask) -> None:
    # Our own context processor instead of Flask-Login's, which asks for the user on every
    # page: this one asks when the template does.
    # Nor its hook after each request: that writes its remember cookie, which nobody reads.
    manager = LoginManager()
    app.login_manager = manager  # type: ignore[attr-defined]
    manager.localize_callback = gettext
    manager.login_message = N_("Please sign in to see this page.")
    manager.login_message_category = "info"
    manager.needs_refresh_message = None
    app.context_processor(lambda: {"current_user": current_user})


def _loader_of(manager: LoginManager) -> Any:
    """Return what replaces this manager's ``_load_user``, in apps that have the extension."""
    original: Any = manager._load_user

    def load_user() -> None:
        app = running_app()
        extension = app.extensions.get(EXTENSION)
        if extension is None:
            original()
            return
        user_accessed.send(app)
        user = extension.load_user()
        if user is None and manager.request_callback is not None:
            user = manager._load_user_from_request(request)  # such as an API key of the app's
        if user is None:
            manager._update_request_context_with_user()  # somebody of the app's anonymous class
        else:
            running_globals()._login_user = user

    return load_user


def _refuser_of(manager: LoginManager) -> Any:
    """Return what replaces this manager's ``unauthorized``: a reason says more than a request."""
    original: Any = manager.unauthorized

    def unauthorized() -> Any:
        answer = original()
        is_ours = EXTENSION in current_app.extensions
        if is_ours and manager.login_message and current_extension.why_signed_out():
            _take_back(manager)
        return answer

    return unauthorized


def _take_back(manager: Any) -> None:
    """Take back the LoginManager's "Please sign in …", the last message if it said one."""
    general = (manager.localize_callback or str)(manager.login_message)
    messages = flask_session.get("_flashes", [])
    if messages and str(messages[-1][1]) == str(general):
        flask_session["_flashes"] = messages[:-1]


def _answer_programs(manager: Any) -> None:
    """Let a client that reads JSON have its 401 as JSON, unless the app answers by itself."""
    to_login, to_confirm = manager.unauthorized, manager.needs_refresh

    def unauthorized() -> Any:
        if manager.unauthorized_callback is not None or not _reads_json():
            return to_login()
        user_unauthorized.send(running_app())
        return problems.unauthenticated()

    def needs_refresh() -> Any:
        if manager.needs_refresh_callback is not None or not _reads_json():
            return to_confirm()
        user_needs_refresh.send(running_app())
        return problems.confirmation_required()

    manager.unauthorized, manager.needs_refresh = unauthorized, needs_refresh


def _reads_json() -> bool:
    return EXTENSION in current_app.extensions and problems.is_wanted()


def follow_freshness(is_fresh: bool) -> None:
    """Let Flask-Login's ``login_fresh``, which reads Flask's session, follow our clock.

    Past the session's own ``__setitem__``, so that it does not count as changed: the value is
    written anew for every request, and must not be saved.
    """
    state = flask_session._get_current_object()  # type: ignore[attr-defined]
    if isinstance(state, dict) and state.get("_fresh", False) is not is_fresh:
        dict.__setitem__(state, "_fresh", is_fresh)


def forget_freshness() -> None:
    """Take away what :func:`follow_freshness` wrote, before Flask's session may be saved."""
    state = flask_session._get_current_object()  # type: ignore[attr-defined]
    if isinstance(state, dict):
        dict.pop(state, "_fresh", None)


def announce_login(user: Any) -> None:
    """Tell Flask-Login's listeners of a sign-in that did not come from ``login_user``."""
    set_user(user)
    _announce(user_logged_in, user)


def announce_logout(user: Any) -> None:
    """Tell Flask-Login's listeners of a sign-out that did not come from ``logout_user``."""
    _announce(user_logged_out, user)


def _announce(signal: Signal, user: Any) -> None:
    g._device_sessions_announces = True
    try:
        signal.send(running_app(), user=user)
    finally:
        g._device_sessions_announces = False


def _is_our_own() -> bool:
    """Whether the signal that came in is one that we sent."""
    return bool(g.get("_device_sessions_announces"))


def unauthorized() -> Any:
    """Return the LoginManager's answer to somebody who is not signed in."""
    return current_app.login_manager.unauthorized()  # type: ignore[attr-defined]


def is_our_page() -> bool:
    """Whether people confirm their password on our page, not on one of the app's own."""
    manager: Any = current_app.login_manager  # type: ignore[attr-defined]
    is_ours = manager.refresh_view == CONFIRM_ENDPOINT
    return is_ours and manager.needs_refresh_callback is None


def confirm_elsewhere(next_url: str) -> Any:
    """Return the way to the app's own page for confirming, and back to ``next_url``."""
    manager: Any = current_app.login_manager  # type: ignore[attr-defined]
    if manager.needs_refresh_callback is not None:
        return manager.needs_refresh()
    return redirect(login_url(manager.refresh_view, next_url), 303)


def needs_refresh() -> Any:
    """Return the LoginManager's answer to somebody whose password check is too old."""
    return current_app.login_manager.needs_refresh()  # type: ignore[attr-defined]


def is_login_view() -> bool:
    """Whether this request is for where people sign in, which cannot need a session."""
    manager: Any = current_app.login_manager  # type: ignore[attr-defined]
    views = {manager.login_view, *manager.blueprint_login_views.values()} - {None}
    return not views.isdisjoint({request.endpoint, request.path, request.base_url})


def set_user(user: Any | None) -> None:
    """Make ``current_user`` this user for the rest of the request; ``None`` is anonymous."""
    manager: Any = current_app.login_manager  # type: ignore[attr-defined]
    manager._update_request_context_with_user(user)


def _on_logged_in(app: Flask, user: Any, **extra: Any) -> None:
    if _is_our_own():
        return
    left = {name: flask_session.pop(name, None) for name in _LEFTOVERS}
    seconds = left["_remember_seconds"]
    try:
        current_extension.start(
            user,
            remember=left["_remember"] == "set",
            remember_for=None if seconds is None else timedelta(seconds=seconds),
            method="app",
            is_fresh=left["_fresh"] is not False,
        )
    except Exception:
        # Flask-Login has made them current already; without a row they are not signed in.
        set_user(current_extension.load_user())
        raise


def _on_logged_out(app: Flask, user: Any, **extra: Any) -> None:
    if not _is_our_own():
        current_extension.end_current()


def _on_confirmed(app: Flask, **extra: Any) -> None:
    for name in _LEFTOVERS:
        flask_session.pop(name, None)
    current_extension.renew_current()


def _on_unauthorized(app: Flask, **extra: Any) -> None:
    """On the way to a login page of the app's own, say why the session ended; ours does."""
    if problems.is_wanted():
        return  # says it itself
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    sentence = current_extension.why_signed_out()
    if sentence is not None and manager.login_view != LOGIN_ENDPOINT:
        flash(sentence, "info")
        current_extension.forget_ended()
