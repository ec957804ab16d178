"""Health and reflection over streams, on a port that a test moves by hand."""

import queue
import threading
from collections.abc import Iterator

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from modelserver.rpc.transport.base import StatusCode
from modelserver.rpc.transport.health import HEALTH_DESCRIPTOR
from modelserver.rpc.transport.native_streams import STREAM_METHODS, Streams
from modelserver.rpc.transport.reflection import Reflection, ServerReflectionRequest

CHECK, WATCH, REFLECT, _ = range(len(STREAM_METHODS))
FAR_SECONDS = 30.0


class HandPort:
    """Streams whose client is the test. What is said on them comes out of `said`, in order."""

    def __init__(self) -> None:
        self.said: queue.Queue[tuple[int, object]] = queue.Queue()
        self.gone: set[int] = set()
        self._coming: queue.Queue[list[tuple[int, int, bytes | None]] | None] = queue.Queue()

    def say(self, stream: int, method: int, message: bytes | None) -> None:
        self._coming.put([(stream, method, message)])

    def end(self) -> None:
        self._coming.put(None)

    def hear(self) -> tuple[int, object]:
        return self.said.get(timeout=FAR_SECONDS)

    def next_messages(self, timeout: float | None) -> list[tuple[int, int, bytes | None]] | None:
        return self._coming.get(timeout=timeout)

    def send_message(self, stream: int, message: bytes) -> bool:
        if stream in self.gone:
            return False
        self.said.put((stream, message))
        return True

    def end_stream(self, stream: int, code: int = 0, message: str = "") -> None:
        self.said.put((stream, (code, message)))

    def ping(self, token: int) -> None:
        self._coming.put([(token, -1, b"")])


@pytest.fixture
def port() -> HandPort:
    return HandPort()


@pytest.fixture
def streams(port: HandPort) -> Iterator[Streams]:
    streams = Streams(port, Reflection(["test.Texts"], b"", [HEALTH_DESCRIPTOR]))
    streams.start()
    yield streams
    port.end()
    streams.join()


def about(service: str) -> bytes:
    return HealthCheckRequest(service=service).SerializeToString()


def told(status: str) -> bytes:
    return HealthCheckResponse(status=status).SerializeToString()


def heard_all(port: HandPort, streams: Streams) -> list[tuple[int, object]]:
    """What was said until a ping came back."""
    answered = threading.Event()
    streams.ping(answered.set)
    assert answered.wait(FAR_SECONDS)
    return [port.said.get() for _ in range(port.said.qsize())]


def test_a_watcher_is_told_once_what_does_not_change(port: HandPort, streams: Streams) -> None:
    streams.set("m", True)
    port.say(1, WATCH, about("m"))
    assert port.hear() == (1, told("SERVING"))

    streams.set("m", True)
    streams.set("other", True)

    assert heard_all(port, streams) == []


def test_a_watcher_that_sends_nothing_more_listens_on(port: HandPort, streams: Streams) -> None:
    port.say(1, WATCH, about(""))
    port.say(1, WATCH, None)
    assert port.hear() == (1, told("SERVING"))

    streams.set("", False)

    assert port.hear() == (1, told("NOT_SERVING"))


def test_a_watcher_that_is_gone_is_forgotten(port: HandPort, streams: Streams) -> None:
    port.say(1, WATCH, about(""))
    port.say(1, WATCH, None)
    port.say(1, WATCH, None)
    heard_all(port, streams)

    streams.set("", False)

    assert heard_all(port, streams) == []


def test_a_watcher_whose_stream_vanished_is_forgotten(port: HandPort, streams: Streams) -> None:
    port.say(1, WATCH, about(""))
    heard_all(port, streams)
    port.gone.add(1)
    streams.set("", False)
    port.gone.clear()

    streams.set("", True)

    assert heard_all(port, streams) == []


def test_those_who_come_after_the_end_are_told_and_sent_away(
    port: HandPort, streams: Streams
) -> None:
    streams.close()

    port.say(1, WATCH, about(""))
    port.say(2, CHECK, about(""))

    assert heard_all(port, streams) == [
        (1, told("NOT_SERVING")),
        (1, (0, "")),
        (2, told("NOT_SERVING")),
        (2, (0, "")),
    ]


def test_the_end_of_a_stream_that_asked_is_answered_with_its_end(
    port: HandPort, streams: Streams
) -> None:
    port.say(1, REFLECT, ServerReflectionRequest(list_services="").SerializeToString())
    port.say(1, REFLECT, None)

    (_, listed), end = heard_all(port, streams)

    assert b"test.Texts" in listed
    assert end == (1, (StatusCode.OK, ""))


def test_a_stream_that_never_asked_is_ended_with_an_error(port: HandPort, streams: Streams) -> None:
    port.say(1, CHECK, None)

    assert port.hear() == (1, (StatusCode.INTERNAL, "No request was sent."))


def test_a_ping_whose_answer_fails_does_not_end_the_thread(
    port: HandPort, streams: Streams
) -> None:
    def fail() -> None:
        raise RuntimeError("of the one who asked")

    streams.ping(fail)

    assert heard_all(port, streams) == []
