"""RequestTask, a request on its way through a batch queue, and JoinedAnswer, for a split one."""

import logging
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from modelserver.batching import BatchTask
from modelserver.errors import ServingError, as_serving_error
from modelserver.inference.merge import join_outputs
from modelserver.inference.predictor import Completion, Prediction, Tensors

logger = logging.getLogger(__name__)


class RequestTask(BatchTask):
    """One request, or a part of one, with the callback that waits for its answer.

    It is answered once; what comes later is dropped. Used by one thread at a time: the one that
    queues it, then the one that runs it or lets it expire.
    """

    __slots__ = ("_done", "parts", "prediction")

    def __init__(
        self, prediction: Prediction, done: Completion, size: int = 1, shape: Hashable = None
    ) -> None:
        super().__init__(size, prediction.deadline, shape)
        self.prediction = prediction
        self.parts: list[RequestTask] = []
        """What stands for it in the queue, in order, where it was split."""
        self._done: Completion | None = done

    @property
    def output_names(self) -> Sequence[str]:
        """The outputs wanted, in the order of the answer."""
        return self.prediction.output_names

    @property
    def inputs(self) -> Tensors:
        """The request's arrays."""
        return self.prediction.inputs

    def is_wanted(self) -> bool:
        """Whether it still wants an answer: it leaves the queue when it does not."""
        return True

    @property
    def has_several_requests(self) -> bool:
        """No."""
        return False

    def each(self) -> Iterator["RequestTask"]:
        """Itself: it is one request."""
        yield self

    def choose(self, outputs: Tensors) -> dict[str, np.ndarray]:
        """Those of `outputs` that were asked for, in that order."""
        return {name: outputs[name] for name in self.output_names}

    def answer(self, result: dict[str, np.ndarray] | ServingError) -> None:
        """Give `result` to whoever waits for it. Never raises."""
        done, self._done = self._done, None
        if done is None:
            return
        try:
            done(result)
        except BaseException:
            logger.exception("The receiver of an answer failed")

    def fail(self, error: ServingError) -> None:
        """Answer with `error`."""
        self.answer(error)


class JoinedAnswer:
    """Puts the answers to the parts of a request together, or passes on the first error.
    Thread-safe.
    """

    def __init__(
        self,
        num_parts: int,
        done: Callable[[dict[str, np.ndarray] | ServingError], None],
    ) -> None:
        self._num_parts = num_parts
        self._done = done
        self._lock = threading.Lock()
        self._answers: dict[int, dict[str, np.ndarray]] = {}
        self._has_failed = False

    def add_part(self, index: int, result: dict[str, np.ndarray] | ServingError) -> None:
        """Take the answer to part number `index`; the one that settles the matter calls `done`."""
        with self._lock:
            if self._has_failed:
                return
            if isinstance(result, ServingError):
                self._has_failed = True
            else:
                self._answers[index] = result
                if len(self._answers) < self._num_parts:
                    return
        self._done(result if isinstance(result, ServingError) else self._join())

    def _join(self) -> dict[str, np.ndarray] | ServingError:
        try:
            return join_outputs([self._answers[index] for index in range(self._num_parts)])
        except Exception as error:
            return as_serving_error(error)
