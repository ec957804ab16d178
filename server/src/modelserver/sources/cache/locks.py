"""File locks by which processes, also those of other pods, agree on who uses a version.

The kernel lets go of a lock when its process ends, however it ends.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from modelserver.errors import FailedPreconditionError

_HELD_BY_ANOTHER = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_REMOVED = frozenset({errno.ENOENT, errno.ESTALE})  # the second by another client of an NFS server


@dataclass(frozen=True, slots=True)
class FileLock:
    """A lock that is held, until `release`."""

    descriptor: int
    path: str

    def release(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)

    def release_used(self) -> None:
        """Let go of what was in use until now."""
        with suppress(OSError):  # of a file that others have made
            os.utime(self.descriptor)
        self.release()

    def remove(self) -> None:
        """Leave no file behind, and let go of it. For who holds it alone."""
        try:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
        finally:
            os.close(self.descriptor)


def try_lock(path: str, *, alone: bool) -> FileLock | None:
    """Lock the file at `path`, which is made if need be; None while others hold it.

    Raises:
        FailedPreconditionError: the file system has no locks.
        OSError: the file cannot be opened.

    """
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    while True:
        descriptor = _open(path)
        try:
            if not _lock(descriptor, path, kind | fcntl.LOCK_NB):
                os.close(descriptor)
                return None
            if _is_still_there(descriptor, path):
                return FileLock(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed the file: lock the new one


@contextmanager
def held_alone(path: str) -> Iterator[None]:
    """Hold the file at `path` alone, once those before have let go of it. For what is short: the
    wait cannot be cancelled. The file, which is made if need be, stays.

    Raises what `try_lock` does.
    """
    descriptor = _open(path)
    try:
        _lock(descriptor, path, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _lock(descriptor: int, path: str, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            return False
        raise FailedPreconditionError(
            f"Cannot lock {path}: {error.strerror}. The cache needs a file system with file locks "
            "(a local disk, NFS version 4)"
        ) from error
    return True


def _is_still_there(descriptor: int, path: str) -> bool:
    try:
        there, held = os.stat(path), os.fstat(descriptor)
    except OSError as error:
        if error.errno in _REMOVED:
            return False
        raise
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
