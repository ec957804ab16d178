"""SharedBatchScheduler and BasicBatchScheduler, on real threads."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from modelserver.batching import (
    BasicBatchScheduler,
    Batch,
    BatchOptions,
    ScheduledQueue,
    SharedBatchScheduler,
)
from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    ServingError,
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
def make_scheduler(clock: ManualClock) -> Iterator[Callable[[int], SharedBatchScheduler]]:
    made: list[SharedBatchScheduler] = []

    def make(num_batch_threads: int) -> SharedBatchScheduler:
        made.append(SharedBatchScheduler(num_batch_threads, clock=clock))
        return made[-1]

    yield make
    for scheduler in made:
        scheduler.stop()


@pytest.fixture
def scheduler(make_scheduler: Callable[[int], SharedBatchScheduler]) -> SharedBatchScheduler:
    """One thread, so that batches come one after the other."""
    return make_scheduler(1)


def occupy(scheduler: SharedBatchScheduler) -> BatchRecorder:
    """Keep one thread busy until `finish`."""
    runner = BatchRecorder(blocks=True)
    scheduler.add_queue(AT_ONCE, runner).schedule(FakeTask("busy"))
    assert runner.next_batch() == ["busy"]
    return runner


# Running…


def test_a_task_without_timeout_is_run_at_once(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder()
    scheduled = scheduler.add_queue(AT_ONCE, runner)

    scheduled.schedule(FakeTask("a"))

    assert runner.next_batch() == ["a"]


def test_what_comes_while_all_threads_are_busy_shares_a_batch(
    scheduler: SharedBatchScheduler,
) -> None:
    runner = BatchRecorder()
    scheduled = scheduler.add_queue(AT_ONCE, runner)
    busy = occupy(scheduler)
    for name in "abcdef":
        scheduled.schedule(FakeTask(name))

    busy.finish()

    assert runner.next_batch() == ["a", "b", "c", "d"]
    assert runner.next_batch() == ["e", "f"]


def test_a_batch_waits_for_its_timeout(scheduler: SharedBatchScheduler, clock: ManualClock) -> None:
    runner = BatchRecorder()
    scheduled = scheduler.add_queue(AFTER_10_MS, runner)
    scheduled.schedule(FakeTask("a"))
    clock.advance(0.009)
    scheduled.schedule(FakeTask("b"))

    clock.advance(0.001)

    assert runner.next_batch() == ["a", "b"]


def test_a_full_batch_does_not_wait(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder()
    scheduled = scheduler.add_queue(AFTER_10_MS, runner)

    for name in "abcd":
        scheduled.schedule(FakeTask(name))

    assert runner.next_batch() == ["a", "b", "c", "d"]


def test_each_of_several_waiting_batches_is_run_at_its_own_time(
    make_scheduler: Callable[[int], SharedBatchScheduler], clock: ManualClock
) -> None:
    scheduler = make_scheduler(2)
    slow, fast = BatchRecorder(), BatchRecorder()
    slow_queue = scheduler.add_queue(BatchOptions(batch_timeout_micros=20_000_000), slow)
    fast_queue = scheduler.add_queue(BatchOptions(batch_timeout_micros=5_000_000), fast)

    slow_queue.schedule(FakeTask("slow"))
    fast_queue.schedule(FakeTask("fast"))
    clock.advance(5)
    first = fast.next_batch()
    has_slow_run = not slow.batches.empty()
    clock.advance(15)

    assert first == ["fast"]
    assert not has_slow_run
    assert slow.next_batch() == ["slow"]


# On the machine's own clock: the fake one wakes every thread whenever it moves, needed or not.


def test_batches_run_at_their_timeouts_one_after_the_other() -> None:
    runner = BatchRecorder()
    with SharedBatchScheduler(1) as scheduler:
        scheduled = scheduler.add_queue(BatchOptions(batch_timeout_micros=100), runner)
        batches = []

        for name in ("a", "b", "c"):
            scheduled.schedule(FakeTask(name))
            batches.append(runner.next_batch())

    assert batches == [["a"], ["b"], ["c"]]


def test_a_batch_runs_at_its_timeout_though_the_thread_that_watched_the_time_is_busy() -> None:
    first, second = BatchRecorder(blocks=True), BatchRecorder()
    with SharedBatchScheduler(2) as scheduler:
        sooner = scheduler.add_queue(BatchOptions(batch_timeout_micros=1000), first)
        later = scheduler.add_queue(BatchOptions(batch_timeout_micros=2000), second)

        sooner.schedule(FakeTask("sooner"))
        later.schedule(FakeTask("later"))

        assert first.next_batch() == ["sooner"]
        assert second.next_batch() == ["later"]
        first.finish()


def test_a_batch_that_is_due_does_not_wait_for_one_that_is_not() -> None:
    runner = BatchRecorder()
    one_hour = BatchOptions(max_batch_size=2, batch_timeout_micros=3_600_000_000)
    with SharedBatchScheduler(1) as scheduler:
        patient = scheduler.add_queue(one_hour, runner)
        patient.schedule(FakeTask("half of a batch"))
        filled = scheduler.add_queue(one_hour, runner)

        filled.schedule(FakeTask("a"))
        filled.schedule(FakeTask("b"))
        full = runner.next_batch()
        scheduler.add_queue(AT_ONCE, runner).schedule(FakeTask("c"))
        without_timeout = runner.next_batch()

    assert full == ["a", "b"]
    assert without_timeout == ["c"]


def test_queues_take_turns(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder()
    one_row = BatchOptions(max_batch_size=1, batch_timeout_micros=0)
    first, second = scheduler.add_queue(one_row, runner), scheduler.add_queue(one_row, runner)
    busy = occupy(scheduler)
    for name in ("a1", "a2", "a3"):
        first.schedule(FakeTask(name))
    for name in ("b1", "b2", "b3"):
        second.schedule(FakeTask(name))

    busy.finish()

    order = [runner.next_batch()[0] for _ in range(6)]
    assert order == ["a1", "b1", "a2", "b2", "a3", "b3"]


def test_as_many_batches_as_threads_run_at_once(
    make_scheduler: Callable[[int], SharedBatchScheduler],
) -> None:
    scheduler = make_scheduler(3)
    together = threading.Barrier(4)
    one_row = BatchOptions(max_batch_size=1, batch_timeout_micros=0)
    scheduled: ScheduledQueue[FakeTask] = scheduler.add_queue(one_row, lambda _: ignore(together))

    for _ in range(3):
        scheduled.schedule(FakeTask())

    together.wait(30)  # passes once all three batches are there too


def ignore(together: threading.Barrier) -> None:
    together.wait(30)


def test_every_task_of_many_threads_is_run_once(
    make_scheduler: Callable[[int], SharedBatchScheduler],
) -> None:
    scheduler = make_scheduler(2)
    ran: list[str] = []
    limits = BatchOptions(max_batch_size=7, batch_timeout_micros=0, max_enqueued_batches=10_000)
    scheduled: ScheduledQueue[FakeTask] = scheduler.add_queue(
        limits, lambda batch: ran.extend(task.name for task in batch)
    )

    def schedule_some(number: int) -> None:
        for other in range(200):
            scheduled.schedule(FakeTask(f"{number}.{other}", shape=other % 3))

    clients = [threading.Thread(target=schedule_some, args=[number]) for number in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    scheduled.close()

    assert sorted(ran) == sorted(f"{n}.{other}" for n in range(4) for other in range(200))


def test_a_batch_may_schedule_further_tasks(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder()
    second = scheduler.add_queue(AT_ONCE, runner)
    first: ScheduledQueue[FakeTask] = scheduler.add_queue(
        AT_ONCE, lambda _: second.schedule(FakeTask("second"))
    )

    first.schedule(FakeTask("first"))

    assert runner.next_batch() == ["second"]


def test_no_task_is_kept_alive_after_its_run_not_even_as_garbage(
    scheduler: SharedBatchScheduler,
) -> None:
    scheduled = scheduler.add_queue(AT_ONCE, BatchRecorder())
    task = FakeTask()
    is_alive = weakref.ref(task)
    gc.disable()  # a cycle would be found only later, and hold the data until then
    try:
        scheduled.schedule(task)
        del task

        scheduled.close()

        assert is_alive() is None
    finally:
        gc.enable()


# Refusing…


def test_a_full_queue_answers_unavailable_and_does_not_disturb_others(
    scheduler: SharedBatchScheduler,
) -> None:
    small = BatchOptions(max_batch_size=1, batch_timeout_micros=0, max_enqueued_batches=1)
    runner, other_runner = BatchRecorder(), BatchRecorder()
    scheduled, other = scheduler.add_queue(small, runner), scheduler.add_queue(small, other_runner)
    busy = occupy(scheduler)
    scheduled.schedule(FakeTask("first"))
    refused = FakeTask("refused")

    with pytest.raises(UnavailableError, match="is full"):
        scheduled.schedule(refused)
    other.schedule(FakeTask("other"))
    busy.finish()

    assert runner.next_batch() == ["first"]
    assert other_runner.next_batch() == ["other"]
    assert refused.errors.empty()


def test_the_queue_counts_what_waits_and_what_it_has_room_for(
    scheduler: SharedBatchScheduler,
) -> None:
    scheduled = scheduler.add_queue(
        BatchOptions(max_batch_size=4, max_enqueued_batches=2), BatchRecorder()
    )

    scheduled.schedule(FakeTask(size=3))

    assert scheduled.num_enqueued_tasks() == 1
    assert scheduled.scheduling_capacity() == 5
    assert repr(scheduled) == "<ScheduledQueue: 1 tasks, 0 running>"


def test_a_scheduler_needs_a_thread() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^num_batch_threads must be positive; was 0$"):
        SharedBatchScheduler(0)


# Failing…


class Panic(BaseException):
    """As extensions in Rust raise them: no Exception."""


def test_the_tasks_of_a_batch_that_raises_are_told(
    scheduler: SharedBatchScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(_: Batch[FakeTask]) -> None:
        raise RuntimeError("no more memory in the toaster")

    scheduled: ScheduledQueue[FakeTask] = scheduler.add_queue(AFTER_10_MS, break_down)
    tasks = [FakeTask(name) for name in "abcd"]
    with caplog.at_level(logging.ERROR):
        for task in tasks:
            scheduled.schedule(task)
        errors = [task.wait_for_error() for task in tasks]

    assert all(isinstance(error, InternalError) for error in errors)
    assert {str(error) for error in errors} == {"RuntimeError: no more memory in the toaster"}
    assert "Running <Batch closed: 4 tasks, size 4> failed" in caplog.text


@pytest.mark.parametrize(
    "error", [RuntimeError(), Panic(), SystemExit(1), asyncio.CancelledError()]
)
def test_a_batch_costs_no_thread_whatever_it_raises(
    scheduler: SharedBatchScheduler, error: BaseException
) -> None:
    runner = BatchRecorder()

    def break_down(_: Batch[FakeTask]) -> None:
        raise error

    broken: ScheduledQueue[FakeTask] = scheduler.add_queue(AT_ONCE, break_down)
    healthy = scheduler.add_queue(AT_ONCE, runner)
    task = FakeTask()
    broken.schedule(task)
    refusal = task.wait_for_error()

    healthy.schedule(FakeTask("healthy"))

    assert isinstance(refusal, InternalError)
    assert runner.next_batch() == ["healthy"]
    broken.close()


@pytest.mark.parametrize("complaint", [RuntimeError("what?"), Panic("what?")])
def test_a_task_that_cannot_take_its_error_keeps_nobody_from_theirs(
    scheduler: SharedBatchScheduler, clock: ManualClock, complaint: BaseException
) -> None:
    class Deaf(FakeTask):
        def fail(self, error: ServingError) -> None:
            raise complaint

    scheduled = scheduler.add_queue(AFTER_10_MS, BatchRecorder())
    task = FakeTask(deadline=clock.monotonic() + 0.001)
    scheduled.schedule(Deaf(deadline=clock.monotonic() + 0.001))
    scheduled.schedule(task)

    clock.advance(0.001)

    assert isinstance(task.wait_for_error(), DeadlineExceededError)


# One queue…


def test_a_basic_scheduler_batches_and_stops() -> None:
    runner = BatchRecorder()
    with BasicBatchScheduler(AFTER_10_MS, runner, num_batch_threads=1) as basic:
        for name in "abcd":
            basic.schedule(FakeTask(name))

        assert runner.next_batch() == ["a", "b", "c", "d"]

    assert basic.stop(timeout=30)
    with pytest.raises(UnavailableError):
        basic.schedule(FakeTask())


def test_a_basic_scheduler_cancels_and_counts(clock: ManualClock) -> None:
    limits = BatchOptions(max_batch_size=4, max_enqueued_batches=2)
    with BasicBatchScheduler(limits, BatchRecorder(), num_batch_threads=1, clock=clock) as basic:
        task = FakeTask()
        basic.schedule(task)

        waiting = (basic.num_enqueued_tasks(), basic.scheduling_capacity())
        was_waiting = basic.cancel(task)

        assert waiting == (1, 7)
        assert was_waiting
        assert isinstance(task.wait_for_error(), CancelledError)
        assert (basic.num_enqueued_tasks(), basic.scheduling_capacity()) == (0, 8)


def test_a_basic_scheduler_splits_large_tasks() -> None:
    runner = BatchRecorder()
    limits = BatchOptions(
        max_batch_size=8,
        batch_timeout_micros=0,
        enable_large_batch_splitting=True,
        max_execution_batch_size=4,
    )

    def split(task: FakeTask, first_size: int, max_size: int) -> list[FakeTask]:
        assert (first_size, max_size) == (4, 4)
        return [FakeTask(f"{task.name}1", 4), FakeTask(f"{task.name}2", 2)]

    with BasicBatchScheduler(limits, runner, num_batch_threads=1, split=split) as basic:
        basic.schedule(FakeTask("a", size=6))

        assert [runner.next_batch(), runner.next_batch()] == [["a1"], ["a2"]]


def test_batches_are_counted_by_their_rows_and_by_how_long_they_waited(
    make_scheduler: Callable[[int], SharedBatchScheduler], clock: ManualClock
) -> None:
    scheduler = make_scheduler(1)
    recorder = BatchRecorder(blocks=True)
    queue = scheduler.add_queue(AT_ONCE, recorder)
    queue.schedule(FakeTask("first", size=1))
    recorder.next_batch()  # the thread is busy from here on
    queue.schedule(FakeTask("second", size=3))
    assert scheduler.stats().num_enqueued_tasks == 1

    clock.advance(0.2)
    recorder.finish()
    recorder.next_batch()

    stats = scheduler.stats()
    rows = dict(zip(stats.rows.bounds, stats.rows.counts, strict=False))
    assert {bound: count for bound, count in rows.items() if count} == {1.0: 1, 4.0: 1}
    assert stats.rows.total == 4.0
    assert stats.queue_seconds.total == pytest.approx(0.2)
    assert stats.num_enqueued_tasks == 0
