"""BatchedPredictor: merges concurrent requests into one run, so that a model works on many rows at
once.

Life of a request here: checked alone → task in the queue of its signature → merged with others of
its shape → one run → split → `done`. What goes wrong with one request is answered to that one: a
shared run that fails is repeated request by request.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from modelserver.batching import Batch, ScheduledQueue, SharedBatchScheduler
from modelserver.errors import (
    DeadlineExceededError,
    ServingError,
    UnavailableError,
    as_serving_error,
)
from modelserver.inference.batching_options import BatchingOptions
from modelserver.inference.merge import (
    check_inputs,
    count_rows,
    merge_inputs,
    non_batch_shape,
    round_up,
    slice_rows,
    split_outputs,
)
from modelserver.inference.predictor import Completion, Prediction, Predictor
from modelserver.inference.request_task import JoinedAnswer, RequestTask
from modelserver.inference.signature import Signature

logger = logging.getLogger(__name__)


class BatchedPredictor:
    """An `AsyncPredictor` that runs `predictor` on the scheduler's threads, a batch at a time.

    Each signature has a queue of its own, made when it is first used. A signature that is not
    batchable is run request by request, on the same threads. A batch computes all outputs of its
    signature, and each request gets those it asked for; a request never sees rows that were added
    to fill a batch up.

    A request may fail with, besides what the model raises:
        InvalidArgumentError: its arrays do not fit the signature or each other, or are too large.
        UnavailableError: the queue is full, or closed.
        DeadlineExceededError: its deadline passed while it waited. It is not computed then; once
            its run has begun, it gets the answer, however late.

    """

    def __init__(
        self, predictor: Predictor, scheduler: SharedBatchScheduler, options: BatchingOptions
    ) -> None:
        self._predictor = predictor
        self._scheduler = scheduler
        self._options = options
        self._lock = threading.Lock()
        self._is_closed = False
        self._batchers: dict[str, _SignatureBatcher] = {}

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Those of the predictor."""
        return self._predictor.signatures

    def submit(self, prediction: Prediction, done: Completion) -> Callable[[], bool]:
        """Queue the request, as `AsyncPredictor.submit`. A request that is split across batches can
        be cancelled until the first of them is run.
        """
        try:
            return self._batcher(prediction.signature).submit(prediction, done)
        except Exception as error:
            done(as_serving_error(error))
            return _cannot_cancel

    def close(self) -> None:
        """Refuse further requests, answer those that wait, and return when nothing runs any more.
        Never call it from a `done`.
        """
        with self._lock:
            self._is_closed = True
            batchers = list(self._batchers.values())
        for batcher in batchers:
            batcher.close()

    def _batcher(self, signature: Signature) -> "_SignatureBatcher":
        return self._batchers.get(signature.name) or self._add_batcher(signature)

    def _add_batcher(self, signature: Signature) -> "_SignatureBatcher":
        with self._lock:
            if self._is_closed:
                raise UnavailableError("The model is being unloaded")
            if signature.name not in self._batchers:
                self._batchers[signature.name] = _SignatureBatcher(
                    signature, self._predictor, self._scheduler, self._options
                )
            return self._batchers[signature.name]


class _SignatureBatcher:
    """The queue of one signature, and how its batches are run."""

    def __init__(
        self,
        signature: Signature,
        predictor: Predictor,
        scheduler: SharedBatchScheduler,
        options: BatchingOptions,
    ) -> None:
        self._signature = signature
        self._predictor = predictor
        self._options = options
        self._clock = scheduler.clock
        self._has_warned = False
        self._is_batchable = signature.is_batchable
        limits = options.for_rows() if self._is_batchable else options.for_single_requests()
        self._max_rows = limits.execution_batch_size
        self._allowed_sizes = options.execution_batch_sizes
        self._queue: ScheduledQueue[RequestTask] = scheduler.add_queue(
            limits, self._run, self._split
        )

    # Coming in…

    def submit(self, prediction: Prediction, done: Completion) -> Callable[[], bool]:
        """Check and queue a request. Raises what the request is refused with."""
        check_inputs(self._signature, prediction.inputs)
        task = self._task(prediction, done)
        self._queue.schedule(task)
        return partial(self._cancel, task)

    def close(self) -> None:
        """Run what waits, and return when nothing runs any more."""
        self._queue.close()

    def _task(self, prediction: Prediction, done: Completion) -> RequestTask:
        if not self._is_batchable:
            return RequestTask(prediction, done)
        num_rows = count_rows(prediction.inputs)
        is_padded = self._options.pad_variable_length_inputs and num_rows <= self._max_rows
        shape = non_batch_shape(self._signature, prediction.inputs, is_padded=is_padded)
        return RequestTask(prediction, done, num_rows, shape)

    def _split(self, task: RequestTask, first_size: int, max_size: int) -> Sequence[RequestTask]:
        """Keep whole what may be padded: parts padded to different lengths could not be joined."""
        is_padded = self._options.pad_variable_length_inputs and task.size <= max_size
        return [task] if is_padded else split(task, first_size, max_size)

    def _cancel(self, task: RequestTask) -> bool:
        # Parts are run in their order: while the first one waits, they all do.
        first, *others = task.parts or [task]
        if not self._queue.cancel(first):
            return False
        for part in others:
            self._queue.cancel(part)
        return True

    # Running…

    def _run(self, batch: Batch[RequestTask]) -> None:
        tasks = list(batch)
        num_rows = round_up(batch.size, self._allowed_sizes)
        if not self._is_batchable or (len(tasks) == 1 and num_rows == batch.size):
            self._run_each(tasks)
        else:
            self._run_merged(tasks, num_rows)

    def _run_merged(self, tasks: Sequence[RequestTask], num_rows: int) -> None:
        try:
            inputs = merge_inputs(
                [task.prediction.inputs for task in tasks],
                num_rows,
                pads=self._options.pad_variable_length_inputs,
            )
        except ServingError as error:
            self._warn_of_failed_merge(error)
            self._run_each(tasks)
            return
        try:
            outputs = self._predictor.predict(
                self._signature.name, inputs, list(self._signature.outputs)
            )
            names = [task.prediction.output_names for task in tasks]
            answers = split_outputs(outputs, names, [task.size for task in tasks], num_rows)
        except BaseException as error:  # a plug-in's failure is its requests' answer
            self._recover(tasks, as_serving_error(error))
            return
        for task, answer in zip(tasks, answers, strict=True):
            task.answer(answer)

    def _recover(self, tasks: Sequence[RequestTask], error: ServingError) -> None:
        """Keep what failed in a shared run from the requests that it is not the fault of."""
        if self._signature.is_stateless:
            self._warn_of_failed_merge(error)
            self._run_each(tasks)
        else:  # some of the effects may have happened: they must not happen twice
            for task in tasks:
                task.fail(error)

    def _run_each(self, tasks: Iterable[RequestTask]) -> None:
        for task in tasks:
            task.answer(self._run_alone(task))

    def _run_alone(self, task: RequestTask) -> dict[str, np.ndarray] | ServingError:
        if task.deadline is not None and task.deadline <= self._clock.monotonic():
            return DeadlineExceededError("Run() timeout exceeded while waiting in batching queue")
        prediction = task.prediction
        # The same outputs as a merged run, so that the model has one set of them to prepare for.
        names = list(self._signature.outputs) if self._is_batchable else prediction.output_names
        try:
            return task.choose(
                self._predictor.predict(self._signature.name, prediction.inputs, names)
            )
        except BaseException as error:
            return as_serving_error(error)

    def _warn_of_failed_merge(self, error: ServingError) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "A batch of signature '%s' failed, and its requests were run one by one: %s "
                "(this is said once for each version and signature)",
                self._signature.name,
                error,
            )


def split(task: RequestTask, first_size: int, max_size: int) -> list[RequestTask]:
    """Cut a request into parts of `first_size` and then `max_size` rows, whose answers are joined
    into its own. The `SplitTask` of the queues here.
    """
    starts = [0, *range(first_size, task.size, max_size)]
    bounds = list(pairwise([*starts, task.size]))
    joined = JoinedAnswer(len(bounds), task.answer)
    task.parts = [
        RequestTask(
            replace(task.prediction, inputs=slice_rows(task.prediction.inputs, start, stop)),
            partial(joined.add_part, index),
            stop - start,
            task.shape,
        )
        for index, (start, stop) in enumerate(bounds)
    ]
    return task.parts


def _cannot_cancel() -> bool:
    return False
