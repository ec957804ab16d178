"""Gathering and splitting in Python, for transports that cannot do it below Python."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

from modelserver.rpc.transport.base import Answer, ContiguousBuffer, StatusCode


class PiecesInPython(ABC):
    """The part of a `Transport` that follows from `reply_many`, where all of it is Python."""

    @abstractmethod
    def reply_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
        """Answer several calls, as `Transport.reply_many`."""

    def reply_split(
        self, ids: Sequence[int], rows: ContiguousBuffer, prefix: bytes, suffix: bytes
    ) -> None:
        """Answer calls with equal pieces, as `Transport.reply_split`."""
        self.reply_many(ids, split(rows, len(ids), prefix, suffix))

    def fail_many(self, ids: Sequence[int], code: StatusCode, message: str) -> None:
        """Answer several calls with one error, as `Transport.fail_many`."""
        self.reply_many(ids, [(code, message)] * len(ids))

    def gather(
        self, out: ContiguousBuffer, bodies: Sequence[bytes], offset: int, length: int
    ) -> None:
        """Copy a piece of each body, as `Transport.gather`."""
        gather(out, bodies, offset, length)

    def cork(self) -> None:  # noqa: B027  # nothing to do
        """As `Transport.cork`. Answers leave one by one here anyway."""

    def uncork(self) -> None:  # noqa: B027  # nothing to do
        """As `Transport.uncork`."""


def gather(out: ContiguousBuffer, bodies: Sequence[bytes], offset: int, length: int) -> None:
    """As `Transport.gather`."""
    view = _contiguous(out)
    if view.readonly:
        raise ValueError("the buffer to gather into is read-only")
    target = view.cast("B") if view.nbytes else memoryview(bytearray())
    if view.nbytes != length * len(bodies):
        raise ValueError(
            f"{len(bodies)} pieces of {length} bytes do not fill a buffer of {view.nbytes}"
        )
    position = 0
    for body in bodies:
        piece = memoryview(body)[offset : offset + length]
        if len(piece) != length:
            raise ValueError(f"a body of {len(body)} bytes has no {length} from {offset} on")
        target[position : position + length] = piece
        position += length


def split(rows: ContiguousBuffer, count: int, prefix: bytes, suffix: bytes) -> list[bytes]:
    """The answers that `Transport.reply_split` gives to `count` calls."""
    view = _contiguous(rows)
    if not count or view.nbytes % count:
        raise ValueError(f"a buffer of {view.nbytes} bytes cannot be cut into {count} answers")
    content = view.tobytes()
    size = view.nbytes // count
    starts = [number * size for number in range(count)]
    return [prefix + content[start : start + size] + suffix for start in starts]


def _contiguous(buffer: ContiguousBuffer) -> memoryview:
    view = memoryview(cast(bytearray, buffer))
    if not view.c_contiguous:
        raise ValueError("the buffer is not C-contiguous: use numpy.ascontiguousarray")
    return view
