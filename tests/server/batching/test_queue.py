"""BatchQueue: which task joins which batch, and which batch is next. Time is an argument."""

import math
import re
from collections.abc import Hashable, Sequence

import pytest

from modelserver.batching import BatchOptions, BatchQueue, BatchTask
from modelserver.errors import InvalidArgumentError, ServingError, UnavailableError


class Task(BatchTask):
    __slots__ = ("name",)

    def __init__(
        self,
        size: int = 1,
        deadline: float | None = None,
        shape: Hashable = None,
        name: str = "",
    ) -> None:
        super().__init__(size, deadline, shape)
        self.name = name

    def fail(self, error: ServingError) -> None:
        raise AssertionError("a queue answers nobody")


def make_queue(
    size: int = 4, timeout_micros: int = 10_000_000, enqueued: int = 3
) -> BatchQueue[Task]:
    """Batches of up to 4 rows that wait up to 10 s, of which up to 3 wait."""
    options = BatchOptions(
        max_batch_size=size, batch_timeout_micros=timeout_micros, max_enqueued_batches=enqueued
    )
    return BatchQueue(options)


def split(task: Task, first_size: int, max_size: int) -> Sequence[Task]:
    sizes = [first_size]
    while sum(sizes) < task.size:
        sizes.append(min(max_size, task.size - sum(sizes)))
    return [
        Task(size, task.deadline, task.shape, f"{task.name}{number}")
        for number, size in enumerate(sizes)
    ]


def make_splitting_queue(max_task: int = 100, size: int = 4, enqueued: int = 3) -> BatchQueue[Task]:
    options = BatchOptions(
        max_batch_size=max_task,
        batch_timeout_micros=10_000_000,
        max_enqueued_batches=enqueued,
        enable_large_batch_splitting=True,
        max_execution_batch_size=size,
    )
    return BatchQueue(options, split)


def take_sizes(queue: BatchQueue[Task], now: float) -> list[list[int]]:
    """The tasks' sizes of every batch that is due."""
    batches = []
    while (batch := queue.take(now)) is not None:
        batches.append([task.size for task in batch])
    return batches


# When a batch is due…


def test_an_empty_queue_has_no_batch_and_is_never_due() -> None:
    queue = make_queue()

    assert queue.take(now=0.0) is None
    assert queue.next_due() == math.inf
    assert queue.is_empty


def test_a_batch_waits_for_more_until_its_first_task_is_as_old_as_the_timeout() -> None:
    queue = make_queue()
    queue.add(Task(), now=100.0)
    queue.add(Task(), now=109.0)

    too_early = queue.take(now=109.9)
    batch = queue.take(now=110.0)

    assert too_early is None
    assert batch is not None
    assert len(batch) == 2
    assert batch.is_closed


def test_the_queue_says_when_its_batch_is_due() -> None:
    queue = make_queue()

    queue.add(Task(), now=100.0)
    queue.add(Task(), now=105.0)

    assert queue.next_due() == 110.0


def test_without_a_timeout_what_is_there_is_taken() -> None:
    queue = make_queue(timeout_micros=0)
    queue.add(Task(), now=100.0)
    queue.add(Task(), now=100.0)

    batch = queue.take(now=100.0)

    assert batch is not None
    assert len(batch) == 2


def test_a_full_batch_is_due_at_once() -> None:
    queue = make_queue(size=4)
    queue.add(Task(3), now=100.0)
    queue.add(Task(1), now=100.0)

    batch = queue.take(now=100.0)

    assert batch is not None
    assert batch.size == 4


def test_a_batch_closes_when_the_next_task_does_not_fit() -> None:
    queue = make_queue(size=4)
    queue.add(Task(3), now=100.0)

    queue.add(Task(2), now=100.0)

    assert take_sizes(queue, now=100.0) == [[3]]
    assert take_sizes(queue, now=110.0) == [[2]]


def test_size_counts_rows_not_tasks() -> None:
    queue = make_queue(size=4, enqueued=10)
    for size in (2, 2, 1, 1, 1, 1, 4):
        queue.add(Task(size), now=100.0)

    batches = take_sizes(queue, now=100.0)

    assert batches == [[2, 2], [1, 1, 1, 1], [4]]


def test_a_taken_batch_gets_no_further_task() -> None:
    queue = make_queue(timeout_micros=0)
    queue.add(Task(1), now=100.0)
    taken = queue.take(now=100.0)

    queue.add(Task(2), now=100.0)

    assert taken is not None
    assert taken.size == 1
    assert take_sizes(queue, now=100.0) == [[2]]


def test_adding_tells_when_the_time_to_look_may_have_changed() -> None:
    queue = make_queue(size=4)

    opened = queue.add(Task(), now=100.0)
    joined = queue.add(Task(), now=100.0)
    filled = queue.add(Task(2), now=100.0)

    assert (opened, joined, filled) == (True, False, True)


def test_without_a_timeout_filling_a_batch_is_no_news() -> None:
    queue = make_queue(size=2, timeout_micros=0)

    opened = queue.add(Task(), now=100.0)
    filled = queue.add(Task(), now=100.0)

    assert (opened, filled) == (True, False)


# Shapes…


def test_tasks_of_different_shape_never_share_a_batch() -> None:
    queue = make_queue(size=4)
    for shape in ("a", "b", "a", "b"):
        queue.add(Task(2, shape=shape), now=100.0)

    first, second = queue.take(now=100.0), queue.take(now=100.0)

    assert first is not None
    assert second is not None
    assert [task.shape for task in first] == ["a", "a"]
    assert [task.shape for task in second] == ["b", "b"]


def test_a_due_batch_of_a_rare_shape_goes_before_younger_full_ones() -> None:
    queue = make_queue(size=2)
    queue.add(Task(1, shape="rare"), now=100.0)
    queue.add(Task(2, shape="common"), now=105.0)

    batch = queue.take(now=110.0)

    assert batch is not None
    assert batch.shape == "rare"


def test_a_full_batch_goes_before_an_older_one_that_is_not_due() -> None:
    queue = make_queue(size=2)
    queue.add(Task(1, shape="rare"), now=100.0)
    queue.add(Task(2, shape="common"), now=105.0)

    batch = queue.take(now=109.0)

    assert batch is not None
    assert batch.shape == "common"


def test_the_limit_of_batches_is_of_the_queue_not_of_a_shape() -> None:
    queue = make_queue(enqueued=2)
    queue.add(Task(shape="a"), now=100.0)
    queue.add(Task(shape="b"), now=100.0)

    with pytest.raises(UnavailableError):
        queue.add(Task(shape="c"), now=100.0)

    queue.add(Task(shape="a"), now=100.0)
    assert queue.num_enqueued_tasks == 3


# Refusals…


def test_a_task_larger_than_a_batch_is_refused() -> None:
    queue = make_queue(size=4)

    with pytest.raises(
        InvalidArgumentError, match=r"^Task size 5 is larger than maximum input batch size 4$"
    ):
        queue.add(Task(5), now=100.0)

    assert queue.is_empty


@pytest.mark.parametrize("size", [0, -1])
def test_a_task_without_rows_is_refused(size: int) -> None:
    queue = make_queue()
    queue.add(Task(), now=100.0)

    with pytest.raises(InvalidArgumentError, match="positive"):
        queue.add(Task(size), now=100.0)


def test_a_full_queue_is_unavailable_and_says_how_full() -> None:
    queue = make_queue(size=4, enqueued=3)
    for _ in range(3):
        queue.add(Task(3), now=100.0)

    with pytest.raises(UnavailableError) as refusal:
        queue.add(Task(3), now=100.0)

    assert str(refusal.value) == (
        "The batch scheduling queue to which this task was submitted is full; currently 3 batches "
        "enqueued and max_enqueued_batches is 3"
    )


def test_a_full_queue_still_fills_its_open_batch() -> None:
    queue = make_queue(size=4, enqueued=2)
    for size in (3, 3):
        queue.add(Task(size), now=100.0)

    queue.add(Task(1), now=100.0)

    assert take_sizes(queue, now=100.0) == [[3], [3, 1]]


def test_a_refused_task_changes_nothing() -> None:
    queue = make_queue(size=4, enqueued=1)
    queue.add(Task(3), now=100.0)

    with pytest.raises(UnavailableError):
        queue.add(Task(3), now=101.0)

    assert queue.next_due() == 110.0
    assert take_sizes(queue, now=110.0) == [[3]]


def test_taking_a_batch_makes_room() -> None:
    queue = make_queue(size=4, enqueued=1)
    queue.add(Task(4), now=100.0)

    queue.take(now=100.0)

    queue.add(Task(4), now=100.0)
    assert queue.num_enqueued_tasks == 1


def test_the_capacity_is_the_rows_that_are_sure_of_a_place() -> None:
    queue = make_queue(size=4, enqueued=3)

    empty = queue.scheduling_capacity()
    queue.add(Task(3), now=100.0)
    open_batch = queue.scheduling_capacity()
    of_another_shape = queue.scheduling_capacity("other")

    assert (empty, open_batch, of_another_shape) == (12, 9, 8)


# Large tasks…


def test_splitting_needs_a_function_that_splits() -> None:
    options = BatchOptions(enable_large_batch_splitting=True)

    with pytest.raises(
        InvalidArgumentError,
        match=r"^split_input_task_func must be specified when split_input_task is true: 1$",
    ):
        BatchQueue(options)


def test_a_large_task_fills_the_open_batch_and_then_further_ones() -> None:
    queue = make_splitting_queue(size=4)
    queue.add(Task(3), now=100.0)

    queue.add(Task(7), now=100.0)

    assert take_sizes(queue, now=100.0) == [[3, 1], [4]]
    assert take_sizes(queue, now=110.0) == [[2]]


def test_a_task_that_would_fill_a_batch_of_its_own_is_split_too() -> None:
    queue = make_splitting_queue(size=4)
    queue.add(Task(3), now=100.0)

    queue.add(Task(3), now=100.0)

    assert take_sizes(queue, now=100.0) == [[3, 1]]
    assert take_sizes(queue, now=110.0) == [[2]]


def test_a_large_task_in_an_empty_queue_is_split_at_the_batch_size() -> None:
    queue = make_splitting_queue(size=4)

    queue.add(Task(10), now=100.0)

    assert take_sizes(queue, now=110.0) == [[4], [4], [2]]


def test_a_task_that_fits_is_not_split() -> None:
    queue = make_splitting_queue(size=4)

    queue.add(Task(1, name="a"), now=100.0)
    queue.add(Task(3, name="b"), now=100.0)

    batch = queue.take(now=100.0)
    assert batch is not None
    assert [task.name for task in batch] == ["a", "b"]


def test_a_task_larger_than_all_room_is_unavailable_and_says_why() -> None:
    queue = make_splitting_queue(size=4, enqueued=3)
    queue.add(Task(3), now=100.0)

    with pytest.raises(UnavailableError) as refusal:
        queue.add(Task(10), now=100.0)

    assert str(refusal.value) == (
        "The batch scheduling queue to which this task was submitted is full; task size is 10 but "
        "scheduling capacity is only 9 (num_enqueued_batches=1, max_enqueued_batches=3, "
        "open_batch_size=3, max_execution_batch_size=4)"
    )
    assert queue.num_enqueued_tasks == 1


def test_a_task_larger_than_a_task_may_be_is_refused_also_with_splitting() -> None:
    queue = make_splitting_queue(max_task=9, size=4)

    with pytest.raises(
        InvalidArgumentError, match=re.escape("is larger than maximum input batch size 9")
    ):
        queue.add(Task(10), now=100.0)


def test_a_function_that_splits_is_not_used_unless_splitting_is_enabled() -> None:
    queue: BatchQueue[Task] = BatchQueue(BatchOptions(max_batch_size=4), split)
    queue.add(Task(3), now=100.0)

    queue.add(Task(3), now=100.0)

    assert take_sizes(queue, now=200.0) == [[3], [3]]


def test_a_function_that_splits_may_keep_whole_what_fits_a_batch() -> None:
    options = BatchOptions(
        max_batch_size=8,
        max_enqueued_batches=2,
        enable_large_batch_splitting=True,
        max_execution_batch_size=4,
    )
    queue: BatchQueue[Task] = BatchQueue(options, lambda task, *_: [task])
    queue.add(Task(3), now=100.0)

    queue.add(Task(3), now=100.0)

    assert take_sizes(queue, now=200.0) == [[3], [3]]


# Closing…


def test_a_closed_queue_holds_nothing_back() -> None:
    queue = make_queue()
    queue.add(Task(shape="a"), now=100.0)
    queue.add(Task(shape="b"), now=100.0)

    queue.close()

    assert queue.next_due() == -math.inf
    assert take_sizes(queue, now=100.0) == [[1], [1]]


def test_a_closed_queue_refuses_tasks() -> None:
    queue = make_queue()
    queue.add(Task(), now=100.0)
    queue.close()

    with pytest.raises(UnavailableError, match="closed"):
        queue.add(Task(), now=100.0)
