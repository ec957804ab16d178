"""BatchTask, a piece of work that may share a run with others, and Batch, the run they share."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Generic, Self, TypeVar

from modelserver.errors import InternalError, ServingError


class BatchTask(ABC):
    """One piece of work. Subclass it with what the work needs and a way to answer.

    `size` is the task's share of a batch, in rows, at least 1. `deadline`, on the clock's monotonic
    scale in seconds, is when nobody wants the answer any more; None = never. Tasks of different
    `shape` (any hashable value) never share a batch. All three are constant once the task has been
    scheduled.

    A scheduled task is either run, as part of a batch, or told by `fail`.
    """

    __slots__ = ("_batch", "deadline", "shape", "size")

    def __init__(
        self, size: int = 1, deadline: float | None = None, shape: Hashable = None
    ) -> None:
        self.size = size
        self.deadline = deadline
        self.shape = shape
        self._batch: Batch[Any] | None = None  # in which it waits

    @abstractmethod
    def fail(self, error: ServingError) -> None:
        """Take `error` as the answer. Called from any thread, outside of all locks; must be quick.

        `DeadlineExceededError`: its deadline passed while it waited. `CancelledError`: it was
        cancelled. Anything else: the function that runs batches raised it; only then may the task
        have had an answer already, which stands.
        """


class DivisibleTask(BatchTask):
    """Work that came together and need not be run together: parts of `unit` rows each.

    What comes in many small equal pieces is queued, batched and answered at the price of one task.
    `fail` answers what is left of it.
    """

    __slots__ = ("unit",)

    def __init__(self, size: int, unit: int, shape: Hashable = None) -> None:
        super().__init__(size, None, shape)
        self.unit = unit
        """The rows of a part. `size` is a multiple of it."""

    @abstractmethod
    def take_first(self, size: int) -> Self:
        """Cut off the first `size` rows, a multiple of `unit` and fewer than all, as a task of
        their own. Called with a lock held: must be quick.
        """


TaskT = TypeVar("TaskT", bound=BatchTask)


class Batch(Generic[TaskT]):
    """Tasks that are run together, in the order in which they were scheduled.

    A batch is open, then closed, and never open again: tasks may leave it for as long as it waits,
    but join only while it is open. The function that runs it iterates over it and owns its tasks.
    Not thread-safe: it has one owner at a time, the queue first, then the thread that runs it.
    """

    __slots__ = ("_tasks", "is_closed", "opened_at", "shape", "size")

    def __init__(self, shape: Hashable = None, opened_at: float = 0.0) -> None:
        self._tasks: dict[int, TaskT] = {}  # by identity: tasks need not be hashable
        self.shape = shape
        """The shape of its tasks."""
        self.opened_at = opened_at
        """When it was opened for its first task, in the clock's monotonic seconds."""
        self.size = 0
        """The sum of its tasks' sizes, in rows."""
        self.is_closed = False

    @classmethod
    def closed(cls, tasks: Sequence[TaskT]) -> "Batch[TaskT]":
        """A batch of tasks that never waited."""
        batch: Batch[TaskT] = cls(tasks[0].shape)
        batch._tasks = {id(task): task for task in tasks}
        batch.size = sum([task.size for task in tasks])
        batch.is_closed = True
        return batch

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[TaskT]:
        return iter(self._tasks.values())

    # Collecting…

    def add(self, task: TaskT) -> None:
        """Let `task` join. Raises `InternalError` where the batch is closed."""
        if self.is_closed:
            raise InternalError("A task cannot be added to a batch that is closed")
        self._tasks[id(task)] = task
        self.size += task.size
        task._batch = self

    def close(self) -> None:
        """Accept no more tasks."""
        self.is_closed = True

    # Waiting…

    def remove(self, task: TaskT) -> None:
        """Let `task`, which is in this batch, leave it."""
        del self._tasks[id(task)]
        self.size -= task.size
        task._batch = None

    # Running…

    def release(self) -> None:
        """Make the tasks forget the batch, so that no cycle keeps their data after the run."""
        for task in self:
            task._batch = None

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open"
        return f"<Batch {state}: {len(self)} tasks, size {self.size}>"


def fill_batches(tasks: Sequence[DivisibleTask], max_size: int) -> list[Batch[DivisibleTask]]:
    """Closed batches of `tasks`, of one shape, in their order, divided where a batch is full. No
    part may be larger than `max_size`.
    """
    batches = []
    collected: list[DivisibleTask] = []
    room = max_size
    for task in tasks:
        while task.size > room:
            if room >= task.unit:
                collected.append(task.take_first(room - room % task.unit))
            batches.append(Batch.closed(collected))
            collected, room = [], max_size
        collected.append(task)
        room -= task.size
    batches.append(Batch.closed(collected))
    return batches
