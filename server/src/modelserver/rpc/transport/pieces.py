"""Gathering and splitting in Python, for transports that cannot do it below Python."""

from collections.abc import Sequence
from typing import cast

from modelserver.rpc.transport.base import ContiguousBuffer


def gather(out: ContiguousBuffer, bodies: Sequence[bytes], offset: int, length: int) -> None:
    """As `Transport.gather`."""
    target = memoryview(cast(bytearray, out)).cast("B")
    if len(target) != length * len(bodies):
        raise ValueError(
            f"{len(bodies)} pieces of {length} bytes do not fill a buffer of {len(target)}"
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
    view = memoryview(cast(bytearray, rows))
    if not view.c_contiguous:
        raise ValueError("the answers' rows are not in one piece: use numpy.ascontiguousarray")
    if not count or view.nbytes % count:
        raise ValueError(f"a buffer of {view.nbytes} bytes cannot be cut into {count} answers")
    content = view.tobytes()
    size = view.nbytes // count
    starts = [number * size for number in range(count)]
    return [prefix + content[start : start + size] + suffix for start in starts]
