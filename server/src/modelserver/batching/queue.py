"""BatchQueue: decides which task joins which batch, and which batch is run next.

Theory of operation. Waiting tasks are always in a batch. Each shape has at most one open batch,
which its next tasks join; a batch closes when the next task would not fit, when it is full, or when
it is taken. Deadlines are in a heap, which a task that leaves stays in; before such tasks outnumber
those that wait, it is cleared of them. So no step takes longer the more tasks wait, but for that
one, whose cost is shared by as many. Time is an argument, so nothing here waits, and nothing locks.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeAlias

from modelserver.batching.options import BatchOptions
from modelserver.batching.task import Batch, TaskT
from modelserver.errors import InvalidArgumentError, UnavailableError

SplitTask: TypeAlias = Callable[[TaskT, int, int], Sequence[TaskT]]
"""`split(task, first_size, max_size)` cuts a task into parts of its shape and deadline: one of
`first_size` rows, which fills the open batch, the others of `max_size`, the last one maybe smaller.
The parts take the task's place. It may return a task of up to `max_size` rows as it is, which opens
the next batch then. It is called with a lock held, so it must be quick and must not schedule."""


class BatchQueue(Generic[TaskT]):
    """The waiting tasks of one kind of work. Pure: no clock, no thread, no lock of its own.

    Its owner (`SharedBatchScheduler`) calls it under a lock, with times that never go back. The
    order of tasks of one shape is kept. `split` is needed where the options enable splitting.
    """

    def __init__(self, options: BatchOptions, split: SplitTask[TaskT] | None = None) -> None:
        if options.enable_large_batch_splitting and split is None:
            raise InvalidArgumentError(
                "split_input_task_func must be specified when split_input_task is true: 1"
            )
        self._options = options
        self._split = split if options.enable_large_batch_splitting else None
        self.max_size = options.execution_batch_size
        """The most rows in one batch."""
        self._timeout_seconds = options.batch_timeout_seconds
        # In the order in which they closed, and were opened; a dict's first key is slow to find.
        self._closed: OrderedDict[Batch[TaskT], None] = OrderedDict()
        self._open: OrderedDict[Hashable, Batch[TaskT]] = OrderedDict()
        self._num_tasks = 0
        self._deadlines: list[tuple[float, int, TaskT]] = []  # a heap, also of some that left
        self._numbers = count()  # so that the heap compares no tasks
        self._expired: list[TaskT] = []
        self.is_closed = False

    # Coming in…

    def add(self, task: TaskT, now: float) -> bool:
        """Put `task` into a batch. Returns whether `next_due` may have changed: False, the usual
        case, means that the task joined a batch without filling it.

        Raises, without having changed anything:
            InvalidArgumentError: larger than a task may be.
            UnavailableError: the queue is full, or closed.

        """
        batch = self._open.get(task.shape)
        if batch is not None and 0 < task.size <= self.max_size - batch.size:
            return self._join(batch, task)
        self._check_admission(task, batch)
        for part in self._parts(task, batch):
            self._place(part, now)
        return True

    def room(self, shape: Hashable, unit: int) -> int:
        """The rows that still fit into the batch that a task of `unit` rows joins, if it is let in:
        `unit` at least, where the limits let any batch have as many.
        """
        batch = self._open.get(shape)
        left = 0 if batch is None else self.max_size - batch.size
        return left if left >= unit else self.max_size

    def close(self) -> None:
        """Refuse further tasks, and hold no batch back for more."""
        self.is_closed = True
        for batch in list(self._open.values()):
            self._close_batch(batch)

    # Waiting…

    def next_due(self) -> float:
        """When `take` has a batch, if nothing is added or taken before: -inf = at any time,
        inf = never.
        """
        if self._closed:
            return -math.inf
        oldest = self._oldest_open()
        return math.inf if oldest is None else self._due(oldest)

    def next_expiry(self) -> float:
        """No task expires before this; inf = none does. May be early: that of a task that left."""
        return self._deadlines[0][0] if self._deadlines else math.inf

    @property
    def is_ready(self) -> bool:
        """Whether a task that came now would be run at once, if somebody were free to do it."""
        return not (self._num_tasks or self._timeout_seconds or self.is_closed)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits: neither to be run nor to be collected by `expire`."""
        return not (self._num_tasks or self._expired)

    @property
    def num_enqueued_tasks(self) -> int:
        """Tasks that wait to be run."""
        return self._num_tasks

    def scheduling_capacity(self, shape: Hashable = None) -> int:
        """The rows of tasks of `shape` that are sure to be accepted now, if they fill batches."""
        return self._capacity(self._open.get(shape))

    # Going out…

    def take(self, now: float) -> Batch[TaskT] | None:
        """Hand over the oldest batch that is due: closed, or as old as the timeout. None if there
        is none.

        Tasks that have expired by `now` are left for `expire`.
        """
        self._withdraw_expired(now)
        batch = self._oldest_due(now)
        if batch is not None:
            self._discard(batch)
            batch.close()
            batch.release()
            self._count_out(len(batch))
        return batch

    def remove(self, task: TaskT) -> bool:
        """Withdraw `task`. False where it does not wait here: taken, expired or removed before."""
        batch = task._batch
        if batch is None or not self._holds(batch):
            return False
        batch.remove(task)
        if not batch:
            self._discard(batch)
        self._count_out(1)
        return True

    def expire(self, now: float) -> list[TaskT]:
        """Withdraw and return the tasks whose deadline is not after `now`."""
        self._withdraw_expired(now)
        expired, self._expired = self._expired, []
        return expired

    def _withdraw_expired(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, task = heappop(self._deadlines)
            if self.remove(task):
                self._expired.append(task)

    def _count_out(self, num_tasks: int) -> None:
        self._num_tasks -= num_tasks
        if len(self._deadlines) > 2 * self._num_tasks:
            self._deadlines = [entry for entry in self._deadlines if entry[2]._batch is not None]
            heapify(self._deadlines)

    # Which task is let in…

    def _check_admission(self, task: TaskT, batch: Batch[TaskT] | None) -> None:
        """Refuse `task`, which does not fit into `batch`, the open one of its shape, or do not."""
        if self.is_closed:
            raise UnavailableError(
                "The batch scheduling queue to which this task was submitted is closed"
            )
        if task.size < 1:
            raise InvalidArgumentError(f"Task size must be positive; was {task.size}")
        if task.size > self._options.max_batch_size:
            raise InvalidArgumentError(
                f"Task size {task.size} is larger than maximum input batch size "
                f"{self._options.max_batch_size}"
            )
        if self._options.enable_large_batch_splitting:
            self._check_capacity(task, batch)
        elif self._num_enqueued_batches >= self._options.max_enqueued_batches:
            raise UnavailableError(
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{self._num_enqueued_batches} batches enqueued and max_enqueued_batches is "
                f"{self._options.max_enqueued_batches}"
            )

    def _check_capacity(self, task: TaskT, batch: Batch[TaskT] | None) -> None:
        capacity = self._capacity(batch)
        if task.size > capacity:
            raise UnavailableError(
                "The batch scheduling queue to which this task was submitted is full; task size "
                f"is {task.size} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={self._num_enqueued_batches}, "
                f"max_enqueued_batches={self._options.max_enqueued_batches}, "
                f"open_batch_size={0 if batch is None else batch.size}, "
                f"max_execution_batch_size={self.max_size})"
            )

    def _capacity(self, batch: Batch[TaskT] | None) -> int:
        room = 0 if batch is None else self.max_size - batch.size
        new_batches = self._options.max_enqueued_batches - self._num_enqueued_batches
        return new_batches * self.max_size + room

    @property
    def _num_enqueued_batches(self) -> int:
        return len(self._closed) + len(self._open)

    def _holds(self, batch: Batch[TaskT]) -> bool:
        return batch in self._closed or self._open.get(batch.shape) is batch

    # Which batch it joins…

    def _parts(self, task: TaskT, batch: Batch[TaskT] | None) -> Sequence[TaskT]:
        room = self.max_size - (0 if batch is None else batch.size)
        if self._split is None or task.size <= room:
            return (task,)
        return self._split(task, room, self.max_size)

    def _place(self, task: TaskT, now: float) -> None:
        batch = self._open.get(task.shape)
        if batch is not None and batch.size + task.size > self.max_size:
            self._close_batch(batch)
            batch = None
        if batch is None:
            batch = self._open[task.shape] = Batch(task.shape, opened_at=now)
        self._join(batch, task)

    def _join(self, batch: Batch[TaskT], task: TaskT) -> bool:
        batch.add(task)
        self._num_tasks += 1
        if task.deadline is not None:
            heappush(self._deadlines, (task.deadline, next(self._numbers), task))
        if batch.size < self.max_size:
            return False
        self._close_batch(batch)
        return self._timeout_seconds > 0  # without a time-out it was due from its first task on

    def _close_batch(self, batch: Batch[TaskT]) -> None:
        self._discard(batch)
        batch.close()
        self._closed[batch] = None

    def _discard(self, batch: Batch[TaskT]) -> None:
        if batch.is_closed:
            del self._closed[batch]
        else:
            del self._open[batch.shape]

    # Which batch is next…

    def _due(self, batch: Batch[TaskT]) -> float:
        return batch.opened_at + self._timeout_seconds

    def _oldest_open(self) -> Batch[TaskT] | None:
        return next(iter(self._open.values()), None)

    def _oldest_due(self, now: float) -> Batch[TaskT] | None:
        """The first that closed, unless an open one is due that was opened before it: a shape of
        which there is little must not wait for ever behind one of which there is much.
        """
        closed = next(iter(self._closed), None)
        oldest = self._oldest_open()
        if oldest is None or now < self._due(oldest):
            return closed
        return oldest if closed is None or oldest.opened_at < closed.opened_at else closed
