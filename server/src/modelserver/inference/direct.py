"""DirectPredictor: runs each request by itself on an executor's threads."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from modelserver.clock import Clock
from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    ServingError,
    UnavailableError,
    as_serving_error,
)
from modelserver.inference.predictor import Completion, Prediction, Predictor
from modelserver.inference.request_list import RequestList, RequestListTask
from modelserver.inference.run_time import RunTime
from modelserver.inference.signature import Signature

LIGHT_SECONDS = 50e-6
"""What handing a request to another thread costs, or more."""

logger = logging.getLogger(__name__)


class Executor(Protocol):
    """What `concurrent.futures.Executor` is to us."""

    def submit(self, work: Callable[[], None], /) -> object:
        """Run `work`, which never raises, soon, on whatever thread. Raises RuntimeError where that
        is not going to happen.
        """


class DirectPredictor:
    """An `AsyncPredictor` without batching: the executor's threads and queue are the only limits.

    A request whose deadline passes before its run gets `DeadlineExceededError` and is not computed;
    once its run has begun, it gets the answer, however late. After `close` every request gets
    `UnavailableError`.
    """

    def __init__(self, predictor: Predictor, executor: Executor, clock: Clock) -> None:
        self._predictor = predictor
        self._executor = executor
        self._clock = clock
        self._changed = threading.Condition()
        self._num_unanswered = 0
        self._is_closed = False
        self._run_time = RunTime()

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Those of the predictor."""
        return self._predictor.signatures

    def submit(self, prediction: Prediction, done: Completion) -> Callable[[], bool]:
        """Hand the request to the executor, as `AsyncPredictor.submit`."""
        call = _Call(prediction, done)
        with self._changed:
            is_closed = self._is_closed
            self._num_unanswered += 1
        try:
            if is_closed:
                self._cancel(call, UnavailableError("The model is being unloaded"))
            else:
                self._executor.submit(partial(self._run, call))
        except RuntimeError:
            self._cancel(call, UnavailableError("The server is shutting down"))
        except Exception as error:
            self._cancel(call, as_serving_error(error))
        return partial(self._cancel, call, CancelledError("The request was cancelled"))

    def submit_lists(
        self, lists: Sequence[RequestList], *, may_run: bool = True, may_queue: bool = True
    ) -> bool:
        """Run them one by one, here, if that takes less than handing them to a thread would, as
        `AsyncPredictor.submit_lists`. They are never queued as lists.
        """
        num_runs = sum([len(requests) for requests in lists])
        with self._changed:
            is_light = self._run_time.is_below(LIGHT_SECONDS, num_runs)
            if self._is_closed or not (may_run and is_light):
                return False
            self._num_unanswered += 1
        try:
            for requests in lists:
                self._run_list(requests)
        finally:
            self._count_answered()
        return True

    def close(self) -> None:
        """Refuse further requests, and return when all have been answered. Never call it from a
        `done`.
        """
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: self._num_unanswered == 0)

    def _run(self, call: "_Call") -> None:
        if self._begin(call):
            self._answer(call, self._predict(call.prediction))

    def _cancel(self, call: "_Call", error: ServingError) -> bool:
        if not self._begin(call):
            return False
        self._answer(call, error)
        return True

    def _begin(self, call: "_Call") -> bool:
        """Whether the caller is the first that wants to answer: the run or a cancellation."""
        with self._changed:
            has_begun, call.has_begun = call.has_begun, True
            return not has_begun

    def _run_list(self, requests: RequestList) -> None:
        for place in range(len(requests)):
            task = RequestListTask(requests, [place])
            if task.is_wanted():
                task.answer(self._compute(requests.form.signature, task))

    def _predict(self, prediction: Prediction) -> dict[str, np.ndarray] | ServingError:
        if prediction.deadline is not None and prediction.deadline <= self._clock.monotonic():
            return DeadlineExceededError("Deadline exceeded while waiting for a free thread")
        return self._compute(prediction.signature, prediction)

    def _compute(
        self, signature: Signature, request: Prediction | RequestListTask
    ) -> dict[str, np.ndarray] | ServingError:
        begin = self._clock.monotonic()
        try:
            outputs = self._predictor.predict(signature.name, request.inputs, request.output_names)
        except BaseException as error:  # a plug-in's failure is its request's answer
            return as_serving_error(error)
        self._run_time.add(self._clock.monotonic() - begin)
        return outputs

    def _answer(self, call: "_Call", result: dict[str, np.ndarray] | ServingError) -> None:
        try:
            call.done(result)
        except BaseException:
            logger.exception("The receiver of an answer failed")
        finally:
            self._count_answered()

    def _count_answered(self) -> None:
        with self._changed:
            self._num_unanswered -= 1
            self._changed.notify_all()


class _Call:
    __slots__ = ("done", "has_begun", "prediction")

    def __init__(self, prediction: Prediction, done: Completion) -> None:
        self.prediction = prediction
        self.done = done
        self.has_begun = False
