"""One big table over several servables: N shards, each a servable of its own, and a client-side
view over their managers.

A shard is an ordinary `lookup` export named `NAME-0`, `NAME-1`, …: it is loaded, versioned and
reported like any model, on the same server as its siblings or on another. The view sends each key
to its shard and puts the answers back in order.
"""

import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from modelserver.core import Manager, ServableRequest
from modelserver.errors import UnavailableError
from modelserver.inference import DEFAULT_SIGNATURE


def shard_of(key: bytes, shards: int) -> int:
    """The shard that holds `key`: the same in every process, unlike Python's own hash."""
    return zlib.crc32(key) % shards


def export_shards(
    base_path: Path, name: str, version: int, table: dict[bytes, np.ndarray], shards: int
) -> None:
    """Write `table` as one `lookup` export for each shard: BASE_PATH/NAME-k/VERSION/table.npz."""
    for shard in range(shards):
        keys = [key for key in table if shard_of(key, shards) == shard]
        directory = base_path / f"{name}-{shard}" / str(version)
        directory.mkdir(parents=True)
        values = np.stack([table[key] for key in keys])
        np.savez(directory / "table.npz", keys=np.array(keys), values=values)


class ShardedLookup:
    """The view: looks keys up in the shards `NAME-0` … `NAME-(N-1)`, shard k at `managers[k]`.

    One manager may stand there several times. All shards answer from one version, the newest that
    every shard serves, so that a rollout never mixes rows of two tables. Thread-safe.
    """

    def __init__(self, name: str, managers: Sequence[Manager]) -> None:
        self._names = [f"{name}-{shard}" for shard in range(len(managers))]
        self._managers = list(managers)

    def common_version(self) -> int:
        """The newest version that every shard serves.

        Raises:
            UnavailableError: there is none.

        """
        available = [
            {i.version for i in manager.list_available_servable_ids() if i.name == name}
            for name, manager in zip(self._names, self._managers, strict=True)
        ]
        common = set.intersection(*available)
        if not common:
            raise UnavailableError(f"No version is served by every one of {self._names}")
        return max(common)

    def look_up(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of `keys`, in their order, and which of them were found."""
        version = self.common_version()
        shards = np.array([shard_of(key, len(self._names)) for key in keys])
        values: np.ndarray | None = None
        found = np.zeros(len(keys), bool)
        with ExitStack() as handles:
            for shard in np.unique(shards):
                request = ServableRequest.specific(self._names[shard], version)
                handle = handles.enter_context(self._managers[shard].get_servable_handle(request))
                places = np.flatnonzero(shards == shard)
                wanted = np.array(keys, np.dtype(object))[places]
                answer = handle.servable.predict(
                    DEFAULT_SIGNATURE, {"keys": wanted}, ["values", "found"]
                )
                if values is None:
                    values = np.zeros(
                        (len(keys), *answer["values"].shape[1:]), answer["values"].dtype
                    )
                values[places], found[places] = answer["values"], answer["found"]
        assert values is not None, "look_up needs at least one key"
        return values, found
