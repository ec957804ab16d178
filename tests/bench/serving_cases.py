"""What the comparison of model servers measures: every server with every model that it can serve,
and some of them over rows, models and sizes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import model_store
from model_store import MODELS, SOFTMAX, Model
from peers.base import Peer
from serving_load import FEW, SATURATION, Load

SCALED = ("ours-native", "ours-grpc", "triton")
"""The peers that are also measured over rows, models and payloads."""

SCALES = ("rows", "models", "payload")
ROWS = (1, 4, 16, 64)
MODEL_COUNTS = (1, 5, 20, 50)
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
        varied = {"rows": f"× {self.rows}", "models": f"× {len(self.names)} models"}
        return f"{self.peer.name}, {self.model.title} {varied.get(self.scale, self.scale)}"

    @property
    def called(self) -> tuple[str, ...]:
        """Those that the load calls: one, unless the number of models is what is varied."""
        return self.names if self.scale == "models" else self.names[:1]


def cases(
    peers: Sequence[Peer], models: Sequence[str], loads: tuple[Load, ...], scales: Sequence[str]
) -> Iterator[Case]:
    """One after the other, as they are measured in a round. Only the softmax gets all loads."""
    for name in models:
        for peer in peers:
            if name in peer.models:
                yield Case(peer, MODELS[name], loads if name == SOFTMAX.name else (SATURATION,))
    for peer in peers:
        if peer.name in SCALED:
            yield from _scaled(peer, scales)


def _scaled(peer: Peer, scales: Sequence[str]) -> Iterator[Case]:
    case = Case(peer, SOFTMAX, (SATURATION,))
    if "rows" in scales:
        model = replace(SOFTMAX, max_batch_size=max(ROWS))
        for rows in ROWS:
            yield replace(case, scale="rows", model=model, rows=rows)
    if "models" in scales:
        for count in MODEL_COUNTS:
            yield replace(case, scale="models", model_count=count)
    if "payload" in scales:
        for features in PAYLOADS:
            yield replace(case, scale="payload", model=model_store.wide(features), loads=(FEW,))
