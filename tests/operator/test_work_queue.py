"""The work queue, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps

import pytest

from modelserver_operator.testing.virtual_time import run_in_virtual_time
from modelserver_operator.work_queue import Backoff, Key, WorkQueue

A, B, C = Key("ns", "a"), Key("ns", "b"), Key("ns", "c")


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        run_in_virtual_time(test())  # type: ignore[arg-type]

    # pytest would look for the coroutine's own signature otherwise.
    del run.__wrapped__  # type: ignore[attr-defined]
    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def is_idle(queue: WorkQueue) -> bool:
    """Whether nothing can be taken at this moment."""
    try:
        async with asyncio.timeout(0):
            await queue.take()
    except TimeoutError:
        return True
    return False


@in_virtual_time
async def test_keys_are_taken_in_the_order_in_which_they_were_added() -> None:
    queue = WorkQueue()
    for key in (B, A, C):
        queue.add(key)

    assert [await queue.take() for _ in range(3)] == [B, A, C]


@in_virtual_time
async def test_a_key_added_twice_is_taken_once() -> None:
    queue = WorkQueue()
    queue.add(A)
    queue.add(A)

    assert await queue.take() == A
    queue.done(A)

    assert await is_idle(queue)


@in_virtual_time
async def test_a_key_in_work_is_given_to_nobody_else() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.take()

    queue.add(A)

    assert await is_idle(queue)


@in_virtual_time
async def test_what_is_added_during_the_work_is_done_after_it() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.take()
    queue.add(A)

    queue.done(A)

    assert await queue.take() == A


@in_virtual_time
async def test_a_waiting_worker_gets_what_is_added() -> None:
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(5)

    queue.add(A)

    assert await waiting == A


@in_virtual_time
async def test_waiting_workers_share_what_is_added_at_once() -> None:
    queue = WorkQueue()
    waiting = [asyncio.create_task(queue.take()) for _ in range(2)]
    await asyncio.sleep(5)

    queue.add(A)
    queue.add(B)

    assert {await task for task in waiting} == {A, B}


@in_virtual_time
async def test_a_delayed_key_is_taken_when_its_time_has_come() -> None:
    queue = WorkQueue()
    started = now()
    queue.add(A, 10)

    assert await queue.take() == A

    assert now() - started == 10


@in_virtual_time
async def test_the_earliest_of_several_times_counts() -> None:
    queue = WorkQueue()
    started = now()
    queue.add(A, 10)
    queue.add(A, 3)
    queue.add(A, 60)

    await queue.take()
    queue.done(A)

    assert now() - started == 3
    await asyncio.sleep(100)
    assert await is_idle(queue)


@in_virtual_time
async def test_a_key_that_is_delayed_lets_others_pass() -> None:
    queue = WorkQueue()
    queue.add(A, 10)
    queue.add(B)

    assert [await queue.take(), await queue.take()] == [B, A]


@in_virtual_time
async def test_a_delay_asked_for_during_the_work_counts_from_then() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.take()
    queue.add(A, 10)
    asked = now()
    await asyncio.sleep(4)
    queue.done(A)

    await queue.take()

    assert now() - asked == 10


@in_virtual_time
async def test_failures_wait_longer_each_time_up_to_a_limit() -> None:
    queue = WorkQueue(Backoff(first=1, longest=10), chance=lambda: 0)
    waits = []
    queue.add(A)
    for _ in range(6):
        await queue.take()
        waits.append(queue.failed(A))

    assert waits == [1, 2, 4, 8, 10, 10]


@in_virtual_time
async def test_a_failed_key_comes_back_by_itself() -> None:
    queue = WorkQueue(Backoff(first=8), chance=lambda: 0)
    queue.add(A)
    await queue.take()
    failed = now()
    queue.failed(A)

    assert await queue.take() == A
    assert now() - failed == 8


@in_virtual_time
async def test_success_ends_a_row_of_failures() -> None:
    queue = WorkQueue(chance=lambda: 0)
    queue.add(A)
    for _ in range(5):
        await queue.take()
        queue.failed(A)
    await queue.take()
    queue.done(A)
    queue.add(A)
    await queue.take()

    assert queue.failed(A) == 1


@in_virtual_time
async def test_a_failure_of_one_key_delays_no_other() -> None:
    queue = WorkQueue(chance=lambda: 0)
    queue.add(A)
    await queue.take()
    queue.failed(A)
    started = now()
    queue.add(B)

    assert await queue.take() == B
    assert now() == started


@in_virtual_time
async def test_a_failed_key_that_changes_is_tried_at_once() -> None:
    queue = WorkQueue(Backoff(first=60), chance=lambda: 0)
    queue.add(A)
    await queue.take()
    queue.failed(A)
    started = now()

    queue.add(A)

    assert await queue.take() == A
    assert now() == started


@in_virtual_time
async def test_a_failure_waits_at_least_as_long_as_the_server_asked_for() -> None:
    queue = WorkQueue(chance=lambda: 0)
    queue.add(A)
    await queue.take()

    assert queue.failed(A, at_least_seconds=30) == 30


@pytest.mark.parametrize("failures", [1, 2, 7, 10_000])
def test_chance_shortens_a_wait_by_half_at_most(failures: int) -> None:
    backoff = Backoff(first=1, longest=60)

    longest, shortest = backoff.delay(failures, 0), backoff.delay(failures, 0.999)

    assert longest / 2 < shortest < longest <= 60


@in_virtual_time
async def test_a_forgotten_key_does_not_come_back() -> None:
    queue = WorkQueue()
    queue.add(A, 5)
    queue.add(B)
    queue.forget(A)
    queue.forget(B)
    await asyncio.sleep(10)

    assert await is_idle(queue)


@in_virtual_time
async def test_a_key_forgotten_in_work_can_be_added_again() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.take()
    queue.add(A)
    queue.forget(A)
    queue.done(A)
    assert await is_idle(queue)

    queue.add(A)

    assert await queue.take() == A


@in_virtual_time
async def test_statistics_tell_what_waits_and_for_how_long() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.take()
    queue.add(B)
    await asyncio.sleep(7)
    queue.add(C, 100)

    statistics = queue.statistics

    assert (statistics.depth, statistics.delayed, statistics.in_work) == (1, 1, 1)
    assert statistics.oldest_seconds == 7


@in_virtual_time
async def test_a_cancelled_wait_loses_no_key() -> None:
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(1)
    queue.add(A)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert waiting.cancelled()
    assert await queue.take() == A


@in_virtual_time
async def test_ten_thousand_additions_of_one_key_are_one_piece_of_work() -> None:
    queue = WorkQueue()
    queue.add(A, 1)
    for _ in range(10_000):
        queue.add(A)

    await queue.take()
    queue.done(A)

    assert await is_idle(queue)
    assert queue.statistics.depth == 0


@in_virtual_time
async def test_a_key_that_is_busy_for_long_takes_no_more_room() -> None:
    queue = WorkQueue()
    for _ in range(10_000):
        queue.add(A)
        queue.done(await queue.take())
        queue.add(A, 600)

    assert len(queue._timetable) < 200
    await asyncio.sleep(601)
    assert await queue.take() == A
