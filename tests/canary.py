"""The canary: no credential that the suite ever used may be found where it does not belong.

What browsers are given as cookies of ours is collected, with the digest that the row keeps of
it, and so is every access token; the one answer that hands it out may say it, once. What the
app says is collected beside: answers, where they send people, log lines with their tracebacks,
audit events, mails. At the end of each test the two are compared.
"""

from __future__ import annotations

import logging
import uuid
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote

import pytest
from flask.testing import FlaskClient

from flask_device_sessions.notifications import Mail, Outbox
from flask_device_sessions.store import Store
from flask_device_sessions.tokens import AccessToken, SessionToken, digest_of
from tests.support import PASSWORD


@dataclass
class Canary:
    """What must not be said, and what was said."""

    secrets: set[str] = field(default_factory=lambda: {PASSWORD})
    said: list[str] = field(default_factory=list)
    _not_handed_out: set[str] = field(default_factory=set)

    def learn_access_token(self, token: AccessToken) -> None:
        """Take note of an access token that was made."""
        self.secrets |= {token.text(), token.text().partition("_")[2], token.digest}
        self._not_handed_out.add(token.text())

    def hear_answer(self, text: str) -> None:
        """Hear an answer; the first that holds a new access token, once, is what hands it out."""
        for token in {token for token in self._not_handed_out if token in text}:
            self._not_handed_out.remove(token)
            text = text.replace(token, "<handed out>", 1)
        self.said.append(text)

    def sing(self) -> list[str]:
        """Return where a secret was said: the words around it, without it."""
        return [
            f"{text[max(0, place - 60) : place]}<secret>"
            for text in self.said
            for secret in self.secrets
            if (place := text.find(secret)) >= 0
        ]

    def forget(self) -> None:
        """Begin anew, where one test tells many stories: comparing all with all takes long."""
        vars(self).update(vars(Canary()))

    def learn(self, cookie: str) -> None:
        """Take note of the credential in a cookie of ours."""
        for name, morsel in SimpleCookie(cookie).items():
            if "device_session" not in name or not morsel.value:
                continue
            payload = morsel.value.rpartition(".")[0]
            self.secrets |= {morsel.value, payload}
            if name.endswith("_browser"):
                self.secrets.add(digest_of(urlsafe_b64decode(payload + "==")))
            else:
                self.secrets.add(SessionToken.parse(payload).digest)


class _Listener(logging.Handler):
    def __init__(self, canary: Canary) -> None:
        super().__init__(logging.DEBUG)
        self._canary = canary
        self.setFormatter(logging.Formatter("%(message)s"))  # and the traceback, if there is one

    def emit(self, record: logging.LogRecord) -> None:
        self._canary.said.append(self.format(record))


def watch(monkeypatch: pytest.MonkeyPatch, canary: Canary) -> _Listener:
    """Let the canary hear what every client, event, mail and logger says."""
    _watch_clients(monkeypatch, canary)
    _watch_writers(monkeypatch, canary)
    listener = _Listener(canary)
    logging.getLogger().addHandler(listener)
    return listener


def _watch_clients(monkeypatch: pytest.MonkeyPatch, canary: Canary) -> None:
    original = FlaskClient.open

    def open_and_listen(client: FlaskClient, *args: Any, **values: Any) -> Any:
        response = original(client, *args, **values)
        for header in response.headers.getlist("Set-Cookie"):
            canary.learn(header)
        canary.hear_answer(response.get_data(as_text=True))
        canary.said.append(unquote(response.headers.get("Location", "")))
        return response

    monkeypatch.setattr(FlaskClient, "open", open_and_listen)


def _watch_writers(monkeypatch: pytest.MonkeyPatch, canary: Canary) -> None:
    add_events, post, issue = Store.add_events, Outbox.post, AccessToken.issue

    def add_and_listen(store: Store, rows: Any) -> None:
        canary.said.append(str(rows))
        add_events(store, rows)

    def post_and_listen(outbox: Outbox, name: str, mail: Mail, mailer: Any) -> bool:
        canary.said += [mail.subject, mail.text, mail.html, repr(mail)]
        return post(outbox, name, mail, mailer)

    def issue_and_learn(session_id: uuid.UUID, prefix: str) -> AccessToken:
        token = issue(session_id, prefix)
        canary.learn_access_token(token)
        return token

    monkeypatch.setattr(AccessToken, "issue", issue_and_learn)
    monkeypatch.setattr(Store, "add_events", add_and_listen)
    monkeypatch.setattr(Outbox, "post", post_and_listen)
