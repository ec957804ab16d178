"""Inotify: what Linux tells of changes in directories, by way of the C library."""

import ctypes
import errno
import os
import select
import struct
from typing import NamedTuple

# From <sys/inotify.h>.
_IN_ATTRIB = 0x4
_IN_MOVED_FROM = 0x40
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_IN_DELETE_SELF = 0x400
_IN_MOVE_SELF = 0x800
_IN_UNMOUNT = 0x2000
_IN_Q_OVERFLOW = 0x4000
_IN_IGNORED = 0x8000
_IN_ONLYDIR = 0x0100_0000

_CHANGES = _IN_ATTRIB | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_WATCHED = _CHANGES | _IN_DELETE_SELF | _IN_MOVE_SELF | _IN_ONLYDIR
_ENDS = _IN_DELETE_SELF | _IN_MOVE_SELF | _IN_UNMOUNT | _IN_IGNORED

_HEADER = struct.Struct("iIII")
_READ_BYTES = 65536

_libc = ctypes.CDLL(None, use_errno=True)


class Record(NamedTuple):
    """That something happened in or to the directory with the watch `number`."""

    number: int
    mask: int

    @property
    def is_end(self) -> bool:
        """Whether the directory is no longer where it was."""
        return bool(self.mask & _ENDS)

    @property
    def is_loss(self) -> bool:
        """Whether it stands for records, of any watch, that have been lost."""
        return bool(self.mask & _IN_Q_OVERFLOW)


def parse(data: bytes) -> list[Record]:
    """Take apart what was read: whole records, each a header and a padded name."""
    records, offset = [], 0
    while offset < len(data):
        number, mask, _, name_bytes = _HEADER.unpack_from(data, offset)
        records.append(Record(number, mask))
        offset += _HEADER.size + name_bytes
    return records


class Inotify:
    """One inotify instance. `read` and `close` are for one thread, the rest is for any.

    Everything raises OSError where the kernel refuses.
    """

    def __init__(self) -> None:
        self._instance = _call("inotify_init1", os.O_CLOEXEC)
        try:
            self._hung_up, self._line = os.pipe()
        except OSError:
            os.close(self._instance)
            raise

    def watch(self, path: str) -> int:
        """Watch the directory that `path` leads to. Returns the number its records will have: the
        same for the same directory. May hang as any look at a mount may, and delays nobody else.
        """
        return _call("inotify_add_watch", self._instance, os.fsencode(path), _WATCHED)

    def read(self, quiet_seconds: float) -> list[Record] | None:
        """Wait for a record, and `quiet_seconds` more for others. None after `hang_up`."""
        if self._is_hung_up(None, self._instance) or self._is_hung_up(1000 * quiet_seconds):
            return None
        return parse(os.read(self._instance, _READ_BYTES))

    def hang_up(self) -> None:
        """Have `read` return None from now on. To be called once."""
        os.close(self._line)

    def close(self) -> None:
        """End all watches. After `hang_up`, when no `watch` is to begin any more."""
        os.close(self._instance)
        os.close(self._hung_up)

    def _is_hung_up(self, timeout_millis: float | None, *others: int) -> bool:
        """Wait for `hang_up`, for one of `others` to be readable, or for time to pass."""
        poll = select.poll()
        for descriptor in (self._hung_up, *others):
            poll.register(descriptor, select.POLLIN)
        return any(ready == self._hung_up for ready, _ in poll.poll(timeout_millis))


def _call(name: str, *arguments: int | bytes) -> int:
    """Call a function of the C library, while other threads go on."""
    function = getattr(_libc, name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"This system has no {name}")
    result = int(function(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
