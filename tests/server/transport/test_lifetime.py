"""Connections that are old, idle or silent."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

rust = pytest.importorskip(
    "modelserver_transport", reason="modelserver_transport is not installed: build server/transport"
)

ECHO = "/test.Texts/Echo"
FAR_SECONDS = 30.0
PING, ACK = 6, 1

WINDOW_UPDATE = 8

Serve = Callable[..., Any]
Connect = Callable[..., Any]


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


def test_a_silent_client_is_asked_whether_it_is_there_and_then_closed(
    serve: Serve, connect: Connect
) -> None:
    connection = connect(serve(keepalive_seconds=0.05, keepalive_timeout_seconds=0.05).port)

    ping = connection.receive_until(lambda frame: frame.kind == PING)

    assert not ping.flags & ACK
    assert connection.is_closed()


def test_a_client_that_answers_stays(serve: Serve, connect: Connect) -> None:
    connection = connect(serve(keepalive_seconds=0.02, keepalive_timeout_seconds=FAR_SECONDS).port)

    for _ in range(5):
        ping = connection.receive_until(lambda frame: frame.kind == PING)
        connection.send(PING, ACK, 0, ping.payload)

    connection.begin(1)
    assert connection.receive_end(1).kind == 1


def test_a_call_that_takes_long_outlives_pings(serve: Serve, connect: Connect) -> None:
    transport = (server := serve(is_echoing=False, keepalive_seconds=0.02)).transport
    connection = connect(server.port)
    connection.begin(1)
    ids = transport.next_calls(FAR_SECONDS)[0]

    for _ in range(3):
        ping = connection.receive_until(lambda frame: frame.kind == PING)
        connection.send(PING, ACK, 0, ping.payload)
    transport.reply_many(ids, [b"late but wanted"])

    assert connection.receive_end(1).kind == 1


def test_an_idle_connection_is_told_to_go_away(serve: Serve, connect: Connect) -> None:
    connection = connect(serve(max_connection_idle_seconds=0.1).port)
    connection.begin(1)
    connection.receive_end(1)

    goaway = connection.receive_goaway()

    assert goaway.error_code == 0
    assert connection.is_closed()


def test_a_busy_connection_is_not_idle(serve: Serve, connect: Connect) -> None:
    server = serve(is_echoing=False, max_connection_idle_seconds=0.02, keepalive_seconds=0.1)
    connection = connect(server.port)
    connection.begin(1)
    server.transport.next_calls(FAR_SECONDS)

    frame = connection.receive_until(lambda frame: frame.kind in (PING, 7))

    assert frame.kind == PING


def test_an_old_connection_goes_away_and_its_calls_are_answered(
    serve: Serve, connect: Connect
) -> None:
    transport = (server := serve(is_echoing=False, max_connection_age_seconds=0.1)).transport
    connection = connect(server.port)
    connection.begin(1)
    ids = transport.next_calls(FAR_SECONDS)[0]

    goaway = connection.receive_goaway()
    transport.reply_many(ids, [b"answer"])

    assert goaway.error_code == 0
    assert connection.receive_end(1).kind == 1
    assert connection.is_closed()


def test_a_call_on_an_old_connection_may_take_longer_than_a_keepalive(
    serve: Serve, connect: Connect
) -> None:
    server = serve(
        is_echoing=False,
        max_connection_age_seconds=0.05,
        keepalive_seconds=0.1,
        keepalive_timeout_seconds=0.1,
    )
    connection = connect(server.port)
    connection.begin(1)
    ids = server.transport.next_calls(FAR_SECONDS)[0]
    connection.receive_goaway()
    farewell = connection.receive_until(lambda frame: frame.kind == PING)
    connection.send(PING, ACK, 0, farewell.payload)

    time.sleep(0.5)
    server.transport.reply_many(ids, [b"late but wanted"])

    assert connection.receive_end(1).kind == 1
    assert connection.is_closed()


def test_an_old_connection_whose_client_reads_nothing_is_closed(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    path = tmp_path / "socket"  # the system holds equally much for every connection
    server = serve(addresses=[f"unix:{path}"], is_echoing=False, max_connection_age_seconds=1)
    stats = server.transport.stats

    def answer(connection: Any, stream: int) -> None:
        connection.begin(stream)
        server.transport.reply_many(server.transport.next_calls(FAR_SECONDS)[0], [bytes(10_000)])
        time.sleep(0.01)

    first = connect(path, window=1 << 30)
    first.send(WINDOW_UPDATE, 0, 0, b"\x3f\xff\0\0")
    count = 0
    while stats()["buffered_bytes"] == 0:
        answer(first, 2 * count + 1)
        count += 1
    first.socket.close()
    wait_until(lambda: stats()["connections"] == 0)

    second = connect(path, window=1 << 30)
    second.send(WINDOW_UPDATE, 0, 0, b"\x3f\xff\0\0")
    for call in range(count - 3):  # so that nothing waits in HTTP/2, but some for the socket
        answer(second, 2 * call + 1)
    assert (stats()["buffered_bytes"], stats()["connections"]) == (0, 1)

    wait_until(lambda: stats()["connections"] == 0)


def test_calls_that_outlast_the_grace_of_an_old_connection_are_answered_unavailable(
    serve: Serve,
) -> None:
    server = serve(
        is_echoing=False, max_connection_age_seconds=0.1, max_connection_age_grace_seconds=0.1
    )
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(ECHO).future(b"x", timeout=FAR_SECONDS)
        ids = server.transport.next_calls(FAR_SECONDS)[0]

        assert call.exception().code() is grpc.StatusCode.UNAVAILABLE
    assert server.transport.next_calls(FAR_SECONDS)[4] == ids
    assert server.transport.alive(ids) == [False]


def test_clients_move_on_from_old_connections_without_an_error(serve: Serve) -> None:
    server = serve(max_connection_age_seconds=0.02)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = channel.unary_unary(ECHO)

        answers = [stub(b"%d" % n, timeout=FAR_SECONDS) for n in range(500)]

    assert answers == [b"%d" % n for n in range(500)]
