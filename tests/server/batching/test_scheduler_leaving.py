"""SharedBatchScheduler: tasks that leave before they are run, and the end of queues and threads."""

import queue
import threading
from collections.abc import Iterator

import pytest

from modelserver.batching import Batch, BatchOptions, BatchTask, SharedBatchScheduler
from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    ServingError,
    UnavailableError,
)
from modelserver.testing.clock import ManualClock

AT_ONCE = BatchOptions(max_batch_size=4, batch_timeout_micros=0, max_enqueued_batches=100)
AFTER_10_MS = BatchOptions(max_batch_size=4, batch_timeout_micros=10_000)


class Task(BatchTask):
    """Remembers by which error it was told."""

    def __init__(self, name: str = "", deadline: float | None = None) -> None:
        super().__init__(deadline=deadline)
        self.name = name
        self.errors: queue.SimpleQueue[ServingError] = queue.SimpleQueue()

    def fail(self, error: ServingError) -> None:
        self.errors.put(error)

    def wait_for_error(self) -> ServingError:
        return self.errors.get(timeout=30)


class Runner:
    """Records the batches that it is given. With `blocks`, each waits until `finish`."""

    def __init__(self, *, blocks: bool = False) -> None:
        self.batches: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self._may_finish = threading.Event()
        if not blocks:
            self._may_finish.set()

    def __call__(self, batch: Batch[Task]) -> None:
        self.batches.put([task.name for task in batch])
        assert self._may_finish.wait(30)

    def next_batch(self) -> list[str]:
        return self.batches.get(timeout=30)

    def finish(self) -> None:
        self._may_finish.set()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(clock: ManualClock) -> Iterator[SharedBatchScheduler]:
    """One thread, so that batches come one after the other."""
    with SharedBatchScheduler(1, clock=clock) as scheduler:
        yield scheduler


def occupy(scheduler: SharedBatchScheduler) -> Runner:
    """Keep the thread busy until `finish`."""
    runner = Runner(blocks=True)
    scheduler.add_queue(AT_ONCE, runner).schedule(Task("busy"))
    assert runner.next_batch() == ["busy"]
    return runner


# Expiring…


def test_a_task_expires_at_its_deadline_though_all_threads_are_busy(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    runner = Runner()
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    busy = occupy(scheduler)
    task = Task("late", deadline=clock.monotonic() + 1)
    scheduled.schedule(task)
    scheduled.schedule(Task("patient"))

    clock.advance(1)
    error = task.wait_for_error()
    busy.finish()

    assert isinstance(error, DeadlineExceededError)
    assert str(error) == "Run() timeout exceeded while waiting in batching queue"
    assert runner.next_batch() == ["patient"]


def test_an_earlier_deadline_that_comes_later_is_kept(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, Runner())
    busy = occupy(scheduler)
    relaxed = Task(deadline=clock.monotonic() + 100)
    urgent = Task(deadline=clock.monotonic() + 1)
    scheduled.schedule(relaxed)
    scheduled.schedule(urgent)

    clock.advance(1)
    error = urgent.wait_for_error()
    busy.finish()

    assert isinstance(error, DeadlineExceededError)
    assert relaxed.errors.empty()


def test_a_task_that_is_late_already_is_told_and_not_run(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    runner = Runner()
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    task = Task("late", deadline=clock.monotonic() - 1)

    scheduled.schedule(task)

    assert isinstance(task.wait_for_error(), DeadlineExceededError)
    scheduled.close()
    assert runner.batches.empty()


def test_a_deadline_beyond_all_time_does_no_harm() -> None:
    runner = Runner()
    with SharedBatchScheduler(1) as scheduler:
        scheduled = scheduler.add_queue(AT_ONCE, runner)
        busy = occupy(scheduler)
        scheduled.schedule(Task("patient", deadline=1e300))
        task = Task(deadline=scheduler.clock.monotonic() + 0.001)

        scheduled.schedule(task)

        assert isinstance(task.wait_for_error(), DeadlineExceededError)
        busy.finish()
        assert runner.next_batch() == ["patient"]


# Cancelling…


def test_a_cancelled_task_is_told_and_not_run(scheduler: SharedBatchScheduler) -> None:
    runner = Runner()
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    busy = occupy(scheduler)
    task = Task("cancelled")
    scheduled.schedule(task)
    scheduled.schedule(Task("kept"))

    was_waiting = scheduled.cancel(task)
    busy.finish()

    assert was_waiting
    assert isinstance(task.wait_for_error(), CancelledError)
    assert runner.next_batch() == ["kept"]


def test_a_task_whose_run_has_begun_cannot_be_cancelled(scheduler: SharedBatchScheduler) -> None:
    runner = Runner(blocks=True)
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    task = Task("running")
    scheduled.schedule(task)
    runner.next_batch()

    was_waiting = scheduled.cancel(task)
    runner.finish()

    assert not was_waiting
    assert task.errors.empty()


# Closing…


def test_closing_runs_what_waits_without_waiting_for_more(scheduler: SharedBatchScheduler) -> None:
    runner = Runner()
    scheduled = scheduler.add_queue(AFTER_10_MS, runner)
    scheduled.schedule(Task("a"))

    scheduled.close()

    assert runner.batches.get_nowait() == ["a"]
    assert scheduled.num_enqueued_tasks() == 0


def test_closing_waits_for_the_batch_that_is_running(scheduler: SharedBatchScheduler) -> None:
    runner = Runner(blocks=True)
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    scheduled.schedule(Task("a"))
    runner.next_batch()
    events: queue.SimpleQueue[str] = queue.SimpleQueue()

    def close() -> None:
        events.put("closing")
        scheduled.close()
        events.put("closed")

    closer = threading.Thread(target=close)
    closer.start()
    assert events.get(timeout=30) == "closing"
    events.put("finishing")
    runner.finish()
    closer.join()

    assert [events.get_nowait(), events.get_nowait()] == ["finishing", "closed"]


def test_closing_ends_when_the_last_task_expired(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, Runner())
    busy = occupy(scheduler)
    task = Task(deadline=clock.monotonic() + 1)
    scheduled.schedule(task)
    closer = threading.Thread(target=scheduled.close)
    closer.start()

    clock.advance(1)
    closer.join()

    assert isinstance(task.wait_for_error(), DeadlineExceededError)
    busy.finish()


def test_closing_ends_when_the_last_task_is_cancelled(scheduler: SharedBatchScheduler) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, Runner())
    busy = occupy(scheduler)
    task = Task()
    scheduled.schedule(task)
    closer = threading.Thread(target=scheduled.close)
    closer.start()

    scheduled.cancel(task)
    closer.join()

    assert isinstance(task.wait_for_error(), CancelledError)
    busy.finish()


def test_a_closed_queue_refuses_tasks_and_can_be_closed_again(
    scheduler: SharedBatchScheduler,
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, Runner())

    scheduled.close()
    scheduled.close()

    with pytest.raises(UnavailableError, match="is closed"):
        scheduled.schedule(Task())


def test_closing_one_queue_leaves_the_others_open(scheduler: SharedBatchScheduler) -> None:
    runner = Runner()
    closed, other = scheduler.add_queue(AT_ONCE, Runner()), scheduler.add_queue(AT_ONCE, runner)

    closed.close()
    other.schedule(Task("a"))

    assert runner.next_batch() == ["a"]


def test_stopping_runs_what_waits() -> None:
    scheduler = SharedBatchScheduler(2)
    runner = Runner()
    queues = [scheduler.add_queue(AFTER_10_MS, runner) for _ in range(3)]
    for number, scheduled in enumerate(queues):
        scheduled.schedule(Task(str(number)))

    has_ended = scheduler.stop()

    assert has_ended
    assert sorted(runner.batches.get_nowait() for _ in range(3)) == [["0"], ["1"], ["2"]]


def test_stopping_tells_the_tasks_that_are_late(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, Runner())
    busy = occupy(scheduler)
    task = Task(deadline=clock.monotonic() + 1)
    scheduled.schedule(task)
    stopper = threading.Thread(target=scheduler.stop)
    stopper.start()

    clock.advance(1)
    busy.finish()
    stopper.join()

    assert isinstance(task.errors.get_nowait(), DeadlineExceededError)


def test_a_stopped_scheduler_has_no_threads_and_takes_no_queue() -> None:
    scheduler = SharedBatchScheduler(2, thread_pool_name="pool_of_this_test")

    running = {thread.name for thread in threading.enumerate()}
    scheduler.stop()
    scheduler.stop()
    left = {thread.name for thread in threading.enumerate()}

    names = {"pool_of_this_test_0", "pool_of_this_test_1", "pool_of_this_test_expiry"}
    assert names <= running
    assert not names & left
    with pytest.raises(UnavailableError, match="stopped"):
        scheduler.add_queue(AT_ONCE, Runner())


def test_stopping_gives_up_when_its_time_is_over_and_may_be_called_again(
    scheduler: SharedBatchScheduler,
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, Runner())
    busy = occupy(scheduler)

    has_ended = scheduler.stop(timeout=0)
    busy.finish()

    assert not has_ended
    assert scheduler.stop(timeout=30)
    with pytest.raises(UnavailableError, match="is closed"):
        scheduled.schedule(Task())


def test_a_task_expires_also_while_a_batch_keeps_the_scheduler_from_ending(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, Runner())
    busy = occupy(scheduler)
    task = Task(deadline=clock.monotonic() + 1)
    scheduled.schedule(task)
    scheduler.stop(timeout=0)

    clock.advance(1)

    assert isinstance(task.wait_for_error(), DeadlineExceededError)
    busy.finish()
