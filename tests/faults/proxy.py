"""A TCP proxy that breaks connections in the ways in which networks do."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from contextlib import suppress

_CHUNK = 65536


class Proxy:
    """Stands between a client and a server on loopback, on a port of its own.

    It passes everything on, until it is told otherwise.

    Args:
        target: the server's port.

    Attributes:
        port: where it listens.
        bytes_said: how many the server has said.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._peers: dict[socket.socket, socket.socket] = {}
        self._from_server: set[socket.socket] = set()
        self._is_dropping = self._is_black_hole = False
        self._bytes_left: int | None = None
        self._is_once = False
        self.bytes_said = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, waker = socket.socketpair()
        self._selector.register(waker, selectors.EVENT_READ)
        self._waker = waker
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    # -- What it is told -----------------------------------------------------------------------

    def heal(self) -> None:
        """Pass everything on, on new connections."""
        with self._lock:
            self._drop_all()
            self._is_dropping = self._is_black_hole = False
            self._bytes_left = None

    def drop(self) -> None:
        """Reset every connection, and each new one, at once."""
        with self._lock:
            self._is_dropping = True
            self._drop_all()

    def reset_once(self) -> None:
        """Reset every connection that is open; new ones are fine."""
        with self._lock:
            self._drop_all()

    def black_hole(self) -> None:
        """Keep every connection open, and pass nothing on."""
        with self._lock:
            self._is_black_hole = True

    def cut_after(self, count: int, *, is_once: bool = False) -> None:
        """Let the server say so many bytes more, and reset all connections then.

        Args:
            count: of bytes.
            is_once: whether connections made after that are fine; otherwise they say nothing.
        """
        with self._lock:
            self._bytes_left, self._is_once = count, is_once

    def close(self) -> None:
        """End it, and every connection through it."""
        self._is_closed = True
        self._wake.send(b"x")
        self._thread.join()
        with self._lock:
            self._drop_all()
        for closed in (self._listener, self._wake, self._waker, self._selector):
            closed.close()

    # -- What it does --------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._is_closed:
            for key, _ in self._selector.select(timeout=0.05):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.fileobj, socket.socket):
                        self._pass_on(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._is_dropping:
            _reset(client)
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=2)
        except OSError:
            _reset(client)
            return
        self._peers.update({client: server, server: client})
        self._from_server.add(server)
        for end in (client, server):
            self._selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        peer = self._peers.get(source)
        if peer is None:
            return  # dropped since it became ready
        if self._is_black_hole:
            self._selector.unregister(source)  # what arrives stays where it is
            return
        try:
            data = source.recv(_CHUNK)
            told = self._let_through(data) if source in self._from_server else data
            peer.sendall(told)
        except OSError:
            data = told = b""
        if not data or told != data:
            self._drop(source)

    def _let_through(self, data: bytes) -> bytes:
        """Return what is left of what the server says."""
        self.bytes_said += len(data)
        if self._bytes_left is None or len(data) <= self._bytes_left:
            if self._bytes_left is not None:
                self._bytes_left -= len(data)
            return data
        told, self._bytes_left = data[: self._bytes_left], None if self._is_once else 0
        return told

    def _drop_all(self) -> None:
        for end in list(self._from_server):
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        peer = self._peers.pop(end)
        del self._peers[peer]
        for one in (end, peer):
            self._from_server.discard(one)
            with suppress(KeyError):
                self._selector.unregister(one)
            _reset(one)


def _reset(end: socket.socket) -> None:
    """Close it with RST, not with a goodbye."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
