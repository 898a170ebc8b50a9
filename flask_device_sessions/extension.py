"""``DeviceSessions``: puts the parts together, and itself into apps.

The verbs that apps call are in :mod:`~flask_device_sessions.verbs`. One runs one unit of the
store; what it says to the outside (signals, cookies) is handed to
:mod:`~flask_device_sessions.transactions` and leaves after the commit.
"""

from __future__ import annotations

from typing import Any

import click
from flask import Flask

from . import cookies, login
from .config import Settings
from .errors import ConfigError
from .notifications import Mailer
from .parts import Parts, assemble
from .proxies import EXTENSION, globals_with_session, running_request
from .verbs.keeping import Keeping
from .verbs.looking import Looking
from .verbs.managing import Managing
from .verbs.programs import Programs
from .verbs.signing_in import SigningIn


class DeviceSessions(SigningIn, Programs, Managing, Looking, Keeping):
    """Server-side sessions for Flask: listed, limited, expired, audited, ended from anywhere.

    Args:
        app: the app to put it into now; or call :meth:`init_app` later.
        db: the Flask-SQLAlchemy object; default: the one the app is initialised with.
        user_model: the user class; default: ``DEVICE_SESSIONS_USER_MODEL``.
        session_model: the app's own subclass of ``DeviceSessionMixin``.
        device_model: the app's own subclass of ``DeviceMixin``.
        event_model: the app's own subclass of ``SessionEventMixin``.
        mailer: sends one :class:`~flask_device_sessions.notifications.Mail`, or raises; default:
            Flask-Mailman or Flask-Mail, whichever the app has.

    Raises:
        ConfigError: the app cannot work like this; the text says what to change.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        db: Any = None,
        user_model: type[Any] | None = None,
        session_model: type[Any] | None = None,
        device_model: type[Any] | None = None,
        event_model: type[Any] | None = None,
        mailer: Mailer | None = None,
    ) -> None:
        self._given = {
            "db": db,
            "user_model": user_model,
            "session_model": session_model,
            "device_model": device_model,
            "event_model": event_model,
            "mailer": mailer,
        }
        super().__init__()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, **given: Any) -> None:
        """Put the extension into an app; takes the constructor's arguments, which then win.

        Raises:
            ConfigError: the app cannot work like this; the text says what to change.
        """
        unknown = given.keys() - self._given.keys()
        if unknown:
            raise TypeError(f"init_app() got unexpected arguments: {', '.join(sorted(unknown))}")
        if EXTENSION in app.extensions:
            raise ConfigError(
                "This app has a DeviceSessions already. Import and use that instance instead."
            )
        state = assemble(app, {**self._given, **given})
        self._states[app] = state
        app.extensions[EXTENSION] = self
        login.connect(app)
        _register_surfaces(app, state.settings)
        cookies.spare(app)
        app.app_ctx_globals_class = globals_with_session(app.app_ctx_globals_class)
        # The first hook before a request, and the last after it: any other may ask who is calling.
        before = app.before_request_funcs.setdefault(None, [])
        before.insert(0, lambda: self._before_request(app, state))
        after = app.after_request_funcs.setdefault(None, [])  # Flask begins at the end
        after.insert(0, lambda response: self._after_request(app, state, response))

    def _before_request(self, app: Flask, state: Parts) -> Any:
        """Restore the session; then answer a method that the API does not have."""
        caller = running_request()
        answer = self._welcome(app, state, caller)
        if answer is None and caller.routing_exception is not None and state.settings.api:
            from . import api

            return api.refuse_method()
        return answer


def _register_surfaces(app: Flask, settings: Settings) -> None:
    """Register pages, API and commands, which are loaded here: who asks for a model needs none."""
    from . import web

    app.register_blueprint(web.make_blueprint(settings))
    web.register_error_handlers(app, with_pages=settings.pages)
    if settings.api:
        from . import api

        api.register(app, settings)
    app.cli.add_command(_Commands(settings.cli_name, help=_ABOUT_COMMANDS))


_ABOUT_COMMANDS = """See sessions, end them, and look after what is kept of them.

USER is what a person signs in with, or id: and their primary key, such as id:7."""


class _Commands(click.Group):
    """The command group; its commands are loaded by who types one, not by each worker."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        from .cli import COMMANDS

        self.commands = {**COMMANDS, **self.commands}  # an app's own are there already
