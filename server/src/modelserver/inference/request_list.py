"""RequestList, requests of one form that came together, and RequestListTask, them in a batch queue.

What arrives as a list is queued, run and answered as a list: nothing is made for a single request.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from modelserver.batching import DivisibleTask
from modelserver.errors import ServingError
from modelserver.inference.predictor import Prediction, Tensors
from modelserver.inference.signature import Signature


@dataclass(frozen=True, slots=True, eq=False)
class InputForm:
    """What requests of a list have in common in one input: all but its values."""

    alias: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    """Of one request's array, dimension 0 included, which is at least 1."""
    num_bytes: int = field(init=False)
    """Of one request's array."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_bytes", math.prod(self.shape) * self.dtype.itemsize)


@dataclass(frozen=True, slots=True, eq=False)
class RequestForm:
    """What requests of a list have in common: all but the values of their inputs.

    These have been checked against `signature`. They are at least one, in its order, and have the
    same number of rows.
    """

    signature: Signature
    inputs: tuple[InputForm, ...]
    output_names: Sequence[str]
    num_rows: int = field(init=False)
    """Of one request."""
    batch_shape: tuple[tuple[str, tuple[int, ...]], ...] = field(init=False)
    """What `merge.non_batch_shape` says of such a request: it shares batches with those."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_rows", self.inputs[0].shape[0])
        batch_shape = tuple((given.alias, given.shape[1:]) for given in self.inputs)
        object.__setattr__(self, "batch_shape", batch_shape)


def form_of(prediction: Prediction) -> RequestForm | None:
    """The form of a request; None where its inputs do not have the same number of rows, or none."""
    arrays = prediction.inputs
    rows = {array.shape[:1] for array in arrays.values()}
    if len(rows) != 1 or rows <= {(), (0,)}:
        return None
    given = [alias for alias in prediction.signature.inputs if alias in arrays]
    inputs = tuple(InputForm(alias, arrays[alias].dtype, arrays[alias].shape) for alias in given)
    return RequestForm(prediction.signature, inputs, prediction.output_names)


class RequestList(Protocol):
    """Requests of one form, as parallel lists of whoever received them, who also answers them.

    `which` selects some of them by their places. Thread-safe for different places: parts of a list
    may be run at the same time.
    """

    @property
    def form(self) -> RequestForm:
        """What they have in common."""

    def __len__(self) -> int:
        """How many there are."""

    def wanted(self, which: Sequence[int]) -> Sequence[int]:
        """Those of `which` that still want an answer. Asked when they are about to be run."""

    def write(self, which: Sequence[int], out: Sequence[np.ndarray]) -> None:
        """Write the arrays of `which`, one after another, into `out`, which has an array for each
        input of the form: C-contiguous, of its dtype, with as many rows.
        """

    def answer(self, which: Sequence[int], result: dict[str, np.ndarray] | ServingError) -> None:
        """Answer `which` with the outputs of their form, whose rows are theirs in this order, or
        each with the error. Once for each place; those that were not wanted get none. Never raises.
        """


class RequestListTask(DivisibleTask):
    """Those requests of a list that are in `which`, on their way through a batch queue.

    As a `RequestTask`, it is answered once, and used by one thread at a time.
    """

    __slots__ = ("_requests", "_which", "output_names")

    def __init__(self, requests: RequestList, which: Sequence[int]) -> None:
        form = requests.form
        super().__init__(len(which) * form.num_rows, form.num_rows, form.batch_shape)
        self.output_names = form.output_names
        """The outputs wanted, in the order of the answers."""
        self._requests = requests
        self._which = which

    def take_first(self, size: int) -> Self:
        """Cut off the first requests, as `DivisibleTask.take_first`."""
        count = size // self.unit
        part = type(self)(self._requests, self._which[:count])
        self._which = self._which[count:]
        self.size -= size
        return part

    # Running…

    @property
    def inputs(self) -> Tensors:
        """The rows of all its requests."""
        return merge_lists([self], self.size)

    def is_wanted(self) -> bool:
        """Leave out the requests that want no answer any more; whether any is left."""
        self._which = self._requests.wanted(self._which)
        self.size = len(self._which) * self.unit
        return self.size > 0

    @property
    def has_several_requests(self) -> bool:
        """Whether one of them might be to blame for what happens to all."""
        return len(self._which) > 1

    def each(self) -> Iterator[Self]:
        """Its requests, each as a task of its own."""
        return (type(self)(self._requests, [place]) for place in self._which)

    def allocate(self, num_rows: int) -> dict[str, np.ndarray]:
        """Arrays for `num_rows` of such rows."""
        return {
            given.alias: np.empty((num_rows, *given.shape[1:]), given.dtype)
            for given in self._requests.form.inputs
        }

    def write(self, out: Sequence[np.ndarray]) -> None:
        """Write its rows into `out`, arrays of as many, in the order of `allocate`."""
        self._requests.write(self._which, out)

    def choose(self, outputs: Tensors) -> dict[str, np.ndarray]:
        """Those of `outputs` that were asked for, in that order."""
        return {name: outputs[name] for name in self.output_names}

    # Answering…

    def answer(self, result: dict[str, np.ndarray] | ServingError) -> None:
        """Give each request its rows of `result`, or the error. Never raises."""
        which, self._which = self._which, ()
        if which:
            self._requests.answer(which, result)

    def fail(self, error: ServingError) -> None:
        """Answer each request with `error`."""
        self.answer(error)


def merge_lists(tasks: Sequence[RequestListTask], num_rows: int) -> dict[str, np.ndarray]:
    """Write the rows of `tasks`, which are of one form but for their number, into one array for
    each input. Where they have fewer than `num_rows`, the first row of the last request is repeated
    at the end.
    """
    inputs = tasks[0].allocate(num_rows)
    arrays = list(inputs.values())
    end = 0
    for task in tasks:
        start, end = end, end + task.size
        task.write([array[start:end] for array in arrays])
    if end < num_rows:
        for array in arrays:
            array[end:] = array[end - tasks[-1].unit]
    return inputs
