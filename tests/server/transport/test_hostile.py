"""Clients that break the rules, attack, or take nothing. Others are served all the same."""

import contextlib
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

rust = pytest.importorskip(
    "modelserver_transport", reason="modelserver_transport is not installed: build server/transport"
)

ECHO = "/test.Texts/Echo"
FAR_SECONDS = 30.0
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 2, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CANCEL = struct.pack(">I", 8)

Connect = Callable[..., Any]


@pytest.fixture
def server(serve: Callable[..., Any]) -> Iterator[Any]:
    """A server that is well after the test."""
    server = serve(max_message_bytes=1 << 20, max_header_bytes=8192)
    yield server
    assert is_well(server)


def is_well(server: Any) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        return channel.unary_unary(ECHO)(b"well", timeout=FAR_SECONDS) == b"well"


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


@pytest.mark.parametrize(
    "preface",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9],
    ids=["http1", "tls"],
)
def test_what_is_not_http2_is_closed(server: Any, connect: Connect, preface: bytes) -> None:
    connection = connect(server.port, preface=preface)

    assert connection.is_closed()


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_closed(server: Any, connect: Connect, seed: int) -> None:
    connection = connect(server.port)
    noise = random.Random(seed).randbytes(20_000)

    try:
        connection.socket.sendall(noise)
        connection.socket.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # closed already

    assert connection.is_closed()


@pytest.mark.parametrize("seed", range(20))
def test_random_frames_leave_the_server_well(server: Any, connect: Connect, seed: int) -> None:
    connection = connect(server.port)
    chance = random.Random(seed)

    try:
        for _ in range(300):
            payload = chance.randbytes(chance.choice([0, 1, 4, 5, 8, 40, 1000]))
            kind, flags = chance.randrange(11), chance.choice([0, 1, 4, 5, 8, 32, 255])
            connection.send(kind, flags, chance.choice([0, 1, 3, 5, 2]), payload)
            if chance.random() < 0.2:
                connection.begin(chance.randrange(1, 99, 2))
    except ConnectionError:
        pass


@pytest.mark.parametrize(
    "frames",
    [
        [(DATA, END_STREAM, 0, b"x")],
        [(DATA, END_STREAM, 1, b"x")],
        [(HEADERS, END_HEADERS, 2, b"\x82")],
        [(RST_STREAM, 0, 7, CANCEL)],
        [(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0))],
        [(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF))],
        [(SETTINGS, 0, 0, b"12345")],
        [(SETTINGS, 0, 0, struct.pack(">HI", 5, 1))],
        [(PING, 0, 0, b"1234")],
        [(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff")],
        [(CONTINUATION, END_HEADERS, 1, b"\x82")],
        [(HEADERS, 0, 1, b"\x82"), (DATA, 0, 1, b"x")],
    ],
    ids=[
        "data-on-0", "data-on-idle", "even-stream", "reset-of-idle", "no-increment", "overflow",
        "settings-size", "settings-value", "ping-size", "hpack", "continuation", "interrupted",
    ],
)  # fmt: skip
def test_a_frame_that_breaks_the_rules_ends_the_connection(
    server: Any, connect: Connect, frames: list[tuple[int, int, int, bytes]]
) -> None:
    connection = connect(server.port)

    for frame in frames:
        connection.send(*frame)

    assert connection.receive_goaway().error_code != 0
    assert connection.is_closed()


def test_a_frame_above_the_largest_size_ends_the_connection(server: Any, connect: Connect) -> None:
    connection = connect(server.port)

    connection.socket.sendall(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(100))

    assert connection.receive_goaway().error_code == 6


def test_an_old_stream_cannot_be_used_again(server: Any, connect: Connect) -> None:
    connection = connect(server.port)
    connection.begin(5)
    connection.receive_end(5)

    connection.begin(3)

    assert connection.receive_goaway().error_code != 0


@pytest.mark.parametrize("count", [1, 400])
def test_headers_above_the_limit_are_refused(server: Any, connect: Connect, count: int) -> None:
    connection = connect(server.port)
    extra = [(f"x-{n}", "v" * (12_000 // count)) for n in range(count)]

    connection.send(HEADERS, END_HEADERS | END_STREAM, 1, connection.header_block(ECHO, *extra))
    end = connection.receive_until(lambda frame: frame.stream == 1 or frame.kind == GOAWAY)

    assert end.kind in (HEADERS, RST_STREAM, GOAWAY)
    assert server.transport.stats()["accepted"] == 0


def test_a_flood_of_continuations_ends_the_connection(server: Any, connect: Connect) -> None:
    connection = connect(server.port)
    connection.send(HEADERS, 0, 1, connection.header_block())
    flood = connection.frame(CONTINUATION, 0, 1, b"\0\x01x\x01y" * 100) * 1000

    with contextlib.suppress(ConnectionError):
        connection.socket.sendall(flood)

    assert connection.is_closed()


@pytest.mark.parametrize("kind", [PING, SETTINGS, PRIORITY, DATA])
def test_a_flood_of_empty_frames_leaves_the_server_well(
    server: Any, connect: Connect, kind: int
) -> None:
    connection = connect(server.port)
    payload = {PING: bytes(8), PRIORITY: bytes(5)}.get(kind, b"")
    connection.begin(1, body=None)
    flood = connection.frame(kind, 0, 1 if kind in (DATA, PRIORITY) else 0, payload) * 2000

    def send() -> None:
        try:
            for _ in range(20):
                connection.socket.sendall(flood)
        except OSError:
            pass

    with ThreadPoolExecutor(1) as executor:
        sending = executor.submit(send)
        assert is_well(server)
        connection.socket.close()
        sending.result()


def test_streams_that_are_begun_and_reset_at_once_do_not_reach_python(
    serve: Callable[..., Any], connect: Connect
) -> None:
    server = serve(is_echoing=False)
    connection = connect(server.port)
    frames = [
        connection.frame(HEADERS, END_HEADERS, stream, connection.header_block())
        + connection.frame(DATA, END_STREAM, stream, connection.message(b"x"))
        + connection.frame(RST_STREAM, 0, stream, CANCEL)
        for stream in range(1, 20_000, 2)
    ]

    try:
        connection.socket.sendall(b"".join(frames))
        connection.send(PING, 0, 0, bytes(8))
        connection.receive_until(lambda frame: frame.kind in (PING, GOAWAY))
    except (ConnectionError, EOFError):
        pass  # the server may as well hang up

    wait_until(lambda: server.transport.stats()["in_flight"] == 0)
    stats = server.transport.stats()
    assert stats["cancelled"] == stats["accepted"]
    assert server.transport.next_calls(0)[0] == []
    assert stats["buffered_bytes"] <= 10_000


def test_a_flood_of_resets_of_streams_that_never_came_ends_the_connection(
    serve: Callable[..., Any], connect: Connect
) -> None:
    server = serve(is_echoing=False, max_concurrent_streams=1)
    connection = connect(server.port)
    connection.begin(1)
    ids = server.transport.next_calls(FAR_SECONDS)[0]
    connection.begin(9999)  # is refused, and those below count as closed

    with contextlib.suppress(ConnectionError):
        for stream in range(3, 9999, 2):
            connection.send(RST_STREAM, 0, stream, CANCEL)

    assert server.transport.next_calls(FAR_SECONDS)[4] == ids
    assert connection.is_closed()


def test_streams_to_a_client_that_reads_nothing_end_when_the_memory_is_full(
    serve: Callable[..., Any], connect: Connect
) -> None:
    transport = (server := serve(is_echoing=False, max_buffered_bytes=4 << 20)).transport
    connection = connect(server.port)
    connection.begin(1, "/test.Texts/Watch")
    stream = transport.next_messages(FAR_SECONDS)[0][0]

    until = time.monotonic() + FAR_SECONDS
    while transport.send_message(stream, bytes(100_000)):
        assert time.monotonic() < until
        time.sleep(0.001)

    assert transport.stats()["buffered_bytes"] <= 5 << 20
    messages = transport.next_messages(FAR_SECONDS)
    assert messages[-1] == (stream, 0, None)


def test_more_streams_than_allowed_are_refused(serve: Callable[..., Any], connect: Connect) -> None:
    server = serve(is_echoing=False, max_concurrent_streams=10)
    connection = connect(server.port)
    for stream in range(1, 41, 2):
        connection.begin(stream)

    refused = [connection.receive_until(lambda f: f.kind == RST_STREAM) for _ in range(10)]

    assert {frame.error_code for frame in refused} <= {5, 7}  # refused, and then closed
    wait_until(lambda: server.transport.stats()["accepted"] == 10)


def test_connections_above_the_limit_are_closed(
    serve: Callable[..., Any], connect: Connect
) -> None:
    server = serve(max_connections=2)
    kept = [connect(server.port) for _ in range(2)]
    for connection in kept:
        connection.begin(1)
        connection.receive_end(1)

    with socket.create_connection(("127.0.0.1", server.port), timeout=FAR_SECONDS) as further:
        assert further.recv(1) == b""

    kept[0].begin(3)
    kept[0].receive_end(3)


def test_a_client_that_reads_nothing_is_held_up_and_the_memory_bounded(
    serve: Callable[..., Any], connect: Connect
) -> None:
    server = serve(constant_answers={"/test.Texts/Large": bytes(1_000_000)})
    connection = connect(server.port)  # with a window of 64 kB for each stream and for all
    connection.receive_window()
    connection.socket.settimeout(0.5)

    try:
        for stream in range(1, 2000, 2):
            connection.begin(stream, "/test.Texts/Large", b"x" * 4000)
    except TimeoutError:
        pass  # so is the sending side

    held = server.transport.stats()["buffered_bytes"]
    assert 4 << 20 <= held <= 6 << 20
    assert is_well(server)
    connection.socket.close()
    wait_until(lambda: server.transport.stats()["buffered_bytes"] == 0)


def test_a_client_that_begins_to_read_gets_everything(
    serve: Callable[..., Any], connect: Connect
) -> None:
    server = serve(constant_answers={"/test.Texts/Large": bytes(1_000_000)})
    connection = connect(server.port, window=0)
    for stream in range(1, 41, 2):
        connection.begin(stream, "/test.Texts/Large")
    wait_until(lambda: server.transport.stats()["buffered_bytes"] > 4_000_000)

    connection.send(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 30))
    connection.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
    received = ended = 0
    while ended < 20:
        frame = connection.receive()
        received += len(frame.payload) * (frame.kind == DATA)
        ended += frame.kind == HEADERS and bool(frame.flags & END_STREAM)

    assert received == 20 * 1_000_005


def test_bodies_that_are_announced_and_never_come_take_no_memory(
    serve: Callable[..., Any], connect: Connect
) -> None:
    server = serve()
    connection = connect(server.port)
    before = resident_bytes()

    for stream in range(1, 1001, 2):
        connection.begin(stream, body=None)
        connection.send(DATA, 0, stream, struct.pack(">BI", 0, 0xFFFFFFFF) + b"x")
    connection.send(PING, 0, 0, bytes(8))
    connection.receive_until(lambda frame: frame.kind == PING)

    assert resident_bytes() - before < 100 << 20


def test_unfinished_bodies_are_bounded_together(
    serve: Callable[..., Any], connect: Connect
) -> None:
    server = serve(max_buffered_bytes=4 << 20)
    connection = connect(server.port)
    connection.receive_window()
    part = struct.pack(">BI", 0, 0x7FFFFFFF) + bytes(16_000)

    for stream in range(1, 1001, 2):
        connection.begin(stream, body=None)
        connection.send(DATA, 0, stream, part)
    connection.send(PING, 0, 0, bytes(8))
    connection.receive_until(lambda frame: frame.kind == PING)

    assert server.transport.stats()["buffered_bytes"] <= 5 << 20
    assert server.transport.stats()["codes"][0, 8] > 0


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_body_in_many_frames_is_put_together(server: Any, connect: Connect, size: int) -> None:
    connection = connect(server.port)
    body = random.Random(size).randbytes(5000)
    wire = connection.message(body)
    connection.begin(1, body=None)

    connection.socket.sendall(
        b"".join(
            connection.frame(DATA, 0, 1, wire[start : start + size])
            for start in range(0, len(wire), size)
        )
    )
    connection.send(DATA, END_STREAM, 1)
    answer = b""
    while len(answer) < len(wire):
        frame = connection.receive_until(lambda frame: frame.kind == DATA)
        answer += frame.payload

    assert answer == wire


def test_a_call_is_cancelled_by_a_reset_that_comes_in_pieces(
    serve: Callable[..., Any], connect: Connect
) -> None:
    transport = (server := serve(is_echoing=False)).transport
    connection = connect(server.port)
    connection.begin(1)
    ids = transport.next_calls(FAR_SECONDS)[0]

    for byte in connection.frame(RST_STREAM, 0, 1, CANCEL):
        connection.socket.sendall(bytes([byte]))

    assert transport.next_calls(FAR_SECONDS)[4] == ids
    assert transport.alive(ids) == [False]


def test_the_calls_of_a_connection_that_breaks_are_cancelled(
    serve: Callable[..., Any], connect: Connect
) -> None:
    transport = (server := serve(is_echoing=False)).transport
    connection = connect(server.port)
    for stream in (1, 3, 5):
        connection.begin(stream)
    ids: list[int] = []
    while len(ids) < 3:
        ids += transport.next_calls(FAR_SECONDS)[0]

    connection.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: reset
    connection.socket.close()
    cancelled: list[int] = []
    while len(cancelled) < 3:
        cancelled += transport.next_calls(FAR_SECONDS)[4]

    assert sorted(cancelled) == sorted(ids)


MANY = """
import socket, sys
port, count, hello = int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3])
connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
for connection in connections:
    connection.sendall(hello)
for connection in connections:
    connection.recv(9)
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(300)
def test_ten_thousand_idle_connections_do_no_harm(
    serve: Callable[..., Any], connect: Connect
) -> None:
    count = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 1000:
        pytest.skip(f"the limit of open files is {hard}: {count + 1000} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = serve()
    before = resident_bytes()
    hello = PREFACE + connect(server.port).frame(SETTINGS, 0, 0)

    with subprocess.Popen(
        [sys.executable, "-c", MANY, str(server.port), str(count), hello.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as clients:
        assert clients.stdout is not None
        assert clients.stdout.readline() == b"connected\n"
        wait_until(lambda: server.transport.stats()["connections"] == count + 1)

        assert is_well(server)
        assert (resident_bytes() - before) / count < 32 << 10
        clients.communicate()
    wait_until(lambda: server.transport.stats()["connections"] == 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
