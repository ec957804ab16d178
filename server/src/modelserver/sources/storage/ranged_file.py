"""RangedFile: a file of an object store, read where it is looked at and nowhere else."""

import io
from collections.abc import Callable
from typing import BinaryIO, cast

_BUFFER_BYTES = 64 * 1024


def open_ranged(size: int, read: Callable[[int, int], bytes]) -> BinaryIO:
    """Open a file of `size` bytes whose bytes from start to stop are `read(start, stop)`.

    For headers and indexes: each jump is a call, of 64 kB where less is asked for.
    """
    return cast(BinaryIO, io.BufferedReader(_RangedFile(size, read), _BUFFER_BYTES))


class _RangedFile(io.RawIOBase):
    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size = size
        self._read = read
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readall(self) -> bytes:
        stop = max(self._size, self._position)
        data = self._read(self._position, stop) if stop > self._position else b""
        self._position += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what BufferedReader gives
        stop = min(self._position + len(buffer), self._size)
        if stop <= self._position:
            return 0
        data = self._read(self._position, stop)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
