"""What the source knows of a version's files and the cache of their copying, as one. Pure."""

from collections.abc import Mapping

from modelserver.core.storage_path import StoragePath
from modelserver.core.stored_version import StoredVersion, Transfer
from modelserver.sources.cache.fetch import FetchProgress


def stored_version(path: StoragePath, progress: Mapping[str, FetchProgress]) -> StoredVersion:
    """Describe the version at `path`; `progress` has those that are copied, by where to."""
    size = sum(info.size for info in path.files.values())
    fetch = progress.get(path.path) if path.uri else None
    transfer = None if fetch is None else _transfer(fetch)
    return StoredVersion(size, len(path.files), path.uri, transfer)


def _transfer(fetch: FetchProgress) -> Transfer:
    return Transfer(
        fetch.is_here, fetch.was_kept, fetch.size_here, fetch.bytes_per_second, fetch.failures
    )
