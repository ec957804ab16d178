"""VersionCache: the directory with the local copies, as whoever fetches and uses them sees it."""

import errno
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from modelserver.core.storage_path import FileInfo
from modelserver.errors import FailedPreconditionError, ResourceExhaustedError
from modelserver.sources.cache.eviction import Entry, Room, plan_eviction
from modelserver.sources.cache.locks import FileLock, held_alone, try_lock

_log = logging.getLogger(__name__)

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
JOURNAL = "journal"
"""The file beside a version's files that says what of them is here, until all are for good."""

_MANIFEST = "manifest.json"
_DROPPED = ".dropped"
_BLOCK_BYTES = 4096


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """How full the cache is: the bytes of all versions in it, whole or on their way, how many
    whole ones there are, and the limit in bytes, None where there is none.
    """

    size: int
    versions: int
    limit: int | None


class VersionCache:
    """The cache below `root`, of at most `size_limit` bytes (None = what the disk has).
    Thread-safe, and any number of processes may share it.

    Nothing is made before the first version is fetched.
    """

    def __init__(self, root: Path, size_limit: int | None = None) -> None:
        self.root = root
        self.size_limit = size_limit

    def path_of(self, address: str) -> str:
        """Where the files of a version are once it is whole."""
        return str(self.root / "versions" / address / "files")

    def has(self, address: str) -> bool:
        """Whether the version is here, whole.

        One that was not on the disk itself yet when the machine went down is not.
        """
        if not os.path.isdir(self.path_of(address)):
            return False
        return _manifest(self.root / "versions" / address).get("boot") in (None, boot_id())

    def use(self, address: str) -> FileLock | None:
        """Keep a whole version from leaving; None where it is not here, or is about to leave.

        Raises:
            FailedPreconditionError: the cache cannot be written to, or has no locks.

        """
        if not self.has(address):
            return None
        lock = self._lock(address, alone=False)
        if lock is not None and not self.has(address):  # it left in this moment
            lock.release()
            return None
        return lock

    def claim(self, address: str) -> FileLock | None:
        """Become the one to fetch a version; None while another process fetches it.

        Raises:
            FailedPreconditionError: the cache cannot be written to, or has no locks.

        """
        return self._lock(address, alone=True)

    def begin(self, address: str, uri: str, files: Mapping[str, FileInfo]) -> Path:
        """Make the folder to fetch a claimed version into, or find what an earlier try left there.

        That may be a whole version which was not on the disk itself yet when the machine went down:
        its journal tells what of it can be trusted. Others leave the cache where they must. Raises
        `ResourceExhaustedError` where there is no room even so.
        """
        size = sum(_blocks(info.size) for info in files.values())
        whole, folder = self._folders(address)
        manifest = {"uri": uri, "bytes": size, "files": len(files), "boot": boot_id()}
        # Others count with the manifest: nobody looks for room between a look and what it is for.
        with disk_full_told(self.root), held_alone(str(self.root / "room")):
            if whole.exists() and not folder.exists():
                os.rename(whole, folder)
            self._make_room(address, size, _bytes_on_disk(folder))
            (folder / "files").mkdir(parents=True, exist_ok=True)
            _write_manifest(folder, manifest)
        return folder

    def publish(self, address: str) -> None:
        """Let what was fetched into the folder of `begin` be a whole version."""
        whole, incoming = self._folders(address)
        if whole.exists():
            self._drop(whole)
        os.rename(incoming, whole)

    def is_settled(self, address: str) -> bool:
        """Whether a whole version is on the disk itself."""
        return "boot" not in _manifest(self.root / "versions" / address)

    def settle(self, address: str) -> None:
        """Have a published version on the disk itself, so that it is here also after the machine
        went down. May take as long as the disk does.
        """
        folder = self.root / "versions" / address
        for parent, _, names in os.walk(folder / "files"):
            for name in names:
                _sync(os.path.join(parent, name))
            _sync(parent)
        manifest = {key: value for key, value in _manifest(folder).items() if key != "boot"}
        _write_manifest(folder, manifest)
        _sync(folder / _MANIFEST)
        _sync(folder)
        _sync(folder.parent)
        (folder / JOURNAL).unlink(missing_ok=True)

    def usage(self) -> CacheUsage:
        """Say how full the cache is. Looks at the disk; what cannot be looked at is not there."""
        size = sum(self._size_of(address) for address in self._addresses())
        return CacheUsage(size, len(_names(self.root / "versions")), self.size_limit)

    # Making room…

    def _make_room(self, address: str, size: int, already_written: int) -> None:
        self._sweep()
        entries = [self._entry(other) for other in self._addresses() - {address}]
        disk = os.statvfs(self.root)
        room = Room(
            self.size_limit,
            disk.f_bavail * disk.f_frsize + already_written,
            disk.f_blocks * disk.f_frsize,
        )
        eviction = plan_eviction(entries, room, size)
        if eviction.lacking:
            raise ResourceExhaustedError(self._no_room(size, eviction.lacking))
        for other in eviction.addresses:
            self._evict(other)

    def _no_room(self, size: int, lacking: int) -> str:
        limit = "" if self.size_limit is None else f" of {in_words(self.size_limit)}"
        return (
            f"The cache {self.root}{limit} has no room for {in_words(size)}: {in_words(lacking)} "
            "are lacking beside what is in use. Make it larger, or serve fewer versions"
        )

    def _sweep(self) -> None:
        """Remove what was being dropped by a process that was killed meanwhile."""
        for name in _names(self.root / "incoming"):
            if name.endswith(_DROPPED):
                shutil.rmtree(self.root / "incoming" / name, ignore_errors=True)

    def _addresses(self) -> set[str]:
        names = {*_names(self.root / "versions"), *_names(self.root / "incoming")}
        return {name for name in names if not name.endswith(_DROPPED)}

    def _folders(self, address: str) -> tuple[Path, Path]:
        """Where a version is that is whole, and where it is before."""
        return self.root / "versions" / address, self.root / "incoming" / address

    def _size_of(self, address: str) -> int:
        return sum(_size(folder) for folder in self._folders(address))

    def _entry(self, address: str) -> Entry:
        whole, incoming = self._folders(address)
        size = self._size_of(address)
        on_disk = min(size, _size(whole) + _bytes_on_disk(incoming))
        lock = try_lock(self._lock_path(address), alone=True)
        if lock is None:
            return Entry(address, size, on_disk, 0.0, is_in_use=True)
        last_used = os.fstat(lock.descriptor).st_mtime
        lock.release()
        return Entry(address, size, on_disk, last_used)

    def _evict(self, address: str) -> None:
        lock = try_lock(self._lock_path(address), alone=True)
        if lock is None:  # somebody has begun to use it
            return
        _log.info("Dropping %s from the cache: nobody uses it, and room is needed", address)
        try:
            for folder in self._folders(address):
                self._drop(folder)
        finally:
            lock.remove()

    def _drop(self, folder: Path) -> None:
        """Have it gone at once, however long it takes to remove."""
        name = f"{folder.name}.{secrets.token_hex(4)}{_DROPPED}"
        doomed = self.root / "incoming" / name
        with suppress(FileNotFoundError):
            os.rename(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    # Locking…

    def _lock(self, address: str, *, alone: bool) -> FileLock | None:
        """Lock a version, and note that it is used."""
        try:
            with disk_full_told(self.root):
                for folder in ("versions", "incoming", "locks"):
                    (self.root / folder).mkdir(parents=True, exist_ok=True)
                lock = try_lock(self._lock_path(address), alone=alone)
        except OSError as error:
            raise FailedPreconditionError(
                f"The cache {self.root} cannot be written to: {error.strerror}. Give the server a "
                "writable directory (--cache_dir)"
            ) from error
        if lock is not None:
            with suppress(OSError):  # of a file that others have made
                os.utime(lock.descriptor)
        return lock

    def _lock_path(self, address: str) -> str:
        return str(self.root / "locks" / address)


@contextmanager
def disk_full_told(root: Path) -> Iterator[None]:
    """Say of which disk it is that there is no room left."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise ResourceExhaustedError(
            f"The disk of the cache {root} is full: {error.strerror}. Make it larger, or serve "
            "fewer versions"
        ) from error


def in_words(size: int) -> str:
    """A number of bytes for people: `3.2 GB`."""
    if size < 1000:
        return f"{size} bytes"
    amount = float(size)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 1000:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def _blocks(size: int) -> int:
    """What a file of `size` bytes takes of a disk, which is what a kubelet counts."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _size(folder: Path) -> int:
    """What a version takes, or will take once it has been fetched."""
    size = _manifest(folder).get("bytes")
    return size if isinstance(size, int) else _bytes_on_disk(folder)


def _manifest(folder: Path) -> Mapping[str, object]:
    """What is noted of a version; nothing where that cannot be read."""
    try:
        content = json.loads((folder / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {"boot": "unknown"}
    return content if isinstance(content, dict) else {"boot": "unknown"}


def _write_manifest(folder: Path, manifest: Mapping[str, object]) -> None:
    """Exchange what is noted of a version: readers find the one or the other."""
    written = folder / f"{_MANIFEST}.{secrets.token_hex(4)}"  # others may be at the same
    written.write_text(json.dumps(manifest))
    os.replace(written, folder / _MANIFEST)


@cache
def boot_id() -> str:
    """What tells this start of the machine from every other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _bytes_on_disk(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
