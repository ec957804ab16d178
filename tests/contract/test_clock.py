"""The promises of Clock, kept by the real one and by ManualClock."""

import threading

import pytest

from modelserver.clock import SystemClock
from modelserver.testing.clock import ManualClock


@pytest.fixture(params=[SystemClock, ManualClock])
def clock(request):
    return request.param()


def test_time_never_goes_back(clock):
    readings = [clock.monotonic() for _ in range(100)]

    assert readings == sorted(readings)


@pytest.mark.parametrize("timeout", [None, 1e12, float("inf")])
def test_a_notification_ends_a_wait_however_long(clock, timeout):
    condition = threading.Condition()
    is_told = threading.Event()

    def wait_until_told():
        with condition:
            while not is_told.is_set():
                clock.wait(condition, timeout)

    waiter = threading.Thread(target=wait_until_told)
    waiter.start()
    with condition:
        is_told.set()
        condition.notify_all()
    waiter.join(10)

    assert not waiter.is_alive()


def test_a_wait_of_no_time_returns(clock):
    condition = threading.Condition()

    with condition:
        clock.wait(condition, 0)


def test_a_wait_ends_when_its_time_has_passed(clock):
    condition = threading.Condition()
    deadline = clock.monotonic() + 0.01

    def wait_until_due():
        with condition:
            while (left := deadline - clock.monotonic()) > 0:
                clock.wait(condition, left)

    waiter = threading.Thread(target=wait_until_due)
    waiter.start()
    if isinstance(clock, ManualClock):
        clock.advance(0.01)
    waiter.join(10)

    assert not waiter.is_alive()
