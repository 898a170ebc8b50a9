"""HTTP/1.1 on one kept-alive connection: all that a load needs, and quick."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from urllib.parse import urlencode

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nLocation: ([^\r]*)", re.IGNORECASE)
_COOKIE = re.compile(rb"\r\nSet-Cookie: ([^=]+)=([^;\r]*)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nConnection: close", re.IGNORECASE)


@dataclass
class Answer:
    """What came back. Status 0 is no answer at all."""

    status: int
    body: bytes = b""
    location: str = ""
    cookies: dict[str, str] = field(default_factory=dict)


class Line:
    """One connection to a server on this machine; it is made anew when the server closed it.

    Args:
        port: the server's.
        timeout: longest wait for an answer, in seconds.
    """

    def __init__(self, port: int, timeout: float = 60) -> None:
        self._port = port
        self._timeout = timeout
        self._socket: socket.socket | None = None

    def ask(
        self, path: str, cookies: dict[str, str] | None = None, form: dict[str, str] | None = None
    ) -> Answer:
        """Send a GET, or a POST of a form; return what came back."""
        request = _request(path, cookies or {}, form)
        try:
            return self._send(request)
        except OSError:
            self.close()
            return Answer(0)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, request: bytes) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        head, body = self._read_head()
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        while len(body) < length:
            body += self._read()
        if _CLOSES.search(head):
            self.close()
        return _answer(head, body)

    def _read_head(self) -> tuple[bytes, bytes]:
        data = self._read()
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, body = data.partition(b"\r\n\r\n")
        return head, body

    def _read(self) -> bytes:
        assert self._socket is not None
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("The server hung up.")
        return data


def _request(path: str, cookies: dict[str, str], form: dict[str, str] | None) -> bytes:
    head = [f"{'GET' if form is None else 'POST'} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if cookies:
        head.append("Cookie: " + "; ".join(f"{name}={text}" for name, text in cookies.items()))
    body = "" if form is None else urlencode(form)
    if form is not None:
        head += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def _answer(head: bytes, body: bytes) -> Answer:
    found = _STATUS.match(head)
    assert found is not None, head
    location = _LOCATION.search(head)
    return Answer(
        int(found[1]),
        body,
        location[1].decode() if location else "",
        {name.decode(): text.decode() for name, text in _COOKIE.findall(head)},
    )
