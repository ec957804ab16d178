"""The proxy's connections: those that are open, and one to the emulator, kept for many requests."""

import http.client
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

from testcluster.gcs_emulator import GcsEmulator

_BLOCK = 1 << 18
Headers = Iterable[tuple[str, str]]


class RequestBody(Protocol):
    """Read until there is nothing, without knowing its length if it is chunked."""

    @property
    def is_chunked(self) -> bool: ...

    def read(self, size: int = ..., /) -> bytes: ...


class OpenSockets:
    """The sockets on which threads may wait, so that another thread can end that. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._is_shut = False

    def add(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets.add(connected)
            if self._is_shut:
                _shut(connected)

    def discard(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(connected)

    def shut(self) -> None:
        """End all reading and writing on them, and on those that are still to come."""
        with self._lock:
            self._is_shut = True
            for connected in self._sockets:
                _shut(connected)


def _shut(connected: socket.socket) -> None:
    with suppress(OSError):  # the other side was first
        connected.shutdown(socket.SHUT_RDWR)


def has_ended(connected: socket.socket) -> bool:
    """Whether the other side has closed or reset the connection, or this one has shut it."""
    try:
        return not connected.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


class Upstream:
    """A connection to the emulator for one thread, made anew whenever it cannot be used again."""

    def __init__(self, emulator: GcsEmulator, sockets: OpenSockets) -> None:
        address = urlsplit(emulator.url).netloc
        self._connection = http.client.HTTPConnection(address, blocksize=_BLOCK)
        self._sockets = sockets
        self._socket: socket.socket | None = None
        self._answer: http.client.HTTPResponse | None = None

    def ask(
        self, method: str, target: str, headers: Headers, body: RequestBody
    ) -> http.client.HTTPResponse:
        """Pass a request on; the answer's body is still to be read. OSError or HTTPException if
        there is no answer.
        """
        self._connect()
        connection = self._connection
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body.is_chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(body, encode_chunked=body.is_chunked)
        self._answer = connection.getresponse()
        return self._answer

    def close(self) -> None:
        if self._socket:
            self._sockets.discard(self._socket)
            self._socket = None
        if self._answer:
            self._answer.close()
            self._answer = None
        self._connection.close()

    def _connect(self) -> None:
        is_read = self._answer is None or self._answer.isclosed()
        open_socket = self._connection.sock  # None after an answer with "Connection: close"
        if open_socket and is_read and not has_ended(open_socket):
            return
        self.close()
        self._connection.connect()
        self._socket = self._connection.sock
        self._sockets.add(self._socket)
