"""Batch: open, then closed; tasks may leave while it waits."""

import pytest

from modelserver.batching import Batch, BatchTask
from modelserver.errors import InternalError, ServingError


class Task(BatchTask):
    __slots__ = ()

    def fail(self, error: ServingError) -> None:
        raise AssertionError("a batch answers nobody")


def test_a_task_is_one_row_that_waits_for_ever_unless_told_otherwise() -> None:
    task = Task()

    assert (task.size, task.deadline, task.shape) == (1, None, None)


def test_a_task_that_cannot_be_told_of_failure_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="fail"):
        BatchTask()  # type: ignore[abstract]  # that is what is tested


def test_a_batch_keeps_the_order_of_its_tasks_and_counts_rows() -> None:
    batch: Batch[Task] = Batch()
    tasks = [Task(1), Task(5), Task(2)]

    for task in tasks:
        batch.add(task)

    assert list(batch) == tasks
    assert len(batch) == 3
    assert batch.size == 8


def test_a_closed_batch_takes_no_task() -> None:
    batch: Batch[Task] = Batch()
    batch.close()

    with pytest.raises(InternalError, match="closed"):
        batch.add(Task())


def test_a_task_may_leave_a_closed_batch() -> None:
    batch: Batch[Task] = Batch()
    first, second = Task(3), Task(2)
    batch.add(first)
    batch.add(second)
    batch.close()

    batch.remove(first)

    assert list(batch) == [second]
    assert batch.size == 2
    assert batch.is_closed


def test_a_batch_shows_its_state() -> None:
    batch: Batch[Task] = Batch()
    batch.add(Task(4))

    assert repr(batch) == "<Batch open: 1 tasks, size 4>"
    batch.close()
    assert repr(batch) == "<Batch closed: 1 tasks, size 4>"


class Odd(Task):
    """Equal to everything, as arrays are to a truth test."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    __hash__ = None  # type: ignore[assignment]  # so are unhashable tasks


def test_tasks_are_told_apart_by_identity() -> None:
    batch: Batch[Odd] = Batch()
    first, second = Odd(), Odd()
    batch.add(first)
    batch.add(second)

    batch.remove(second)

    assert [task is first for task in batch] == [True]
