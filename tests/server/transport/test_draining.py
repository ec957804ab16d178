"""Stopping while clients are at it: what was accepted is answered, and nothing is cancelled."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import pytest

rust = pytest.importorskip(
    "modelserver_transport", reason="modelserver_transport is not installed: build server/transport"
)

ECHO = "/test.Texts/Echo"
FAR_SECONDS = 30.0
DATA, HEADERS, RST_STREAM, PING, WINDOW_UPDATE = 0, 1, 3, 6, 8


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


class Load:
    """Clients that call one after another until the server is gone."""

    def __init__(self, port: int, clients: int) -> None:
        self.outcomes: Counter[tuple[grpc.StatusCode | None, str]] = Counter()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._call, args=(port,), daemon=True) for _ in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        return self.outcomes[None, ""]

    def _call(self, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            stub = channel.unary_unary(ECHO)
            while True:
                calls = [stub.future(b"x", timeout=FAR_SECONDS) for _ in range(20)]
                errors = [call.exception() for call in calls]
                outcomes = [(e and e.code(), e.details() if e else "") for e in errors]
                with self._lock:
                    self.outcomes.update(outcomes)
                if any(errors):
                    return


@pytest.mark.parametrize("attempt", range(5))
def test_a_stop_under_load_answers_every_call_that_was_accepted(
    serve: Callable[..., Any], attempt: int
) -> None:
    server = serve()
    load = Load(server.port, 6)
    wait_until(lambda: load.answered > 300 + 100 * attempt)

    is_drained = server.transport.stop(FAR_SECONDS)

    load.join()
    stats = server.transport.stats()
    assert is_drained is True
    assert stats["accepted"] == stats["replied"]
    assert (stats["failed"], stats["cancelled"]) == (0, 0)
    # Every answer arrived; the others were never accepted, and their clients know it.
    assert load.answered == stats["replied"], load.outcomes
    assert {code for code, _ in load.outcomes} == {None, grpc.StatusCode.UNAVAILABLE}


def test_large_answers_are_written_before_a_connection_closes(serve: Callable[..., Any]) -> None:
    transport = (server := serve(is_echoing=False)).transport
    unlimited = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", unlimited) as channel:
        stub = channel.unary_unary(ECHO)
        calls = [stub.future(b"x", timeout=FAR_SECONDS) for _ in range(8)]
        ids: list[int] = []
        while len(ids) < 8:
            ids += transport.next_calls(FAR_SECONDS)[0]
        stopping = threading.Thread(target=transport.stop, args=(FAR_SECONDS,))
        stopping.start()

        transport.reply_many(ids, [bytes(5_000_000)] * 8)

        assert [len(call.result()) for call in calls] == [5_000_000] * 8
    stopping.join()


def test_calls_that_come_before_a_client_knows_of_the_stop_are_served(
    serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    transport = (server := serve(is_echoing=False)).transport
    connection = connect(server.port)
    connection.begin(1)
    ids = transport.next_calls(FAR_SECONDS)[0]
    results: list[bool] = []
    stopping = threading.Thread(target=lambda: results.append(transport.stop(FAR_SECONDS)))
    stopping.start()
    warning = connection.receive_goaway()
    ping = connection.receive_until(lambda frame: frame.kind == PING)

    connection.send(PING, 1, 0, ping.payload)
    connection.begin(3)  # as gRPC's clients may
    connection.send(WINDOW_UPDATE, 0, 3, b"\0\0\0\1")
    while len(ids) < 2:
        ids += transport.next_calls(FAR_SECONDS)[0]
    transport.reply_many(ids, [b"one", b"two"])

    ends = [connection.receive_end(stream).kind for stream in (1, 3)]
    last = connection.receive_goaway()
    assert ends == [1, 1]
    assert [int.from_bytes(frame.payload[:4], "big") for frame in (warning, last)] == [2**31 - 1, 3]
    assert (warning.error_code, last.error_code) == (0, 0)
    assert connection.receive() is None
    connection.socket.close()
    stopping.join()
    assert results == [True]


def test_a_client_that_will_not_go_away_is_turned_away(
    serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    server = serve()
    connection = connect(server.port)
    connection.begin(1, body=None)
    connection.send(PING, 0, 0, bytes(8))
    connection.receive_until(lambda frame: frame.kind == PING)
    stopping = threading.Thread(target=server.transport.stop, args=(FAR_SECONDS,))
    stopping.start()
    connection.receive_goaway()
    connection.send(WINDOW_UPDATE, 0, 0, b"\x40\0\0\0")  # for the answers to come

    stream, kind = 1, HEADERS
    while kind == HEADERS:
        stream += 2
        connection.begin(stream)
        kind = (end := connection.receive_end(stream)).kind

    assert (end.kind, end.error_code) == (RST_STREAM, 7)
    connection.send(DATA, 1, 1, connection.message(b"x"))
    assert connection.receive_end(1).kind == HEADERS
    connection.socket.close()
    stopping.join()


def test_connections_without_calls_do_not_hold_up_a_stop(
    serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    server = serve()
    for _ in range(3):
        connect(server.port).begin(1)  # these never answer the PING of the server
    connect(server.port, preface=b"PRI")
    wait_until(lambda: server.transport.stats()["connections"] == 4)

    assert server.transport.stop(3600) is True


def test_a_message_that_never_ends_is_refused_after_the_grace(
    serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    server = serve()
    connection = connect(server.port)
    connection.begin(1, body=None)
    wait_until(lambda: server.transport.stats()["connections"] == 1)
    connection.send(PING, 0, 0, bytes(8))
    connection.receive_until(lambda frame: frame.kind == PING)

    is_drained = server.transport.stop(0.05)

    assert is_drained is True
    assert connection.receive_end(1).kind == 1
    assert connection.is_closed()


def test_a_client_that_reads_nothing_does_not_hold_up_a_stop(
    serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    server = serve(constant_answers={"/test.Texts/Large": bytes(3_000_000)})
    connection = connect(server.port)
    connection.begin(1, "/test.Texts/Large")
    wait_until(lambda: server.transport.stats()["buffered_bytes"] > 0)

    server.transport.stop(0.05)

    assert server.transport.stats()["connections"] == 0
    assert server.transport.stats()["buffered_bytes"] == 0


def test_the_port_is_free_after_a_stop(serve: Callable[..., Any]) -> None:
    port = (server := serve()).port
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        channel.unary_unary(ECHO)(b"x", timeout=FAR_SECONDS)
        server.transport.stop(FAR_SECONDS)

    assert serve(addresses=[f"127.0.0.1:{port}"]).port == port


def test_two_threads_may_stop_a_transport(serve: Callable[..., Any]) -> None:
    server = serve()
    results: list[bool] = []
    stop = lambda: results.append(server.transport.stop(FAR_SECONDS))  # noqa: E731
    threads = [threading.Thread(target=stop) for _ in range(2)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [True, True]


def test_a_stream_that_has_brought_nothing_is_ended_by_the_stop(
    serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Python has not been told of it, so nobody else would end it before the grace is over."""
    transport = (server := serve(is_echoing=False)).transport
    connection = connect(server.port)
    connection.begin(1, "/test.Texts/Watch", body=None)
    connection.send(PING, 0, 0, bytes(8))
    connection.receive_until(lambda frame: frame.kind == PING and frame.flags & 1)

    stopping = threading.Thread(target=transport.stop, args=(100 * FAR_SECONDS,))
    stopping.start()
    end = connection.receive_end(1)
    connection.socket.close()
    stopping.join(FAR_SECONDS)

    assert end.kind == HEADERS
    assert not stopping.is_alive()
