"""CachedStorage: an object store and a cache on the disk, as one `Storage`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import BinaryIO

from modelserver.clock import Clock
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import FailedPreconditionError
from modelserver.sources.cache.address import address_of
from modelserver.sources.cache.arrivals import ArrivalCounts
from modelserver.sources.cache.fetch import FetchProgress
from modelserver.sources.cache.fetches import Fetches
from modelserver.sources.cache.version_cache import CacheUsage, VersionCache
from modelserver.sources.storage.base import CallKind, ObjectStore, Release, nothing_to_release
from modelserver.sources.storage.ranged_file import open_ranged

_NAME_BYTES = 255
"""How long a part of a path may be on the file systems that caches are on."""


class CachedStorage:
    """A `Storage` whose versions are copied from `store` into `cache` before they are loaded.

    Until a version is here, single files of it are read from the store in ranges, so that a
    platform can tell from a header or an index whether the version is complete. Of one that is
    here, not even those are.
    """

    def __init__(self, store: ObjectStore, cache: VersionCache, clock: Clock | None = None) -> None:
        self._store = store
        self._cache = cache
        self._fetches = Fetches(store, cache, clock)

    def list_versions(self, base_path: str) -> list[str]:
        """Name the directories directly under `base_path`."""
        return self._store.list_versions(base_path)

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all files below `version_path`.

        Refuses a version with a name that no file can have in the directory that it is copied to.
        """
        files = self._store.list_files(version_path)
        folders = {folder for name in files for folder in _folders_of(name)}
        for name in files:
            if not is_file_name(name) or name in folders:
                raise FailedPreconditionError(
                    f"{version_path}/{name} cannot be copied to a disk under that name: "
                    "remove or rename it"
                )
        return files

    def notice(self, base_path: str, changed: Callable[[], None]) -> Release:
        """Hear of nothing: a bucket is polled."""
        return nothing_to_release

    def locate(self, version_path: str, files: Mapping[str, FileInfo]) -> StoragePath:
        """Say where in the cache the version will be."""
        uri = version_path.rstrip("/")
        address = address_of(uri, files)
        opener = partial(self._open, uri, files, address)
        return StoragePath(self._cache.path_of(address), files, uri, opener)

    def fetch(
        self, name: str, versions: Sequence[StoragePath], on_change: Callable[[], None]
    ) -> None:
        """Copy what is not here in the background."""
        self._fetches.want(name, versions, on_change)

    def awaited(self, version: StoragePath) -> HeldBack | None:
        """Say how the copying of a version goes; None if it is here."""
        return self._fetches.awaited(version)

    def hold(self, version: StoragePath) -> Release:
        """Keep the version in the cache; copy it first if it has left."""
        return self._fetches.hold(version)

    def stop(self) -> None:
        """Copy no more."""
        self._fetches.stop()

    def progress(self) -> tuple[FetchProgress, ...]:
        """How far each wanted version is."""
        return self._fetches.progress()

    def usage(self) -> CacheUsage:
        """How full the cache was when it last changed."""
        return self._fetches.usage

    def arrivals(self) -> ArrivalCounts:
        """What has been copied so far."""
        return self._fetches.arrivals

    def counts(self) -> Mapping[CallKind, int]:
        """How many calls to the store there have been."""
        return self._store.counts()

    def _open(self, uri: str, files: Mapping[str, FileInfo], address: str, name: str) -> BinaryIO:
        info = files.get(name)
        if info is None:
            raise FileNotFoundError(f"{uri}/{name} is not in the listing")
        if self._cache.has(address):
            with suppress(FileNotFoundError):  # it leaves at this moment
                return open(os.path.join(self._cache.path_of(address), name), "rb")
        return open_ranged(info.size, partial(self._read, uri, name, info))

    def _read(self, uri: str, name: str, info: FileInfo, start: int, stop: int) -> bytes:
        with closing(self._store.read(uri, name, info, start, stop)) as pieces:
            return b"".join(pieces)


def is_file_name(name: str) -> bool:
    """Whether an object's name, relative to its version, can be the path of a file below a
    directory.
    """
    return "\0" not in name and all(
        part not in ("", ".", "..") and len(os.fsencode(part)) <= _NAME_BYTES
        for part in name.split("/")
    )


def _folders_of(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
