"""What every Transport promises, held against the real one through a real client and the fake."""

import selectors
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import grpc
import pytest

from modelserver.rpc.transport.base import Answer, Calls, StatusCode, Transport
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.rpc.transport.native import NativeTransport, why_not_native
from modelserver.testing.transport import MemoryTransport

ECHO, REVERSE = METHODS = ["/test.Texts/Echo", "/test.Texts/Reverse"]
FAR_SECONDS = 30.0


class Call(Protocol):
    """A call that a client has begun."""

    def answer(self) -> Answer: ...

    def cancel(self) -> None: ...


class Client(Protocol):
    """Makes calls to a started transport."""

    def begin(self, method: str, body: bytes, timeout: float | None = None) -> Call: ...


class MemoryClient:
    def __init__(self, transport: MemoryTransport, port: int) -> None:
        self._transport = transport

    def begin(self, method: str, body: bytes, timeout: float | None = None) -> Call:
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._transport.begin(method, body, deadline)


class GrpcCall:
    def __init__(self, future: grpc.Future) -> None:
        self._future = future

    def answer(self) -> Answer:
        try:
            return self._future.result()
        except grpc.FutureCancelledError:
            return StatusCode.CANCELLED, ""
        except grpc.RpcError as error:
            return StatusCode(error.code().value[0]), error.details()

    def cancel(self) -> None:
        self._future.cancel()


class GrpcClient:
    def __init__(self, transport: Transport, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._begun: list[GrpcCall] = []  # grpc cancels a call that nobody refers to

    def begin(self, method: str, body: bytes, timeout: float | None = None) -> Call:
        call = GrpcCall(self._channel.unary_unary(method).future(body, timeout=timeout))
        self._begun.append(call)
        return call

    def close(self) -> None:
        self._channel.close()


def make_grpc_transport() -> GrpcAioTransport:
    return GrpcAioTransport("127.0.0.1:0", METHODS)


def make_native_transport() -> NativeTransport:
    if reason := why_not_native():
        pytest.skip(reason)
    return NativeTransport("127.0.0.1:0", METHODS)


def make_memory_transport() -> MemoryTransport:
    return MemoryTransport(METHODS)


@pytest.fixture(
    params=[
        (make_native_transport, GrpcClient),
        (make_grpc_transport, GrpcClient),
        (make_memory_transport, MemoryClient),
    ],
    ids=["native", "grpc_aio", "memory"],
)
def kind(request: pytest.FixtureRequest) -> tuple[Callable[[], Transport], type]:
    return request.param


@pytest.fixture
def transport(kind: tuple[Callable[[], Transport], type]) -> Iterator[Transport]:
    make, _ = kind
    transport = make()
    yield transport
    transport.stop(0)


@pytest.fixture
def client(kind: tuple[Callable[[], Transport], type], transport: Transport) -> Iterator[Client]:
    _, make_client = kind
    client = make_client(transport, transport.start())
    yield client
    if isinstance(client, GrpcClient):
        client.close()


def next_calls(transport: Transport, count: int = 1) -> Calls:
    """Take until `count` calls have come, as one Calls."""
    taken: list[Calls] = []
    while sum(len(calls.ids) for calls in taken) < count:
        calls = transport.next_calls(FAR_SECONDS)
        assert calls is not None
        taken.append(calls)
    return Calls(
        [id for calls in taken for id in calls.ids],
        [method for calls in taken for method in calls.methods],
        [body for calls in taken for body in calls.bodies],
        [d for calls in taken for d in calls.deadlines or [None] * len(calls.ids)],
        [id for calls in taken for id in calls.cancelled],
    )


def next_cancelled(transport: Transport) -> list[int]:
    while True:
        calls = transport.next_calls(FAR_SECONDS)
        assert calls is not None
        if calls.cancelled:
            return calls.cancelled


def wait_for_in_flight(transport: Transport, count: int) -> None:
    while transport.stats().in_flight != count:
        time.sleep(0.001)


def in_background(function: Callable[[], bool]) -> Callable[[], bool]:
    """Run `function` on a thread; returns what waits for its result."""
    executor = ThreadPoolExecutor(1)
    future = executor.submit(function)
    executor.shutdown(wait=False)
    return lambda: future.result(FAR_SECONDS)


def test_calls_that_have_arrived_come_as_one_list_with_their_methods_and_bodies(
    transport: Transport, client: Client
) -> None:
    begun = [client.begin(ECHO, b"one"), client.begin(REVERSE, b"two"), client.begin(ECHO, b"3")]
    wait_for_in_flight(transport, 3)

    calls = transport.next_calls(FAR_SECONDS)

    assert calls is not None
    assert sorted(zip(calls.methods, calls.bodies, strict=True)) == [
        (0, b"3"),
        (0, b"one"),
        (1, b"two"),
    ]
    assert len(set(calls.ids)) == 3
    assert calls.deadlines is None
    assert calls.cancelled == []
    transport.fail_many(calls.ids, StatusCode.INTERNAL, "over")
    assert [call.answer() for call in begun] == [(StatusCode.INTERNAL, "over")] * 3


def test_each_call_gets_the_answer_to_its_id(transport: Transport, client: Client) -> None:
    one, two = client.begin(ECHO, b"one"), client.begin(ECHO, b"two")
    calls = next_calls(transport, 2)

    transport.reply_many(calls.ids[::-1], [body.upper() for body in calls.bodies[::-1]])

    assert (one.answer(), two.answer()) == (b"ONE", b"TWO")
    assert transport.stats().replied == 2
    assert transport.stats().in_flight == 0


def test_an_empty_body_travels_both_ways(transport: Transport, client: Client) -> None:
    call = client.begin(ECHO, b"")

    calls = next_calls(transport)
    transport.reply_many(calls.ids, calls.bodies)

    assert call.answer() == b""


@pytest.mark.parametrize("message", ["50% of «it»\n failed", ""])
def test_an_error_arrives_with_its_code_and_message(
    transport: Transport, client: Client, message: str
) -> None:
    call = client.begin(ECHO, b"x")
    calls = next_calls(transport)

    transport.reply_many(calls.ids, [(StatusCode.FAILED_PRECONDITION, message)])

    assert call.answer() == (StatusCode.FAILED_PRECONDITION, message)
    assert transport.stats().failed == 1


def test_an_unknown_method_is_answered_unimplemented(client: Client) -> None:
    call = client.begin("/test.Texts/Other", b"")

    answer = call.answer()

    assert answer[0] == StatusCode.UNIMPLEMENTED


def test_a_deadline_is_handed_over_on_the_monotonic_clock(
    transport: Transport, client: Client
) -> None:
    before = time.monotonic()
    client.begin(ECHO, b"with", timeout=1000)
    client.begin(ECHO, b"without")

    calls = next_calls(transport, 2)

    assert calls.deadlines is not None
    deadlines = dict(zip(calls.bodies, calls.deadlines, strict=True))
    assert deadlines[b"without"] is None
    # gRPC's clients round long time-outs up, by some percent.
    assert before + 999 < deadlines[b"with"] < time.monotonic() + 1100


def test_a_call_is_answered_at_its_deadline_though_its_run_goes_on(
    transport: Transport, client: Client
) -> None:
    call = client.begin(ECHO, b"x", timeout=0.2)
    calls = next_calls(transport)

    answer = call.answer()

    assert answer[0] == StatusCode.DEADLINE_EXCEEDED
    assert next_cancelled(transport) == calls.ids
    assert transport.alive(calls.ids) == [False]
    assert transport.stats().cancelled == 1


def test_a_cancelled_call_is_reported(transport: Transport, client: Client) -> None:
    call = client.begin(ECHO, b"x")
    calls = next_calls(transport)
    assert transport.alive(calls.ids) == [True]

    call.cancel()

    assert next_cancelled(transport) == calls.ids
    assert transport.alive(calls.ids) == [False]
    assert call.answer()[0] == StatusCode.CANCELLED


def test_a_call_that_is_cancelled_before_it_was_taken_is_never_handed_out(
    transport: Transport, client: Client
) -> None:
    call = client.begin(ECHO, b"given up")
    wait_for_in_flight(transport, 1)
    call.cancel()
    wait_for_in_flight(transport, 0)
    client.begin(ECHO, b"wanted")
    wait_for_in_flight(transport, 1)

    calls = transport.next_calls(FAR_SECONDS)

    assert calls is not None
    assert calls.bodies == [b"wanted"]
    assert calls.cancelled == []


def test_a_call_that_is_cancelled_after_its_answer_keeps_it(
    transport: Transport, client: Client
) -> None:
    answered, refused = client.begin(ECHO, b"x"), client.begin("/test.Texts/Other", b"")
    transport.reply_many(next_calls(transport).ids, [b"answer"])
    before = answered.answer(), refused.answer()

    answered.cancel()
    refused.cancel()

    assert (answered.answer(), refused.answer()) == before
    assert transport.stats().cancelled == 0


def test_a_late_reply_is_dropped_and_counted(transport: Transport, client: Client) -> None:
    call = client.begin(ECHO, b"x")
    calls = next_calls(transport)
    call.cancel()
    next_cancelled(transport)

    transport.reply_many(calls.ids, [b"late"])

    assert transport.stats().dropped_replies == 1
    assert transport.stats().replied == 0


def test_the_second_reply_to_a_call_is_dropped_and_counted(
    transport: Transport, client: Client
) -> None:
    call = client.begin(ECHO, b"x")
    calls = next_calls(transport)

    transport.reply_many([*calls.ids, *calls.ids], [b"first", b"second"])
    transport.fail_many(calls.ids, StatusCode.INTERNAL, "third")

    assert call.answer() == b"first"
    assert transport.stats().dropped_replies == 2


def test_an_answered_call_is_not_alive(transport: Transport, client: Client) -> None:
    client.begin(ECHO, b"one")
    client.begin(ECHO, b"two")
    calls = next_calls(transport, 2)

    transport.reply_many(calls.ids[:1], [b""])

    assert transport.alive(calls.ids) == [False, True]


@pytest.mark.usefixtures("client")
def test_calls_are_counted_by_method_and_code_with_the_time_they_took(
    transport: Transport, client: Client
) -> None:
    good, bad = client.begin(ECHO, b"one"), client.begin(REVERSE, b"two")
    calls = next_calls(transport, 2)
    transport.reply_many(
        calls.ids, [b"" if method == 0 else (StatusCode.INTERNAL, "") for method in calls.methods]
    )
    good.answer(), bad.answer()

    stats = transport.stats()

    assert stats.codes == {(0, StatusCode.OK): 1, (1, StatusCode.INTERNAL): 1}
    assert {method: sum(seen.counts) for method, seen in stats.seconds.items()} == {0: 1, 1: 1}


def test_calls_without_an_answer_are_counted_by_what_ended_them(
    transport: Transport, client: Client
) -> None:
    late, cancelled = client.begin(ECHO, b"x", timeout=0.2), client.begin(REVERSE, b"x")
    next_calls(transport, 2)
    cancelled.cancel()
    late.answer()
    wait_for_in_flight(transport, 0)

    expected = {(0, StatusCode.DEADLINE_EXCEEDED): 1, (1, StatusCode.CANCELLED): 1}
    assert transport.stats().codes == expected


def test_calls_that_nobody_takes_are_noticed(transport: Transport, client: Client) -> None:
    assert transport.stats().oldest_waiting_seconds == 0.0
    client.begin(ECHO, b"x")
    wait_for_in_flight(transport, 1)

    while transport.stats().oldest_waiting_seconds <= 0.0:
        time.sleep(0.001)

    next_calls(transport)
    assert transport.stats().oldest_waiting_seconds == 0.0


def test_a_transport_that_is_well_answers_a_ping(transport: Transport, client: Client) -> None:
    answered = threading.Event()

    transport.ping(answered.set)

    assert answered.wait(FAR_SECONDS)


def test_taking_calls_gives_empty_lists_when_none_come_in_time(transport: Transport) -> None:
    calls = transport.next_calls(0)

    assert calls == Calls([], [], [], None, [])


def test_the_eventfd_is_readable_when_calls_wait(transport: Transport, client: Client) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(transport.fileno(), selectors.EVENT_READ)
        assert selector.select(0) == []

        client.begin(ECHO, b"x")

        assert selector.select(FAR_SECONDS) != []
        assert len(next_calls(transport).ids) == 1


def test_the_eventfd_is_readable_at_the_end(transport: Transport, client: Client) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(transport.fileno(), selectors.EVENT_READ)

        transport.stop(0)

        assert selector.select(FAR_SECONDS) != []


def test_stopping_waits_for_accepted_calls_and_hands_out_those_still_queued(
    transport: Transport, client: Client
) -> None:
    running = client.begin(ECHO, b"running")
    first = next_calls(transport)
    queued = client.begin(ECHO, b"queued")
    wait_for_in_flight(transport, 2)
    stopped = in_background(lambda: transport.stop(FAR_SECONDS))

    second = next_calls(transport)
    transport.reply_many(first.ids + second.ids, first.bodies + second.bodies)

    assert stopped() is True
    assert (running.answer(), queued.answer()) == (b"running", b"queued")
    assert transport.next_calls(None) is None


def test_calls_that_outlast_the_grace_are_answered_unavailable_and_reported(
    transport: Transport, client: Client
) -> None:
    call = client.begin(ECHO, b"x")
    calls = next_calls(transport)

    is_drained = transport.stop(0.05)

    assert is_drained is False
    assert call.answer()[0] == StatusCode.UNAVAILABLE
    assert next_cancelled(transport) == calls.ids
    assert transport.next_calls(None) is None


def test_a_stopped_transport_refuses_calls(transport: Transport, client: Client) -> None:
    transport.stop(0)

    answer = client.begin(ECHO, b"x").answer()

    assert answer[0] == StatusCode.UNAVAILABLE


def test_stopping_twice_does_nothing_and_is_a_success(transport: Transport, client: Client) -> None:
    client.begin(ECHO, b"x")
    next_calls(transport)
    transport.stop(0)

    assert transport.stop(0) is True


def test_a_transport_that_never_started_can_be_stopped(transport: Transport) -> None:
    assert transport.stop(0) is True
    assert transport.next_calls(None) is None


@pytest.mark.usefixtures("client")
def test_stopping_ends_a_thread_that_waits_for_calls(transport: Transport) -> None:
    ended = in_background(lambda: transport.next_calls(None) is None)

    transport.stop(0)

    assert ended() is True


def test_every_call_gets_exactly_its_own_answer_under_concurrency(
    transport: Transport, client: Client
) -> None:
    def serve() -> None:
        while (calls := transport.next_calls(None)) is not None:
            transport.reply_many(calls.ids, [body[::-1] for body in calls.bodies])

    def ask(numbers: Sequence[int]) -> list[Answer]:
        begun = [client.begin(ECHO, f"{number:06}".encode()) for number in numbers]
        return [call.answer() for call in begun]

    server = threading.Thread(target=serve)
    server.start()
    with ThreadPoolExecutor(8) as executor:
        answers = list(executor.map(ask, [range(n, n + 25) for n in range(0, 200, 25)]))
    transport.stop(FAR_SECONDS)
    server.join()

    flat = [answer for part in answers for answer in part]
    assert flat == [f"{number:06}".encode()[::-1] for number in range(200)]
    assert transport.stats().accepted == transport.stats().replied == 200
