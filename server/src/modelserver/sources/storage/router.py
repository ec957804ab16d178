"""StorageRouter: every place that versions can be in, as one `Storage`."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelserver.clock import Clock
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.core.storage_totals import CacheFill, StorageTotals
from modelserver.errors import ServingError
from modelserver.sources.cache.fetch import FetchProgress
from modelserver.sources.cache.version_cache import CacheUsage, VersionCache
from modelserver.sources.storage.base import (
    CallKind,
    ObjectStore,
    Release,
    Storage,
    nothing_to_release,
)
from modelserver.sources.storage.cached import CachedStorage
from modelserver.sources.storage.file_system import FileSystemStorage

_FILE_SYSTEM = ""


@dataclass(frozen=True, slots=True)
class Polling:
    """How a base path is polled where nobody says otherwise: see `MonitoredServable`."""

    wait_seconds: float
    jitter: float
    relist_seconds: float


def polling_of(base_path: str) -> Polling:
    """How to poll a base path: listing a mounted directory is a system call, listing a bucket is
    paid for.
    """
    return Polling(1.0, 0.0, 0.0) if is_mounted(base_path) else Polling(30.0, 0.2, 300.0)


def is_mounted(path: str) -> bool:
    """Whether `path` is one of the file system, and no URI."""
    return scheme_of(path) == _FILE_SYSTEM


def scheme_of(path: str) -> str:
    """The scheme of a URI, empty for a path of the file system."""
    scheme, separator, _ = path.partition("://")
    return scheme if separator and not path.startswith("/") else _FILE_SYSTEM


class StorageRouter:
    """Passes each call on to the storage for the scheme of its path. Thread-safe.

    `make_store` makes the store of a scheme when it is first needed; it raises UnimplementedError
    for one that there is none for. What must be copied to be loaded shares `cache`.
    """

    def __init__(
        self,
        cache: VersionCache,
        make_store: Callable[[str], ObjectStore],
        clock: Clock | None = None,
    ) -> None:
        self._cache = cache
        self._make_store = make_store
        self._clock = clock
        self._making = threading.Lock()
        self._file_system = FileSystemStorage()
        self._remote: dict[str, CachedStorage] = {}

    def list_versions(self, base_path: str) -> list[str]:
        """Name the directories directly under `base_path`."""
        return self._of(base_path).list_versions(base_path)

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all files below `version_path`."""
        return self._of(version_path).list_files(version_path)

    def notice(self, base_path: str, changed: Callable[[], None]) -> Release:
        """Tell of changes where the storage hears of them."""
        try:
            return self._of(base_path).notice(base_path, changed)
        except ServingError:  # there is no such storage, as listing it will say
            return nothing_to_release

    def locate(self, version_path: str, files: Mapping[str, FileInfo]) -> StoragePath:
        """Say where the files are, or will be."""
        return self._of(version_path).locate(version_path, files)

    def fetch(
        self, name: str, versions: Sequence[StoragePath], on_change: Callable[[], None]
    ) -> None:
        """Have each version here, from wherever it is."""
        remote = dict(self._remote)
        for scheme, storage in remote.items():
            mine = [version for version in versions if scheme_of(version.place) == scheme]
            storage.fetch(name, mine, on_change)

    def awaited(self, version: StoragePath) -> HeldBack | None:
        """Say what a version still waits for."""
        return self._of(version.place).awaited(version)

    def hold(self, version: StoragePath) -> Release:
        """Have the version here for as long as it is held."""
        return self._of(version.place).hold(version)

    def stop(self) -> None:
        """Fetch no more, and tell of nothing."""
        self._file_system.stop()
        for storage in list(self._remote.values()):
            storage.stop()

    # For reports…

    def progress(self) -> tuple[FetchProgress, ...]:
        """How far each version is that must be fetched."""
        return tuple(p for storage in list(self._remote.values()) for p in storage.progress())

    def usage(self) -> CacheUsage | None:
        """How full the cache was when it last changed; None while nothing needs one."""
        usages = [storage.usage() for storage in list(self._remote.values())]
        return max(usages, key=lambda usage: usage.size, default=None)

    def counts(self) -> Mapping[CallKind, int]:
        """How many calls to stores there have been."""
        total: Counter[CallKind] = Counter()
        for storage in list(self._remote.values()):
            total.update(storage.counts())
        return total

    def totals(self) -> StorageTotals:
        """What has been asked of the stores and the cache so far. Looks at no disk."""
        usage = self.usage()
        fill = None if usage is None else CacheFill(usage.size, usage.versions, usage.limit)
        arrivals = [storage.arrivals() for storage in list(self._remote.values())]
        return StorageTotals(
            {(kind.operation, kind.outcome): count for kind, count in self.counts().items()},
            sum(counts.size_received for counts in arrivals),
            sum(counts.hits for counts in arrivals),
            sum(counts.misses for counts in arrivals),
            fill,
        )

    def _of(self, path: str) -> Storage:
        scheme = scheme_of(path)
        if scheme == _FILE_SYSTEM:
            return self._file_system
        with self._making:
            if scheme not in self._remote:
                store = self._make_store(scheme)
                self._remote[scheme] = CachedStorage(store, self._cache, self._clock)
            return self._remote[scheme]
