import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, Self

import grpc
import pytest

# The first test that needs the program waits for its build.
pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]


class Loader(Protocol):
    module: ModuleType

    def __call__(
        self, port: int, requests: list[bytes], answers: list[bytes], **options: Any
    ) -> Any: ...


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
DEFAULT_WINDOW, MAX_PAYLOAD_BYTES = 65_535, 16_384
OK_TRAILERS = b"\x00\x0bgrpc-status\x010"

# A server of frames, for what gRPC's own servers do not do when asked.


@dataclass
class FrameConnection:
    """What one client sends, checked against the windows and limits it was told of."""

    socket: socket.socket
    settings: Mapping[int, int]
    answer: Callable[["FrameConnection", int, bytes], None]
    violations: list[str]
    bodies: dict[int, bytearray] = field(default_factory=dict)
    stream_windows: dict[int, int] = field(default_factory=dict)
    window: int = DEFAULT_WINDOW

    def serve(self) -> None:
        with self.socket, suppress(ConnectionError):
            assert self.read(len(PREFACE)) == PREFACE
            pairs = (struct.pack(">HI", *pair) for pair in self.settings.items())
            self.send(SETTINGS, 0, 0, b"".join(pairs))
            while header := self.read(9):
                length, kind, flags = int.from_bytes(header[:3]), header[3], header[4]
                self.take(kind, flags, int.from_bytes(header[5:]), self.read(length))

    def read(self, count: int) -> bytes:
        return self.socket.recv(count, socket.MSG_WAITALL) if count else b""

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        header = len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4)
        self.socket.sendall(header + payload)

    def send_answer(self, stream: int, message: bytes) -> None:
        self.send(HEADERS, END_HEADERS, stream, b"\x88")
        data = framed(message)
        for begin in range(0, len(data), MAX_PAYLOAD_BYTES):
            self.send(DATA, 0, stream, data[begin : begin + MAX_PAYLOAD_BYTES])
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, OK_TRAILERS)

    def take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self.send(SETTINGS, ACK, 0, b"")
        elif kind == HEADERS:
            self.open(stream)
        elif kind == DATA and stream in self.bodies:
            self.bodies[stream] += payload
            self.use_windows(stream, len(payload))
            if flags & END_STREAM:
                self.answer(self, stream, bytes(self.bodies.pop(stream)))

    def open(self, stream: int) -> None:
        self.bodies[stream] = bytearray()
        self.stream_windows[stream] = self.settings.get(INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        if len(self.bodies) > self.settings.get(MAX_CONCURRENT_STREAMS, 1 << 31):
            self.violations.append(f"{len(self.bodies)} streams at a time")

    def use_windows(self, stream: int, count: int) -> None:
        """Windows are opened again when they are used up, not before."""
        self.stream_windows[stream] -= count
        self.window -= count
        if self.stream_windows[stream] < 0 or self.window < 0:
            self.violations.append(f"{count} bytes more than the window lets through")
        if self.stream_windows[stream] == 0:
            size = self.settings.get(INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
            self.stream_windows[stream] = size
            self.send(WINDOW_UPDATE, 0, stream, size.to_bytes(4))
        if self.window == 0:
            self.window = DEFAULT_WINDOW
            self.send(WINDOW_UPDATE, 0, 0, DEFAULT_WINDOW.to_bytes(4))


class FrameServer:
    """Serves on a free port until the block ends."""

    def __init__(
        self,
        answer: Callable[[FrameConnection, int, bytes], None],
        settings: Mapping[int, int] | None = None,
    ) -> None:
        self._answer, self._settings = answer, settings or {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.violations: list[str] = []
        self.connections: list[FrameConnection] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = FrameConnection(client, self._settings, self._answer, self.violations)
                self.connections.append(connection)
                threading.Thread(target=connection.serve, daemon=True).start()


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4) + message


def echo_frames(connection: FrameConnection, stream: int, body: bytes) -> None:
    connection.send_answer(stream, body[5:])


# A server of gRPC.


def _not_found(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.NOT_FOUND, "no such model: ä")
    raise AssertionError


def _nearly(request: bytes, context: grpc.ServicerContext) -> bytes:
    (number,) = struct.unpack("<f", request[4:8])
    return request[:4] + struct.pack("<f", number + 0.001) + request[8:]


@pytest.fixture(scope="module")
def grpc_port() -> Iterator[int]:
    """Of a server with methods that echo, echo a number nearly, and fail."""
    methods = {"Echo": lambda request, _: request, "Nearly": _nearly, "NotFound": _not_found}
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()
    }
    sizes = [(f"grpc.max_{way}_message_length", 64 << 20) for way in ("send", "receive")]
    server = grpc.server(ThreadPoolExecutor(2), options=sizes)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


# Answers.


@pytest.mark.parametrize("size", [0, 1, 3136, 100_000, 8_000_000])
def test_right_answers_of_every_size_are_right(load: Loader, grpc_port: int, size: int) -> None:
    message = os.urandom(size)

    result = load(grpc_port, [message], [message], connections=2, streams=2)

    assert (result.failed, result.examples) == (0, ())
    assert result.requests > 0
    assert 0 < result.latency.min <= result.latency.p50 <= result.latency.p999 <= result.latency.max


def test_every_answer_is_compared_with_that_of_its_own_request(
    load: Loader, grpc_port: int
) -> None:
    messages = [os.urandom(100) for _ in range(3)]

    result = load(grpc_port, messages, messages)

    assert result.failed == 0


def test_a_wrong_answer_is_found(load: Loader, grpc_port: int) -> None:
    right, wrong = b"right answer", b"wrong answer"

    result = load(grpc_port, [right, right], [right, wrong])

    assert result.requests > 0
    assert result.failures["wrong_answer"] == result.failed > 0
    assert result.examples[0] == "request 1: wrong answer: it differs at byte 0"


def test_an_answer_of_another_length_is_found(load: Loader, grpc_port: int) -> None:
    result = load(grpc_port, [b"message"], [b"messages"])

    assert (result.requests, result.latency) == (0, None)
    assert result.examples[0] == "request 0: wrong answer: 7 bytes instead of 8"


def test_a_number_may_be_off_by_the_tolerance(load: Loader, grpc_port: int) -> None:
    message = b"head" + struct.pack("<f", 0.5) + b"tail"
    tolerance = load.module.Tolerance
    options = {"path": "/test.Test/Nearly", "seconds": 0.2}

    within = load(grpc_port, [message], [message], tolerances=[tolerance(4, 8, 0.01)], **options)
    beyond = load(grpc_port, [message], [message], tolerances=[tolerance(4, 8, 1e-4)], **options)
    exact = load(grpc_port, [message], [message], **options)

    assert within.failed == 0 < within.requests
    assert beyond.requests == 0 < beyond.failures["wrong_answer"]
    assert exact.requests == 0 < exact.failures["wrong_answer"]


def test_a_tolerance_that_does_not_fit_the_answer_is_an_error(load: Loader, grpc_port: int) -> None:
    tolerance = load.module.Tolerance(4, 16, 0.1)

    with pytest.raises(load.module.LoadGeneratorError, match="does not fit answer 0, which has 8"):
        load(grpc_port, [b"x"], [b"12345678"], tolerances=[tolerance])


# Failures.


def test_a_status_is_found_with_its_message(load: Loader, grpc_port: int) -> None:
    result = load(grpc_port, [b"x"], [], path="/test.Test/NotFound")

    assert result.requests == 0 < result.failures["grpc_status"] == result.failed
    assert result.examples[0] == "request 0: grpc-status 5: no such model: ä"


def test_a_method_that_is_not_there_is_found(load: Loader, grpc_port: int) -> None:
    result = load(grpc_port, [b"x"], [], path="/test.Test/Missing")

    assert "grpc-status 12" in result.examples[0]


def test_resets_are_found(load: Loader) -> None:
    def answer(connection: FrameConnection, stream: int, body: bytes) -> None:
        if stream % 4 == 1:
            connection.send(RST_STREAM, 0, stream, (2).to_bytes(4))
        else:
            echo_frames(connection, stream, body)

    with FrameServer(answer) as server:
        result = load(server.port, [b"x"], [b"x"])

    assert result.requests > 0
    assert result.failures["reset"] == result.failed > 0
    assert result.examples[0] == "request 0: the server reset the stream with error code 2"


def test_lost_connections_are_found_and_made_anew(load: Loader) -> None:
    def answer(connection: FrameConnection, stream: int, body: bytes) -> None:
        if stream < 21:
            echo_frames(connection, stream, body)
        else:
            raise ConnectionError

    with FrameServer(answer) as server:
        result = load(server.port, [b"x"], [b"x"], connections=1, streams=2)

    assert result.requests > 0
    assert result.failures["connection"] == result.failed > 0
    assert result.reconnections > result.goaways == 0


def test_requests_that_a_leaving_server_has_not_looked_at_are_sent_again(load: Loader) -> None:
    def answer(connection: FrameConnection, stream: int, body: bytes) -> None:
        if stream < 11:
            echo_frames(connection, stream, body)
        elif stream == 11:
            connection.send(GOAWAY, 0, 0, (11).to_bytes(4) + bytes(4))
            echo_frames(connection, stream, body)

    with FrameServer(answer) as server:
        result = load(server.port, [b"x"], [b"x"], connections=2, streams=4)

    assert (result.failed, result.examples) == (0, ())
    assert result.requests > 0
    assert result.reconnections == result.goaways > 0


def test_a_server_that_is_not_there_is_an_error(load: Loader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(load.module.LoadGeneratorError, match=f"cannot connect to 127.0.0.1:{port}"):
        load(port, [b"x"], [])


def test_a_server_that_hangs_up_is_an_error(load: Loader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def hang_up() -> None:
            with listener.accept()[0] as client:
                client.shutdown(socket.SHUT_WR)
                client.recv(1, socket.MSG_PEEK)

        port = listener.getsockname()[1]
        done = pool.submit(hang_up)
        with pytest.raises(
            load.module.LoadGeneratorError,
            match=f"no HTTP/2 in clear text with 127.0.0.1:{port}: the server has closed it",
        ):
            load(port, [b"x"], [], connections=1)
        done.result()


# HTTP/2's rules.


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        pytest.param({INITIAL_WINDOW_SIZE: 50}, 1000, id="stream-window"),
        pytest.param({INITIAL_WINDOW_SIZE: 1 << 20}, 20_000, id="connection-window"),
        pytest.param({MAX_CONCURRENT_STREAMS: 3}, 100, id="streams"),
        pytest.param({HEADER_TABLE_SIZE: 0}, 100, id="header-table"),
    ],
)
def test_what_a_server_announces_is_obeyed(
    load: Loader, settings: dict[int, int], size: int
) -> None:
    message = os.urandom(size)

    with FrameServer(echo_frames, settings) as server:
        result = load(server.port, [message], [message], connections=2, streams=8)

    assert server.violations == []
    assert result.failed == 0 < result.requests


def test_streams_and_connections_are_as_many_as_asked_for(load: Loader) -> None:
    most = 0

    def answer(connection: FrameConnection, stream: int, body: bytes) -> None:
        nonlocal most
        most = max(most, len(connection.bodies) + 1)
        echo_frames(connection, stream, body)

    with FrameServer(answer, {INITIAL_WINDOW_SIZE: 3}) as server:
        result = load(server.port, [b"message"], [b"message"], connections=3, streams=5)

    assert (len(server.connections), most) == (3, 5)
    assert result.failed == 0


# The open loop.


def test_as_many_requests_are_sent_as_the_rate_says(load: Loader, grpc_port: int) -> None:
    options = {"rate": 200, "seconds": 0.5}

    result = load(grpc_port, [b"x", b"y"], [b"x", b"y"], connections=3, **options)

    assert (result.requests, result.failed) == (100, 0)
    assert result.pacing_error.min >= 0


def test_a_stall_shows_in_the_latency_of_all_that_were_due_meanwhile(load: Loader) -> None:
    waiting: list[int] = []

    def answer(connection: FrameConnection, stream: int, body: bytes) -> None:
        waiting.append(stream)
        if len(waiting) == 50:
            for one in waiting:
                connection.send_answer(one, body[5:])
            waiting.clear()

    options = {"connections": 1, "rate": 1000, "seconds": 0.2, "warm_up_seconds": 0}
    with FrameServer(answer) as server:
        result = load(server.port, [b"x"], [b"x"], **options)

    # The first of every 50 waits until the last is due, 49 milliseconds later.
    assert (result.requests, result.failed) == (200, 0)
    assert result.latency.max >= 49_000


# Processor time, and the program itself.


def test_processor_time_is_told_for_both_sides(load: Loader, grpc_port: int) -> None:
    result = load(grpc_port, [b"x"], [b"x"], pids=[os.getpid()])

    assert result.client_cpu > 0
    assert result.server_cpu > 0


def test_a_process_that_is_not_there_is_an_error(load: Loader, grpc_port: int) -> None:
    with pytest.raises(load.module.LoadGeneratorError, match="no process 4194304"):
        load(grpc_port, [b"x"], [], pids=[4194304])


def test_it_serves_itself(load: Loader) -> None:
    result = load.module.self_test(0.2)

    assert result.failed == 0 < result.requests


def test_a_second_build_is_none(load: Loader, capsys: pytest.CaptureFixture[str]) -> None:
    program = load.module.build()

    assert shutil.which(program) is not None
    assert capsys.readouterr().err == ""


def test_without_cargo_the_error_says_how_to_get_it(
    load_generator: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(load_generator.CargoMissingError, match=r"install Rust 1\.85"):
        load_generator.cargo()


@pytest.mark.parametrize(
    ("cache", "target"),
    [
        ("/somewhere", "/somewhere/cargo-target/load"),
        ("", "~/.cache/modelserver/cargo-target/load"),
    ],
)
def test_what_cargo_builds_is_where_the_makefile_has_it(cache: str, target: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import load_generator; print(load_generator.TARGET)"],
        cwd=Path(__file__).parent,
        env={**os.environ, "MODELSERVER_CACHE": cache},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )

    assert Path(told.stdout.strip()) == Path(target).expanduser()


# Where numbers are.


def test_numbers_in_one_piece_have_one_tolerance(load_generator: ModuleType) -> None:
    numbers = struct.pack("<3f", 0.25, 0.5, 0.75)

    found = load_generator.tolerances(b"head" + numbers + b"tail", numbers, 1e-4, 2)

    assert [str(one) for one in found] == ["f32:4:16:0.0001@2"]


def test_numbers_one_by_one_have_a_tolerance_each(load_generator: ModuleType) -> None:
    numbers = struct.pack("<2f", 0.25, 0.5)

    found = load_generator.tolerances(b"a" + numbers[:4] + b"bc" + numbers[4:], numbers, 0.1, 0)

    assert [(one.begin, one.end) for one in found] == [(1, 5), (7, 11)]


def test_numbers_that_are_not_there_are_an_error(load_generator: ModuleType) -> None:
    with pytest.raises(ValueError, match="answer 3 does not hold number 1 as a float32"):
        load_generator.tolerances(struct.pack("<f", 0.5), struct.pack("<2f", 0.5, 0.25), 0.1, 3)
