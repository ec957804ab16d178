"""SharedBatchScheduler: tasks that leave before they are run, and the end of queues and threads."""

import queue
import threading
from collections.abc import Iterator

import pytest

from modelserver.batching import BatchOptions, SharedBatchScheduler
from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    UnavailableError,
)
from modelserver.testing.batching import BatchRecorder, FakeTask
from modelserver.testing.clock import ManualClock

AT_ONCE = BatchOptions(max_batch_size=4, batch_timeout_micros=0, max_enqueued_batches=100)
AFTER_10_MS = BatchOptions(max_batch_size=4, batch_timeout_micros=10_000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(clock: ManualClock) -> Iterator[SharedBatchScheduler]:
    """One thread, so that batches come one after the other."""
    with SharedBatchScheduler(1, clock=clock) as scheduler:
        yield scheduler


def occupy(scheduler: SharedBatchScheduler) -> BatchRecorder:
    """Keep the thread busy until `finish`."""
    runner = BatchRecorder(blocks=True)
    scheduler.add_queue(AT_ONCE, runner).schedule(FakeTask("busy"))
    assert runner.next_batch() == ["busy"]
    return runner


# Expiring…


def test_a_task_expires_at_its_deadline_though_all_threads_are_busy(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    runner = BatchRecorder()
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    busy = occupy(scheduler)
    task = FakeTask("late", deadline=clock.monotonic() + 1)
    scheduled.schedule(task)
    scheduled.schedule(FakeTask("patient"))

    clock.advance(1)
    error = task.wait_for_error()
    busy.finish()

    assert isinstance(error, DeadlineExceededError)
    assert str(error) == "Run() timeout exceeded while waiting in batching queue"
    assert runner.next_batch() == ["patient"]


def test_an_earlier_deadline_that_comes_later_is_kept(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, BatchRecorder())
    busy = occupy(scheduler)
    relaxed = FakeTask(deadline=clock.monotonic() + 100)
    urgent = FakeTask(deadline=clock.monotonic() + 1)
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
    runner = BatchRecorder()
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    task = FakeTask("late", deadline=clock.monotonic() - 1)

    scheduled.schedule(task)

    assert isinstance(task.wait_for_error(), DeadlineExceededError)
    scheduled.close()
    assert runner.batches.empty()


def test_a_deadline_beyond_all_time_does_no_harm() -> None:
    runner = BatchRecorder()
    with SharedBatchScheduler(1) as scheduler:
        scheduled = scheduler.add_queue(AT_ONCE, runner)
        busy = occupy(scheduler)
        scheduled.schedule(FakeTask("patient", deadline=1e300))
        task = FakeTask(deadline=scheduler.clock.monotonic() + 0.001)

        scheduled.schedule(task)

        assert isinstance(task.wait_for_error(), DeadlineExceededError)
        busy.finish()
        assert runner.next_batch() == ["patient"]


# Cancelling…


def test_a_cancelled_task_is_told_and_not_run(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder()
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    busy = occupy(scheduler)
    task = FakeTask("cancelled")
    scheduled.schedule(task)
    scheduled.schedule(FakeTask("kept"))

    was_waiting = scheduled.cancel(task)
    busy.finish()

    assert was_waiting
    assert isinstance(task.wait_for_error(), CancelledError)
    assert runner.next_batch() == ["kept"]


def test_a_task_whose_run_has_begun_cannot_be_cancelled(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder(blocks=True)
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    task = FakeTask("running")
    scheduled.schedule(task)
    runner.next_batch()

    was_waiting = scheduled.cancel(task)
    runner.finish()

    assert not was_waiting
    assert task.errors.empty()


# Closing…


def test_closing_runs_what_waits_without_waiting_for_more(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder()
    scheduled = scheduler.add_queue(AFTER_10_MS, runner)
    scheduled.schedule(FakeTask("a"))

    scheduled.close()

    assert runner.batches.get_nowait() == ["a"]
    assert scheduled.num_enqueued_tasks() == 0


def test_closing_waits_for_the_batch_that_is_running(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder(blocks=True)
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    scheduled.schedule(FakeTask("a"))
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
    scheduled = scheduler.add_queue(AT_ONCE, BatchRecorder())
    busy = occupy(scheduler)
    task = FakeTask(deadline=clock.monotonic() + 1)
    scheduled.schedule(task)
    closer = threading.Thread(target=scheduled.close)
    closer.start()

    clock.advance(1)
    closer.join()

    assert isinstance(task.wait_for_error(), DeadlineExceededError)
    busy.finish()


def test_closing_ends_when_the_last_task_is_cancelled(scheduler: SharedBatchScheduler) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, BatchRecorder())
    busy = occupy(scheduler)
    task = FakeTask()
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
    scheduled = scheduler.add_queue(AT_ONCE, BatchRecorder())

    scheduled.close()
    scheduled.close()

    with pytest.raises(UnavailableError, match="is closed"):
        scheduled.schedule(FakeTask())


def test_closing_one_queue_leaves_the_others_open(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder()
    closed, other = (
        scheduler.add_queue(AT_ONCE, BatchRecorder()),
        scheduler.add_queue(AT_ONCE, runner),
    )

    closed.close()
    other.schedule(FakeTask("a"))

    assert runner.next_batch() == ["a"]


def test_stopping_runs_what_waits() -> None:
    scheduler = SharedBatchScheduler(2)
    runner = BatchRecorder()
    queues = [scheduler.add_queue(AFTER_10_MS, runner) for _ in range(3)]
    for number, scheduled in enumerate(queues):
        scheduled.schedule(FakeTask(str(number)))

    has_ended = scheduler.stop()

    assert has_ended
    assert sorted(runner.batches.get_nowait() for _ in range(3)) == [["0"], ["1"], ["2"]]


def test_stopping_tells_the_tasks_that_are_late(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, BatchRecorder())
    busy = occupy(scheduler)
    task = FakeTask(deadline=clock.monotonic() + 1)
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
        scheduler.add_queue(AT_ONCE, BatchRecorder())


def test_stopping_gives_up_when_its_time_is_over_and_may_be_called_again(
    scheduler: SharedBatchScheduler,
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, BatchRecorder())
    busy = occupy(scheduler)

    has_ended = scheduler.stop(timeout=0)
    busy.finish()

    assert not has_ended
    assert scheduler.stop(timeout=30)
    with pytest.raises(UnavailableError, match="is closed"):
        scheduled.schedule(FakeTask())


def test_a_task_expires_also_while_a_batch_keeps_the_scheduler_from_ending(
    scheduler: SharedBatchScheduler, clock: ManualClock
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, BatchRecorder())
    busy = occupy(scheduler)
    task = FakeTask(deadline=clock.monotonic() + 1)
    scheduled.schedule(task)
    scheduler.stop(timeout=0)

    clock.advance(1)

    assert isinstance(task.wait_for_error(), DeadlineExceededError)
    busy.finish()
