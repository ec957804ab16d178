"""BatchQueue: what holds whatever is done to it, in whatever order."""

from collections import defaultdict
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelserver.batching import Batch, BatchOptions, BatchQueue, BatchTask
from modelserver.errors import ServingError, UnavailableError

SHAPES = ("a", "b", "c")


class Task(BatchTask):
    __slots__ = ("added_at", "number")

    def __init__(
        self, number: int, size: int, deadline: float | None, shape: str, added_at: float
    ) -> None:
        super().__init__(size, deadline, shape)
        self.number = number
        self.added_at = added_at

    def fail(self, error: ServingError) -> None:
        raise AssertionError("a queue answers nobody")


class QueueMachine(RuleBasedStateMachine):
    """Drives a queue and keeps the books: `waiting` are the tasks that must still be in it.

    Times are whole seconds, so that the arithmetic of deadlines is exact.
    """

    @initialize(
        max_size=st.integers(1, 6),
        timeout=st.integers(0, 3),
        max_enqueued=st.integers(1, 4),
        splits=st.booleans(),
        keeps_small=st.booleans(),
    )
    def start(
        self, max_size: int, timeout: int, max_enqueued: int, splits: bool, keeps_small: bool
    ) -> None:
        self.options = BatchOptions(
            max_batch_size=max_size * 3 if splits else max_size,
            batch_timeout_micros=timeout * 1_000_000,
            max_enqueued_batches=max_enqueued,
            enable_large_batch_splitting=splits,
            max_execution_batch_size=max_size,
        )
        self.timeout = timeout
        self.keeps_small = keeps_small
        self.queue: BatchQueue[Task] = BatchQueue(self.options, self.split)
        self.now = 100.0
        self.count = 0
        self.waiting: dict[int, Task] = {}
        self.last_taken: defaultdict[object, int] = defaultdict(lambda: -1)

    def make_task(self, size: int, deadline: float | None, shape: str) -> Task:
        self.count += 1
        return Task(self.count, size, deadline, shape, self.now)

    def split(self, task: Task, first_size: int, max_size: int) -> Sequence[Task]:
        if self.keeps_small and task.size <= max_size:
            return [task]
        sizes = [first_size]
        while sum(sizes) < task.size:
            sizes.append(min(max_size, task.size - sum(sizes)))
        self.parts = [self.make_task(size, task.deadline, str(task.shape)) for size in sizes]
        return self.parts

    @rule(
        share=st.floats(0, 1),
        shape=st.sampled_from(SHAPES),
        patience=st.none() | st.integers(0, 5),
    )
    def add(self, share: float, shape: str, patience: int | None) -> None:
        size = max(1, round(share * self.options.max_batch_size))
        deadline = None if patience is None else self.now + patience
        task = self.make_task(size, deadline, shape)
        capacity = self.queue.scheduling_capacity(shape)
        self.parts = [task]
        try:
            self.queue.add(task, self.now)
        except UnavailableError:
            assert size > capacity
            return
        assert size <= capacity
        self.waiting.update({part.number: part for part in self.parts})

    @rule(seconds=st.integers(0, 4))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        was_due = self.queue.next_due() <= self.now
        batch = self.queue.take(self.now)
        if batch is None:
            assert all(
                task.added_at + self.timeout > self.now or self.has_expired(task)
                for task in self.waiting.values()
            )
            return
        assert was_due
        self.check_taken(batch)

    def check_taken(self, batch: Batch[Task]) -> None:
        tasks = list(batch)
        assert tasks
        assert batch.is_closed
        assert batch.size == sum(task.size for task in tasks) <= self.options.execution_batch_size
        assert len({task.shape for task in tasks}) == 1
        for task in tasks:
            assert self.waiting.pop(task.number) is task
            assert not self.has_expired(task)
            assert task.number > self.last_taken[task.shape]
            self.last_taken[task.shape] = task.number

    @rule()
    def expire(self) -> None:
        expired = self.queue.expire(self.now)
        for task in expired:
            assert self.waiting.pop(task.number) is task
            assert self.has_expired(task)
        assert not any(map(self.has_expired, self.waiting.values()))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        task = self.waiting[number]
        if self.queue.remove(task):
            del self.waiting[number]
        else:
            assert self.has_expired(task)

    def has_expired(self, task: Task) -> bool:
        return task.deadline is not None and task.deadline <= self.now

    @invariant()
    def the_books_agree(self) -> None:
        if not hasattr(self, "queue"):
            return
        alive = [task for task in self.waiting.values() if not self.has_expired(task)]
        assert len(alive) <= self.queue.num_enqueued_tasks <= len(self.waiting)
        assert self.queue.is_empty == (not self.waiting)
        assert self.queue.scheduling_capacity() >= 0
        deadlines = [task.deadline for task in alive if task.deadline is not None]
        assert all(self.queue.next_expiry() <= deadline for deadline in deadlines)
        rows = sum(task.size for task in alive)
        assert rows <= self.options.max_enqueued_batches * self.options.execution_batch_size

    def teardown(self) -> None:
        """Nothing is lost: what was not taken before comes out when the queue closes."""
        if not hasattr(self, "queue"):
            return
        self.queue.close()
        while (batch := self.queue.take(self.now)) is not None:
            self.check_taken(batch)
        self.expire()
        assert not self.waiting
        assert self.queue.is_empty


TestBatchQueue = QueueMachine.TestCase
TestBatchQueue.settings = settings(deadline=None)  # a busy machine is no failure
