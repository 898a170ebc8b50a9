"""Mails: what is written, where its links lead, and that no mail server is ever waited for."""

from __future__ import annotations

import asyncio
import email
import logging
import os
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email import policy
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask_mail
import flask_mailman
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from flask import Flask, current_app, has_request_context
from flask_babel import Babel
from flask_mailman.backends.smtp import EmailBackend
from jinja2 import ChoiceLoader, DictLoader

from flask_device_sessions import notifications
from flask_device_sessions.errors import ConfigError
from flask_device_sessions.notifications import (
    Mail,
    Notifier,
    Outbox,
    check_base_url,
    find_address,
    find_mailer,
    path_of,
)
from flask_device_sessions.testing import IPHONE, Browser
from tests.support import add_user, db, make_app, sign_in

#: How long a test waits for what must come, in seconds: enough for any machine.
PATIENCE = 60.0

ADA = SimpleNamespace(email="ada@example.com", name="ada")
NOW = datetime(2026, 3, 4, 5, 6, tzinfo=timezone.utc)


@pytest.fixture
def app() -> Flask:
    """An app that really sends, on an empty SQLite in memory."""
    return make_app(MAIL_BACKEND="smtp", MAIL_SUPPRESS_SEND=False, MAIL_DEFAULT_SENDER="us@x.org")


@pytest.fixture
def request_context(app: Flask) -> Iterator[None]:
    """A request that came for a host of somebody else's choice, to an app that is mounted."""
    with app.test_request_context("/", base_url="https://evil.example/mounted"):
        yield


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="flask_device_sessions")


def device(name: str = "Mac", **values: Any) -> Any:
    """Return what the templates read of a session."""
    facts = {
        "device_name": name,
        "browser_name": "Firefox 131",
        "location": "",
        "ip_address": "192.0.2.1",
        "created_at": NOW,
    }
    return SimpleNamespace(**facts | values)


@dataclass
class Box:
    """A mailer that keeps what it is given."""

    mails: list[Mail] = field(default_factory=list)

    def __call__(self, mail: Mail) -> None:
        """Keep the mail."""
        self.mails.append(mail)


class Gate:
    """A mailer that holds the first mail until it is opened."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.opened = threading.Event()
        self.box = Box()

    def __call__(self, mail: Mail) -> None:
        """Wait, then keep the mail."""
        self.has_begun.set()
        assert self.opened.wait(PATIENCE)
        self.box(mail)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A mailer that holds mails; it lets go when the test is over."""
    gate = Gate()
    yield gate
    gate.opened.set()


def written(act: Callable[[Notifier], None], **options: Any) -> list[Mail]:
    """Return the mails that ``act`` makes a notifier send."""
    box = Box()
    notifier = Notifier(box, **options)

    act(notifier)

    assert notifier.outbox.flush(PATIENCE)
    return box.mails


def new_device(session: Any, **values: Any) -> Callable[[Notifier], None]:
    """Return the act of telling Ada of a new device."""
    return lambda notifier: notifier.new_device(ADA, session, **values)


def mail_of(act: Callable[[Notifier], None], **options: Any) -> Mail:
    """Return the one mail that ``act`` makes a notifier send."""
    (mail,) = written(act, **options)
    return mail


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what our log holds from warnings up."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# -- What is written ---------------------------------------------------------------------------


@pytest.mark.usefixtures("request_context")
class TestWhatIsWritten:
    """The three mails, as text and as HTML."""

    def test_a_new_device_is_told_with_what_when_and_where(self) -> None:
        """A person sees what signed in, when, and from which place (ASVS V6.3.5)."""
        session = device("Pixel 8", location="Berlin, Germany")

        mail = mail_of(new_device(session), sender="Us <us@example.com>")

        assert mail.to == "ada@example.com"
        assert mail.subject == "New sign-in from Pixel 8"
        assert mail.sender == "Us <us@example.com>"
        for body in (mail.text, mail.html):
            for fact in ("Pixel 8", "Firefox 131", "2026-03-04 05:06", "Berlin", "192.0.2.1"):
                assert fact in body
        assert mail.html.startswith("<!doctype html>")
        assert "<" not in mail.text

    def test_an_unusual_sign_in_is_told_with_its_reasons(self) -> None:
        """A sign-in after many failures, or from far away, is told (ASVS V6.3.5)."""
        reasons = ("It came from a new country.", "It followed 12 failed ones.")

        mail = mail_of(lambda notifier: notifier.suspicious(ADA, device(), reasons))

        assert mail.subject == "Unusual sign-in from Mac"
        for body in (mail.text, mail.html):
            assert all(reason in body for reason in reasons)

    def test_a_changed_password_is_told(self) -> None:
        """Whoever did not change it hears that somebody did (ASVS V6.3.7)."""
        mail = mail_of(lambda notifier: notifier.password_changed(ADA))

        assert mail.subject == "Your password was changed"
        for body in (mail.text, mail.html):
            assert "every other device was signed out" in body
            assert "look at the devices that are signed in" in body

    def test_a_device_name_cannot_add_a_header(self) -> None:
        """A subject is one clean line, whatever a browser calls itself (ASVS V1.3.11)."""
        mail = mail_of(new_device(device("Mac\r\nBcc: eve@evil.example\r\n\r\n\x00\u202ehi")))

        assert mail.subject == "New sign-in from Mac Bcc: eve@evil.example hi"

    def test_a_long_device_name_is_cut_in_the_subject(self) -> None:
        """A subject stays one that mail servers take."""
        mail = mail_of(new_device(device("x" * 5000)))

        assert len(mail.subject) == 200

    def test_a_device_name_is_no_markup(self) -> None:
        """HTML in a device name is shown as it was sent, never run (ASVS V1.2.1)."""
        mail = mail_of(new_device(device("<script>alert(1)</script>")))

        assert "<script>" not in mail.html
        assert "&lt;script&gt;" in mail.html
        assert "<script>" in mail.subject

    def test_an_app_replaces_a_template_with_its_own(self, app: Flask) -> None:
        """A template of the app's wins, and can say how long ago things were."""
        own = (
            "{{ user.name }} {{ time_ago(device_session.created_at) }} {{ ngettext('a', 'b', 2) }}"
        )
        loader = DictLoader({"device_sessions/mail/new_device.txt": own})
        app.jinja_env.loader = ChoiceLoader([loader, app.jinja_env.loader])  # type: ignore[list-item]
        then = datetime.now(timezone.utc) - timedelta(hours=3, minutes=30)

        mail = mail_of(new_device(device(created_at=then)))

        assert mail.text == "ada 3 hours ago b"

    def test_a_mail_hides_itself_in_a_repr(self) -> None:
        """A log or traceback that shows a mail shows no address and no link (ASVS V14.2.1)."""
        mail = mail_of(
            new_device(device(), not_me_path="/not-me/signed"), base_url="https://example.com"
        )

        assert "/not-me/signed" in mail.text
        assert "signed" not in repr(mail).replace("New sign-in", "")
        assert "ada@" not in repr(mail)


def test_a_mail_is_written_in_the_language_of_the_request(tmp_path: Path) -> None:
    """The words are chosen while the person is there; the thread that sends knows no reader."""
    catalogue = Catalog(locale="ar")
    catalogue.add("New sign-in to your account", "تسجيل دخول جديد")
    place = tmp_path / "ar" / "LC_MESSAGES"
    place.mkdir(parents=True)
    with (place / "messages.mo").open("wb") as file:
        write_mo(file, catalogue)
    app = make_app()
    Babel(app, default_translation_directories=str(tmp_path), locale_selector=lambda: "ar")

    with app.test_request_context():
        mail = mail_of(new_device(device()))

    assert '<html lang="ar" dir="rtl">' in mail.html
    assert "تسجيل دخول جديد" in mail.html


def test_a_mail_can_be_written_without_a_request() -> None:
    """A password that is changed from the command line is told too (ASVS V6.3.7)."""
    app = make_app()

    with app.app_context():
        mail = mail_of(
            lambda notifier: notifier.password_changed(ADA), base_url="https://example.com"
        )

    assert "https://example.com/devices/" in mail.text


# -- Links -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("request_context")
class TestLinks:
    """Where links lead, and when there are none."""

    @pytest.mark.parametrize("base", ["https://example.com/app", "https://example.com/app/"])
    def test_links_lead_to_the_base_url(self, base: str) -> None:
        """Links hold BASE_URL, and nothing of the Host or mount that a request came with."""
        mail = mail_of(new_device(device(), not_me_path="/devices/not-me/x"), base_url=base)

        for body in (mail.text, mail.html):
            assert "https://example.com/app/devices/not-me/x" in body
            assert "https://example.com/app/devices/" in body.replace("not-me/x", "")
            assert "evil.example" not in body
            assert "mounted" not in body

    def test_without_a_base_url_there_are_no_links(self) -> None:
        """The Host header never becomes a link in a mail (password-reset poisoning)."""
        acts: list[Callable[[Notifier], None]] = [
            new_device(device(), not_me_path="/devices/not-me/x"),
            lambda n: n.suspicious(ADA, device(), ["Why."], not_me_path="/devices/not-me/x"),
            lambda n: n.password_changed(ADA),
        ]

        mails = [mail_of(act) for act in acts]

        for mail in mails:
            assert "http" not in mail.text
            assert "href" not in mail.html
            assert "open the page “Your devices”" in mail.text
            assert "open the page “Your devices”" in mail.html
            assert "evil.example" not in mail.text + mail.html

    def test_a_mail_of_an_app_without_our_pages_names_none(self) -> None:
        """A page that is not there cannot be opened."""
        with make_app(DEVICE_SESSIONS_PAGES=False).test_request_context():
            mail = mail_of(new_device(device()))

        assert "Your devices" not in mail.text + mail.html

    @pytest.mark.parametrize(
        "path", ["", ".evil.example/", "@evil.example/", "//evil.example/", "/\\evil", None]
    )
    def test_what_is_no_path_becomes_no_link(self, path: str | None) -> None:
        """Nothing that is put behind BASE_URL can lead to another host."""
        mail = mail_of(new_device(device(), not_me_path=path), base_url="https://example.com")

        assert "evil" not in mail.text
        assert "It wasn’t me" not in mail.text

    def test_a_path_takes_values_and_the_apps_url_defaults(self, app: Flask) -> None:
        """Pages whose rule asks for something, such as a language, are reached as well."""

        @app.url_defaults
        def add_language(endpoint: str, values: dict[str, Any]) -> None:
            values.setdefault("lang", "sv")

        app.add_url_rule("/<lang>/help/<page>", "help", lambda lang, page: "")

        path = path_of("help", page="a b")

        assert path == "/sv/help/a%20b"

    def test_a_page_that_is_not_there_has_no_path(self) -> None:
        """An app without our pages gets mails without links to them."""
        assert path_of("nowhere") is None

    def test_a_page_on_a_host_of_its_own_has_no_path(self, app: Flask) -> None:
        """BASE_URL cannot say where that is."""
        app.add_url_rule("/there", "there", lambda: "", subdomain="other")

        assert path_of("there") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("HTTPS://Example.com:8443/my/app-1/", "HTTPS://Example.com:8443/my/app-1"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("http://[::1]:5000/x", "http://[::1]:5000/x"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_good_base_url_is_taken_without_its_last_slash(text: str, expected: str) -> None:
    """An origin, with a path when the app is mounted below one."""
    assert check_base_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        5,
        "",
        "example.com",
        "//example.com",
        "/app",
        "ftp://example.com",
        "javascript:alert(1)",
        "https://",
        "https:///app",
        "https://user:word@example.com",
        "https://example.com:port",
        "https://example.com?x=1",
        "https://example.com/#top",
        "https://example.com//app",
        "https://example.com/a b",
        "https://example.com\n",
        "https://example.com\\evil",
        "https://-example.com",
        "https://bücher.example",
        "https://example.com/<b>",
    ],
)
def test_a_bad_base_url_is_refused_with_advice(text: object) -> None:
    """A wrong BASE_URL is found when the app starts, not in somebody's mail."""
    with pytest.raises(ConfigError, match=r"DEVICE_SESSIONS_BASE_URL must be .*https://example"):
        check_base_url(text)


def test_a_notifier_refuses_a_bad_base_url() -> None:
    """The check is not left to whoever makes the notifier."""
    with pytest.raises(ConfigError, match="BASE_URL"):
        Notifier(base_url="example.com")


# -- Whom to write to --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"email": "ada@example.com", "login": "b@example.com"}, "ada@example.com"),
        ({"email": None, "login": "b@example.com"}, "b@example.com"),
        ({"login": "b@example.com"}, "b@example.com"),
        ({"email": "jörg@bücher.example"}, "jörg@bücher.example"),
        ({"login": "ada"}, None),
        ({}, None),
        ({"email": 5}, None),
        ({"email": "ada@example.com\r\nBcc: eve@evil.example"}, None),
        ({"email": "ada@example.com\n"}, None),
        ({"email": "ada@example.com,eve@evil.example"}, None),
        ({"email": "ada@example.com eve@evil.example"}, None),
        ({"email": "Ada <ada@example.com>"}, None),
        ({"email": '"ada@x"@example.com'}, None),
        ({"email": "ada@example.com\u202e"}, None),
        ({"email": "\ud800@example.com"}, None),
        ({"email": "a" * 250 + "@example.com"}, None),
    ],
)
def test_the_address_is_one_plain_address_of_the_user(
    user: dict[str, Any], expected: str | None
) -> None:
    """Nothing but one address reaches a header (ASVS V1.3.11)."""
    assert find_address(SimpleNamespace(**user), "login") == expected


@pytest.mark.usefixtures("request_context")
def test_who_has_no_address_gets_no_mail(caplog: pytest.LogCaptureFixture) -> None:
    """An account without an address is no fault."""
    nobody = SimpleNamespace(username="ada")

    mails = written(lambda notifier: notifier.password_changed(nobody), identifier_field="username")

    assert mails == []
    assert failures(caplog) == []


# -- Who sends ---------------------------------------------------------------------------------


def test_the_given_mailer_wins(app: Flask) -> None:
    """An app that brings its own way of sending mail is asked first."""
    flask_mailman.Mail(app)
    box = Box()

    assert find_mailer(app, box) is box


def test_flask_mailman_comes_before_flask_mail(app: Flask) -> None:
    """Of two, the one that can be told how long to wait is taken."""
    flask_mail.Mail(app)
    only_flask_mail = find_mailer(app)
    flask_mailman.Mail(app)
    both = find_mailer(app)

    assert only_flask_mail is not None
    assert both is not None
    assert both is not only_flask_mail


def test_what_cannot_be_called_is_refused_with_advice(app: Flask) -> None:
    """Handing in Flask-Mail's object is an easy mistake, and says so when the app starts."""
    mail: Any = flask_mail.Mail(app)

    with pytest.raises(ConfigError, match="leave it out"):
        Notifier(mail)


@pytest.mark.usefixtures("request_context")
def test_without_a_mailer_one_line_says_that_mail_is_off(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """Notifications that are off are no fault, and no riddle either."""
    notifier = Notifier()

    notifier.password_changed(ADA)
    notifier.new_device(ADA, device())

    assert find_mailer(app) is None
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "no mailer= was given" in record.getMessage()


@pytest.mark.usefixtures("request_context")
def test_a_mail_extension_may_come_after_ours(app: Flask) -> None:
    """The order in which an app is put together does not switch mails off."""
    notifier = Notifier(sender="us@example.com")
    app.config["MAIL_BACKEND"] = "locmem"
    flask_mailman.Mail(app)

    notifier.password_changed(ADA)
    assert notifier.outbox.flush(PATIENCE)

    (mail,) = app.extensions["mailman"].outbox
    assert mail.subject == "Your password was changed"


# -- Real mail servers -------------------------------------------------------------------------


class Sink:
    """A mail server that keeps what it receives, or refuses everybody."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.is_refusing = False

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.is_refusing:
            return f"550 no such person: {address}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.envelopes.append(envelope)
        self.messages.append(message)
        return "250 OK"


def settle() -> None:
    """Let no mail of a test be on its way when its server goes."""
    assert all(outbox.flush(PATIENCE) for outbox in list(notifications._outboxes))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def sink(app: Flask) -> Iterator[Sink]:
    """A real mail server, which the app's config names."""
    sink = Sink()
    controller = Controller(sink, hostname="127.0.0.1", port=free_port(), ready_timeout=PATIENCE)
    controller.start()
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=controller.port)
    yield sink
    settle()
    asyncio.run_coroutine_threadsafe(_hang_up(), controller.loop).result(PATIENCE)
    controller.stop()


async def _hang_up() -> None:
    """Wait until the server is through with all its callers."""
    while callers := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(callers)


class Silence:
    """A server that lets everybody connect and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self._sockets = [self._listener]
        self.port: int = self._listener.getsockname()[1]

    def wait_for_caller(self) -> None:
        """Wait until somebody has connected, who then waits for us."""
        self._sockets.append(self._listener.accept()[0])

    def release(self) -> None:
        """Hang up on whoever waits, and listen no more."""
        for each in self._sockets:
            each.close()


@pytest.fixture
def silence(app: Flask) -> Iterator[Silence]:
    """A mail server that hangs until the test is over, which the app's config names."""
    silence = Silence()
    # So long that the end of the test ends the wait, and no clock has to be read.
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=silence.port, MAIL_TIMEOUT=100)
    yield silence
    silence.release()
    settle()


extensions = pytest.mark.parametrize(
    "extension", [flask_mailman.Mail, flask_mail.Mail], ids=["Flask-Mailman", "Flask-Mail"]
)


def parts_of(message: EmailMessage) -> dict[str, str]:
    """Return a message's texts by their kind."""
    leaves = (part for part in message.walk() if not part.is_multipart())
    return {part.get_content_type(): part.get_content().replace("\r", "") for part in leaves}


@extensions
@pytest.mark.usefixtures("request_context")
def test_a_real_server_receives_text_and_html(app: Flask, sink: Sink, extension: Any) -> None:
    """What was written arrives, by either extension, word for word (ASVS V6.3.5)."""
    extension(app)
    act = new_device(device("Ådas <Pixel> 📱", location="Łódź"))
    expected = mail_of(act)
    notifier = Notifier(sender="Us <us@example.com>")

    act(notifier)
    assert notifier.outbox.flush(PATIENCE)

    (message,) = sink.messages
    assert message["To"] == "ada@example.com"
    assert message["From"] == "Us <us@example.com>"
    assert message["Subject"] == expected.subject
    assert {kind: text.strip() for kind, text in parts_of(message).items()} == {
        "text/plain": expected.text.strip(),
        "text/html": expected.html.strip(),
    }
    assert sink.envelopes[0].rcpt_tos == ["ada@example.com"]


@extensions
@pytest.mark.usefixtures("request_context")
def test_the_sender_is_the_apps_own_by_default(app: Flask, sink: Sink, extension: Any) -> None:
    """Without MAIL_SENDER the mail comes from the app's MAIL_DEFAULT_SENDER."""
    extension(app)
    notifier = Notifier()

    notifier.password_changed(ADA)
    assert notifier.outbox.flush(PATIENCE)

    assert sink.messages[0]["From"] == "us@x.org"


@extensions
@pytest.mark.usefixtures("request_context")
def test_no_header_comes_from_a_device_name(app: Flask, sink: Sink, extension: Any) -> None:
    """A hostile device name gains neither a header nor a recipient (ASVS V1.3.11)."""
    extension(app)
    notifier = Notifier()

    notifier.new_device(ADA, device("Mac\r\nBcc: eve@evil.example\r\nX-Own: yes"))
    assert notifier.outbox.flush(PATIENCE)

    (message,) = sink.messages
    assert "Bcc" not in message
    assert "X-Own" not in message
    assert sink.envelopes[0].rcpt_tos == ["ada@example.com"]


@extensions
@pytest.mark.usefixtures("request_context")
def test_a_refusing_server_is_a_line_in_the_log(
    app: Flask, sink: Sink, extension: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The line names the mail and the fault, not the person (fault: mail server down)."""
    sink.is_refusing = True
    extension(app)
    notifier = Notifier()

    notifier.password_changed(ADA)
    assert notifier.outbox.flush(PATIENCE)

    (line,) = failures(caplog)
    assert line.startswith("The mail password_changed was not sent: SMTPRecipientsRefused at ")
    assert "ada" not in line
    assert "no such person" not in caplog.text


@extensions
@pytest.mark.usefixtures("request_context")
def test_an_absent_server_is_a_line_in_the_log(
    app: Flask, extension: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody listens: the call returns, the log tells (fault: mail server down)."""
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=free_port())
    extension(app)
    notifier = Notifier()

    notifier.password_changed(ADA)
    assert notifier.outbox.flush(PATIENCE)

    (line,) = failures(caplog)
    assert "was not sent: ConnectionRefusedError" in line


@extensions
@pytest.mark.usefixtures("request_context")
def test_a_hanging_server_is_not_waited_for(
    app: Flask, silence: Silence, extension: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The mail waits for the server, the caller for nobody (fault: mail server slow)."""
    extension(app)
    notifier = Notifier()

    notifier.password_changed(ADA)
    silence.wait_for_caller()
    is_sent = notifier.outbox.flush(0)
    silence.release()
    assert notifier.outbox.flush(PATIENCE)

    assert not is_sent
    (line,) = failures(caplog)
    assert "was not sent: SMTPServerDisconnected" in line


@pytest.mark.parametrize(("configured", "used"), [(None, 30), (7, 7)])
@pytest.mark.usefixtures("request_context")
def test_flask_mailman_gives_up_at_some_time(app: Flask, configured: int | None, used: int) -> None:
    """A server that hangs for ever does not hold all later mails; MAIL_TIMEOUT is the app's."""
    timeouts: list[object] = []

    class Backend(EmailBackend):
        def open(self) -> bool:
            timeouts.append(self.timeout)
            return False

    app.config.update(MAIL_TIMEOUT=configured, MAIL_BACKEND=Backend)
    flask_mailman.Mail(app)
    notifier = Notifier()

    notifier.password_changed(ADA)
    assert notifier.outbox.flush(PATIENCE)

    assert set(timeouts) == {used}


# -- A sign-in, whatever the mail server does --------------------------------------------------


def _serve_well(app: Flask, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("sink")


def _refuse(app: Flask, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("sink").is_refusing = True


def _hang(app: Flask, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("silence")


def _be_absent(app: Flask, request: pytest.FixtureRequest) -> None:
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=free_port())


def _have_a_broken_template(app: Flask, request: pytest.FixtureRequest) -> None:
    _serve_well(app, request)
    broken = DictLoader({"device_sessions/mail/new_device.html": "{{ nothing.at_all }}"})
    app.jinja_env.loader = ChoiceLoader([broken, app.jinja_env.loader])  # type: ignore[list-item]


@pytest.mark.faults
@pytest.mark.parametrize(
    "trouble", [_serve_well, _refuse, _hang, _be_absent, _have_a_broken_template]
)
def test_a_sign_in_is_the_same_whatever_the_mail_server_does(
    app: Flask, request: pytest.FixtureRequest, trouble: Callable[..., None]
) -> None:
    """Status and time of a sign-in do not depend on mail (fault: mail server down or slow)."""
    trouble(app, request)
    flask_mailman.Mail(app)
    notifier = app.extensions["device_sessions"]._states[app].notifier
    with app.app_context():
        db.create_all()
        add_user()
        sign_in(Browser(app))

        answer = sign_in(Browser(app, IPHONE, ip="192.0.2.9"))
        was_waited_for = notifier.outbox.flush(0)

    assert answer.status_code == 303
    assert answer.headers["Location"] == "/whoami"
    assert not (trouble is _hang and was_waited_for)


# -- In the background -------------------------------------------------------------------------


def mail(subject: str = "Hello") -> Mail:
    """Return some mail."""
    return Mail("ada@example.com", subject, "text", "<p>text</p>")


@pytest.mark.usefixtures("request_context")
class TestOutbox:
    """The line, its thread, its bound."""

    def test_a_mailer_runs_in_the_apps_context_outside_the_request(self, app: Flask) -> None:
        """A mailer can use the app's extensions, and nothing of a request that is over."""
        seen: list[Any] = []
        outbox = Outbox()

        def look(mail: Mail) -> None:
            seen.extend([current_app._get_current_object(), has_request_context()])  # type: ignore[attr-defined]

        outbox.post("a", mail(), look)
        assert outbox.flush(PATIENCE)

        assert seen == [app, False]

    def test_mails_are_sent_in_order_by_one_thread(self) -> None:
        """A burst of mails is one connection at a time, not a hundred."""
        threads: set[int] = set()
        box = Box()
        outbox = Outbox()

        def send(mail: Mail) -> None:
            threads.add(threading.get_ident())
            box(mail)

        gate = threading.Event()
        outbox.post("first", mail(), lambda _: gate.wait(PATIENCE))
        for number in range(50):
            outbox.post("next", mail(str(number)), send)
        gate.set()
        assert outbox.flush(PATIENCE)

        assert [kept.subject for kept in box.mails] == [str(number) for number in range(50)]
        assert len(threads) == 1
        assert threading.get_ident() not in threads

    def test_no_thread_is_left_when_all_is_sent(self) -> None:
        """An app that sends no mail pays for no thread; the next mail starts one."""
        threads: list[threading.Thread] = []
        outbox = Outbox()

        for _ in range(2):
            outbox.post("a", mail(), lambda _: threads.append(threading.current_thread()))
            assert outbox.flush(PATIENCE)
            threads[-1].join(PATIENCE)

        assert [thread.is_alive() for thread in threads] == [False, False]
        assert all(thread.daemon for thread in threads)

    def test_many_threads_lose_no_mail(self, app: Flask) -> None:
        """Parallel sign-ins are all told."""
        box = Box()
        outbox = Outbox(1000)
        barrier = threading.Barrier(8)

        def post() -> None:
            with app.app_context():
                barrier.wait(PATIENCE)
                for _ in range(50):
                    outbox.post("a", mail(), box)

        threads = [threading.Thread(target=post) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert outbox.flush(PATIENCE)

        assert len(box.mails) == 400

    def test_a_full_line_drops_with_a_warning(
        self, gate: Gate, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A server that is down for a day fills neither memory nor log."""
        outbox = Outbox(capacity=3)
        outbox.post("held", mail("held"), gate)
        assert gate.has_begun.wait(PATIENCE)

        rooms = [outbox.post("next", mail(str(number)), gate) for number in range(6)]
        gate.opened.set()
        assert outbox.flush(PATIENCE)

        assert rooms == [True, True, True, False, False, False]
        assert [kept.subject for kept in gate.box.mails] == ["held", "0", "1", "2"]
        (line,) = failures(caplog)
        assert line.startswith("A mail was dropped: 3 are waiting already")

    def test_flush_says_when_it_gave_up(self, gate: Gate) -> None:
        """A test or a shutdown waits as long as it likes, and knows what came of it."""
        outbox = Outbox()
        is_idle = outbox.flush(0)
        outbox.post("held", mail(), gate)

        is_sent = outbox.flush(0)

        assert is_idle
        assert not is_sent

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (ValueError("ada@example.com"), "ValueError at"),
            (SystemExit("ada@example.com"), "SystemExit at"),
            (smtplib.SMTPDataError(554, b"ada@example.com"), "SMTPDataError 554 at"),
            (ConnectionResetError(104, "ada@example.com"), "ConnectionResetError 104 at"),
        ],
    )
    def test_a_mailers_error_is_one_line_without_its_words(
        self, error: BaseException, words: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An error's text may hold an address, and the next mail is sent all the same."""
        box = Box()
        outbox = Outbox()

        def fail(mail: Mail) -> None:
            raise error

        outbox.post("new_device", mail(), fail)
        outbox.post("new_device", mail(), box)
        assert outbox.flush(PATIENCE)

        (line,) = failures(caplog)
        assert line.startswith(f"The mail new_device was not sent: {words} {__file__}:")
        assert "ada@" not in caplog.text
        assert len(box.mails) == 1

    def test_a_mail_waits_for_the_next_when_no_thread_can_start(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A process at its limit of threads signs people in, and tells them later."""
        box = Box()
        notifier = Notifier(box)

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            notifier.password_changed(ADA)
        before = list(box.mails)
        notifier.password_changed(ADA)
        assert notifier.outbox.flush(PATIENCE)

        assert before == []
        assert len(box.mails) == 2
        assert "RuntimeError" in failures(caplog)[0]


@pytest.mark.usefixtures("request_context")
def test_a_broken_template_is_a_line_in_the_log(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """An override with a mistake costs the mail, not the sign-in."""
    broken = DictLoader({"device_sessions/mail/password_changed.txt": "{{ nothing.at_all }}"})
    app.jinja_env.loader = ChoiceLoader([broken, app.jinja_env.loader])  # type: ignore[list-item]

    mails = written(lambda notifier: notifier.password_changed(ADA))

    assert mails == []
    (line,) = failures(caplog)
    assert "password_changed was not sent: UndefinedError at" in line


# -- Processes ---------------------------------------------------------------------------------

_PREAMBLE = """
import os, sys, threading
from types import SimpleNamespace
from flask_device_sessions.notifications import Mail, Outbox
from tests.support import make_app

app = make_app()
outbox = Outbox()
mail = Mail("ada@example.com", "Hello", "text", "html")

def say(word):
    return lambda mail: os.write(1, word)
"""

_FORK = """
release = threading.Event()
has_begun = threading.Event()

def hold(mail):
    has_begun.set()
    release.wait()
    os.write(1, b"P")

with app.app_context():
    outbox.post("parent", mail, hold)
    outbox.post("parent", mail, say(b"p"))
    has_begun.wait()
    # Held over the fork, as it may be in a thread that the child does not have.
    with outbox._line.changed:
        child = os.fork()
    outbox.post("both", mail, say(b"b" if child else b"c"))
    if child == 0:
        os._exit(0 if outbox.flush(60) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    release.set()
    assert outbox.flush(60)
"""

_EXIT = """
with app.app_context():
    outbox.post("last", mail, say(b"sent"))
"""

_EXIT_FORGOTTEN = """
is_over = threading.Event()
has_begun = threading.Event()

def hold(mail):
    has_begun.set()
    is_over.wait()

with app.app_context():
    outbox.post("first", mail, hold)
    outbox.post("last", mail, say(b"sent"))
has_begun.wait()
del outbox
import atexit
atexit.register(is_over.set)
"""

_EXIT_HANGING = """
with app.app_context():
    outbox.post("last", mail, lambda mail: threading.Event().wait())
os.write(1, b"over")
"""


def output_of(script: str) -> str:
    """Run a script in a process of its own and return what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", _PREAMBLE + script],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_worker_sends_its_own_mails_and_not_its_parents() -> None:
    """Under gunicorn with preload_app no mail is sent twice and none is stuck."""
    output = output_of(_FORK)

    assert output == "cPpb"


def test_mails_on_their_way_outlive_whoever_posted_them() -> None:
    """A worker that ends waits for a mail even when nothing else holds its outbox."""
    output = output_of(_EXIT_FORGOTTEN)

    assert output == "sent"


def test_mails_on_their_way_are_sent_at_the_end_of_the_process() -> None:
    """A worker that is restarted right after a sign-in still tells of it."""
    output = output_of(_EXIT)

    assert output == "sent"


def test_the_end_of_the_process_does_not_wait_for_ever() -> None:
    """A mail server that hangs does not keep a worker from stopping."""
    output = output_of(_EXIT_HANGING)

    assert output == "over"
