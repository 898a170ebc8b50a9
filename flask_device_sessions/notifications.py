"""Mails about an account's security: a new device, an unusual sign-in, a changed password.

A mail is written in the request, in the language of the person who is there, and sent in the
background: a mail server that is slow, refuses or is gone changes neither the answer nor its
time. What goes wrong is a line in the log. (ASVS 5.0 6.3.5, 6.3.7.)

Links lead to ``BASE_URL`` and never to the ``Host`` of a request, which anybody can send.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from traceback import extract_tb
from typing import Any, NamedTuple
from weakref import WeakSet

from flask import Flask, current_app, render_template
from werkzeug.routing import BuildError

from . import i18n
from .ambient import utc_now
from .config import PREFIX
from .errors import ConfigError
from .logs import Throttled
from .proxies import running_app
from .redirects import safe_next
from .text import clean

_logger = logging.getLogger(__name__)

#: Longest subject, in characters.
_SUBJECT_LENGTH = 200

#: Longest address, in characters (RFC 5321 4.5.3.1.3).
_ADDRESS_LENGTH = 254

#: One address and nothing else: no list, no display name, no quoted local part.
_ADDRESS = r'[^\s@<>()\[\],:;"\\]+@[^\s@<>()\[\],:;"\\]+'

#: An origin with, at most, a path: what an app's own URLs can be put behind.
_BASE_URL = (
    r"(?ai)https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?"
    r"(/[a-z0-9._~!$&'()*+,=:@%-]+)*/?"
)

#: How long Flask-Mailman waits for a server where the app does not say, in seconds.
_SMTP_TIMEOUT = 30

#: How long the end of the process may wait for mails that are not sent yet, in seconds.
_EXIT_TIMEOUT = 2.0


@dataclass(frozen=True)
class Mail:
    """A mail that is ready to be sent; its repr hides whom it is for and what it says.

    Attributes:
        to: one address, fit for a header.
        subject: one line, fit for a header.
        text: the mail as plain text.
        html: the same as an HTML document.
        sender: ``DEVICE_SESSIONS_MAIL_SENDER``; ``None`` is the mailer's own default.
    """

    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    sender: str | None = None


#: Sends one mail, or raises. Called in a thread of its own, inside the app's context.
Mailer = Callable[[Mail], object]


# -- Who sends ---------------------------------------------------------------------------------


def find_mailer(app: Flask, given: Mailer | None = None) -> Mailer | None:
    """Return what sends the app's mails: ``given``, else Flask-Mailman, else Flask-Mail.

    Returns:
        ``None`` when the app has none of them.
    """
    if given is not None:
        return given
    if "mailman" in app.extensions:
        return _send_with_mailman
    return _send_with_flask_mail if "mail" in app.extensions else None


def _send_with_mailman(mail: Mail) -> None:
    from flask_mailman import EmailMultiAlternatives

    connection = current_app.extensions["mailman"].get_connection()
    if getattr(connection, "timeout", _SMTP_TIMEOUT) is None:
        # Without MAIL_TIMEOUT a server that accepts and says nothing would be waited for
        # without end, and all later mails with it.
        connection.timeout = _SMTP_TIMEOUT
    message = EmailMultiAlternatives(mail.subject, mail.text, mail.sender, [mail.to])
    message.attach_alternative(mail.html, "text/html")
    # By itself it leaves the connection open when the server refuses.
    with connection:
        connection.send_messages([message])


def _send_with_flask_mail(mail: Mail) -> None:
    from flask_mail import Message

    message = Message(mail.subject, [mail.to], mail.text, mail.html, sender=mail.sender)
    current_app.extensions["mail"].send(message)


# -- Where to ----------------------------------------------------------------------------------


def find_address(user: Any, identifier_field: str) -> str | None:
    """Return where to write to: ``user.email``, else what they sign in with.

    Returns:
        ``None`` when neither is one plain address, so that a header could trip over it.
    """
    candidates = (getattr(user, name, None) for name in ("email", identifier_field))
    return next((address for address in candidates if _is_address(address)), None)


def _is_address(value: object) -> bool:
    return (
        isinstance(value, str)
        and clean(value, _ADDRESS_LENGTH) == value
        and re.fullmatch(_ADDRESS, value) is not None
    )


# -- Links -------------------------------------------------------------------------------------


def check_base_url(text: object) -> str:
    """Return the address of the app's root without a slash at its end.

    Args:
        text: ``DEVICE_SESSIONS_BASE_URL``, such as ``"https://example.com"``, or
            ``"https://example.com/app"`` for an app that is mounted at ``/app``.

    Raises:
        ConfigError: it is not an ``http`` or ``https`` origin with, at most, a path.
    """
    if not isinstance(text, str) or not re.fullmatch(_BASE_URL, text):
        raise ConfigError(
            f"{PREFIX}BASE_URL must be the address under which people reach the app, such as "
            "'https://example.com' or 'https://example.com/app': http or https, a host in "
            "ASCII, a port if need be, a path, and neither user, query nor fragment."
        )
    return text.rstrip("/")


def path_of(endpoint: str, **values: Any) -> str | None:
    """Return the path of a page below the app's root, whichever address the request came by.

    Unlike that of ``url_for``, it never holds the ``SCRIPT_NAME`` that a request came with:
    ``BASE_URL`` says where the app is mounted.

    Args:
        endpoint: of the running app, such as ``"device_sessions.devices"``.
        **values: what its rule asks for.

    Returns:
        ``None`` when the app has no such page, or has it on a host of its own.
    """
    app = running_app()
    app.inject_url_defaults(endpoint, values)
    try:
        return safe_next(app.url_map.bind("").build(endpoint, values))
    except BuildError:
        return None


# -- In the background -------------------------------------------------------------------------


class _Job(NamedTuple):
    """A mail that waits, with everything it takes to send it."""

    app: Flask
    name: str
    mail: Mail
    mailer: Mailer

    def try_once(self) -> None:
        """Send the mail; whatever goes wrong is a line in the log."""
        try:
            with self.app.app_context():
                self.mailer(self.mail)
        except (Exception, SystemExit) as error:
            _log_failure(self.name, error)


class _Line:
    """The mails that wait in one process. Use it with ``changed`` held."""

    def __init__(self) -> None:
        self.waiting: deque[_Job] = deque()
        self.is_moving = False
        self.changed = threading.Condition()


class Outbox:
    """Sends mails one after the other in a thread that lives while there are any.

    The thread is a daemon, started with the first mail that waits. A forked process (gunicorn
    with ``preload_app``) has a line of its own: the mails of its parent are its parent's.

    Under uWSGI, threads need ``enable-threads``.

    Args:
        capacity: how many mails may wait; more are dropped, with a warning at most once a
            minute.
    """

    def __init__(self, capacity: int = 100) -> None:
        self._capacity = capacity
        self._lines: dict[int, _Line] = {}
        self._full = Throttled(_logger, timedelta(minutes=1))
        _outboxes.add(self)

    def post(self, name: str, mail: Mail, mailer: Mailer) -> bool:
        """Put a mail into the line and return at once.

        Args:
            name: what the log calls the mail, such as ``"new_device"``.
            mail: goes to the mailer as it is.
            mailer: sends it, inside the context of the app that is running now.

        Returns:
            Whether there was room.
        """
        line = self._line
        with line.changed:
            has_room = len(line.waiting) < self._capacity
            if has_room:
                line.waiting.append(_Job(running_app(), name, mail, mailer))
                self._ensure_moving(line)
        if not has_room:
            self._full.warning("A mail was dropped: %d are waiting already", self._capacity)
        return has_room

    def flush(self, timeout: float) -> bool:
        """Wait until every mail was tried.

        Args:
            timeout: how long to wait, in seconds.

        Returns:
            Whether that is so now.
        """
        line = self._line
        with line.changed:
            return line.changed.wait_for(lambda: not line.is_moving, timeout)

    @property
    def _line(self) -> _Line:
        # By process: after a fork the child has a copy of its parent's line, perhaps with its
        # lock held, by a thread that is not there.
        return self._lines.setdefault(os.getpid(), _Line())

    def _ensure_moving(self, line: _Line) -> None:
        if not line.is_moving:
            threading.Thread(
                target=self._move, args=(line,), name="device-sessions-mail", daemon=True
            ).start()
            # After it: should no thread start, the next mail tries again.
            line.is_moving = True

    def _move(self, line: _Line) -> None:
        # A method, so that the outbox lives, and is waited for, as long as its thread.
        while (job := _next_of(line)) is not None:
            job.try_once()


def _next_of(line: _Line) -> _Job | None:
    with line.changed:
        if line.waiting:
            return line.waiting.popleft()
        line.is_moving = False
        line.changed.notify_all()
        return None


#: Those whose mails the end of the process waits for, for a moment.
_outboxes: WeakSet[Outbox] = WeakSet()


@atexit.register
def _flush_at_exit() -> None:
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for outbox in list(_outboxes):
        outbox.flush(max(0.0, deadline - time.monotonic()))


# -- What is written ---------------------------------------------------------------------------


class Notifier:
    """Writes one app's mails and hands them to its :class:`Outbox`. No method ever raises.

    Who calls decides whether a mail is due: a person's very first device is silent, and a
    device is worth at most one mail.

    Args:
        mailer: what sends; default: Flask-Mailman or Flask-Mail, whichever the app has when
            the first mail is due. Without any there are no mails, and one line says so.
        base_url: ``DEVICE_SESSIONS_BASE_URL``; without it the mails have no links.
        sender: ``DEVICE_SESSIONS_MAIL_SENDER``; ``None`` is the mailer's own default.
        identifier_field: what people sign in with, where a user has no ``email``.

    Raises:
        ConfigError: ``mailer`` cannot be called, or ``base_url`` is none.

    Attributes:
        outbox: what is on its way; a test waits with ``outbox.flush(5)``.
    """

    def __init__(
        self,
        mailer: Mailer | None = None,
        *,
        base_url: str | None = None,
        sender: str | None = None,
        identifier_field: str = "email",
    ) -> None:
        if mailer is not None and not callable(mailer):
            raise ConfigError(
                "mailer= must be a callable that takes a Mail. Flask-Mailman and Flask-Mail "
                "are found on the app: leave it out for them."
            )
        self._mailer = mailer
        self._base_url = None if base_url is None else check_base_url(base_url)
        self._sender = sender
        self._identifier_field = identifier_field
        self._has_said_off = False
        self.outbox = Outbox()

    @property
    def has_mailer(self) -> bool:
        """Whether the running app can send mails."""
        return find_mailer(running_app(), self._mailer) is not None

    def new_device(self, user: Any, device_session: Any, *, not_me_path: str | None = None) -> None:
        """Tell a person of a sign-in from a device that their account had not seen before.

        Args:
            user: whom to write to.
            device_session: the session that began there.
            not_me_path: path of the "It wasn't me" page, as :func:`path_of` gives it.
        """
        self._notify(
            "new_device",
            user,
            device_session=device_session,
            not_me_url=self._link(not_me_path),
        )

    def suspicious(
        self,
        user: Any,
        device_session: Any,
        reasons: Sequence[str],
        *,
        not_me_path: str | None = None,
    ) -> None:
        """Tell a person of a sign-in that was unusual.

        Args:
            user: whom to write to.
            device_session: the session that began.
            reasons: what was unusual, as sentences in the person's language.
            not_me_path: path of the "It wasn't me" page, as :func:`path_of` gives it.
        """
        self._notify(
            "suspicious_login",
            user,
            device_session=device_session,
            reasons=list(reasons),
            not_me_url=self._link(not_me_path),
        )

    def password_changed(self, user: Any) -> None:
        """Tell a person that the password of their account was changed."""
        self._notify("password_changed", user)

    def _notify(self, name: str, user: Any, **values: Any) -> None:
        """Write a mail and post it; a broken template must not break a sign-in."""
        try:
            mailer = find_mailer(running_app(), self._mailer)
            if mailer is None:
                self._say_off()
                return
            to = find_address(user, self._identifier_field)
            if to is not None:
                self.outbox.post(name, self._write(name, to, {**values, "user": user}), mailer)
        except Exception as error:
            _log_failure(name, error)

    def _write(self, name: str, to: str, values: dict[str, Any]) -> Mail:
        values = {**self._context(), **values}
        subject, text, html = (
            render_template(f"device_sessions/mail/{name}.{part}", **values)
            for part in ("subject.txt", "txt", "html")
        )
        line = clean(" ".join(subject.split()), _SUBJECT_LENGTH)
        return Mail(to, line, text, html, self._sender)

    def _context(self) -> dict[str, Any]:
        lang, text_direction = i18n.language()
        devices_path = path_of("device_sessions.devices")
        return {
            "_": i18n.gettext,
            "gettext": i18n.gettext,
            "ngettext": i18n.ngettext,
            "lang": lang,
            "text_direction": text_direction,
            "time_ago": _time_ago,
            "devices_url": self._link(devices_path),
            "has_devices_page": devices_path is not None,
            "not_me_url": None,
        }

    def _link(self, path: str | None) -> str | None:
        # What is no path could change the host: "https://example.com" + ".evil.example".
        safe = safe_next(path)
        return None if self._base_url is None or safe is None else self._base_url + safe

    def _say_off(self) -> None:
        if not self._has_said_off:
            self._has_said_off = True
            _logger.info(
                "Nobody is told of new devices by mail: the app has neither Flask-Mailman nor "
                "Flask-Mail, and no mailer= was given."
            )


def _time_ago(moment: datetime) -> str:
    return i18n.time_ago(moment, utc_now())


def _log_failure(name: str, error: BaseException) -> None:
    """Say what went wrong and where, without its words: they may hold an address or a link."""
    code = getattr(error, "smtp_code", None) or getattr(error, "errno", None)
    kind = type(error).__name__ + (f" {code}" if isinstance(code, int) else "")
    place = extract_tb(error.__traceback__)[-1]
    _logger.error("The mail %s was not sent: %s at %s:%d", name, kind, place.filename, place.lineno)
