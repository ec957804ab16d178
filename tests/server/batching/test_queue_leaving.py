"""BatchQueue: tasks that leave before they are run, because they are removed or expire."""

import gc
import math
import sys
import weakref
from collections.abc import Callable

import pytest

from modelserver.batching import BatchOptions, BatchQueue, BatchTask
from modelserver.errors import ServingError


class Task(BatchTask):
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


# Removed…


def test_a_removed_task_is_not_run() -> None:
    queue = make_queue(timeout_micros=0)
    first, second = Task(), Task()
    queue.add(first, now=100.0)
    queue.add(second, now=100.0)

    was_waiting = queue.remove(first)

    assert was_waiting
    batch = queue.take(now=100.0)
    assert batch is not None
    assert list(batch) == [second]


def test_a_removed_task_makes_room_in_its_batch() -> None:
    queue = make_queue(size=4, enqueued=1)
    task = Task(3)
    queue.add(task, now=100.0)

    queue.remove(task)
    queue.add(Task(4), now=100.0)

    batch = queue.take(now=100.0)
    assert batch is not None
    assert [task.size for task in batch] == [4]


@pytest.mark.parametrize("size", [1, 4], ids=["open", "closed"])
def test_a_batch_that_lost_its_last_task_is_gone(size: int) -> None:
    queue = make_queue(size=4)
    task = Task(size)
    queue.add(task, now=100.0)

    queue.remove(task)

    assert queue.is_empty
    assert queue.next_due() == math.inf
    assert queue.take(now=200.0) is None


def test_a_task_can_be_removed_once() -> None:
    queue = make_queue()
    task = Task()
    queue.add(task, now=100.0)
    queue.remove(task)

    assert not queue.remove(task)


def test_a_taken_task_cannot_be_removed() -> None:
    queue = make_queue(timeout_micros=0)
    task = Task()
    queue.add(task, now=100.0)
    queue.take(now=100.0)

    assert not queue.remove(task)


def test_a_task_of_another_queue_cannot_be_removed() -> None:
    queue, other = make_queue(), make_queue()
    task = Task()
    other.add(task, now=100.0)

    assert not queue.remove(task)
    assert other.num_enqueued_tasks == 1


# Expired…


def test_tasks_expire_at_their_deadline() -> None:
    queue = make_queue()
    task = Task(deadline=105.0)
    queue.add(task, now=100.0)
    queue.add(Task(), now=100.0)

    too_early = queue.expire(now=104.9)
    expired = queue.expire(now=105.0)

    assert too_early == []
    assert expired == [task]
    assert queue.num_enqueued_tasks == 1


def test_the_queue_says_when_the_next_task_expires() -> None:
    queue = make_queue()
    queue.add(Task(), now=100.0)
    queue.add(Task(deadline=107.0), now=100.0)
    queue.add(Task(deadline=105.0), now=100.0)

    before = queue.next_expiry()
    queue.expire(now=105.0)
    after = queue.next_expiry()
    queue.expire(now=107.0)

    assert (before, after, queue.next_expiry()) == (105.0, 107.0, math.inf)


def test_an_expired_task_is_never_taken_but_left_to_be_collected() -> None:
    queue = make_queue(timeout_micros=0)
    expired, alive = Task(deadline=101.0), Task(deadline=103.0)
    queue.add(expired, now=100.0)
    queue.add(alive, now=100.0)

    batch = queue.take(now=102.0)

    assert batch is not None
    assert list(batch) == [alive]
    assert not queue.is_empty
    assert queue.expire(now=102.0) == [expired]
    assert queue.is_empty


def test_a_batch_of_expired_tasks_only_is_passed_over() -> None:
    queue = make_queue(size=1)
    alive = Task()
    queue.add(Task(deadline=101.0), now=100.0)
    queue.add(alive, now=100.0)

    batch = queue.take(now=102.0)

    assert batch is not None
    assert list(batch) == [alive]


def test_an_expired_task_cannot_be_removed() -> None:
    queue = make_queue(timeout_micros=0)
    task = Task(deadline=101.0)
    queue.add(task, now=100.0)
    queue.take(now=102.0)

    assert not queue.remove(task)


def test_tasks_expire_in_the_order_of_their_deadlines() -> None:
    queue = make_queue(enqueued=10)
    late, early, middle = Task(2, 103.0), Task(3, 101.0), Task(1, 102.0)
    for task in (late, early, middle):
        queue.add(task, now=100.0)

    assert queue.expire(now=103.0) == [early, middle, late]


def test_a_task_that_was_removed_does_not_expire_in_the_queue_that_it_left() -> None:
    queue, other = make_queue(), make_queue()
    task = Task(deadline=101.0)
    queue.add(task, now=100.0)
    queue.add(Task(), now=100.0)
    queue.remove(task)
    other.add(task, now=100.0)

    assert queue.expire(now=101.0) == []
    assert other.expire(now=101.0) == [task]


# What is left of them…


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda queue, task: queue.take(now=100.0), id="taken"),
        pytest.param(lambda queue, task: queue.remove(task), id="removed"),
        pytest.param(lambda queue, task: queue.expire(now=1e9), id="expired"),
    ],
)
def test_a_task_that_left_is_not_kept_alive_until_its_deadline(
    leave: Callable[[BatchQueue[Task], Task], object],
) -> None:
    queue = make_queue(timeout_micros=0)
    task = Task(deadline=1e6)
    is_alive = weakref.ref(task)
    gc.disable()  # so that not even a cycle keeps it
    try:
        queue.add(task, now=100.0)
        leave(queue, task)
        del task

        assert is_alive() is None
    finally:
        gc.enable()


def test_at_most_as_many_tasks_that_left_are_kept_alive_as_wait() -> None:
    queue = make_queue(size=1, timeout_micros=0, enqueued=10)
    tasks = [Task(deadline=1e6 + number) for number in range(10)]
    are_alive = [weakref.ref(task) for task in tasks]
    for task in tasks:
        queue.add(task, now=100.0)
    del task

    for _ in range(7):
        tasks.remove(tasks[0])
        queue.take(now=100.0)

    tasks.clear()
    assert sum(ref() is not None for ref in are_alive) <= 2 * queue.num_enqueued_tasks


@pytest.mark.parametrize("size", [1, 1000], ids=["a batch each", "one batch"])
@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda queue, tasks: queue.remove(tasks[-1]), id="remove"),
        pytest.param(lambda queue, tasks: queue.expire(tasks[0].deadline), id="expire"),
    ],
)
def test_leaving_takes_no_more_steps_the_more_tasks_wait(
    leave: Callable[[BatchQueue[Task], list[Task]], object], size: int
) -> None:
    def count_steps_among(num_tasks: int) -> int:
        queue = make_queue(size=size, enqueued=1000)
        tasks = [Task(deadline=200.0 + number) for number in range(num_tasks)]
        for task in tasks:
            queue.add(task, now=100.0)
        steps = count_calls(lambda: leave(queue, tasks))
        assert queue.num_enqueued_tasks == num_tasks - 1
        return steps

    assert count_steps_among(900) == count_steps_among(9)


def count_calls(work: Callable[[], object]) -> int:
    """The calls of functions, whether of Python or C, and the turns of generators."""
    events: list[str] = []
    gc.disable()  # a collection calls whoever listens to collections
    sys.setprofile(lambda _frame, event, _argument: events.append(event))
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return sum(event in ("call", "c_call") for event in events)
