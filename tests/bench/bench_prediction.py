"""What Python does for a Predict call, from the list of calls to the list of answers: microseconds
a call, by how many came together and how they are known. No network, and a model that costs little.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import numpy as np

from measure import Figure, interleaved
from modelserver.batching import SharedBatchScheduler
from modelserver.core import AspiredVersionsManager, ServableData, ServableId, ServableRequest
from modelserver.inference import (
    DEFAULT_SIGNATURE,
    BatchedPredictor,
    BatchingOptions,
    Signature,
    TensorSpec,
)
from modelserver.inference.predictor import Tensors
from modelserver.rpc.messages import PredictRequest
from modelserver.rpc.prediction import PredictionService
from modelserver.rpc.replies import Replies
from modelserver.rpc.server import by_method
from modelserver.rpc.tensors import encode
from modelserver.rpc.transport.base import Answer, Calls
from modelserver.rpc.transport.pieces import gather
from modelserver.testing.loader import FakeLoader

MODELS = 20
CALLS_A_ROUND = 20_000
_SINGLE = np.dtype(np.float32)
_OUTPUTS = {"y": TensorSpec("y", _SINGLE, (None, 10))}
_SIGNATURES = [
    Signature(name, {alias: TensorSpec(alias, _SINGLE, (None, 784)) for alias in aliases}, _OUTPUTS)
    for name, aliases in ((DEFAULT_SIGNATURE, "x"), ("two", "xz"))
]


class Slice:
    """A `Predictor` that answers the first ten numbers of each row."""

    signatures = {signature.name: signature for signature in _SIGNATURES}  # noqa: RUF012  # a constant of the fake

    def predict(self, name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Copy them."""
        return {"y": np.ascontiguousarray(inputs["x"][:, :10])}


class Sink:
    """The part of a transport that answers: it counts them."""

    def __init__(self) -> None:
        self.answered = 0
        self.gather = gather

    def alive(self, ids: Sequence[int]) -> list[bool]:
        """All are."""
        return [True] * len(ids)

    def reply_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
        """Count them."""
        self.answered += len(ids)

    def reply_split(self, ids: Sequence[int], rows: object, prefix: bytes, suffix: bytes) -> None:
        """Count them."""
        self.answered += len(ids)


class Server:
    """The service on a real manager and scheduler, and what it needs to answer a list of calls."""

    def __init__(self, manager: AspiredVersionsManager) -> None:
        self._service = PredictionService(manager)
        self._handlers = list(self._service.methods.values())
        self._sink = Sink()
        self._replies = Replies(self._sink)  # type: ignore[arg-type]  # as much as is used of it
        self._ids = count()

    def micros(self, bodies: Sequence[bytes]) -> float:
        """The time of one call when these come together."""
        rounds = max(1, CALLS_A_ROUND // len(bodies))
        self._serve(bodies)
        begin = time.perf_counter()
        for _ in range(rounds):
            self._serve(bodies)
        return (time.perf_counter() - begin) / rounds / len(bodies) * 1e6

    def _serve(self, bodies: Sequence[bytes]) -> None:
        ids = [next(self._ids) for _ in bodies]
        calls = Calls(ids, [0] * len(ids), list(bodies), None, [])
        wanted = self._sink.answered + len(ids)
        self._replies.collect()
        work = [
            todo
            for method, own in by_method(calls).items()
            for todo in self._handlers[method](own, self._replies) or ()
        ]
        self._replies.end()
        for todo in work:
            todo()
        while self._sink.answered < wanted:
            time.sleep(0)


def run(rounds: int) -> list[Figure]:
    """Measure everything, in turn."""
    with _manager() as manager:
        server = Server(manager)
        values = interleaved(dict(_variants(server)), rounds)
    return [Figure.of(name, "µs/call", found) for name, found in values.items()]


def _variants(server: Server) -> Iterator[tuple[str, Callable[[], float]]]:
    for together in (1, 4, 16, 64):
        bodies = [_body("m0")] * together
        yield f"{together} together", lambda bodies=bodies: server.micros(bodies)
    mixed = [_body(f"m{number % MODELS}") for number in range(80)]
    yield f"80 together, to {MODELS} models", lambda: server.micros(mixed)
    two = [_body("m0", "xz")] * 16
    yield "16 together, two inputs", lambda: server.micros(two)
    # The same fields in another order: known only when they have been parsed.
    parts = PredictRequest.FromString(_body("m0")), PredictRequest.FromString(_body("m0"))
    parts[0].ClearField("model_spec")
    parts[1].ClearField("inputs")
    parsed = [b"".join(part.SerializeToString() for part in parts)] * 16
    yield "16 together, known when parsed", lambda: server.micros(parsed)
    # A field that no message has: another request each time.
    new = [_body("m0") + b"\xfa\x3f\x04%04d" % number for number in range(16)]
    yield "16 together, like none before", lambda: server.micros(new)
    typed = [_body("m0", as_content=False)[:-1] + b"\1"] * 16
    yield "16 together, values in float_val", lambda: server.micros(typed)


def _body(name: str, aliases: str = "x", *, as_content: bool = True) -> bytes:
    row = np.linspace(0, 1, 784, dtype=np.float32).reshape(1, 784)
    request = PredictRequest(
        inputs={alias: encode(row, as_content=as_content) for alias in aliases}
    )
    request.model_spec.name = name
    request.model_spec.signature_name = "two" if len(aliases) > 1 else ""
    return request.SerializeToString()


@contextmanager
def _manager() -> Iterator[AspiredVersionsManager]:
    with SharedBatchScheduler(1) as scheduler, AspiredVersionsManager() as manager:
        for number in range(MODELS):
            predictor = BatchedPredictor(Slice(), scheduler, BatchingOptions())
            name = f"m{number}"
            manager.set_aspired_versions(
                name, [ServableData(ServableId(name, 1), FakeLoader(predictor))]
            )
        names = [ServableRequest.latest(f"m{number}") for number in range(MODELS)]
        manager.monitor.wait_until_reached(names)
        yield manager
