"""BatchTask, a piece of work that may share a run with others, and Batch, the run they share."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

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
