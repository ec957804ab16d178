"""Histogram: how often values fell where. For counters that are read from time to time."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for the time that calls and batches take."""


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A histogram at one moment: `counts[i]` values were at most `bounds[i]` and above the bound
    before, the last one of `counts` above all bounds; `total` is the sum of the values.
    """

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float = 0.0


class Histogram:
    """Counts values by size. Not thread-safe: it belongs to whoever holds its owner's lock."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count `value`."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def snapshot(self) -> HistogramSnapshot:
        """What has been counted up to now."""
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._total)
