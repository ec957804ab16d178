import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from modelserver.errors import NotFoundError
from modelserver.rpc.replies import Replies
from modelserver.rpc.server import RpcServer, by_method
from modelserver.rpc.service import Handler, MethodCalls, answer_each, method_names
from modelserver.rpc.transport.base import Answer, Calls, StatusCode
from modelserver.testing.transport import MemoryTransport


class FakeService:
    """Methods that are plain functions; remembers what was cancelled."""

    def __init__(self, **handlers: Handler) -> None:
        self.methods: Mapping[str, Handler] = {f"/test/{n}": h for n, h in handlers.items()}
        self.cancelled: list[int] = []
        self.was_cancelled = threading.Event()

    def cancel(self, ids: Sequence[int]) -> None:
        self.cancelled.extend(ids)
        self.was_cancelled.set()


class CountingTransport(MemoryTransport):
    """A transport that remembers the size of each bundle of answers."""

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__(methods)
        self.bundles: list[int] = []

    def reply_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
        self.bundles.append(len(ids))
        super().reply_many(ids, answers)


Serve = Callable[..., CountingTransport]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[RpcServer] = []

    def serve(*services: FakeService) -> CountingTransport:
        transport = CountingTransport(method_names(services))
        servers.append(RpcServer(transport, services))
        servers[-1].start()
        return transport

    yield serve
    for server in servers:
        server.stop(0)


def upper(calls: MethodCalls, replies: Replies) -> None:
    for id, body in zip(calls.ids, calls.bodies, strict=True):
        replies.send(id, body.upper())


def lower(calls: MethodCalls, replies: Replies) -> None:
    for id, body in zip(calls.ids, calls.bodies, strict=True):
        replies.send(id, body.lower())


def test_calls_are_split_by_method_in_their_order() -> None:
    calls = Calls([1, 2, 3], [1, 0, 1], [b"a", b"b", b"c"], [None, 5.0, 6.0], [])

    split = by_method(calls)

    assert split == {
        1: MethodCalls([1, 3], [b"a", b"c"], [None, 6.0]),
        0: MethodCalls([2], [b"b"], [5.0]),
    }


def test_calls_without_deadlines_are_split_without_any() -> None:
    split = by_method(Calls([1, 2], [0, 1], [b"a", b"b"], None, []))

    assert split == {0: MethodCalls([1], [b"a"], None), 1: MethodCalls([2], [b"b"], None)}


def test_each_method_reaches_its_handler_across_services(serve: Serve) -> None:
    transport = serve(FakeService(Upper=upper), FakeService(Lower=lower))

    assert transport.call("/test/Upper", b"Ab") == b"AB"
    assert transport.call("/test/Lower", b"Ab") == b"ab"


def test_answers_that_a_handler_makes_at_once_leave_together() -> None:
    transport = CountingTransport(["/test/Upper"])
    transport.start()
    calls = [transport.begin("/test/Upper", body) for body in (b"a", b"b", b"c")]
    replies = Replies(transport)
    taken = transport.next_calls(None)
    assert taken is not None

    replies.collect()
    upper(by_method(taken)[0], replies)
    replies.end()
    transport.stop(0)

    assert transport.bundles == [3]
    assert [call.answer() for call in calls] == [b"A", b"B", b"C"]


def test_an_answer_of_another_thread_leaves_at_once(serve: Serve) -> None:
    def later(calls: MethodCalls, replies: Replies) -> None:
        thread = threading.Thread(target=upper, args=(calls, replies))
        thread.start()
        thread.join()

    transport = serve(FakeService(Later=later))

    assert transport.call("/test/Later", b"a") == b"A"


def test_a_handler_that_raises_answers_its_calls_with_the_error(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(calls: MethodCalls, replies: Replies) -> None:
        raise ZeroDivisionError("of course")

    transport = serve(FakeService(Broken=broken, Upper=upper))

    assert transport.call("/test/Broken", b"") == (
        StatusCode.INTERNAL,
        "ZeroDivisionError: of course",
    )
    assert transport.call("/test/Upper", b"still") == b"STILL"
    assert "A handler failed" in caplog.text


def test_a_handler_that_exits_answers_its_calls_and_serving_goes_on(serve: Serve) -> None:
    def leave(calls: MethodCalls, replies: Replies) -> None:
        raise SystemExit("bye")

    transport = serve(FakeService(Leave=leave, Upper=upper))

    assert transport.call("/test/Leave", b"") == (StatusCode.INTERNAL, "SystemExit: bye")
    assert transport.call("/test/Upper", b"still") == b"STILL"


def test_answers_that_the_transport_refuses_do_not_end_serving(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = threading.Event()

    class Refusing(MemoryTransport):
        def reply_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
            if b"NEVER" in answers:
                refused.set()
                raise ValueError("refused")
            super().reply_many(ids, answers)

    service = FakeService(Upper=upper)
    transport = Refusing(method_names([service]))
    server = RpcServer(transport, [service])
    server.start()
    never = transport.begin("/test/Upper", b"never")
    refused.wait()

    assert transport.call("/test/Upper", b"still") == b"STILL"
    server.stop(0)
    assert never.answer()[0] == StatusCode.UNAVAILABLE
    assert "serving goes on" in caplog.text


def test_a_service_that_fails_to_cancel_ends_neither_serving_nor_the_others_cancelling(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(FakeService):
        def cancel(self, ids: Sequence[int]) -> None:
            raise KeyError(ids)

    taken = threading.Event()
    other = FakeService(Upper=upper)
    transport = serve(Stubborn(Keep=lambda calls, replies: taken.set()), other)
    call = transport.begin("/test/Keep", b"")
    taken.wait()

    call.cancel()

    other.was_cancelled.wait()
    assert transport.call("/test/Upper", b"still") == b"STILL"
    assert "A service failed to cancel calls" in caplog.text


def test_a_cancellation_reaches_the_services(serve: Serve) -> None:
    kept: list[int] = []
    taken = threading.Event()

    def keep(calls: MethodCalls, replies: Replies) -> None:
        kept.extend(calls.ids)
        taken.set()

    service = FakeService(Keep=keep)
    transport = serve(service)
    call = transport.begin("/test/Keep", b"")
    taken.wait()

    call.cancel()

    service.was_cancelled.wait()
    assert service.cancelled == kept


def test_answering_each_call_gives_an_error_only_to_the_call_that_caused_it(serve: Serve) -> None:
    def find(body: bytes) -> bytes:
        if body == b"missing":
            raise NotFoundError("no such thing")
        return b"found"

    transport = serve(FakeService(Find=answer_each(find)))
    calls = [transport.begin("/test/Find", body) for body in (b"missing", b"there")]

    assert [call.answer() for call in calls] == [
        (StatusCode.NOT_FOUND, "no such thing"),
        b"found",
    ]


def test_stopping_ends_the_serve_thread_and_tells_whether_all_was_answered() -> None:
    service = FakeService(Upper=upper)
    transport = MemoryTransport(method_names([service]))
    server = RpcServer(transport, [service])
    server.start()

    assert server.stop(30) is True
    assert transport.next_calls(None) is None


def test_a_server_that_never_started_can_be_stopped() -> None:
    server = RpcServer(MemoryTransport([]), [])

    assert server.stop(0) is True
