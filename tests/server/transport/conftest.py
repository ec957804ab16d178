"""Servers on the Rust transport, and clients that speak HTTP/2 frame by frame."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

ECHO = "/test.Texts/Echo"
WATCH = "/test.Texts/Watch"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, ACK, END_HEADERS = 1, 1, 4


class Frame:
    """A frame of HTTP/2 as it was received."""

    def __init__(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    @property
    def error_code(self) -> int:
        """Of a GOAWAY or RST_STREAM."""
        start = 4 if self.kind == GOAWAY else 0
        return int.from_bytes(self.payload[start : start + 4], "big")


class RawConnection:
    """A client that sends what it is told, right or wrong. It answers nothing by itself."""

    def __init__(self, address: int | Path, preface: bytes = PREFACE, window: int = 65535) -> None:
        self.socket = _dial(address)
        self.socket.sendall(preface)
        if preface == PREFACE:
            self.send(SETTINGS, 0, 0, struct.pack(">HI", 4, window))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Send a frame."""
        self.socket.sendall(self.frame(kind, flags, stream, payload))

    @staticmethod
    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        """A frame as bytes."""
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(
            ">I", stream
        ) + payload  # fmt: skip

    @staticmethod
    def header_block(path: str = ECHO, *extra: tuple[str, str]) -> bytes:
        """The headers of a call, each spelt out."""
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *extra,
        ]
        return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)

    @staticmethod
    def message(body: bytes) -> bytes:
        """A message with gRPC's prefix."""
        return struct.pack(">BI", 0, len(body)) + body

    def begin(self, stream: int, path: str = ECHO, body: bytes | None = b"x") -> None:
        """Begin a call; a body of None leaves it open."""
        self.send(HEADERS, END_HEADERS, stream, self.header_block(path))
        if body is not None:
            self.send(DATA, END_STREAM, stream, self.message(body))

    def receive(self) -> Frame | None:
        """The next frame; None at the end."""
        header = self._read(9)
        if header is None:
            return None
        length = int.from_bytes(header[:3], "big")
        payload = self._read(length)
        stream = int.from_bytes(header[5:], "big")
        return Frame(header[3], header[4], stream, payload or b"")

    def receive_until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The next frame that is `wanted`, acknowledging settings on the way."""
        while True:
            frame = self.receive()
            if frame is None:
                raise EOFError
            if frame.kind == SETTINGS and not frame.flags & ACK:
                self.send(SETTINGS, ACK, 0)
            if wanted(frame):
                return frame

    def receive_end(self, stream: int) -> Frame:
        """The frame that ends the answer to a call."""
        return self.receive_until(
            lambda frame: (
                frame.stream == stream
                and (frame.kind == RST_STREAM or bool(frame.flags & END_STREAM))
            )
        )

    def receive_goaway(self) -> Frame:
        """The next GOAWAY."""
        return self.receive_until(lambda frame: frame.kind == GOAWAY)

    def receive_window(self) -> None:
        """Wait until more than the first 64 kB may be sent on all streams together."""
        self.receive_until(lambda frame: frame.kind == WINDOW_UPDATE and frame.stream == 0)

    def is_closed(self) -> bool:
        """Wait for the end of the connection, whatever comes before."""
        try:
            while self.receive() is not None:
                pass
        except ConnectionError:
            pass
        return True

    def _read(self, count: int) -> bytes | None:
        received = b""
        while len(received) < count:
            part = self.socket.recv(count - len(received))
            if not part:
                return None
            received += part
        return received


def _dial(address: int | Path) -> socket.socket:
    """To a port or a unix socket."""
    if isinstance(address, int):
        dialled = socket.create_connection(("127.0.0.1", address), timeout=30)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return dialled
    dialled = socket.socket(socket.AF_UNIX)
    dialled.settimeout(30)
    dialled.connect(str(address))
    return dialled


def _text(text: str) -> bytes:
    raw = text.encode()
    return _number(len(raw)) + raw


def _number(value: int) -> bytes:
    """HPACK's integer with a prefix of seven bits."""
    if value < 127:
        return bytes([value])
    encoded, value = bytearray([127]), value - 127
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes([*encoded, value])


class Server:
    """A started transport and, unless it is told otherwise, a thread that echoes all calls."""

    def __init__(self, transport: Any, is_echoing: bool) -> None:
        self.transport = transport
        self.port: int = transport.start()
        self._thread = threading.Thread(target=self._echo, daemon=True)
        if is_echoing:
            self._thread.start()

    def close(self) -> None:
        self.transport.stop(0)
        if self._thread.ident:
            self._thread.join()

    def _echo(self) -> None:
        while (calls := self.transport.next_calls(None)) is not None:
            self.transport.reply_many(calls[0], calls[2])


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start a server with these options; it is stopped after the test."""
    rust = pytest.importorskip("modelserver_transport")
    servers: list[Server] = []

    def serve(
        *, is_echoing: bool = True, tls: dict[str, Any] | None = None, **given: Any
    ) -> Server:
        addresses = given.pop("addresses", ["127.0.0.1:0"])
        options = rust.Options(**given)
        transport = rust.Transport(addresses, [ECHO], [WATCH], options)
        if tls is not None:
            transport.set_tls(**tls)
        servers.append(Server(transport, is_echoing))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., RawConnection]]:
    """Open a raw connection to a port or unix socket; it is closed after the test."""
    connections: list[RawConnection] = []

    def connect(address: int | Path, **given: Any) -> RawConnection:
        connections.append(RawConnection(address, **given))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.socket.close()
