"""FileSystemStorage: exports on a mounted file system."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from modelserver.core.state import HeldBack
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import FailedPreconditionError, NotFoundError, UnavailableError
from modelserver.sources.directory_events import DirectoryEvents
from modelserver.sources.storage.base import Release, nothing_to_release

_MUST_NOT_BE_READ = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR})
_LEADS_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class FileSystemStorage:
    """A `Storage` on local disks, persistent volumes and network mounts. Where the kernel tells of
    changes, it hears of them; nothing depends on that.
    """

    def __init__(self) -> None:
        self._events = DirectoryEvents()

    def list_versions(self, base_path: str) -> list[str]:
        """Name the directories directly under `base_path`."""
        with _domain_errors(base_path), os.scandir(base_path) as entries:
            return [entry.name for entry in entries if _is_directory(entry)]

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all files below `version_path`; a file's tag is its modification time."""
        with _domain_errors(version_path):
            return dict(_walk(version_path, "", frozenset()))

    def notice(self, base_path: str, changed: Callable[[], None]) -> Release:
        """Tell of what the kernel sees happen in the directory."""
        return self._events.watch(base_path, changed)

    def stop(self) -> None:
        """Tell of nothing more."""
        self._events.close()

    def locate(self, version_path: str, files: Mapping[str, FileInfo]) -> StoragePath:
        """Say that the files are where they are."""
        return StoragePath(version_path, files)

    def fetch(
        self, name: str, versions: Sequence[StoragePath], on_change: Callable[[], None]
    ) -> None:
        """Do nothing: mounted files are here."""

    def awaited(self, version: StoragePath) -> HeldBack | None:
        """Say that nothing is waited for."""
        return None

    def hold(self, version: StoragePath) -> Release:
        """Do nothing: who mounts files keeps them."""
        return nothing_to_release


def _walk(
    directory: str, prefix: str, ancestors: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, FileInfo]]:
    """Yield the files under `directory`, each with its path behind `prefix`.

    `ancestors` are the directories on the way down, so that a link back to one of them ends the
    descent.
    """
    status = os.stat(directory)
    identity = (status.st_dev, status.st_ino)
    if identity in ancestors:
        return
    with os.scandir(directory) as scan:
        entries = list(scan)
    for entry in entries:
        with _tolerating_dead_ends():
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/", ancestors | {identity})
            else:
                yield f"{prefix}{entry.name}", _file_info(entry.stat())


def _file_info(status: os.stat_result) -> FileInfo:
    return FileInfo(status.st_size, str(status.st_mtime_ns), status.st_mtime)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        return error.errno not in _LEADS_NOWHERE


@contextmanager
def _tolerating_dead_ends() -> Iterator[None]:
    """Let pass what vanished since it was listed, and links that lead nowhere or to themselves."""
    try:
        yield
    except OSError as error:
        if error.errno not in _LEADS_NOWHERE:
            raise


@contextmanager
def _domain_errors(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} not found") from error
    except OSError as error:
        kind = FailedPreconditionError if error.errno in _MUST_NOT_BE_READ else UnavailableError
        raise kind(f"{error.filename or path}; {error.strerror}") from error
