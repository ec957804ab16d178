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

from modelserver.core import Manager, ServableHandle, ServableRequest
from modelserver.errors import NotFoundError, UnavailableError
from modelserver.inference import DEFAULT_SIGNATURE, Predictor

_TRIES = 3


def shard_of(key: bytes, shards: int) -> int:
    """The shard that holds `key`: the same in every process, unlike Python's own hash."""
    return zlib.crc32(key) % shards


def export_shards(
    base_path: Path, name: str, version: int, table: dict[bytes, np.ndarray], shards: int
) -> None:
    """Write `table` as one `lookup` export for each shard: BASE_PATH/NAME-k/VERSION/table.npz.

    Raises `ValueError`, and writes nothing, for what an export cannot be: empty, or with a key that
    ends with NUL.
    """
    parts = [[key for key in table if shard_of(key, shards) == shard] for shard in range(shards)]
    if not all(parts):
        raise ValueError(f"{len(table)} keys leave one of {shards} shards empty: use fewer")
    if any(key.endswith(b"\0") for key in table):
        raise ValueError("A key ends with NUL, which numpy does not keep")
    for shard, keys in enumerate(parts):
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
        """The newest version that every shard serves; raises `UnavailableError` without one."""
        available = [
            {i.version for i in manager.list_available_servable_ids() if i.name == name}
            for name, manager in zip(self._names, self._managers, strict=True)
        ]
        common = set.intersection(*available)
        if not common:
            raise UnavailableError(f"No version is served by every one of {self._names}")
        return max(common)

    def look_up(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of `keys`, one or more, in their order, and which of them were found."""
        shards = np.array([shard_of(key, len(self._names)) for key in keys])
        wanted = np.array(keys, np.dtype(object))
        outputs = ["values", "found"]
        with ExitStack() as handles:
            answers = [
                servable.predict(DEFAULT_SIGNATURE, {"keys": wanted[shards == shard]}, outputs)
                for shard, servable in self._claim(np.unique(shards).tolist(), handles)
            ]
        places = shards.argsort(kind="stable").argsort()  # of each key in the answers, end to end
        values, found = (np.concatenate([a[name] for a in answers])[places] for name in outputs)
        return values, found

    def _claim(self, shards: list[int], handles: ExitStack) -> list[tuple[int, Predictor]]:
        """Claim all `shards` in one version; in another if a rollout unloads that meanwhile."""
        for _ in range(_TRIES):
            version = self.common_version()
            try:
                return [
                    (k, handles.enter_context(self._handle(k, version)).servable) for k in shards
                ]
            except NotFoundError:
                handles.close()
        raise UnavailableError(f"The versions of {self._names} change too fast")

    def _handle(self, shard: int, version: int) -> ServableHandle[Predictor]:
        request = ServableRequest.specific(self._names[shard], version)
        return self._managers[shard].get_servable_handle(request)
