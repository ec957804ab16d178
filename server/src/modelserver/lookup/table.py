"""LookupTable: keys with a row of numbers each."""

from collections import Counter
from collections.abc import Sequence
from itertools import repeat

import numpy as np

from modelserver.errors import InvalidArgumentError

_NO_ROW = -1


class LookupTable:
    """An immutable hash table from keys to rows. Thread-safe.

    `keys` are all `bytes` or all `int` (within int64), at least one, each once. `values` has a row
    for each of them, or is None for a vocabulary, whose values are the row numbers.
    """

    def __init__(
        self, keys: Sequence[bytes] | Sequence[int], values: np.ndarray | None = None
    ) -> None:
        if not keys:
            raise InvalidArgumentError("the table has no rows")
        self._rows = {key: row for row, key in enumerate(keys)}
        if len(self._rows) < len(keys):
            raise InvalidArgumentError(_describe_duplicate(keys))
        if values is None:
            values = np.arange(len(keys), dtype=np.int64)
            default = np.array([_NO_ROW], dtype=np.int64)
        else:
            default = np.zeros((1, *values.shape[1:]), values.dtype)
        # The default is the last row, which is where an index of -1 leads.
        self._values = np.concatenate([values, default])
        self.key_dtype = np.dtype(object if isinstance(keys[0], bytes) else np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def value_dtype(self) -> np.dtype[np.generic]:
        """The type of the values."""
        return self._values.dtype

    @property
    def value_shape(self) -> tuple[int, ...]:
        """The shape of one row; () for single numbers."""
        return self._values.shape[1:]

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Row numbers [n] of `keys` [n], -1 for those that are not here. int64."""
        rows = map(self._rows.get, keys.tolist(), repeat(_NO_ROW))
        return np.fromiter(rows, np.int64, count=len(keys))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """The values [n, …] of row numbers [n]; for -1, zeros (-1 in a vocabulary)."""
        return np.take(self._values, rows, axis=0)


def _describe_duplicate(keys: Sequence[bytes] | Sequence[int]) -> str:
    """Find the first key that is there twice."""
    key, _ = Counter[bytes | int](keys).most_common(1)[0]
    first, second = [row for row, other in enumerate(keys) if other == key][:2]
    return f"key {key!r} is in row {first} and again in row {second}"
