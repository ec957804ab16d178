"""Arrivals: counts what the fetches of one store have brought, also of versions that have left."""

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ArrivalCounts:
    """Since the start: the bytes received, and of the versions that were needed here, how many were
    in the cache (`hits`) and how many had to be received (`misses`).
    """

    size_received: int = 0
    hits: int = 0
    misses: int = 0


class Arrivals:
    """Counts, and never forgets. Thread-safe; waits for nothing but another count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = ArrivalCounts()

    @property
    def counts(self) -> ArrivalCounts:
        """The counts so far."""
        return self._counts

    def add_bytes(self, size: int) -> None:
        """Count bytes that were received."""
        self._add(size, 0, 0)

    def add_version(self, *, was_kept: bool) -> None:
        """Count a version that is here now, and whether it was in the cache all along."""
        self._add(0, int(was_kept), int(not was_kept))

    def _add(self, size: int, hits: int, misses: int) -> None:
        with self._lock:
            known = self._counts
            self._counts = ArrivalCounts(
                known.size_received + size, known.hits + hits, known.misses + misses
            )
