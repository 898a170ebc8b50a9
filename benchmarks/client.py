"""A browser that speaks WSGI, with as little of its own as can be: it is part of every figure."""

from __future__ import annotations

import io
from collections.abc import Iterable
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

_ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "443",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "localhost",
    "HTTP_USER_AGENT": USER_AGENT,
    "HTTP_ACCEPT": "text/html",
    "REMOTE_ADDR": "192.0.2.1",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "https",
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": False,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


class Answer(NamedTuple):
    """What came back: status line, headers, body."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def set_cookies(self) -> list[str]:
        """The values of ``Set-Cookie``."""
        return [value for name, value in self.headers if name.lower() == "set-cookie"]

    def is_page(self, text: str) -> bool:
        """Whether it is the page with this text and nothing else."""
        return self.status.startswith("200 ") and self.body == text.encode()

    def is_refusal(self, text: str) -> bool:
        """Whether it sends away who is not signed in, without telling them this text."""
        return self.status[:3] in ("302", "303", "401") and text.encode() not in self.body


def environ_of(path: str, cookies: dict[str, str]) -> dict[str, Any]:
    """Return a request, ready to be sent any number of times."""
    environ = {**_ENVIRON, "PATH_INFO": path}
    if cookies:
        environ["HTTP_COOKIE"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return environ


def send(application: Any, environ: dict[str, Any]) -> Answer:
    """Send a request, and read the whole answer as a server does."""
    began: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        began[:] = status, headers

    body: Iterable[bytes] = application({**environ, "wsgi.input": io.BytesIO()}, start_response)
    try:
        content = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    return Answer(began[0], began[1], content)


def sign_in(application: Any) -> dict[str, str]:
    """Sign the one person in; return the cookies that they hold then."""
    answer = send(application, environ_of("/enter", {}))
    assert answer.status.startswith("200 "), answer
    return cookies_of(answer)


def cookies_of(answer: Answer) -> dict[str, str]:
    """Return the cookies that an answer sets, without those that it deletes."""
    jar: dict[str, str] = {}
    for header in answer.set_cookies:
        cookie: SimpleCookie = SimpleCookie(header)
        jar.update({name: morsel.coded_value for name, morsel in cookie.items() if morsel.value})
    return jar


def forge(cookies: dict[str, str]) -> dict[str, str]:
    """Return the cookies with each value's middle changed, its shape kept."""
    return {name: _changed(value) for name, value in cookies.items()}


def _changed(value: str) -> str:
    """Exchange one letter or digit in the middle, and one near the end."""
    letters = list(value)
    for place in (len(letters) // 2, max(0, len(letters) - 4)):
        letters[place] = "a" if letters[place] != "a" else "b"
    return "".join(letters)
