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
from typing import TypeAlias

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
from modelserver.inference.predictor import Completion, Prediction, Predictor, Tensors
from modelserver.inference.request_list import (
    RequestList,
    RequestListTask,
    merge_lists,
)
from modelserver.inference.request_task import JoinedAnswer, RequestTask
from modelserver.inference.run_time import RunTime
from modelserver.inference.signature import Signature

logger = logging.getLogger(__name__)

LIGHT_SECONDS = 400e-6
"""Batches that take less are run by the thread that brings them: handing them to another costs some
50 µs, and the interpreter lets one of the two work at a time anyway."""

Task: TypeAlias = RequestTask | RequestListTask


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

    def submit_lists(
        self, lists: Sequence[RequestList], *, may_run: bool = True, may_queue: bool = True
    ) -> bool:
        """Run or queue them, as `AsyncPredictor.submit_lists`."""
        try:
            batcher = self._batcher(lists[0].form.signature)
            return batcher.submit_lists(lists, may_run=may_run, may_queue=may_queue)
        except ServingError as error:
            for requests in lists:
                requests.answer(range(len(requests)), error)
            return True

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
        self._takes_lists = self._is_batchable and not options.pad_variable_length_inputs
        self._output_names = list(signature.outputs)
        self._run_time = RunTime()
        self._queue: ScheduledQueue[Task] = scheduler.add_queue(limits, self._run, self._split)

    # Coming in…

    def submit(self, prediction: Prediction, done: Completion) -> Callable[[], bool]:
        """Check and queue a request. Raises what the request is refused with."""
        check_inputs(self._signature, prediction.inputs)
        task = self._task(prediction, done)
        self._queue.schedule(task)
        return partial(self._cancel, task)

    def submit_lists(self, lists: Sequence[RequestList], *, may_run: bool, may_queue: bool) -> bool:
        """Run or queue lists of one batch shape; False where requests must come one by one."""
        if not self._takes_lists or max([r.form.num_rows for r in lists]) > self._max_rows:
            return False
        tasks = [RequestListTask(requests, range(len(requests))) for requests in lists]
        num_batches = 1 + sum([task.size for task in tasks]) // self._max_rows
        is_light = may_run and self._run_time.is_below(LIGHT_SECONDS, num_batches)
        if is_light and self._queue.run_at_once(tasks):
            return True
        if may_queue:
            for task in tasks:
                self._queue.schedule_parts(task)
        return may_queue

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

    def _split(self, task: Task, first_size: int, max_size: int) -> Sequence[Task]:
        """Keep whole what may be padded: parts padded to different lengths could not be joined. A
        list of requests has been divided already.
        """
        is_padded = self._options.pad_variable_length_inputs and task.size <= max_size
        if is_padded or isinstance(task, RequestListTask):
            return [task]
        return split(task, first_size, max_size)

    def _cancel(self, task: RequestTask) -> bool:
        # Parts are run in their order: while the first one waits, they all do.
        first, *others = task.parts or [task]
        if not self._queue.cancel(first):
            return False
        for part in others:
            self._queue.cancel(part)
        return True

    # Running…

    def _run(self, batch: Batch[Task]) -> None:
        tasks = [task for task in batch if task.is_wanted()]
        num_wanted = sum([task.size for task in tasks])
        num_rows = round_up(num_wanted, self._allowed_sizes) if self._allowed_sizes else num_wanted
        is_alone = len(tasks) == 1 and not isinstance(tasks[0], RequestListTask)
        if not self._is_batchable or (is_alone and num_rows == num_wanted):
            self._run_each(tasks)
        elif tasks:
            self._run_merged(tasks, num_rows)

    def _run_merged(self, tasks: Sequence[Task], num_rows: int) -> None:
        try:
            inputs = self._merge(tasks, num_rows)
        except ServingError as error:
            self._warn_of_failed_merge(error)
            self._run_each(tasks)
            return
        try:
            outputs = self._predict(inputs, self._output_names)
            answers = split_outputs(
                outputs,
                [task.output_names for task in tasks],
                [task.size for task in tasks],
                num_rows,
            )
        except BaseException as error:  # a plug-in's failure is its requests' answer
            self._recover(tasks, as_serving_error(error))
            return
        for task, answer in zip(tasks, answers, strict=True):
            task.answer(answer)

    def _merge(self, tasks: Sequence[Task], num_rows: int) -> Tensors:
        lists = [task for task in tasks if isinstance(task, RequestListTask)]
        if len(lists) == len(tasks):
            return merge_lists(lists, num_rows)
        return merge_inputs(
            [task.inputs for task in tasks], num_rows, pads=self._options.pad_variable_length_inputs
        )

    def _predict(self, inputs: Tensors, names: Sequence[str]) -> dict[str, np.ndarray]:
        begin = self._clock.monotonic()
        outputs = self._predictor.predict(self._signature.name, inputs, names)
        self._run_time.add(self._clock.monotonic() - begin)
        return outputs

    def _recover(self, tasks: Sequence[Task], error: ServingError) -> None:
        """Keep what failed in a shared run from the requests that it is not the fault of."""
        is_shared = len(tasks) > 1 or tasks[0].has_several_requests
        if self._signature.is_stateless and is_shared:
            self._warn_of_failed_merge(error)
            self._run_each(tasks)
        else:  # some of the effects may have happened: they must not happen twice
            for task in tasks:
                task.fail(error)

    def _run_each(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            for request in task.each():
                request.answer(self._run_alone(request))

    def _run_alone(self, task: Task) -> dict[str, np.ndarray] | ServingError:
        if task.deadline is not None and task.deadline <= self._clock.monotonic():
            return DeadlineExceededError("Run() timeout exceeded while waiting in batching queue")
        # The same outputs as a merged run, so that the model has one set of them to prepare for.
        names = self._output_names if self._is_batchable else task.output_names
        try:
            return task.choose(self._predict(task.inputs, names))
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
