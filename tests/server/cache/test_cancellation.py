import threading

import pytest

from modelserver.sources.cache.cancellation import Cancellation
from modelserver.testing.clock import ManualClock

PATIENCE_SECONDS = 20


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_nothing_is_cancelled_until_somebody_says_so(clock: ManualClock) -> None:
    cancellation = Cancellation(clock)

    assert not cancellation.is_cancelled
    cancellation.cancel()
    assert cancellation.is_cancelled


def test_what_a_parent_cancels_is_cancelled_and_not_the_other_way_round(clock: ManualClock) -> None:
    parent = Cancellation(clock)
    children = [Cancellation(clock, parent) for _ in range(2)]

    children[0].cancel()
    assert [c.is_cancelled for c in (parent, *children)] == [False, True, False]
    parent.cancel()
    assert [c.is_cancelled for c in (parent, *children)] == [True, True, True]


def test_a_wait_ends_when_its_time_has_come(clock: ManualClock) -> None:
    cancellation = Cancellation(clock)
    outcomes: list[bool] = []
    deadline = clock.monotonic() + 10
    waiter = threading.Thread(target=lambda: outcomes.append(cancellation.wait_until(deadline)))
    waiter.start()

    clock.advance(10)

    waiter.join(PATIENCE_SECONDS)
    assert outcomes == [False]


def test_a_time_that_has_passed_is_not_waited_for(clock: ManualClock) -> None:
    cancellation = Cancellation(clock)

    assert not cancellation.wait(0)
    assert not cancellation.wait_until(clock.monotonic() - 1)


@pytest.mark.parametrize("by_parent", [False, True])
def test_a_wait_ends_when_the_work_is_cancelled(clock: ManualClock, by_parent: bool) -> None:
    parent = Cancellation(clock)
    cancellation = Cancellation(clock, parent)
    outcomes: list[bool] = []
    waiter = threading.Thread(target=lambda: outcomes.append(cancellation.wait(1e9)))
    waiter.start()

    (parent if by_parent else cancellation).cancel()

    waiter.join(PATIENCE_SECONDS)
    assert outcomes == [True]


def test_what_is_cancelled_waits_for_nothing(clock: ManualClock) -> None:
    cancellation = Cancellation(clock)
    cancellation.cancel()

    assert cancellation.wait(1e9)
