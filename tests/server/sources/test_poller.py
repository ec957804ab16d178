import queue
import threading
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.sources.poller import Poller, PollInterval
from modelserver.testing.clock import ManualClock

PATIENCE_SECONDS = 20


class Calls:
    """The times at which a poller called, handed from its thread to the test's. All are answered
    but the `failures`, counted from 0.
    """

    def __init__(self, clock: ManualClock, failures: Iterable[int] = ()) -> None:
        self._clock = clock
        self._times: queue.Queue[float] = queue.Queue()
        self._failures = frozenset(failures)
        self._count = 0

    def record(self) -> bool:
        is_answered = self._count not in self._failures
        self._count += 1
        self._times.put(self._clock.monotonic())
        return is_answered

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
    poller = Poller("m", calls.record, PollInterval(wait_seconds), clock)
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


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_request_during_a_call_is_served_after_it(clock: ManualClock, is_answered: bool) -> None:
    entered = threading.Semaphore(0)
    may_leave = threading.Semaphore(0)

    def poll() -> bool:
        entered.release()
        assert may_leave.acquire(timeout=PATIENCE_SECONDS)
        return is_answered

    poller = Poller("m", poll, PollInterval(0.0), clock)
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

    def poll() -> bool:
        entered.set()
        return gate.wait()

    poller = Poller("m", poll, PollInterval(1.0), clock)
    poller.start(poll_first=False)
    assert entered.wait(PATIENCE_SECONDS)

    poller.stop()

    assert not poller.join(0.0)
    gate.set()
    assert poller.join(PATIENCE_SECONDS)


# How long to wait…


@pytest.mark.parametrize(
    ("wait_seconds", "failures", "expected"),
    [
        pytest.param(10, 0, 10, id="answered"),
        pytest.param(10, 1, 1, id="failed-once"),
        pytest.param(10, 2, 2, id="failed-twice"),
        pytest.param(10, 3, 4, id="failed-three-times"),
        pytest.param(10, 4, 8, id="failed-four-times"),
        pytest.param(10, 5, 10, id="never-later-than-without-a-failure"),
        pytest.param(0.5, 1, 0.5, id="never-later-where-polls-are-frequent"),
        pytest.param(300, 6, 32, id="failed-six-times"),
        pytest.param(300, 7, 60, id="never-later-than-a-minute"),
        pytest.param(300, 100_000, 60, id="failed-for-days"),
        pytest.param(0, 0, None, id="once"),
        pytest.param(0, 1, 1, id="once-and-failed"),
        pytest.param(0, 100_000, 60, id="once-and-failed-for-days"),
        pytest.param(-1, 0, None, id="never"),
        pytest.param(-1, 1, None, id="never-though-it-failed"),
    ],
)
def test_a_poll_is_repeated_at_its_interval_and_sooner_after_failures(
    wait_seconds: float, failures: int, expected: float | None
) -> None:
    assert PollInterval(wait_seconds).seconds_to_next(failures, chance=0.0) == expected


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 90.0), (0.5, 100.0), (1.0, 110.0)])
def test_the_jitter_is_a_share_of_the_interval_up_and_down(chance: float, expected: float) -> None:
    assert PollInterval(100.0, 0.1).seconds_to_next(0, chance) == pytest.approx(expected)


@pytest.mark.parametrize("wait_seconds", [0, -1])
@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_jitter_makes_no_interval_where_there_is_none(wait_seconds: float, chance: float) -> None:
    assert PollInterval(wait_seconds, 0.5).seconds_to_next(0, chance) is None


@given(st.floats(0.01, 1e6), st.floats(0.0, 0.9), st.integers(0, 50), st.floats(0.0, 1.0))
def test_a_regular_poll_comes_within_the_jitter_and_never_later_for_failures(
    wait_seconds: float, jitter: float, failures: int, chance: float
) -> None:
    interval = PollInterval(wait_seconds, jitter)

    regular = interval.seconds_to_next(0, chance)
    retry = interval.seconds_to_next(failures, chance)

    assert regular is not None
    assert retry is not None
    assert 1 - jitter - 1e-9 <= regular / wait_seconds <= 1 + jitter + 1e-9
    assert 0 < retry <= regular


# Polls that get no answer…


class AlarmClock(ManualClock):
    """A clock for one sleeper, which it wakes when the sleeper's own time has come."""

    def __init__(self) -> None:
        super().__init__(now=0.0)
        self._alarms: queue.Queue[float | None] = queue.Queue()
        self._last: float | None = 0.0

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        alarm = None if timeout is None else self.monotonic() + timeout
        if alarm != self._last:
            self._last = alarm
            self._alarms.put(alarm)
        super().wait(condition, timeout)

    def next_alarm(self) -> float | None:
        """Wait until the sleeper sleeps, and return until when; None is for ever."""
        return self._alarms.get(timeout=PATIENCE_SECONDS)

    def wake(self) -> float | None:
        """Let the time come until which the sleeper sleeps, and return it."""
        alarm = self.next_alarm()
        if alarm is not None:
            self.advance(alarm - self.monotonic())
        return alarm


def test_a_poll_without_an_answer_is_repeated_at_growing_distances(pollers: list[Poller]) -> None:
    clock = AlarmClock()
    make(pollers, Calls(clock, range(100)), clock, 3600.0).start(poll_first=False)

    times = [clock.wake() for _ in range(9)]

    assert times == [1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0, 183.0, 243.0]


def test_after_an_answer_the_interval_is_kept_and_a_new_failure_begins_at_one_second(
    pollers: list[Poller],
) -> None:
    clock = AlarmClock()
    make(pollers, Calls(clock, [0, 1, 3, 4]), clock, 100.0).start(poll_first=False)

    times = [clock.wake() for _ in range(5)]

    assert times == [1.0, 3.0, 103.0, 104.0, 106.0]


def test_an_interval_of_zero_calls_until_there_is_an_answer_and_no_more(
    pollers: list[Poller],
) -> None:
    clock = AlarmClock()
    poller = make(pollers, Calls(clock, [0, 1, 2]), clock, 0.0)
    poller.start(poll_first=False)

    times = [clock.wake() for _ in range(4)]

    assert times == [1.0, 3.0, 7.0, None]
    assert poller.due is None


def test_a_negative_interval_repeats_nothing(pollers: list[Poller]) -> None:
    clock = AlarmClock()
    poller = make(pollers, Calls(clock, range(100)), clock, -1.0)
    poller.start(poll_first=True)

    assert clock.next_alarm() is None
    assert poller.due is None


def test_a_request_is_served_before_a_poll_without_an_answer_is_repeated(
    pollers: list[Poller],
) -> None:
    clock = AlarmClock()
    calls = Calls(clock, range(5))
    poller = make(pollers, calls, clock, 100.0)
    poller.start(poll_first=False)
    times = [clock.wake() for _ in range(3)]
    assert clock.next_alarm() == 15.0

    clock.advance(1.0)
    poller.poll_now()

    assert times == [1.0, 3.0, 7.0]
    assert [calls.next() for _ in range(5)] == [0.0, 1.0, 3.0, 7.0, 8.0]


def test_the_time_of_the_next_call_is_known(pollers: list[Poller]) -> None:
    clock = AlarmClock()
    poller = make(pollers, Calls(clock), clock, 10.0)
    poller.start(poll_first=False)
    assert clock.wake() == 10.0

    assert clock.next_alarm() == 20.0
    assert poller.due == 20.0


def test_calls_come_within_the_jitter(pollers: list[Poller]) -> None:
    clock = AlarmClock()
    poller = Poller("m", Calls(clock).record, PollInterval(100.0, 0.1), clock)
    pollers.append(poller)
    poller.start(poll_first=False)

    distances = set()
    for _ in range(20):
        distances.add((clock.next_alarm() or 0.0) - clock.monotonic())
        clock.advance(110.0)

    assert all(89.9 < distance < 110.1 for distance in distances)
    assert len(distances) > 1
