"""DivisibleTask: lists are divided as batches have room, and nothing is lost or overtaken."""

import threading
from collections.abc import Callable, Hashable, Iterator
from itertools import pairwise
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.batching import (
    BasicBatchScheduler,
    Batch,
    BatchOptions,
    BatchQueue,
    DivisibleTask,
    ScheduledQueue,
    SharedBatchScheduler,
)
from modelserver.batching.task import fill_batches
from modelserver.errors import InvalidArgumentError, ServingError, UnavailableError
from modelserver.testing.batching import BatchRecorder, FakeTask
from modelserver.testing.clock import ManualClock

FOUR = BatchOptions(max_batch_size=4, batch_timeout_micros=0, max_enqueued_batches=100)
AFTER_10_MS = BatchOptions(max_batch_size=4, batch_timeout_micros=10_000)


class Letters(DivisibleTask):
    """Rows that are letters. Its parts remember their errors where it does: in `refused`."""

    __slots__ = ("name", "refused")

    def __init__(
        self,
        text: str,
        unit: int = 1,
        shape: Hashable = None,
        refused: list[tuple[str, ServingError]] | None = None,
    ) -> None:
        super().__init__(len(text), unit, shape)
        self.name = text
        self.refused = [] if refused is None else refused

    def take_first(self, size: int) -> Self:
        assert 0 < size < self.size
        assert size % self.unit == 0
        part = type(self)(self.name[:size], self.unit, self.shape, self.refused)
        self.name, self.size = self.name[size:], self.size - size
        return part

    def fail(self, error: ServingError) -> None:
        self.refused.append((self.name, error))

    @property
    def refused_text(self) -> str:
        return "".join(text for text, _ in self.refused)


def texts(batches: list[Batch[DivisibleTask]]) -> list[list[str]]:
    return [[task.name for task in batch if isinstance(task, Letters)] for batch in batches]


# Without a queue…


def test_tasks_that_fit_one_batch_share_it_undivided() -> None:
    tasks = [Letters("ab", shape="s"), Letters("cd", shape="s")]

    batches = fill_batches(tasks, 4)

    assert texts(batches) == [["ab", "cd"]]
    (batch,) = batches
    assert (len(batch), batch.size, batch.shape, batch.is_closed) == (2, 4, "s", True)
    assert list(batch) == tasks


def test_a_task_is_divided_where_a_batch_is_full() -> None:
    assert texts(fill_batches([Letters("abcdefghij")], 4)) == [["abcd"], ["efgh"], ["ij"]]


def test_the_last_part_is_the_task_itself() -> None:
    task = Letters("abcdef")

    *_, last = fill_batches([task], 4)

    assert list(last) == [task]


def test_the_next_task_joins_what_the_one_before_left_open() -> None:
    batches = fill_batches([Letters("abcdef"), Letters("ghijk")], 4)

    assert texts(batches) == [["abcd"], ["ef", "gh"], ["ijk"]]


def test_a_task_is_divided_between_its_parts_only() -> None:
    batches = fill_batches([Letters("a"), Letters("bbccdd", unit=2), Letters("eeefff", unit=3)], 4)

    assert texts(batches) == [["a", "bb"], ["ccdd"], ["eee"], ["fff"]]


def test_a_part_that_a_batch_has_no_room_for_begins_the_next_one() -> None:
    batches = fill_batches([Letters("abc"), Letters("ddeeff", unit=2)], 4)

    assert texts(batches) == [["abc"], ["ddee"], ["ff"]]


def test_parts_that_fill_batches_exactly_leave_none_empty() -> None:
    batches = fill_batches([Letters("abcd"), Letters("eeff", unit=2), Letters("gggg", unit=4)], 4)

    assert texts(batches) == [["abcd"], ["eeff"], ["gggg"]]


@st.composite
def lists_of_letters(draw: st.DrawFn, max_size: int, shapes: str = "a") -> list[Letters]:
    tasks = []
    for _ in range(draw(st.integers(1, 8))):
        unit = draw(st.integers(1, max_size))
        count = draw(st.integers(1, 12))
        start = sum(task.size for task in tasks)
        text = "".join(chr(1000 + start + row) for row in range(unit * count))
        tasks.append(Letters(text, unit, draw(st.sampled_from(shapes))))
    return tasks


def check_batch(batch: Batch[DivisibleTask], max_size: int) -> None:
    assert len(batch) > 0
    assert batch.is_closed
    assert batch.size == sum(task.size for task in batch) <= max_size
    assert all(task.size > 0 and task.size % task.unit == 0 for task in batch)


@given(data=st.data(), max_size=st.integers(1, 9))
def test_whatever_is_put_into_batches_comes_out_in_order(
    data: st.DataObject, max_size: int
) -> None:
    tasks = data.draw(lists_of_letters(max_size))
    submitted = "".join(task.name for task in tasks)

    batches = fill_batches(tasks, max_size)

    assert "".join("".join(names) for names in texts(batches)) == submitted
    for batch in batches:
        check_batch(batch, max_size)


@given(data=st.data(), max_size=st.integers(1, 9))
def test_no_batch_is_closed_while_the_next_part_would_fit(
    data: st.DataObject, max_size: int
) -> None:
    batches = fill_batches(data.draw(lists_of_letters(max_size)), max_size)

    for batch, following in pairwise(batches):
        assert batch.size + next(iter(following)).unit > max_size


# What a queue has room for…


@pytest.fixture
def waiting() -> BatchQueue[FakeTask]:
    """A queue in which three rows of shape "s" wait in an open batch of up to four."""
    batches: BatchQueue[FakeTask] = BatchQueue(FOUR)
    batches.add(FakeTask(size=3, shape="s"), now=0.0)
    return batches


def test_there_is_room_for_what_the_open_batch_has_left(waiting: BatchQueue[FakeTask]) -> None:
    assert waiting.room("s", 1) == 1


def test_a_part_that_the_open_batch_has_no_room_for_has_a_whole_one(
    waiting: BatchQueue[FakeTask],
) -> None:
    assert waiting.room("s", 2) == 4


def test_another_shape_has_a_whole_batch(waiting: BatchQueue[FakeTask]) -> None:
    assert waiting.room("t", 1) == 4


def test_a_part_larger_than_a_batch_has_no_room(waiting: BatchQueue[FakeTask]) -> None:
    assert waiting.room("s", 5) == 4


# Whether one may be run at once…


def test_an_empty_queue_without_timeout_is_ready() -> None:
    assert BatchQueue[FakeTask](FOUR).is_ready


def test_a_queue_in_which_something_waits_is_not_ready(waiting: BatchQueue[FakeTask]) -> None:
    assert not waiting.is_ready


def test_a_queue_is_ready_again_when_what_waited_has_been_taken(
    waiting: BatchQueue[FakeTask],
) -> None:
    waiting.take(now=0.0)

    assert waiting.is_ready


def test_a_queue_with_a_timeout_is_never_ready() -> None:
    assert not BatchQueue[FakeTask](AFTER_10_MS).is_ready


def test_a_closed_queue_is_not_ready() -> None:
    batches: BatchQueue[FakeTask] = BatchQueue(FOUR)
    batches.close()

    assert not batches.is_ready


# Through a queue…


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(clock: ManualClock) -> Iterator[SharedBatchScheduler]:
    """One thread, so that batches come one after the other."""
    with SharedBatchScheduler(1, clock=clock) as scheduler:
        yield scheduler


Recorded = tuple[ScheduledQueue[Letters], BatchRecorder]


@pytest.fixture
def make_queue(scheduler: SharedBatchScheduler) -> Callable[[BatchOptions], Recorded]:
    """A queue whose batches' texts are recorded."""

    def make(options: BatchOptions) -> Recorded:
        runner = BatchRecorder()
        # It asks tasks for their names, and no more.
        return scheduler.add_queue(options, runner), runner  # type: ignore[arg-type]

    return make


@pytest.fixture
def busy(scheduler: SharedBatchScheduler) -> Iterator[BatchRecorder]:
    """Keeps the thread busy until `finish`, so that what comes meanwhile waits."""
    runner = BatchRecorder(blocks=True)
    scheduler.add_queue(FOUR, runner).schedule(FakeTask("busy"))
    assert runner.next_batch() == ["busy"]
    yield runner
    runner.finish()


def drain(scheduled: ScheduledQueue[Letters], runner: BatchRecorder) -> list[list[str]]:
    """What was run, once all has been."""
    scheduled.close()
    return [runner.next_batch() for _ in range(runner.batches.qsize())]


def test_a_list_that_fits_is_one_task(
    make_queue: Callable[[BatchOptions], Recorded], busy: BatchRecorder
) -> None:
    scheduled, runner = make_queue(FOUR)

    scheduled.schedule_parts(Letters("abc"))

    assert scheduled.num_enqueued_tasks() == 1
    busy.finish()
    assert drain(scheduled, runner) == [["abc"]]


def test_a_large_list_is_run_in_several_batches_of_the_largest_size(
    make_queue: Callable[[BatchOptions], Recorded],
) -> None:
    scheduled, runner = make_queue(FOUR)

    scheduled.schedule_parts(Letters("abcdefghij"))

    assert drain(scheduled, runner) == [["abcd"], ["efgh"], ["ij"]]


def test_a_list_joins_the_open_batch(
    make_queue: Callable[[BatchOptions], Recorded], busy: BatchRecorder
) -> None:
    scheduled, runner = make_queue(FOUR)
    scheduled.schedule(Letters("ab"))

    scheduled.schedule_parts(Letters("cdefgh"))
    scheduled.schedule(Letters("ij"))

    busy.finish()
    assert drain(scheduled, runner) == [["ab", "cd"], ["efgh"], ["ij"]]


def test_a_task_joins_the_batch_that_a_list_left_open(
    make_queue: Callable[[BatchOptions], Recorded], busy: BatchRecorder
) -> None:
    scheduled, runner = make_queue(FOUR)

    scheduled.schedule_parts(Letters("abcde"))
    scheduled.schedule(Letters("fg"))

    busy.finish()
    assert drain(scheduled, runner) == [["abcd"], ["e", "fg"]]


def test_a_list_whose_parts_do_not_fit_the_open_batch_begins_another(
    make_queue: Callable[[BatchOptions], Recorded], busy: BatchRecorder
) -> None:
    scheduled, runner = make_queue(FOUR)
    scheduled.schedule(Letters("abc"))

    scheduled.schedule_parts(Letters("ddeeff", unit=2))

    busy.finish()
    assert drain(scheduled, runner) == [["abc"], ["ddee"], ["ff"]]


def test_lists_of_different_shapes_do_not_share_a_batch(
    make_queue: Callable[[BatchOptions], Recorded], busy: BatchRecorder
) -> None:
    scheduled, runner = make_queue(FOUR)

    scheduled.schedule_parts(Letters("ab", shape="s"))
    scheduled.schedule_parts(Letters("cd", shape="t"))

    busy.finish()
    assert drain(scheduled, runner) == [["ab"], ["cd"]]


def test_what_is_more_than_may_wait_is_refused_and_what_was_let_in_stays(
    make_queue: Callable[[BatchOptions], Recorded], busy: BatchRecorder
) -> None:
    options = BatchOptions(max_batch_size=4, batch_timeout_micros=0, max_enqueued_batches=2)
    scheduled, runner = make_queue(options)
    task = Letters("abcdefghijklmnop")

    scheduled.schedule_parts(task)

    assert task.refused_text == "ijklmnop"
    assert all(isinstance(error, UnavailableError) for _, error in task.refused)
    assert "is full" in str(task.refused[0][1])
    busy.finish()
    assert drain(scheduled, runner) == [["abcd"], ["efgh"]]


def test_a_list_that_a_full_queue_has_no_room_for_is_refused_as_a_whole(
    make_queue: Callable[[BatchOptions], Recorded], busy: BatchRecorder
) -> None:
    options = BatchOptions(max_batch_size=4, batch_timeout_micros=0, max_enqueued_batches=1)
    scheduled, runner = make_queue(options)
    scheduled.schedule(Letters("abcd"))
    task = Letters("ef")

    scheduled.schedule_parts(task)

    assert [text for text, _ in task.refused] == ["ef"]
    busy.finish()
    assert drain(scheduled, runner) == [["abcd"]]


def test_a_list_still_fills_the_last_batch_that_may_wait(
    make_queue: Callable[[BatchOptions], Recorded], busy: BatchRecorder
) -> None:
    options = BatchOptions(max_batch_size=4, batch_timeout_micros=0, max_enqueued_batches=1)
    scheduled, runner = make_queue(options)
    scheduled.schedule(Letters("ab"))
    task = Letters("cdef")

    scheduled.schedule_parts(task)

    assert task.refused_text == "ef"
    busy.finish()
    assert drain(scheduled, runner) == [["ab", "cd"]]


def test_a_closed_queue_refuses_a_list(make_queue: Callable[[BatchOptions], Recorded]) -> None:
    scheduled, runner = make_queue(FOUR)
    scheduled.close()
    task = Letters("abcdef")

    scheduled.schedule_parts(task)

    assert task.refused_text == "abcdef"
    assert "is closed" in str(task.refused[0][1])
    assert runner.batches.empty()


def test_parts_larger_than_a_batch_are_refused(
    make_queue: Callable[[BatchOptions], Recorded],
) -> None:
    scheduled, _ = make_queue(FOUR)
    task = Letters("aaaaabbbbb", unit=5)

    scheduled.schedule_parts(task)

    assert task.refused_text == "aaaaabbbbb"
    assert isinstance(task.refused[0][1], InvalidArgumentError)


def test_what_is_refused_is_told_without_the_lock(
    make_queue: Callable[[BatchOptions], Recorded],
) -> None:
    counts: list[int] = []

    class Asking(Letters):
        def fail(self, error: ServingError) -> None:
            counts.append(scheduled.num_enqueued_tasks())

    scheduled, _ = make_queue(FOUR)
    scheduled.close()

    scheduled.schedule_parts(Asking("abc"))

    assert counts == [0]


def test_a_list_waits_for_the_timeout_and_the_batches_that_it_fills_do_not(
    make_queue: Callable[[BatchOptions], Recorded], clock: ManualClock
) -> None:
    scheduled, runner = make_queue(AFTER_10_MS)

    scheduled.schedule_parts(Letters("abcdef"))
    full = runner.next_batch()
    clock.advance(0.009)
    scheduled.schedule_parts(Letters("g"))
    clock.advance(0.001)

    assert full == ["abcd"]
    assert runner.next_batch() == ["ef", "g"]


def test_the_rest_of_a_list_is_due_when_its_timeout_is_over_and_not_before() -> None:
    batches: BatchQueue[Letters] = BatchQueue(AFTER_10_MS)
    task = Letters("abcdef")
    batches.add(task.take_first(4), now=1.0)
    batches.add(task, now=1.0)
    full = batches.take(now=1.0)

    before, at = batches.take(now=1.0099), batches.take(now=1.01)

    assert full is not None
    assert [part.name for part in full] == ["abcd"]
    assert before is None
    assert at is not None
    assert [part.name for part in at] == ["ef"]


def test_a_scheduler_of_one_queue_takes_lists_too() -> None:
    runner = BatchRecorder()
    with BasicBatchScheduler(FOUR, runner) as scheduler:
        scheduler.schedule_parts(Letters("abcdef"))

        first, second = runner.next_batch(), runner.next_batch()

    assert (first, second) == (["abcd"], ["ef"])


@given(
    data=st.data(),
    max_size=st.integers(1, 6),
    max_enqueued=st.integers(1, 8),
    num_before_close=st.integers(0, 8),
)
def test_what_is_run_is_what_came_without_what_was_refused_in_its_order(
    data: st.DataObject, max_size: int, max_enqueued: int, num_before_close: int
) -> None:
    tasks = data.draw(lists_of_letters(max_size, shapes="ab"))
    submitted = [(task.name, task.shape) for task in tasks]
    ran: dict[Hashable, str] = {"a": "", "b": ""}
    may_begin = threading.Event()

    def run(batch: Batch[Letters]) -> None:
        assert may_begin.wait(30)
        check_batch(batch, max_size)  # type: ignore[arg-type]  # it only reads
        assert len({task.shape for task in batch}) == 1
        for task in batch:
            ran[task.shape] += task.name

    options = BatchOptions(max_size, batch_timeout_micros=0, max_enqueued_batches=max_enqueued)
    with SharedBatchScheduler(1) as scheduler:
        scheduled = scheduler.add_queue(options, run)
        for task in tasks[:num_before_close]:
            scheduled.schedule_parts(task)
        may_begin.set()
        scheduled.close()
        for task in tasks[num_before_close:]:
            scheduled.schedule_parts(task)

    for shape in "ab":
        came = "".join(text for text, kind in submitted if kind == shape)
        refused = "".join(task.refused_text for task in tasks if task.shape == shape)
        assert ran[shape] == "".join(letter for letter in came if letter not in refused)
        assert len(ran[shape]) + len(refused) == len(came)
    assert {type(error) for task in tasks for _, error in task.refused} <= {UnavailableError}
