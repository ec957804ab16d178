"""The body of an answer on its way to the client, with what shall happen to it."""

import fcntl
import socket
import struct
import termios
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from testcluster.faults import Corrupt, Injection, ReplaceObject, Reset, Slow, Stall, Truncate
from testcluster.gcs_upstream import has_ended

_BLOCK = 1 << 18
_LOOK_SECONDS = 0.02
_PIECES_PER_SECOND = 20
_NO_LINGER = struct.pack("ii", 1, 0)


class ConnectionOverError(ConnectionError):
    """There is nothing more to be sent to this client, or to be had for it."""


@dataclass(frozen=True)
class Body:
    """So many bytes of an answer, the first one of them at this offset of the object."""

    read: Callable[[memoryview], int]
    """Fills a buffer from its beginning; says with how many bytes, 0 when there are no more."""
    length: int
    first: int = 0


class BodySender:
    """Sends one body to one client. For one thread."""

    def __init__(
        self,
        client: socket.socket,
        injections: Sequence[Injection],
        sending: Callable[[int], None],
        replace: Callable[[bytes], None],
    ) -> None:
        self._client = client
        self._injections = injections
        self._sending = sending
        self._replace = replace
        self._pace = Pace(injections)

    def send(self, body: Body) -> None:
        """Send it, or what the faults leave of it. ConnectionOverError if no other one can follow
        on this connection.
        """
        block = memoryview(bytearray(min(body.length, _BLOCK)))
        position = 0
        for stop, injection in interruptions(self._injections, body.length):
            while position < stop:
                piece = block[: min(len(block), stop - position, self._pace.piece)]
                _fill(piece, body)
                corrupt(piece, body.first + position, self._injections)
                self._pace.wait(len(piece))
                self._sending(len(piece))
                self._client.sendall(piece)
                position += len(piece)
            if injection:
                self._interrupt(injection)

    def _interrupt(self, injection: Injection) -> None:
        match injection.fault:
            case ReplaceObject(content):
                self._replace(content)
            case Stall():
                hold(self._client, injection)
            case Reset():
                _reset(self._client, injection)
            case _:
                raise ConnectionOverError


class Pace:
    """How fast a body may be sent: slowed down by one fault, or not at all."""

    def __init__(self, injections: Iterable[Injection]) -> None:
        self._injection = next((i for i in injections if isinstance(i.fault, Slow)), None)

    @property
    def piece(self) -> int:
        """How many bytes may be sent at once."""
        rate = self._rate
        return max(1, int(rate / _PIECES_PER_SECOND)) if rate else _BLOCK

    def wait(self, count: int) -> None:
        """Return when so many bytes more may be sent, at once when the fault is healed."""
        if self._injection and self._rate:
            self._injection.healed.wait(count / self._rate)

    @property
    def _rate(self) -> float | None:
        if not self._injection or self._injection.healed.is_set():
            return None
        fault = self._injection.fault
        return fault.bytes_per_second if isinstance(fault, Slow) else None


def interruptions(
    injections: Iterable[Injection], length: int
) -> list[tuple[int, Injection | None]]:
    """Where sending stops, and for which fault; at last at the body's end, for none."""
    stops: list[tuple[int, Injection | None]] = []
    for injection in injections:
        match injection.fault:
            case Stall(after) | Truncate(after) | Reset(after):
                stops.append((after, injection))
            case ReplaceObject(_, int(after)):
                stops.insert(0, (after, injection))  # before a connection ends at the same place
    return [*sorted(stops, key=lambda stop: stop[0]), (length, None)]


def corrupt(piece: memoryview, first: int, injections: Iterable[Injection]) -> None:
    """Change the bytes that faults name in a piece that begins at offset `first` of the object."""
    for injection in injections:
        match injection.fault:
            case Corrupt(offset) if first <= offset < first + len(piece):
                piece[offset - first] ^= 0xFF


def hold(client: socket.socket, injection: Injection) -> None:
    """Return when the fault is healed; ConnectionOverError if the client leaves before."""
    while not injection.healed.wait(_LOOK_SECONDS):
        if has_ended(client):
            break
    if has_ended(client):
        raise ConnectionOverError


def _fill(piece: memoryview, body: Body) -> None:
    filled = 0
    while filled < len(piece):
        count = body.read(piece[filled:])
        if not count:
            raise ConnectionOverError
        filled += count


def _reset(client: socket.socket, injection: Injection) -> None:
    # What the client's kernel does not have yet would be lost.
    while _count_unsent(client) and not injection.healed.wait(_LOOK_SECONDS / 10):
        if has_ended(client):
            break
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    # Nobody is to shut it down before it is closed: that would be an orderly end.
    socket.close(client.detach())
    raise ConnectionOverError


def _count_unsent(client: socket.socket) -> int:
    counted = fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(counted, "little", signed=True)
