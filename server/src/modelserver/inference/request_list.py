"""RequestList, requests of one form that came together, and RequestListTask, them in a batch queue.

What arrives as a list is queued, run and answered as a list: nothing is made for a single request.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from modelserver.batching import DivisibleTask
from modelserver.errors import ServingError
from modelserver.inference.predictor import Tensors
from modelserver.inference.signature import Signature


@dataclass(frozen=True, slots=True, eq=False)
class RequestForm:
    """What requests of a list have in common: all but the values of their one input.

    `alias` names the input, `dtype` and `shape` are its array's, the same in each request,
    dimension 0 included, which is at least 1. They have been checked against `signature`.
    """

    signature: Signature
    alias: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    output_names: Sequence[str]
    num_rows: int = field(init=False)
    """Of one request's array."""
    num_bytes: int = field(init=False)
    """Of one request's array."""
    batch_shape: tuple[tuple[str, tuple[int, ...]], ...] = field(init=False)
    """What `merge.non_batch_shape` says of such a request: it shares batches with those."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_rows", self.shape[0])
        object.__setattr__(self, "num_bytes", math.prod(self.shape) * self.dtype.itemsize)
        object.__setattr__(self, "batch_shape", ((self.alias, self.shape[1:]),))


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

    def write(self, which: Sequence[int], out: np.ndarray) -> None:
        """Write the arrays of `which`, one after another, into `out`: C-contiguous, of the form's
        dtype, with as many rows.
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

    def allocate(self, num_rows: int) -> np.ndarray:
        """An array for `num_rows` of such rows."""
        form = self._requests.form
        return np.empty((num_rows, *form.shape[1:]), form.dtype)

    def write(self, out: np.ndarray) -> None:
        """Write its rows into `out`, an array of as many."""
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

    @property
    def alias(self) -> str:
        """The input's name."""
        return self._requests.form.alias


def merge_lists(tasks: Sequence[RequestListTask], num_rows: int) -> Mapping[str, np.ndarray]:
    """Write the rows of `tasks`, which are of one form but for their number, into one array. Where
    they have fewer than `num_rows`, the first row of the last request is repeated at the end.
    """
    array = tasks[0].allocate(num_rows)
    end = 0
    for task in tasks:
        start, end = end, end + task.size
        task.write(array[start:end])
    if end < num_rows:
        array[end:] = array[end - tasks[-1].unit]
    return {tasks[0].alias: array}
