"""What the transport does with calls, beyond the contract that all transports keep."""

import gzip
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

rust = pytest.importorskip(
    "modelserver_transport", reason="modelserver_transport is not installed: build server/transport"
)

ECHO = "/test.Texts/Echo"
FAR_SECONDS = 30.0
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]

Serve = Callable[..., Any]


@pytest.fixture
def dial() -> Iterator[Callable[..., grpc.Channel]]:
    """Open a channel to a port or address; it is closed after the test."""
    channels: list[grpc.Channel] = []

    def dial(target: int | str, **given: Any) -> grpc.Channel:
        address = f"127.0.0.1:{target}" if isinstance(target, int) else target
        channels.append(grpc.insecure_channel(address, UNLIMITED, **given))
        return channels[-1]

    yield dial
    for channel in channels:
        channel.close()


Dial = Callable[..., grpc.Channel]


def echo(channel: grpc.Channel, body: bytes, **given: Any) -> bytes:
    return channel.unary_unary(ECHO)(body, timeout=FAR_SECONDS, **given)


def failure(channel: grpc.Channel, body: bytes, **given: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        echo(channel, body, **given)
    return caught.value.code(), caught.value.details()


def take(transport: Any, count: int = 1) -> Any:
    """Take until `count` calls have come, as one list of ids."""
    ids: list[int] = []
    while len(ids) < count:
        ids += transport.next_calls(FAR_SECONDS)[0]
    return ids


@pytest.mark.parametrize("size", [0, 1, 255, 4096, 65_535, 1_000_000, 4_000_000, 20_000_000])
def test_bodies_of_any_size_travel_both_ways(serve: Serve, dial: Dial, size: int) -> None:
    body = os.urandom(size)

    answer = echo(dial(serve().port), body)

    assert answer == body


def test_large_bodies_on_one_connection_do_not_get_in_each_others_way(
    serve: Serve, dial: Dial
) -> None:
    channel = dial(serve().port)
    bodies = [os.urandom(3_000_000 + n) for n in range(12)]

    calls = [channel.unary_unary(ECHO).future(body, timeout=FAR_SECONDS) for body in bodies]

    assert [call.result() for call in calls] == bodies


def test_more_than_one_thread_may_move_bytes(serve: Serve, dial: Dial) -> None:
    server = serve(io_threads=3)
    pool = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(f"127.0.0.1:{server.port}", pool) for _ in range(6)]

    answers = [echo(channel, b"%d" % n) for n, channel in enumerate(channels)]

    assert answers == [b"%d" % n for n in range(6)]
    assert server.transport.stats()["connections"] == 6
    for channel in channels:
        channel.close()


def test_a_request_above_the_limit_is_refused_with_grpcs_words(serve: Serve, dial: Dial) -> None:
    server = serve(max_message_bytes=1000)
    channel = dial(server.port)

    refusal = failure(channel, bytes(1001))

    expected = "SERVER: Received message larger than max (1001 vs. 1000)"
    assert refusal == (grpc.StatusCode.RESOURCE_EXHAUSTED, expected)
    assert echo(channel, bytes(1000)) == bytes(1000)
    assert server.transport.stats()["codes"] == {(0, 0): 1, (0, 8): 1}


def test_a_reply_above_the_limit_is_refused_with_grpcs_words(serve: Serve, dial: Dial) -> None:
    transport = (server := serve(is_echoing=False, max_message_bytes=10)).transport
    call = dial(server.port).unary_unary(ECHO).future(b"x", timeout=FAR_SECONDS)

    transport.reply_many(take(transport), [bytes(11)])

    assert call.exception().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call.exception().details() == "SERVER: Sent message larger than max (11 vs. 10)"


def test_equal_pieces_of_an_array_answer_calls_between_a_prefix_and_a_suffix(
    serve: Serve, dial: Dial
) -> None:
    transport = (server := serve(is_echoing=False)).transport
    stub = dial(server.port).unary_unary(ECHO)
    calls = [stub.future(b"x", timeout=FAR_SECONDS) for _ in range(2)]
    rows = np.arange(6, dtype=np.int16).reshape(2, 3)

    transport.reply_split(take(transport, 2), rows, b"<", b">")

    expected = {b"<" + row.tobytes() + b">" for row in rows}
    assert {call.result() for call in calls} == expected


@pytest.mark.parametrize(
    "rows", [np.zeros((3, 5), np.uint8)[:, ::2], bytes(7), np.zeros((4, 4), np.int8).T[:2]]
)
def test_what_cannot_be_cut_answers_nothing(serve: Serve, dial: Dial, rows: Any) -> None:
    transport = (server := serve(is_echoing=False)).transport
    stub = dial(server.port).unary_unary(ECHO)
    calls = [stub.future(b"x", timeout=FAR_SECONDS) for _ in range(2)]
    ids = take(transport, 2)

    with pytest.raises(ValueError, match="buffer"):
        transport.reply_split(ids, rows, b"", b"")

    assert transport.alive(ids) == [True, True]
    assert not any(call.done() for call in calls)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([b"one"], ValueError),
        ([b"one", "two"], TypeError),
        ([b"one", (0, "fine")], ValueError),
        ([b"one", (17, "unheard of")], ValueError),
    ],
)
def test_answers_that_make_no_sense_answer_nothing(
    serve: Serve, dial: Dial, answers: list[Any], error: type[Exception]
) -> None:
    transport = (server := serve(is_echoing=False)).transport
    stub = dial(server.port).unary_unary(ECHO)
    calls = [stub.future(b"x", timeout=FAR_SECONDS) for _ in range(2)]
    ids = take(transport, len(calls))

    with pytest.raises(error):
        transport.reply_many(ids, answers)

    assert transport.alive(ids) == [True, True]


def test_pieces_of_bodies_are_gathered_into_an_array() -> None:
    out = np.zeros((2, 2), np.float32)
    bodies = [b"??" + np.array(row, np.float32).tobytes() + b"?" for row in ([1, 2], [3, 4])]

    rust.gather(out, bodies, 2, 8)

    assert out.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("out", "bodies", "offset", "length"),
    [
        (bytearray(5), [b"abc", b"abc"], 0, 3),
        (bytearray(6), [b"abc", b"ab"], 0, 3),
        (bytearray(6), [b"abc", b"abc"], 1, 3),
        (bytes(6), [b"abc", b"abc"], 0, 3),
        (np.zeros(12, np.uint8)[::2], [b"abc", b"abc"], 0, 3),
        (bytearray(6), [b"abc"], 2**63, 6),
    ],
)
def test_pieces_that_do_not_fit_are_not_gathered(
    out: Any, bodies: list[bytes], offset: int, length: int
) -> None:
    with pytest.raises(ValueError, match=r"bytes|buffer"):
        rust.gather(out, bodies, offset, length)


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_compressed_requests_are_understood(
    serve: Serve, dial: Dial, algorithm: grpc.Compression, size: int
) -> None:
    body = os.urandom(size // 2) + bytes(size // 2)

    answer = echo(dial(serve().port, compression=algorithm), body)

    assert answer == body


@pytest.mark.parametrize(
    "limits", [{"max_message_bytes": 1 << 20}, {"max_buffered_bytes": 1 << 20}]
)
def test_a_request_that_grows_too_large_when_decompressed_is_refused(
    serve: Serve, dial: Dial, limits: dict[str, int]
) -> None:
    server = serve(**limits)
    bomb = bytes(64 << 20)
    assert len(gzip.compress(bomb)) < 1 << 20
    channel = dial(server.port, compression=grpc.Compression.Gzip)

    refusal = failure(channel, bomb)

    expected = (grpc.StatusCode.RESOURCE_EXHAUSTED, "Decompressed message larger than max")
    assert refusal == expected
    assert echo(channel, b"still there") == b"still there"


def test_more_calls_than_may_wait_are_refused(serve: Serve, dial: Dial) -> None:
    transport = (server := serve(is_echoing=False, max_queued_calls=3)).transport
    stub = dial(server.port).unary_unary(ECHO)
    kept = [stub.future(b"kept", timeout=FAR_SECONDS) for _ in range(3)]
    ids = take(transport, 3)

    refused = stub.future(b"refused", timeout=FAR_SECONDS)

    assert refused.exception().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    transport.reply_many(ids, [b"answer"] * 3)
    assert [call.result() for call in kept] == [b"answer"] * 3


def test_more_bytes_than_may_wait_are_refused(serve: Serve, dial: Dial) -> None:
    transport = (server := serve(is_echoing=False, max_buffered_bytes=5_000_000)).transport
    stub = dial(server.port).unary_unary(ECHO)
    kept = stub.future(bytes(4_000_000), timeout=FAR_SECONDS)
    while transport.stats()["in_flight"] == 0:
        time.sleep(0.001)

    refused = stub.future(bytes(2_000_000), timeout=FAR_SECONDS)

    assert refused.exception().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    transport.reply_many(take(transport), [b"answer"])
    assert kept.result() == b"answer"
    assert transport.stats()["buffered_bytes"] == 0


def test_constant_answers_need_no_python(serve: Serve, dial: Dial) -> None:
    server = serve(is_echoing=False, constant_answers={"/test.Texts/Constant": b"always"})

    answer = dial(server.port).unary_unary("/test.Texts/Constant")(b"x", timeout=FAR_SECONDS)

    assert answer == b"always"
    assert server.transport.stats()["accepted"] == 0


def test_a_deadline_that_has_passed_on_arrival_is_answered_and_not_handed_out(
    serve: Serve, connect: Callable[..., Any]
) -> None:
    transport = (server := serve(is_echoing=False)).transport
    connection = connect(server.port)
    block = connection.header_block(ECHO, ("grpc-timeout", "0n"))
    connection.send(1, 4, 1, block)
    connection.send(0, 1, 1, connection.message(b"late"))

    connection.receive_end(1)

    while transport.stats()["in_flight"]:
        time.sleep(0.001)
    assert transport.next_calls(0)[0] == []


def test_a_call_whose_message_never_comes_is_answered_at_its_deadline(
    serve: Serve, connect: Callable[..., Any]
) -> None:
    server = serve()
    connection = connect(server.port)
    connection.send(1, 4, 1, connection.header_block(ECHO, ("grpc-timeout", "50m")))

    end = connection.receive_end(1)

    assert end.kind == 1
    assert server.transport.stats()["codes"] == {(0, 4): 1}


def test_the_times_of_calls_are_counted_in_buckets(serve: Serve, dial: Dial) -> None:
    server = serve(seconds_bounds=[0.0, 1000.0])

    echo(dial(server.port), b"x")

    counts, total = server.transport.stats()["seconds"][0]
    assert counts == [0, 1, 0]
    assert 0 < total < FAR_SECONDS


def test_ids_of_answered_calls_are_not_used_again(serve: Serve, dial: Dial) -> None:
    transport = (server := serve(is_echoing=False)).transport
    stub = dial(server.port).unary_unary(ECHO)
    seen: list[int] = []
    for _ in range(50):
        call = stub.future(b"x", timeout=FAR_SECONDS)
        seen += (ids := take(transport))
        transport.reply_many(ids, [b""])
        call.result()

    assert len(set(seen)) == 50
    assert not any(transport.alive(seen))


def test_a_unix_socket_is_served_and_its_file_removed(
    serve: Serve, dial: Dial, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    server = serve(addresses=[f"unix:{path}"])

    answer = echo(dial(f"unix:{path}"), b"hello")

    assert (server.port, answer) == (0, b"hello")
    server.close()
    assert not path.exists()


def test_a_unix_socket_that_a_dead_server_left_is_replaced(
    serve: Serve, dial: Dial, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    serve(addresses=["127.0.0.1:0", f"unix:{path}"])

    assert echo(dial(f"unix:{path}"), b"hello") == b"hello"


def test_all_addresses_are_served(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    server = serve(addresses=["localhost:0", f"unix:{tmp_path}/socket"])

    answers = [
        echo(dial(f"localhost:{server.port}"), b"by name"),
        echo(dial(f"unix:{tmp_path}/socket"), b"by path"),
    ]

    assert answers == [b"by name", b"by path"]


@pytest.mark.parametrize("io_threads", [1, 2])
def test_a_port_that_is_taken_is_an_error_that_names_it(serve: Serve, io_threads: int) -> None:
    port = serve(io_threads=io_threads).port
    options = rust.Options(io_threads=io_threads)
    second = rust.Transport([f"127.0.0.1:{port}"], [ECHO], options=options)

    with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
        second.start()


def test_what_was_bound_is_released_when_another_address_cannot_be(
    serve: Serve, tmp_path: Path
) -> None:
    taken = serve().port
    path = tmp_path / "socket"
    transport = rust.Transport([f"unix:{path}", f"127.0.0.1:{taken}"], [ECHO])

    with pytest.raises(OSError, match=str(taken)):
        transport.start()

    assert not path.exists()


@pytest.mark.parametrize("address", ["", "8500", "localhost", "localhost:http", ":8500", "unix:"])
def test_an_address_that_makes_no_sense_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=repr(address).strip("'") or "PORT"):
        rust.Transport([address], [ECHO])


@pytest.mark.parametrize(
    "options",
    [
        {"max_queued_calls": 0},
        {"max_queued_calls": 2**20 + 1},
        {"max_concurrent_streams": 0},
        {"io_threads": 0},
        {"keepalive_seconds": 0.0},
        {"max_connection_age_seconds": float("nan")},
        {"seconds_bounds": [2.0, 1.0]},
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        rust.Options(**options)


def test_options_say_what_they_are() -> None:
    options = rust.Options(io_threads=2, constant_answers={"/a/B": b"c"})

    assert (options.io_threads, options.constant_answers) == (2, {"/a/B": b"c"})
    assert (options.max_message_bytes, options.max_header_bytes) == (None, 16384)
    assert (options.reuse_port, rust.Options(reuse_port=True).reuse_port) == (False, True)


def test_a_transport_starts_once(serve: Serve) -> None:
    transport = serve().transport

    with pytest.raises(RuntimeError, match="before"):
        transport.start()


def test_a_transport_that_is_thrown_away_closes_its_port(serve: Serve) -> None:
    transport = rust.Transport(["127.0.0.1:0"], [ECHO])
    port = transport.start()

    del transport

    assert serve(addresses=[f"127.0.0.1:{port}"]).port == port


def test_a_wait_for_calls_ends_after_its_time(serve: Serve) -> None:
    transport = serve(is_echoing=False).transport

    assert transport.next_calls(0.01) == ([], [], [], None, [])


def test_calls_arrive_while_several_threads_answer(serve: Serve, dial: Dial) -> None:
    transport = (server := serve(is_echoing=False)).transport

    def answer() -> None:
        while (calls := transport.next_calls(None)) is not None:
            transport.reply_many(calls[0], calls[2])

    threads = [threading.Thread(target=answer) for _ in range(3)]
    for thread in threads:
        thread.start()
    stub = dial(server.port).unary_unary(ECHO)

    calls = [stub.future(b"%d" % n, timeout=FAR_SECONDS) for n in range(500)]

    assert [call.result() for call in calls] == [b"%d" % n for n in range(500)]
    assert transport.stop(FAR_SECONDS) is True
    for thread in threads:
        thread.join()


def test_the_stub_names_what_the_module_has() -> None:
    stub = Path(rust.__file__).with_name("__init__.pyi").read_text()

    names = [name for name in dir(rust.Transport) if not name.startswith("_")]

    assert [name for name in names if f"def {name}(" not in stub] == []
    assert subprocess.run(
        [sys.executable, "-c", "import modelserver_transport"], check=True
    ).returncode == 0  # fmt: skip


def test_the_eventfd_tells_of_the_end_after_the_last_calls(
    serve: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    transport = (server := serve(is_echoing=False)).transport
    connect(server.port).begin(1)
    ids: list[int] = []
    with selectors.DefaultSelector() as selector:
        selector.register(fd := transport.fileno(), selectors.EVENT_READ)
        transport.next_calls(FAR_SECONDS)
        transport.stop(0)  # which reports the call, so that there is news before the end

        while selector.select(FAR_SECONDS):
            os.read(fd, 8)
            if (calls := transport.next_calls(0)) is None:
                break
            ids += calls[4]

    assert len(ids) == 1
    assert transport.next_calls(0) is None
