"""FileSystemStorage: exports on a mounted file system."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import FailedPreconditionError, NotFoundError, UnavailableError

_MUST_NOT_BE_READ = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR})
_LEADS_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class FileSystemStorage:
    """A `Storage` on local disks, persistent volumes and network mounts. Has no state."""

    def list_versions(self, base_path: str) -> list[str]:
        """Name the directories directly under `base_path`."""
        with _domain_errors(base_path), os.scandir(base_path) as entries:
            return [entry.name for entry in entries if _is_directory(entry)]

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all files below `version_path`; a file's tag is its modification time."""
        with _domain_errors(version_path):
            return dict(_walk(version_path, "", frozenset()))

    def fetch(self, version_path: str, files: Mapping[str, FileInfo]) -> StoragePath:
        """Say that the files are where they are."""
        return StoragePath(version_path, files)


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
