"""StorageTotals: what a server has asked of the storages of its models so far. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CacheFill:
    """How full the cache is, in bytes: with all `versions` that are whole and what is on its way;
    `limit` is None where the disk is the limit.
    """

    size: int
    versions: int
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class StorageTotals:
    """Counts since the start, which only grow, and the cache as it is.

    `calls` are those to object stores, by operation and outcome; `size_received` the bytes of
    versions that were copied. Of the versions that were needed here, `cache_hits` were in the cache
    and `cache_misses` were not. `cache` is None while no model needs one.
    """

    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    size_received: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache: CacheFill | None = None
