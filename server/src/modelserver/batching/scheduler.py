"""SharedBatchScheduler, threads that run the batches of many queues, and BasicBatchScheduler, one
of them with a single queue.

Theory of operation. One lock guards all queues; nothing slow happens under it. Each worker takes
the next batch that is due, round robin over the queues, and runs it outside the lock. Idle workers
sleep; one of them at most, the one that set `_alarm`, sleeps with a time-out, until the next batch
is due. So while a worker is idle, no batch is due without a worker on its way to it. One more
thread sleeps until the next deadline of a waiting task, so that tasks expire on time even while all
workers are busy.
"""

import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeAlias

from modelserver.batching.options import BatchOptions
from modelserver.batching.queue import BatchQueue, SplitTask
from modelserver.batching.task import Batch, BatchTask, DivisibleTask, TaskT, fill_batches
from modelserver.clock import Clock, SystemClock
from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    InvalidArgumentError,
    ServingError,
    UnavailableError,
    as_serving_error,
)
from modelserver.histogram import SECONDS, Histogram, HistogramSnapshot

logger = logging.getLogger(__name__)

ProcessBatch: TypeAlias = Callable[[Batch[TaskT]], None]
"""Runs a batch, which is closed and never empty, and answers its tasks. Called from several threads
at once, without locks. If it raises, the scheduler logs that and tells every task of the batch by
`fail`, also those that have had their answer; so it should answer each task itself."""


_ROWS = tuple(2.0**power for power in range(13))


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """The batches that a scheduler has run: `rows` by size, and `queue_seconds` by the time from
    the arrival of their first task to their run. `num_enqueued_tasks` wait at the moment.
    """

    rows: HistogramSnapshot
    queue_seconds: HistogramSnapshot
    num_enqueued_tasks: int


class ScheduledQueue(Generic[TaskT]):
    """One queue of a `SharedBatchScheduler`, as `add_queue` returns it. Thread-safe.

    No method but `close` waits for anything that is running.
    """

    def __init__(
        self,
        scheduler: "SharedBatchScheduler",
        batches: BatchQueue[TaskT],
        process_batch: ProcessBatch[TaskT],
    ) -> None:
        self._scheduler = scheduler
        self._batches = batches
        self._process_batch = process_batch
        self._is_active = False
        self._num_running = 0

    def schedule(self, task: TaskT) -> None:
        """Queue `task`; it is run or told by `fail` later, maybe before this returns.

        Raises, and then the task has not been queued and is not told:
            InvalidArgumentError: larger than a task may be.
            UnavailableError: the queue is full, or closed.

        """
        self._scheduler._schedule(self, task)

    def schedule_parts(self, task: DivisibleTask) -> None:
        """Queue `task`, divided as the batches have room. What is refused is told by `fail`, and
        nothing is raised.
        """
        self._scheduler._schedule_parts(self, task)

    def run_at_once(self, tasks: Sequence[DivisibleTask]) -> bool:
        """Run `tasks`, of one shape, on the calling thread, if that overtakes nobody and a batch
        has not to wait for more. Returns False, and has done nothing, otherwise.
        """
        return self._scheduler._run_at_once(self, tasks)

    def cancel(self, task: TaskT) -> bool:
        """Withdraw `task` if it still waits, and tell it by `fail`. Returns whether it did."""
        return self._scheduler._cancel(self, task)

    def num_enqueued_tasks(self) -> int:
        """Tasks that wait, those being run not counted."""
        with self._scheduler._lock:
            return self._batches.num_enqueued_tasks

    def scheduling_capacity(self, shape: Hashable = None) -> int:
        """The rows of tasks of `shape` that are sure to be accepted now, if they fill batches."""
        with self._scheduler._lock:
            return self._batches.scheduling_capacity(shape)

    def close(self) -> None:
        """Refuse further tasks, let those that wait be run at once, and remove the queue. Returns
        when no batch of it is being run any more, so never call it from one. Further calls wait
        too.
        """
        self._scheduler._close(self)

    def __repr__(self) -> str:
        return f"<ScheduledQueue: {self.num_enqueued_tasks()} tasks, {self._num_running} running>"


class SharedBatchScheduler:
    """Runs batches of any number of queues on `num_batch_threads` threads (default: one for each
    processor). Thread-safe.

    `thread_pool_name` is the beginning of the threads' names. Use it as a context manager, or call
    `stop`; the threads do not keep the process alive.
    """

    def __init__(
        self,
        num_batch_threads: int | None = None,
        *,
        thread_pool_name: str = "batch_threads",
        clock: Clock | None = None,
    ) -> None:
        num_threads = os.cpu_count() or 1 if num_batch_threads is None else num_batch_threads
        if num_threads < 1:
            raise InvalidArgumentError(f"num_batch_threads must be positive; was {num_threads}")
        self.clock: Clock = SystemClock() if clock is None else clock
        """The clock on whose scale the tasks' deadlines are."""
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # idle workers wait for a batch
        self._expiry = threading.Condition(self._lock)  # the expirer waits for a deadline
        self._drained = threading.Condition(self._lock)  # `close` waits for the last batch
        self._queues: list[ScheduledQueue[Any]] = []  # Any: each has a task type of its own
        self._active: deque[ScheduledQueue[Any]] = deque()  # those with waiting tasks, next first
        self._alarm = math.inf  # when an idle worker wakes up of its own accord
        self._expiry_alarm = math.inf  # when the expirer does
        self._batch_rows = Histogram(_ROWS)
        self._queue_seconds = Histogram(SECONDS)
        self._is_stopping = False
        self._has_stopped = False
        self._workers = [
            self._start(self._work_until_stopped, f"{thread_pool_name}_{number}")
            for number in range(num_threads)
        ]
        self._expirer = self._start(self._expire_until_stopped, f"{thread_pool_name}_expiry")

    def add_queue(
        self,
        options: BatchOptions,
        process_batch: ProcessBatch[TaskT],
        split: SplitTask[TaskT] | None = None,
    ) -> ScheduledQueue[TaskT]:
        """Add a queue with limits of its own. `split` is needed where they enable splitting.

        Raises:
            UnavailableError: the scheduler has been stopped.
            InvalidArgumentError: splitting is enabled and there is no `split`.

        """
        queue = ScheduledQueue(self, BatchQueue(options, split), process_batch)
        with self._lock:
            if self._is_stopping:
                raise UnavailableError("The batch scheduler has been stopped")
            self._queues.append(queue)
        return queue

    def stats(self) -> SchedulerStats:
        """What has been run since the start, over all queues."""
        with self._lock:
            num_tasks = sum(queue._batches.num_enqueued_tasks for queue in self._active)
            return SchedulerStats(
                self._batch_rows.snapshot(), self._queue_seconds.snapshot(), num_tasks
            )

    def stop(self, timeout: float | None = None) -> bool:
        """Refuse further tasks, run what waits, and end the threads, for up to `timeout` seconds.
        Never call it from a batch.

        Returns whether everything ended in time. What did not goes on in daemon threads, which end
        when they can; call again to wait on.
        """
        end = math.inf if timeout is None else self.clock.monotonic() + timeout
        with self._lock:
            self._is_stopping = True
            for queue in self._queues:
                queue._batches.close()
            self._work.notify_all()
        if not self._join(self._workers, end):
            return False
        with self._lock:
            self._has_stopped = True
            self._expiry.notify()
        return self._join([self._expirer], end)

    def _join(self, threads: Iterable[threading.Thread], end: float) -> bool:
        for thread in threads:
            seconds_left = max(0.0, end - self.clock.monotonic())
            thread.join(min(seconds_left, threading.TIMEOUT_MAX))
        return not any(thread.is_alive() for thread in threads)

    def __enter__(self) -> "SharedBatchScheduler":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self, body: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=body, name=name, daemon=True)
        thread.start()
        return thread

    # What queues ask for…

    def _schedule(self, queue: ScheduledQueue[TaskT], task: TaskT) -> None:
        with self._lock:
            may_be_due_earlier = queue._batches.add(task, self.clock.monotonic())
            if may_be_due_earlier:
                self._activate(queue)
            if task.deadline is not None and task.deadline < self._expiry_alarm:
                self._expiry_alarm = task.deadline
                self._expiry.notify()

    def _schedule_parts(self, queue: ScheduledQueue[Any], task: DivisibleTask) -> None:
        refused: list[DivisibleTask] = []
        refusal: ServingError | None = None
        with self._lock:
            now = self.clock.monotonic()
            may_be_due_earlier = False
            for part in _parts(queue._batches, task):
                try:
                    may_be_due_earlier |= queue._batches.add(part, now)
                except ServingError as error:
                    refused, refusal = [part] if part is task else [part, task], error
                    break
            if may_be_due_earlier:
                self._activate(queue)
        if refusal is not None:
            fail(refused, refusal)

    def _activate(self, queue: ScheduledQueue[TaskT]) -> None:
        if not queue._is_active:
            queue._is_active = True
            self._active.append(queue)
        if queue._batches.next_due() < self._alarm:
            self._work.notify()

    def _cancel(self, queue: ScheduledQueue[TaskT], task: TaskT) -> bool:
        with self._lock:
            was_waiting = queue._batches.remove(task)
            self._notify_if_drained(queue)
        if was_waiting:
            fail([task], CancelledError("Run() was cancelled while waiting in batching queue"))
        return was_waiting

    def _close(self, queue: ScheduledQueue[TaskT]) -> None:
        with self._lock:
            queue._batches.close()
            self._work.notify_all()
            self._drained.wait_for(lambda: self._is_drained(queue))
            if queue in self._queues:
                self._queues.remove(queue)

    def _notify_if_drained(self, queue: ScheduledQueue[Any]) -> None:
        if queue._batches.is_closed and self._is_drained(queue):
            self._drained.notify_all()

    def _is_drained(self, queue: ScheduledQueue[Any]) -> bool:
        return queue._batches.is_empty and queue._num_running == 0

    # What runs batches: workers, and callers of `run_at_once`…

    def _work_until_stopped(self) -> None:
        while self._run_next_batch():
            pass

    def _run_next_batch(self) -> bool:
        found = self._wait_for_batch()
        if found is None:
            return False
        queue, batch = found
        self._process(queue, batch)
        del found, batch  # neither an idle worker nor `close` keeps the tasks' data alive
        with self._lock:
            queue._num_running -= 1
            self._notify_if_drained(queue)
        return True

    def _run_at_once(self, queue: ScheduledQueue[Any], tasks: Sequence[DivisibleTask]) -> bool:
        with self._lock:
            if not queue._batches.is_ready:
                return False
            queue._num_running += 1
        batches = fill_batches(tasks, queue._batches.max_size)
        for batch in batches:
            self._process(queue, batch)
        with self._lock:
            for batch in batches:
                self._batch_rows.add(batch.size)
                self._queue_seconds.add(0.0)
            queue._num_running -= 1
            if queue._batches.is_closed:
                self._notify_if_drained(queue)
        return True

    def _process(self, queue: ScheduledQueue[Any], batch: Batch[Any]) -> None:
        try:
            queue._process_batch(batch)
        except BaseException as error:  # a plug-in's failure is its tasks' answer
            logger.exception("Running %r failed", batch)
            fail(batch, as_serving_error(error))

    def _wait_for_batch(self) -> tuple[ScheduledQueue[Any], Batch[Any]] | None:
        with self._lock:
            while (found := self._take(now := self.clock.monotonic())) is None:
                if self._is_stopping:
                    return None
                self._wait_until_due(now)
            found[0]._num_running += 1
            self._batch_rows.add(found[1].size)
            self._queue_seconds.add(now - found[1].opened_at)
            if self._next_due() < self._alarm:
                self._work.notify()  # there is more, and this worker will be busy
            return found

    def _take(self, now: float) -> tuple[ScheduledQueue[Any], Batch[Any]] | None:
        for _ in range(len(self._active)):
            queue = self._active.popleft()
            batch = queue._batches.take(now)
            queue._is_active = not queue._batches.is_empty
            if queue._is_active:
                self._active.append(queue)
            if batch is not None:
                return queue, batch
        return None

    def _wait_until_due(self, now: float) -> None:
        due = self._next_due()
        if due >= self._alarm or due == math.inf:
            self.clock.wait(self._work, None)
            return
        self._alarm = due
        self.clock.wait(self._work, due - now)
        if self._alarm == due:
            self._alarm = math.inf

    def _next_due(self) -> float:
        return min((queue._batches.next_due() for queue in self._active), default=math.inf)

    # What the expirer does…

    def _expire_until_stopped(self) -> None:
        while (expired := self._wait_for_expired()) is not None:
            error = DeadlineExceededError("Run() timeout exceeded while waiting in batching queue")
            fail(expired, error)
            del expired  # while it waits, it keeps no task's data alive

    def _wait_for_expired(self) -> list[BatchTask] | None:
        with self._lock:
            while True:
                now = self.clock.monotonic()
                if expired := self._collect_expired(now):
                    return expired
                if self._has_stopped:
                    return None
                times = [queue._batches.next_expiry() for queue in self._active]
                self._expiry_alarm = min(times, default=math.inf)
                self.clock.wait(self._expiry, self._expiry_alarm - now)

    def _collect_expired(self, now: float) -> list[BatchTask]:
        expired: list[BatchTask] = []
        for queue in self._active:
            expired += queue._batches.expire(now)
            self._notify_if_drained(queue)
        return expired


class BasicBatchScheduler(Generic[TaskT]):
    """Batches one kind of work on threads of its own: a `SharedBatchScheduler` with one queue.
    Thread-safe.

    The defaults are those of TensorFlow Serving's tutorial: batches of up to 32 rows, which wait up
    to 10 ms to fill.
    """

    def __init__(
        self,
        options: BatchOptions,
        process_batch: ProcessBatch[TaskT],
        *,
        num_batch_threads: int | None = None,
        thread_pool_name: str = "batch_threads",
        split: SplitTask[TaskT] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._scheduler = SharedBatchScheduler(
            num_batch_threads, thread_pool_name=thread_pool_name, clock=clock
        )
        self._queue = self._scheduler.add_queue(options, process_batch, split)

    def schedule(self, task: TaskT) -> None:
        """Queue `task`, as `ScheduledQueue.schedule`."""
        self._queue.schedule(task)

    def schedule_parts(self, task: DivisibleTask) -> None:
        """Queue `task` in parts, as `ScheduledQueue.schedule_parts`."""
        self._queue.schedule_parts(task)

    def cancel(self, task: TaskT) -> bool:
        """Withdraw `task` if it still waits, and tell it by `fail`. Returns whether it did."""
        return self._queue.cancel(task)

    def num_enqueued_tasks(self) -> int:
        """Tasks that wait, those being run not counted."""
        return self._queue.num_enqueued_tasks()

    def scheduling_capacity(self, shape: Hashable = None) -> int:
        """The rows of tasks of `shape` that are sure to be accepted now, if they fill batches."""
        return self._queue.scheduling_capacity(shape)

    def stop(self, timeout: float | None = None) -> bool:
        """Refuse further tasks, run what waits, and end the threads, as `SharedBatchScheduler`."""
        return self._scheduler.stop(timeout)

    def __enter__(self) -> "BasicBatchScheduler[TaskT]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _parts(batches: BatchQueue[Any], task: DivisibleTask) -> Iterator[DivisibleTask]:
    """Divide `task` into what fits into one batch after the other, as the batches are when the next
    part is asked for. The last part is `task` itself.
    """
    while task.size > (room := batches.room(task.shape, task.unit)) >= task.unit:
        yield task.take_first(room - room % task.unit)
    yield task


def fail(tasks: Iterable[BatchTask], error: ServingError) -> None:
    """Tell each task, whatever the others do with it."""
    for task in tasks:
        try:
            task.fail(error)
        except BaseException:
            logger.exception("A task could not take its error: %s", error)
