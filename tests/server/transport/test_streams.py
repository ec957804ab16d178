"""Methods with many messages, as Python serves them."""

import queue
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
import pytest

rust = pytest.importorskip(
    "modelserver_transport", reason="modelserver_transport is not installed: build server/transport"
)

WATCH = "/test.Texts/Watch"
FAR_SECONDS = 30.0


class Ends(NamedTuple):
    """A transport and a channel to it."""

    transport: Any
    channel: grpc.Channel

    def watch(self, body: bytes = b"x", timeout: float = FAR_SECONDS) -> Any:
        return self.channel.unary_stream(WATCH)(body, timeout=timeout)

    def next_messages(self, count: int) -> list[tuple[int, int, bytes | None]]:
        taken: list[tuple[int, int, bytes | None]] = []
        while len(taken) < count:
            taken += self.transport.next_messages(FAR_SECONDS)
        return taken


@pytest.fixture
def ends(serve: Callable[..., Any]) -> Iterator[Ends]:
    server = serve(is_echoing=False)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Ends(server.transport, channel)


def test_a_stream_brings_its_request_and_then_the_end_of_the_clients_side(ends: Ends) -> None:
    call = ends.watch(b"request")

    (first, method, message), second = ends.next_messages(2)

    assert (method, message) == (0, b"request")
    assert second == (first, 0, None)
    ends.transport.end_stream(first)
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK


def test_messages_reach_the_client_in_order_until_the_end(ends: Ends) -> None:
    call = ends.watch()
    stream = ends.next_messages(2)[0][0]

    sent = [ends.transport.send_message(stream, b"%d" % n) for n in range(100)]
    ends.transport.end_stream(stream)

    assert sent == [True] * 100
    assert list(call) == [b"%d" % n for n in range(100)]


def test_a_stream_ends_with_a_status(ends: Ends) -> None:
    call = ends.watch()
    stream = ends.next_messages(2)[0][0]

    ends.transport.send_message(stream, b"one")
    ends.transport.end_stream(stream, 5, "no «more»")

    assert next(call) == b"one"
    with pytest.raises(grpc.RpcError):
        next(call)
    assert (call.code(), call.details()) == (grpc.StatusCode.NOT_FOUND, "no «more»")


def test_both_sides_may_talk_at_once(ends: Ends) -> None:
    outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call = ends.channel.stream_stream(WATCH)(iter(outgoing.get, None), timeout=FAR_SECONDS)

    answers = []
    for body in (b"one", b"two", b""):
        outgoing.put(body)
        [(stream, _, message)] = ends.next_messages(1)
        ends.transport.send_message(stream, b"<%b>" % message)
        answers.append(next(call))
    outgoing.put(None)
    end = ends.next_messages(1)
    ends.transport.end_stream(stream)

    assert answers == [b"<one>", b"<two>", b"<>"]
    assert end == [(stream, 0, None)]
    assert list(call) == []


def test_a_stream_that_the_client_has_given_up_is_gone(ends: Ends) -> None:
    call = ends.watch()
    stream = ends.next_messages(2)[0][0]

    call.cancel()
    gone = ends.next_messages(1)

    assert gone == [(stream, 0, None)]
    assert ends.transport.send_message(stream, b"x") is False
    ends.transport.end_stream(stream)


def test_a_stream_of_a_client_that_has_left_is_gone(ends: Ends) -> None:
    call = ends.watch()
    stream = ends.next_messages(2)[0][0]

    ends.channel.close()
    gone = ends.next_messages(1)

    assert gone == [(stream, 0, None)]
    assert call.done()


def test_a_stream_ends_at_its_deadline(ends: Ends) -> None:
    call = ends.watch(timeout=0.2)
    stream = ends.next_messages(2)[0][0]

    gone = ends.next_messages(1)

    assert gone == [(stream, 0, None)]
    with pytest.raises(grpc.RpcError):
        next(call)
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_an_ended_stream_takes_no_more(ends: Ends) -> None:
    call = ends.watch()
    stream = ends.next_messages(2)[0][0]

    ends.transport.end_stream(stream)

    assert list(call) == []
    assert ends.transport.send_message(stream, b"x") is False


def test_a_message_that_is_too_large_ends_its_stream(serve: Callable[..., Any]) -> None:
    transport = (server := serve(is_echoing=False, max_message_bytes=100)).transport
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_stream(WATCH)(b"x", timeout=FAR_SECONDS)
        stream = transport.next_messages(FAR_SECONDS)[0][0]

        is_sent = transport.send_message(stream, bytes(101))

        assert is_sent is False
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_streams_have_ids_of_their_own(ends: Ends) -> None:
    calls = [ends.watch(b"%d" % n) for n in range(5)]
    taken = ends.next_messages(10)

    for stream, _, message in taken:
        if message is not None:
            ends.transport.send_message(stream, message)
            ends.transport.end_stream(stream)

    assert [list(call) for call in calls] == [[b"%d" % n] for n in range(5)]


def test_a_stop_without_grace_ends_streams_unavailable(ends: Ends) -> None:
    call = ends.watch()
    ends.next_messages(2)

    is_drained = ends.transport.stop(0)

    assert is_drained is True
    with pytest.raises(grpc.RpcError):
        next(call)
    assert call.code() is grpc.StatusCode.UNAVAILABLE
    assert ends.transport.next_messages(None) is None


@pytest.mark.parametrize("io_threads", [1, 3])
def test_a_ping_comes_back_through_the_threads(serve: Callable[..., Any], io_threads: int) -> None:
    transport = serve(is_echoing=False, io_threads=io_threads).transport

    transport.ping(-7)
    messages = transport.next_messages(FAR_SECONDS)

    assert messages == [(-7, -1, None)]
    assert transport.next_messages(0) == []


@pytest.mark.parametrize("limits", [{"max_queued_calls": 10}, {"max_buffered_bytes": 100_000}])
def test_a_stream_that_brings_more_than_may_wait_is_refused(
    serve: Callable[..., Any], limits: dict[str, int]
) -> None:
    server = serve(is_echoing=False, **limits)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.stream_stream(WATCH)(iter([bytes(20_000)] * 20), timeout=FAR_SECONDS)

        assert call.exception().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.transport.stats()["buffered_bytes"] <= 400_000
    server.transport.next_messages(0)
    assert server.transport.stats()["buffered_bytes"] == 0
