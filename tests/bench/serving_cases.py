"""What the comparison of model servers measures: every server with every model that it can serve,
and some of them over rows, models and sizes.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import model_store
from model_store import MODELS, SOFTMAX, Model
from peers.base import Peer
from serving_load import FEW, SATURATION, Load
from wire import of_version

SCALES = ("rows", "models", "versions", "payload")
SCALED = {
    "limit": ("rows", "payload"),
    "ours-native": SCALES,
    "ours-grpc": ("payload",),
    "triton": ("rows", "models", "payload"),
}
"""The peers that are also measured over rows, models, versions and payloads."""

ROWS = (1, 4, 16, 64)
MODEL_COUNTS = (1, 5, 20, 50)
VERSION_COUNTS = (1, 4, 16)
PAYLOADS = tuple(size // 4 for size in (3136, 32 << 10, 256 << 10, 1 << 20, 4_000_000))
"""Numbers of float32 in a request, for 3 kB to 4 MB."""


@dataclass(frozen=True, slots=True)
class Case:
    """A server with a model, and the loads that it is put under. `scale` names what is varied."""

    peer: Peer
    model: Model
    loads: tuple[Load, ...]
    scale: str = ""
    rows: int = 1
    model_count: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Under which the model is loaded."""
        return tuple(f"m{number:02}" for number in range(self.model_count or self.peer.model_count))

    @property
    def title(self) -> str:
        """For progress."""
        varied = {
            "rows": f"× {self.rows}",
            "models": f"× {len(self.names)} models",
            "versions": f"× {self.model.version_count} versions",
        }
        return f"{self.peer.name}, {self.model.title} {varied.get(self.scale, self.scale)}"

    @property
    def called(self) -> tuple[str, ...]:
        """Those that the load calls: one, unless the number of models or versions is varied."""
        if self.scale == "versions":
            return tuple(of_version(self.names[0], n + 1) for n in range(self.model.version_count))
        return self.names if self.scale == "models" else self.names[:1]


def cases(
    peers: Sequence[Peer], models: Sequence[str], loads: tuple[Load, ...], scales: Sequence[str]
) -> Iterator[Case]:
    """One after the other, as they are measured in a round."""
    for name in models:
        for peer in peers:
            chosen = _fitting(peer, name, loads)
            if name in peer.models and chosen:
                yield Case(peer, MODELS[name], chosen)
    scaled = [
        case
        for peer in peers
        for case in _scaled(peer, set(scales).intersection(SCALED.get(peer.name, ())))
    ]
    yield from sorted(scaled, key=_point)  # at each, the peers in their order


def _fitting(peer: Peer, model: str, loads: tuple[Load, ...]) -> tuple[Load, ...]:
    """Only the softmax gets all loads that fit the peer. Peers that speak JSON get no other model:
    what takes their time is JSON.
    """
    if model != SOFTMAX.name:
        return (SATURATION,) if peer.wire.is_grpc else ()
    return tuple(
        load
        for load in loads
        if (peer.wire.is_grpc or not load.is_open)
        and (peer.has_admin_port or not load.is_disturbed)
    )


def _scaled(peer: Peer, scales: Collection[str]) -> Iterator[Case]:
    case = Case(peer, SOFTMAX, (SATURATION,))
    large = replace(SOFTMAX, max_batch_size=max(ROWS))
    several = map(model_store.of_versions, VERSION_COUNTS)
    variants = {
        "rows": [replace(case, model=large, rows=rows) for rows in ROWS],
        "models": [replace(case, model_count=count) for count in MODEL_COUNTS],
        "versions": [replace(case, model=model, model_count=1) for model in several],
        "payload": [replace(case, model=model_store.wide(n), loads=(FEW,)) for n in PAYLOADS],
    }
    for scale in scales:
        yield from (replace(variant, scale=scale) for variant in variants[scale])


def _point(case: Case) -> tuple[int, ...]:
    """What is varied, and how far."""
    model = case.model
    counts = case.rows, case.model_count or 0, model.version_count
    return SCALES.index(case.scale), *counts, *model.row_shape
