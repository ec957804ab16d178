"""FakePredictor: a model that is a Python function, and remembers how it was called."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelserver.inference.predictor import Tensors
from modelserver.inference.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

HALF_PLUS_TWO = Signature(
    DEFAULT_SIGNATURE,
    inputs={"x": TensorSpec("x:0", np.dtype(np.float32), (None,))},
    outputs={"y": TensorSpec("y:0", np.dtype(np.float32), (None,))},
)
"""One number in, one number out, for each row."""


def half_plus_two(inputs: Tensors) -> dict[str, np.ndarray]:
    """Compute y = x / 2 + 2."""
    return {"y": inputs["x"] / np.float32(2) + np.float32(2)}


@dataclass(frozen=True, slots=True)
class PredictCall:
    """What one call of `predict` was given."""

    signature_name: str
    inputs: Tensors
    output_names: Sequence[str]

    @property
    def num_rows(self) -> int:
        """The length of dimension 0 of the first input."""
        return len(next(iter(self.inputs.values())))


class FakePredictor:
    """A `Predictor` that answers with `compute(inputs)`, or raises what that raises. Thread-safe.

    Useful for everything that stands before a model: queues, thread pools, servicers. `calls` tells
    what was asked, and so which requests shared a run. With `blocks`, calls wait inside `predict`
    until `finish`, and `wait_until_called` says that one has got there: a test can look at what
    happens meanwhile.
    """

    def __init__(
        self,
        compute: Callable[[Tensors], Mapping[str, np.ndarray]] = half_plus_two,
        signatures: Iterable[Signature] = (HALF_PLUS_TWO,),
        *,
        blocks: bool = False,
    ) -> None:
        self.signatures: Mapping[str, Signature] = {s.name: s for s in signatures}
        self.calls: list[PredictCall] = []
        self._compute = compute
        self._called = threading.Semaphore(0)
        self._may_finish = threading.Event()
        if not blocks:
            self._may_finish.set()

    def predict(
        self, signature_name: str, inputs: Tensors, output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Record the call, wait if told to, and compute."""
        self.calls.append(PredictCall(signature_name, inputs, tuple(output_names)))
        self._called.release()
        self._may_finish.wait()
        outputs = self._compute(inputs)
        return {name: outputs[name] for name in output_names}

    @property
    def batch_sizes(self) -> list[int]:
        """The rows of each call so far."""
        return [call.num_rows for call in self.calls]

    def wait_until_called(self) -> None:
        """Return once for each call that has begun."""
        self._called.acquire()

    def finish(self) -> None:
        """Let blocked calls go on, now and from here on."""
        self._may_finish.set()
