"""FakeRequestList: requests that came together, and what became of each."""

import threading
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from modelserver.errors import ServingError
from modelserver.inference.predictor import Tensors
from modelserver.inference.request_list import InputForm, RequestForm
from modelserver.inference.signature import Signature
from modelserver.testing.predictor import HALF_PLUS_TWO

_WAIT_SECONDS = 30.0
"""A test that waits this long has failed."""

Result: TypeAlias = dict[str, np.ndarray] | ServingError


class FakeRequestList:
    """A `RequestList` of `requests` that remembers their answers. Thread-safe.

    Each request is what it has for the inputs of `signature`, or the array for its one input; all
    are of the same dtypes and shapes. Useful for everything that stands between who receives lists
    and a model. `unwanted` are the places of requests that
    want no answer any more. A second answer, or one to a request that was left out, is an error
    that no test can miss: asking for answers raises it.
    """

    def __init__(
        self,
        requests: Sequence[np.ndarray] | Sequence[Tensors],
        signature: Signature = HALF_PLUS_TWO,
        output_names: Sequence[str] | None = None,
    ) -> None:
        first_alias = next(iter(signature.inputs))
        self._requests: list[Tensors] = [
            {first_alias: request} if isinstance(request, np.ndarray) else request
            for request in requests
        ]
        inputs = tuple(
            InputForm(alias, array.dtype, array.shape) for alias, array in self._requests[0].items()
        )
        for request in self._requests:
            assert [(a, x.dtype, x.shape) for a, x in request.items()] == [
                (given.alias, given.dtype, given.shape) for given in inputs
            ], "requests of one form"
        names = tuple(signature.outputs if output_names is None else output_names)
        self.form = RequestForm(signature, inputs, names)
        self.unwanted: set[int] = set()
        self._changed = threading.Condition()
        self._results: dict[int, Result] = {}
        self._left_out: set[int] = set()
        self._wrong_answers: list[str] = []

    def __len__(self) -> int:
        return len(self._requests)

    # For the test…

    def result(self, place: int) -> Result:
        """What the request at `place` was answered with, its own rows only; waits for it."""
        with self._changed:
            has_come = self._changed.wait_for(
                lambda: place in self._results or self._wrong_answers, _WAIT_SECONDS
            )
            assert not self._wrong_answers, self._wrong_answers
            assert has_come, f"there is no answer to request {place}"
            return self._results[place]

    def outputs(self, name: str) -> list[np.ndarray]:
        """One output of every request, once all have it."""
        results = [self.result(place) for place in range(len(self))]
        assert not any(isinstance(result, ServingError) for result in results), results
        return [result[name] for result in results if not isinstance(result, ServingError)]

    def errors(self) -> list[ServingError]:
        """The error of every request, once all have one."""
        results = [self.result(place) for place in range(len(self))]
        errors = [result for result in results if isinstance(result, ServingError)]
        assert len(errors) == len(results), results
        return errors

    @property
    def answered(self) -> list[int]:
        """The places that have had an answer, in order."""
        with self._changed:
            assert not self._wrong_answers, self._wrong_answers
            return sorted(self._results)

    # As a RequestList…

    def wanted(self, which: Sequence[int]) -> Sequence[int]:
        """Those of `which` that are not among `unwanted`."""
        with self._changed:
            self._left_out.update(self.unwanted.intersection(which))
            return [place for place in which if place not in self._left_out]

    def write(self, which: Sequence[int], out: Sequence[np.ndarray]) -> None:
        """Copy the arrays of `which` into `out`."""
        num_rows = len(which) * self.form.num_rows
        for given, array in zip(self.form.inputs, out, strict=True):
            assert array.flags.c_contiguous, "the rows must be written into one piece"
            assert len(array) == num_rows, "there must be room for just those rows"
            array[...] = np.concatenate([self._requests[p][given.alias] for p in which])

    def answer(self, which: Sequence[int], result: dict[str, np.ndarray] | ServingError) -> None:
        """Remember what each of `which` is answered with. One alone gets arrays as they are."""
        with self._changed:
            for number, place in enumerate(which):
                if place in self._results or place in self._left_out:
                    self._wrong_answers.append(f"request {place} was answered once more: {result}")
                is_whole = isinstance(result, ServingError) or len(which) == 1
                self._results[place] = result if is_whole else self._rows(result, number)
            self._changed.notify_all()

    def _rows(self, outputs: Result, number: int) -> Result:
        assert not isinstance(outputs, ServingError)
        rows = slice(number * self.form.num_rows, (number + 1) * self.form.num_rows)
        return {name: array[rows].copy() for name, array in outputs.items()}
