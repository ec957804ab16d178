"""ServeTurn, and RpcServer with handlers that are stuck: somebody always takes the calls."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from modelserver.rpc.replies import Replies
from modelserver.rpc.serve_turn import STUCK_SECONDS, ServeTurn
from modelserver.rpc.server import RpcServer
from modelserver.rpc.service import Handler, MethodCalls, method_names
from modelserver.rpc.transport.base import Calls, StatusCode
from modelserver.testing.clock import ManualClock
from modelserver.testing.transport import MemoryTransport

_WAIT_SECONDS = 30.0
"""A test that waits this long has failed."""


class WouldWaitError(Exception):
    """It is not the caller's turn."""


class ImpatientClock(ManualClock):
    """A clock on which nobody waits."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        raise WouldWaitError


@pytest.fixture
def clock() -> ImpatientClock:
    return ImpatientClock(now=0.0)


@pytest.fixture
def turns(clock: ImpatientClock) -> ServeTurn:
    return ServeTurn(clock)


# Whose turn it is…


def test_the_first_that_comes_serves(turns: ServeTurn) -> None:
    assert turns.wait() is not None


def test_the_second_waits_for_as_long_as_there_are_no_calls(
    turns: ServeTurn, clock: ImpatientClock
) -> None:
    turns.wait()
    clock.advance(1e6)

    with pytest.raises(WouldWaitError):
        turns.wait()


def test_the_second_waits_while_the_first_is_not_busy_for_long(
    turns: ServeTurn, clock: ImpatientClock
) -> None:
    turns.wait()
    turns.begin()
    clock.advance(STUCK_SECONDS * 0.99)

    with pytest.raises(WouldWaitError):
        turns.wait()


def test_the_second_takes_over_when_the_first_is_stuck(
    turns: ServeTurn, clock: ImpatientClock
) -> None:
    first = turns.wait()
    turns.begin()
    clock.advance(STUCK_SECONDS)

    second = turns.wait()

    assert first is not None
    assert second is not None
    assert second != first


def test_time_without_calls_does_not_count(turns: ServeTurn, clock: ImpatientClock) -> None:
    turn = turns.wait()
    assert turn is not None
    for _ in range(3):
        turns.begin()
        clock.advance(STUCK_SECONDS * 0.5)
        assert turns.end(turn)
        clock.advance(STUCK_SECONDS)

    with pytest.raises(WouldWaitError):
        turns.wait()


def test_who_was_stuck_hears_that_its_turn_is_over(turns: ServeTurn, clock: ImpatientClock) -> None:
    first = turns.wait()
    assert first is not None
    turns.begin()
    clock.advance(STUCK_SECONDS)
    second = turns.wait()
    assert second is not None

    assert not turns.end(first)
    assert turns.end(second)


def test_who_comes_back_late_does_not_end_the_time_of_the_other(
    turns: ServeTurn, clock: ImpatientClock
) -> None:
    first = turns.wait()
    assert first is not None
    turns.begin()
    clock.advance(STUCK_SECONDS)
    turns.wait()
    turns.begin()
    clock.advance(STUCK_SECONDS)

    turns.end(first)

    assert turns.wait() is not None  # the second is stuck, whatever the first said


def test_who_has_taken_over_is_not_stuck_by_what_the_other_began(
    turns: ServeTurn, clock: ImpatientClock
) -> None:
    turns.wait()
    turns.begin()
    clock.advance(STUCK_SECONDS)
    turns.wait()
    clock.advance(STUCK_SECONDS)

    with pytest.raises(WouldWaitError):
        turns.wait()


def test_after_the_end_nobody_serves(turns: ServeTurn) -> None:
    turns.close()

    assert turns.wait() is None


def test_after_the_end_nobody_takes_over(turns: ServeTurn, clock: ImpatientClock) -> None:
    turns.wait()
    turns.begin()
    clock.advance(STUCK_SECONDS)
    turns.close()

    assert turns.wait() is None


def test_who_stands_by_hears_of_the_end() -> None:
    turns = ServeTurn(ManualClock())
    heard: list[int | None] = []
    turns.wait()
    standby = threading.Thread(target=lambda: heard.append(turns.wait()))
    standby.start()

    turns.close()
    standby.join(_WAIT_SECONDS)

    assert heard == [None]


def test_who_stands_by_takes_over_when_time_passes() -> None:
    clock = ManualClock()
    turns = ServeTurn(clock)
    turn = turns.wait()
    turns.begin()
    heard: list[int | None] = []
    standby = threading.Thread(target=lambda: heard.append(turns.wait()))
    standby.start()

    clock.advance(STUCK_SECONDS)
    standby.join(_WAIT_SECONDS)

    assert heard not in ([], [None], [turn])


# A server whose handlers are stuck…


class Stuck:
    """Calls that do not return before `release`, each known by its body."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entered: list[bytes] = []
        self._released: set[bytes] = set()

    def __call__(self, calls: MethodCalls, replies: Replies) -> None:
        for id, body in zip(calls.ids, calls.bodies, strict=True):
            with self._changed:
                self._entered.append(body)
                self._changed.notify_all()
                assert self._changed.wait_for(lambda b=body: b in self._released, _WAIT_SECONDS)  # type: ignore[misc]
            replies.send(id, b"after all: " + body)

    def wait_until_entered(self, body: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: body in self._entered, _WAIT_SECONDS)

    def release(self, *bodies: bytes) -> None:
        with self._changed:
            self._released.update(bodies)
            self._changed.notify_all()


class FakeService:
    """Methods that are plain functions; remembers what was cancelled."""

    def __init__(self, **handlers: Handler) -> None:
        self.methods: Mapping[str, Handler] = {f"/test/{n}": h for n, h in handlers.items()}
        self.was_cancelled = threading.Event()

    def cancel(self, ids: Sequence[int]) -> None:
        self.was_cancelled.set()


def upper(calls: MethodCalls, replies: Replies) -> None:
    for id, body in zip(calls.ids, calls.bodies, strict=True):
        replies.send(id, body.upper())


@pytest.fixture
def stuck() -> Stuck:
    return Stuck()


@pytest.fixture
def service(stuck: Stuck) -> FakeService:
    return FakeService(Hang=stuck, Upper=upper)


class CountingTransport(MemoryTransport):
    """A transport that knows how many threads have asked it for calls at the same time."""

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__(methods)
        self._asking: set[int] = set()
        self.most_asking = 0

    def next_calls(self, timeout: float | None) -> Calls | None:
        self._asking.add(threading.get_ident())
        self.most_asking = max(self.most_asking, len(self._asking))
        try:
            return super().next_calls(timeout)
        finally:
            self._asking.remove(threading.get_ident())


Serve = Callable[[], tuple[RpcServer, CountingTransport]]


@pytest.fixture
def serve(stuck: Stuck, service: FakeService) -> Iterator[Serve]:
    servers: list[RpcServer] = []

    def serve() -> tuple[RpcServer, CountingTransport]:
        transport = CountingTransport(method_names([service]))
        servers.append(RpcServer(transport, [service]))
        servers[-1].start()
        return servers[-1], transport

    yield serve
    stuck.release(b"a", b"b", b"c")
    for server in servers:
        server.stop(0)


def has_ended(threads: set[threading.Thread]) -> bool:
    """Whether all have ended. They may be a little later than a server that does not wait long."""
    for thread in threads:
        thread.join(_WAIT_SECONDS)
    return not any(thread.is_alive() for thread in threads)


@pytest.fixture
def transport(serve: Serve) -> CountingTransport:
    return serve()[1]


def test_calls_are_served_while_a_handler_is_stuck(
    transport: MemoryTransport, stuck: Stuck
) -> None:
    hanging = transport.begin("/test/Hang", b"a")
    stuck.wait_until_entered(b"a")

    meanwhile = transport.call("/test/Upper", b"x")
    stuck.release(b"a")

    assert meanwhile == b"X"
    assert hanging.answer() == b"after all: a"


def test_nothing_is_answered_twice_when_the_other_thread_takes_over(
    transport: MemoryTransport, stuck: Stuck
) -> None:
    hanging = transport.begin("/test/Hang", b"a")
    stuck.wait_until_entered(b"a")
    others = [transport.call("/test/Upper", b"%d" % number) for number in range(20)]
    stuck.release(b"a")
    hanging.answer()
    others += [transport.call("/test/Upper", b"%d" % number) for number in range(20, 40)]

    stats = transport.stats()
    assert others == [b"%d" % number for number in range(40)]
    assert (stats.accepted, stats.replied, stats.dropped_replies) == (41, 41, 0)


def test_who_was_stuck_takes_over_in_turn(transport: MemoryTransport, stuck: Stuck) -> None:
    first = transport.begin("/test/Hang", b"a")
    stuck.wait_until_entered(b"a")
    second = transport.begin("/test/Hang", b"b")
    stuck.wait_until_entered(b"b")

    stuck.release(b"a")
    meanwhile = transport.call("/test/Upper", b"x")
    stuck.release(b"b")

    assert (first.answer(), second.answer()) == (b"after all: a", b"after all: b")
    assert meanwhile == b"X"


def test_one_thread_at_a_time_asks_for_calls(transport: CountingTransport, stuck: Stuck) -> None:
    for body in (b"a", b"b", b"c"):
        hanging = transport.begin("/test/Hang", body)
        stuck.wait_until_entered(body)
        transport.call("/test/Upper", b"x")
        stuck.release(body)
        hanging.answer()
        for _ in range(20):
            transport.call("/test/Upper", b"x")

    assert transport.most_asking == 1


def test_calls_that_come_while_both_threads_are_stuck_are_served_when_one_is_free(
    transport: MemoryTransport, stuck: Stuck
) -> None:
    for body in (b"a", b"b"):
        transport.begin("/test/Hang", body)
        stuck.wait_until_entered(body)
    waiting = [transport.begin("/test/Upper", body) for body in (b"x", b"y")]

    stuck.release(b"b")

    assert [call.answer() for call in waiting] == [b"X", b"Y"]


def test_answers_made_before_a_handler_is_stuck_do_not_wait_for_it(
    transport: MemoryTransport, stuck: Stuck
) -> None:
    for body in (b"a", b"b"):
        transport.begin("/test/Hang", body)
        stuck.wait_until_entered(body)
    before = transport.begin("/test/Upper", b"x")
    hanging = transport.begin("/test/Hang", b"c")

    stuck.release(b"a")  # and both are taken together
    answer = before.answer()
    stuck.release(b"c")

    assert answer == b"X"
    assert hanging.answer() == b"after all: c"


def test_cancellations_reach_the_services_while_a_handler_is_stuck(
    transport: MemoryTransport, stuck: Stuck, service: FakeService
) -> None:
    hanging = transport.begin("/test/Hang", b"a")
    stuck.wait_until_entered(b"a")

    hanging.cancel()

    assert service.was_cancelled.wait(_WAIT_SECONDS)
    assert hanging.answer()[0] == StatusCode.CANCELLED


def test_stopping_leaves_behind_who_is_stuck_and_its_call_is_unavailable(
    serve: Serve, stuck: Stuck
) -> None:
    before = set(threading.enumerate())
    server, transport = serve()
    hanging = transport.begin("/test/Hang", b"a")
    stuck.wait_until_entered(b"a")

    is_drained = server.stop(0)
    left_behind = set(threading.enumerate()) - before
    stuck.release(b"a")

    assert not is_drained
    assert hanging.answer()[0] == StatusCode.UNAVAILABLE
    assert left_behind
    assert has_ended(left_behind)
    assert transport.stats().dropped_replies == 1


def test_stopping_waits_for_who_is_stuck_for_as_long_as_is_granted(
    serve: Serve, stuck: Stuck
) -> None:
    server, transport = serve()
    hanging = transport.begin("/test/Hang", b"a")
    stuck.wait_until_entered(b"a")
    drained: list[bool] = []
    stopper = threading.Thread(target=lambda: drained.append(server.stop(_WAIT_SECONDS)))
    stopper.start()

    stuck.release(b"a")
    stopper.join(_WAIT_SECONDS)

    assert drained == [True]
    assert hanging.answer() == b"after all: a"


def test_stopping_ends_both_threads(serve: Serve) -> None:
    before = set(threading.enumerate())
    server, transport = serve()
    transport.call("/test/Upper", b"x")
    started = set(threading.enumerate()) - before

    server.stop(0)

    assert len(started) == 2
    assert has_ended(started)


def test_both_threads_end_after_one_has_taken_over(serve: Serve, stuck: Stuck) -> None:
    before = set(threading.enumerate())
    server, transport = serve()
    started = set(threading.enumerate()) - before
    hanging = transport.begin("/test/Hang", b"a")
    stuck.wait_until_entered(b"a")
    transport.call("/test/Upper", b"x")
    stuck.release(b"a")
    hanging.answer()

    server.stop(0)

    assert len(started) == 2
    assert has_ended(started)
