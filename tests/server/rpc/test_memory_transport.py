"""The fake transport, on the clock of a test."""

from collections.abc import Iterator

import pytest

from modelserver.rpc.transport.base import Calls, StatusCode
from modelserver.testing.clock import ManualClock
from modelserver.testing.transport import MemoryTransport

ECHO = "/test.Texts/Echo"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fake(clock: ManualClock) -> Iterator[MemoryTransport]:
    fake = MemoryTransport([ECHO], clock)
    fake.start()
    yield fake
    fake.stop(0)


def take(fake: MemoryTransport) -> Calls:
    calls = fake.next_calls(0)
    assert calls is not None
    return calls


def test_a_manual_clock_makes_a_deadline_pass(clock: ManualClock, fake: MemoryTransport) -> None:
    call = fake.begin(ECHO, b"x", deadline=clock.monotonic() + 60)
    calls = take(fake)
    clock.advance(60)

    answer = call.answer()
    fake.reply_many(calls.ids, [b"late"])

    assert answer == call.answer() == (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    assert take(fake).cancelled == calls.ids
    assert fake.stats().dropped_replies == 1


def test_a_manual_clock_keeps_a_deadline_from_passing(
    clock: ManualClock, fake: MemoryTransport
) -> None:
    call = fake.begin(ECHO, b"x", deadline=clock.monotonic() + 60)
    calls = take(fake)
    clock.advance(59)
    assert fake.alive(calls.ids) == [True]

    fake.reply_many(calls.ids, [b"in time"])
    clock.advance(2)

    assert call.answer() == b"in time"


def test_what_health_would_say_is_what_was_set_last(fake: MemoryTransport) -> None:
    before = dict(fake.serving)

    fake.set_serving("m", False)
    fake.set_serving("m", True)
    fake.set_serving("", None)

    assert (before, fake.serving) == ({"": True}, {"m": True})
