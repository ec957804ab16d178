import queue
import threading
from collections.abc import Iterator

import pytest

from modelserver.sources.poller import Poller
from modelserver.testing.clock import ManualClock

PATIENCE_SECONDS = 20


class Calls:
    """The times at which a poller called, handed from its thread to the test's."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._times: queue.Queue[float] = queue.Queue()

    def record(self) -> None:
        self._times.put(self._clock.monotonic())

    def next(self) -> float:
        return self._times.get(timeout=PATIENCE_SECONDS)

    def has_more(self) -> bool:
        return not self._times.empty()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now=0.0)


@pytest.fixture
def calls(clock: ManualClock) -> Calls:
    return Calls(clock)


@pytest.fixture
def pollers() -> Iterator[list[Poller]]:
    pollers: list[Poller] = []
    yield pollers
    for poller in pollers:
        poller.stop()
        assert poller.join(PATIENCE_SECONDS)


def make(pollers: list[Poller], calls: Calls, clock: ManualClock, wait_seconds: float) -> Poller:
    poller = Poller("m", calls.record, wait_seconds, clock)
    pollers.append(poller)
    return poller


def test_it_calls_at_once_and_then_at_each_interval(
    pollers: list[Poller], calls: Calls, clock: ManualClock
) -> None:
    make(pollers, calls, clock, 10.0).start(poll_first=False)

    times = [calls.next()]
    for _ in range(3):
        clock.advance(10.0)
        times.append(calls.next())

    assert times == [0.0, 10.0, 20.0, 30.0]


def test_it_does_not_call_before_the_interval_is_over(
    pollers: list[Poller], calls: Calls, clock: ManualClock
) -> None:
    make(pollers, calls, clock, 10.0).start(poll_first=False)
    calls.next()

    clock.advance(9.0)
    clock.advance(1.0)

    assert calls.next() == 10.0


def test_an_interval_of_zero_calls_once(
    pollers: list[Poller], calls: Calls, clock: ManualClock
) -> None:
    poller = make(pollers, calls, clock, 0.0)
    poller.start(poll_first=False)
    first = calls.next()

    clock.advance(1000.0)
    poller.poll_now()

    assert first == 0.0
    assert calls.next() == 1000.0
    assert not calls.has_more()


def test_a_negative_interval_calls_only_when_asked(
    pollers: list[Poller], calls: Calls, clock: ManualClock
) -> None:
    poller = make(pollers, calls, clock, -1.0)
    poller.start(poll_first=False)
    clock.advance(5.0)

    poller.poll_now()

    assert calls.next() == 5.0
    assert not calls.has_more()


def test_a_negative_interval_can_still_call_first(
    pollers: list[Poller], calls: Calls, clock: ManualClock
) -> None:
    make(pollers, calls, clock, -1.0).start(poll_first=True)

    assert calls.next() == 0.0


def test_a_request_starts_the_interval_anew(
    pollers: list[Poller], calls: Calls, clock: ManualClock
) -> None:
    poller = make(pollers, calls, clock, 10.0)
    poller.start(poll_first=False)
    calls.next()
    clock.advance(4.0)
    poller.poll_now()
    calls.next()

    clock.advance(6.0)
    clock.advance(4.0)

    assert calls.next() == 14.0


def test_a_request_during_a_call_is_served_after_it(clock: ManualClock) -> None:
    entered = threading.Semaphore(0)
    may_leave = threading.Semaphore(0)

    def poll() -> None:
        entered.release()
        assert may_leave.acquire(timeout=PATIENCE_SECONDS)

    poller = Poller("m", poll, 0.0, clock)
    poller.start(poll_first=False)
    assert entered.acquire(timeout=PATIENCE_SECONDS)

    poller.poll_now()
    may_leave.release()

    assert entered.acquire(timeout=PATIENCE_SECONDS)
    poller.stop()
    may_leave.release()
    assert poller.join(PATIENCE_SECONDS)


def test_a_call_that_hangs_outlives_a_bounded_join(clock: ManualClock) -> None:
    entered = threading.Event()
    gate = threading.Event()

    def poll() -> None:
        entered.set()
        gate.wait()

    poller = Poller("m", poll, 1.0, clock)
    poller.start(poll_first=False)
    assert entered.wait(PATIENCE_SECONDS)

    poller.stop()

    assert not poller.join(0.0)
    gate.set()
    assert poller.join(PATIENCE_SECONDS)
