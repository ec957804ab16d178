"""Predictor, what a platform implements, and AsyncPredictor, what an edge calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from modelserver.errors import ServingError
from modelserver.inference.signature import Signature

if TYPE_CHECKING:
    from modelserver.inference.request_list import RequestList

Tensors: TypeAlias = Mapping[str, np.ndarray]
"""Arrays by alias. Strings are object arrays of `bytes`."""


class Predictor(Protocol):
    """A loaded model that answers calls. Thread-safe: any number of `predict` calls run at once.

    A platform's `Loader.servable()` returns one. It may release the GIL while it computes.
    """

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Every way to call this model, by name. Constant while it is loaded."""

    def predict(
        self, signature_name: str, inputs: Tensors, output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Compute the named outputs of one signature, in that order. Blocks until done.

        `inputs` has exactly the signature's aliases (or leaves out ones that it has defaults for),
        with arrays of the right dtype and of a shape that the spec allows: the caller has checked.
        `output_names` is never empty. Raises a `ServingError`, or anything, which the caller
        translates.
        """


@dataclass(frozen=True, slots=True)
class Prediction:
    """One request to a model, checked against its signature.

    `output_names` are the outputs wanted, in the order of the answer. `deadline` is on the clock's
    monotonic scale, in seconds, or None.
    """

    signature: Signature
    inputs: Tensors
    output_names: Sequence[str]
    deadline: float | None = None


Completion: TypeAlias = Callable[[dict[str, np.ndarray] | ServingError], None]
"""Called exactly once with the outputs, or with the error that stands for them. From any thread;
must be quick."""


class AsyncPredictor(Protocol):
    """A loaded model behind a queue or a thread pool: what edges call. Thread-safe.

    `BatchedPredictor` merges concurrent requests into one run; `DirectPredictor` runs each by
    itself.
    """

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Every way to call this model, by name."""

    def submit(self, prediction: Prediction, done: Completion) -> Callable[[], bool]:
        """Queue the request and return at once; `done` gets the answer later (or has got it
        already).

        Never raises for the request's sake: a full queue, a task that is too large, a deadline that
        passed, all reach `done`. Returns `cancel`: calling it withdraws the request if it still
        waits, in which case `done` gets a `CancelledError` and it returns True; once the run has
        begun it returns False and the answer comes as usual.
        """

    def submit_lists(
        self, lists: "Sequence[RequestList]", *, may_run: bool = True, may_queue: bool = True
    ) -> bool:
        """Take several lists of requests, to one signature and of one `batch_shape`.

        What takes less to run than to hand over is run before this returns, on the calling thread,
        if that `may_run` models; the rest is queued, if it `may_queue`, and gets its answers later.
        Returns False, and has not taken them, otherwise, and where such requests must be submitted
        one by one. Never raises, and a refusal is an answer, as for `submit`.
        """
