"""run_at_once: tasks are run by the thread that brings them, unless that overtakes somebody."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Self

import pytest

from modelserver.batching import (
    Batch,
    BatchOptions,
    DivisibleTask,
    ScheduledQueue,
    SharedBatchScheduler,
)
from modelserver.errors import InternalError, ServingError, UnavailableError
from modelserver.testing.batching import BatchRecorder, FakeTask
from modelserver.testing.clock import ManualClock

FOUR = BatchOptions(max_batch_size=4, batch_timeout_micros=0, max_enqueued_batches=100)
AFTER_10_MS = BatchOptions(max_batch_size=4, batch_timeout_micros=10_000)


class Letters(DivisibleTask):
    """Rows that are letters. Its parts remember their errors where it does: in `errors`."""

    __slots__ = ("errors", "name")

    def __init__(
        self, text: str, unit: int = 1, errors: list[tuple[str, ServingError]] | None = None
    ) -> None:
        super().__init__(len(text), unit)
        self.name = text
        self.errors = [] if errors is None else errors

    def take_first(self, size: int) -> Self:
        part = type(self)(self.name[:size], self.unit, self.errors)
        self.name, self.size = self.name[size:], self.size - size
        return part

    def fail(self, error: ServingError) -> None:
        self.errors.append((self.name, error))


class Runner:
    """Records the texts of batches, and the threads that ran them."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: list[int] = []

    def __call__(self, batch: Batch[Letters]) -> None:
        self.batches.append([task.name for task in batch])
        self.threads.append(threading.get_ident())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(clock: ManualClock) -> Iterator[SharedBatchScheduler]:
    with SharedBatchScheduler(1, clock=clock) as scheduler:
        yield scheduler


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def scheduled(scheduler: SharedBatchScheduler, runner: Runner) -> ScheduledQueue[Letters]:
    return scheduler.add_queue(FOUR, runner)


@pytest.fixture
def occupy(scheduler: SharedBatchScheduler) -> Iterator[Callable[[], BatchRecorder]]:
    """Keeps the scheduler's only thread busy until `finish`."""
    made: list[BatchRecorder] = []

    def occupy() -> BatchRecorder:
        made.append(BatchRecorder(blocks=True))
        scheduler.add_queue(FOUR, made[-1]).schedule(FakeTask("busy"))
        assert made[-1].next_batch() == ["busy"]
        return made[-1]

    yield occupy
    for recorder in made:
        recorder.finish()


# Running…


def test_tasks_are_run_on_the_calling_thread_before_the_call_returns(
    scheduled: ScheduledQueue[Letters], runner: Runner
) -> None:
    has_run = scheduled.run_at_once([Letters("a"), Letters("bc")])

    assert has_run
    assert runner.batches == [["a", "bc"]]
    assert runner.threads == [threading.get_ident()]


def test_large_lists_are_run_in_batches_of_the_largest_size(
    scheduled: ScheduledQueue[Letters], runner: Runner
) -> None:
    scheduled.run_at_once([Letters("abcdef"), Letters("gghhii", unit=2)])

    assert runner.batches == [["abcd"], ["ef", "gg"], ["hhii"]]


def test_the_threads_of_the_scheduler_need_not_be_free(
    scheduled: ScheduledQueue[Letters], runner: Runner, occupy: Callable[[], BatchRecorder]
) -> None:
    occupy()

    has_run = scheduled.run_at_once([Letters("ab")])

    assert has_run
    assert runner.batches == [["ab"]]


def test_a_batch_of_the_same_queue_may_be_running(
    scheduler: SharedBatchScheduler,
) -> None:
    began, may_end = threading.Event(), threading.Event()
    ran: list[str] = []

    def run(batch: Batch[Letters]) -> None:
        ran.extend(task.name for task in batch)
        if ran[-1] == "slow":
            began.set()
            assert may_end.wait(30)

    scheduled = scheduler.add_queue(FOUR, run)
    scheduled.schedule(Letters("slow", unit=4))
    assert began.wait(30)

    has_run = scheduled.run_at_once([Letters("ab")])
    may_end.set()

    assert has_run
    assert ran == ["slow", "ab"]


def test_what_was_run_at_once_is_in_the_statistics(
    scheduler: SharedBatchScheduler, scheduled: ScheduledQueue[Letters]
) -> None:
    scheduled.run_at_once([Letters("abcdef")])

    stats = scheduler.stats()
    assert (sum(stats.rows.counts), stats.rows.total) == (2, 6.0)
    assert (sum(stats.queue_seconds.counts), stats.queue_seconds.total) == (2, 0.0)
    assert stats.num_enqueued_tasks == 0


def test_what_was_refused_is_not_in_the_statistics(scheduler: SharedBatchScheduler) -> None:
    scheduler.add_queue(AFTER_10_MS, Runner()).run_at_once([Letters("abc")])

    assert sum(scheduler.stats().rows.counts) == 0


# Refusing…


def test_nothing_is_run_at_once_while_something_waits(
    scheduled: ScheduledQueue[Letters], runner: Runner, occupy: Callable[[], BatchRecorder]
) -> None:
    busy = occupy()
    scheduled.schedule(Letters("ab"))
    late = Letters("cdefgh")

    has_run = scheduled.run_at_once([late])

    assert not has_run
    assert runner.batches == []
    assert (late.name, late.size, late.errors) == ("cdefgh", 6, [])
    assert scheduled.num_enqueued_tasks() == 1
    busy.finish()


def test_what_was_not_run_at_once_can_be_queued_and_overtakes_nobody(
    scheduled: ScheduledQueue[Letters], runner: Runner, occupy: Callable[[], BatchRecorder]
) -> None:
    busy = occupy()
    scheduled.schedule(Letters("ab"))
    late = Letters("cdefgh")
    scheduled.run_at_once([late])

    scheduled.schedule_parts(late)
    busy.finish()
    scheduled.close()

    assert runner.batches == [["ab", "cd"], ["efgh"]]


def test_another_queue_s_tasks_do_not_keep_tasks_from_being_run_at_once(
    scheduler: SharedBatchScheduler,
    scheduled: ScheduledQueue[Letters],
    runner: Runner,
    occupy: Callable[[], BatchRecorder],
) -> None:
    occupy()
    other = Runner()
    scheduler.add_queue(FOUR, other).schedule(Letters("x"))

    has_run = scheduled.run_at_once([Letters("ab")])

    assert has_run
    assert (runner.batches, other.batches) == ([["ab"]], [])


def test_nothing_is_run_at_once_where_batches_wait_for_more(
    scheduler: SharedBatchScheduler, runner: Runner
) -> None:
    scheduled = scheduler.add_queue(AFTER_10_MS, runner)
    task = Letters("abcdef")

    has_run = scheduled.run_at_once([task])

    assert not has_run
    assert runner.batches == []
    assert (task.name, task.size, task.errors) == ("abcdef", 6, [])


def test_nothing_is_run_at_once_by_a_closed_queue(
    scheduled: ScheduledQueue[Letters], runner: Runner
) -> None:
    scheduled.close()
    task = Letters("abcdef")

    has_run = scheduled.run_at_once([task])

    assert not has_run
    assert runner.batches == []
    assert (task.name, task.size, task.errors) == ("abcdef", 6, [])


def test_nothing_is_run_at_once_after_the_scheduler_has_stopped(
    scheduler: SharedBatchScheduler, scheduled: ScheduledQueue[Letters], runner: Runner
) -> None:
    scheduler.stop()

    assert not scheduled.run_at_once([Letters("ab")])
    assert runner.batches == []


# Failing…


def test_what_running_raises_is_told_to_the_tasks_of_that_batch_and_the_next_one_is_run(
    scheduler: SharedBatchScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    def run(batch: Batch[Letters]) -> None:
        ran.extend(task.name for task in batch)
        if "abcd" in ran and len(ran) == 1:
            raise ZeroDivisionError("of course")

    scheduled = scheduler.add_queue(FOUR, run)
    task = Letters("abcdef")

    has_run = scheduled.run_at_once([task])

    assert has_run
    assert ran == ["abcd", "ef"]
    assert [(text, type(error)) for text, error in task.errors] == [("abcd", InternalError)]
    assert "of course" in str(task.errors[0][1])
    assert "Running <Batch" in caplog.text


def test_a_serving_error_is_told_as_it_is(scheduler: SharedBatchScheduler) -> None:
    error = UnavailableError("not now")

    def refuse(batch: Batch[Letters]) -> None:
        raise error

    tasks = [Letters("a"), Letters("b")]

    scheduler.add_queue(FOUR, refuse).run_at_once(tasks)

    assert [task.errors for task in tasks] == [[("a", error)], [("b", error)]]


def test_a_queue_whose_run_failed_can_be_closed(scheduler: SharedBatchScheduler) -> None:
    def leave(batch: Batch[Letters]) -> None:
        raise SystemExit("bye")

    scheduled = scheduler.add_queue(FOUR, leave)
    task = Letters("a")

    scheduled.run_at_once([task])
    scheduled.close()

    assert len(task.errors) == 1


# Closing…


def test_closing_waits_for_what_is_run_at_once(scheduler: SharedBatchScheduler) -> None:
    runner = BatchRecorder(blocks=True)
    scheduled = scheduler.add_queue(FOUR, runner)
    events: queue.SimpleQueue[str] = queue.SimpleQueue()
    caller = threading.Thread(target=scheduled.run_at_once, args=([Letters("ab")],))
    caller.start()
    assert runner.next_batch() == ["ab"]

    def close() -> None:
        events.put("closing")
        scheduled.close()
        events.put("closed")

    closer = threading.Thread(target=close)
    closer.start()
    assert events.get(timeout=30) == "closing"
    while not is_closed(scheduled):
        pass
    events.put("finishing")
    runner.finish()
    closer.join()
    caller.join()

    assert [events.get_nowait(), events.get_nowait()] == ["finishing", "closed"]


def is_closed(scheduled: ScheduledQueue[FakeTask]) -> bool:
    """Whether it refuses what is larger than a task may be for being closed, not for its size."""
    try:
        scheduled.schedule(FakeTask(size=5))
    except UnavailableError:
        return True
    except ServingError:
        return False
    raise AssertionError("a task of five rows was queued")


def test_what_is_run_at_once_when_the_queue_is_closed_is_run_to_its_end(
    scheduler: SharedBatchScheduler,
) -> None:
    ran: list[str] = []
    began, may_end = threading.Event(), threading.Event()

    def run(batch: Batch[Letters]) -> None:
        began.set()
        assert may_end.wait(30)
        ran.extend(task.name for task in batch)

    scheduled = scheduler.add_queue(FOUR, run)
    caller = threading.Thread(target=scheduled.run_at_once, args=([Letters("abcdefghij")],))
    caller.start()
    assert began.wait(30)
    closer = threading.Thread(target=scheduled.close)
    closer.start()

    may_end.set()
    closer.join()

    assert ran == ["abcd", "efgh", "ij"]
    caller.join()
