"""CountedStore: a store that counts the bytes that are read from it."""

from collections.abc import Generator, Mapping
from contextlib import closing

from modelserver.core.storage_path import FileInfo
from modelserver.sources.cache.arrivals import Arrivals
from modelserver.sources.storage.base import CallKind, ObjectStore


class CountedStore:
    """An `ObjectStore` that tells `arrivals` of every byte that is read from `store`."""

    def __init__(self, store: ObjectStore, arrivals: Arrivals) -> None:
        self._store = store
        self._arrivals = arrivals

    def list_versions(self, base_path: str) -> list[str]:
        """Name the directories directly under `base_path`."""
        return self._store.list_versions(base_path)

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all files below `version_path`."""
        return self._store.list_files(version_path)

    def read(
        self, version_path: str, name: str, info: FileInfo, start: int, stop: int
    ) -> Generator[bytes, None, None]:
        """Yield the bytes of a range, counting them."""
        with closing(self._store.read(version_path, name, info, start, stop)) as pieces:
            for data in pieces:
                self._arrivals.add_bytes(len(data))
                yield data

    def counts(self) -> Mapping[CallKind, int]:
        """How many calls there have been."""
        return self._store.counts()
