"""Health and reflection on the streams of the native transport."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from google.protobuf.message import DecodeError

from modelserver.rpc.transport.base import StatusCode
from modelserver.rpc.transport.health import (
    CHECK,
    WATCH,
    HealthCheckRequest,
    HealthCheckResponse,
    ServingStates,
    unknown_service,
)
from modelserver.rpc.transport.reflection import (
    REFLECTION_METHODS,
    Reflection,
    ServerReflectionRequest,
)

STREAM_METHODS = (CHECK, WATCH, *REFLECTION_METHODS)
"""What `Streams` answers, in the order in which it expects them to be numbered."""

_log = logging.getLogger(__name__)

_ECHO = -1


class StreamPort(Protocol):
    """What is used of `modelserver_transport.Transport`."""

    def next_messages(self, timeout: float | None) -> list[tuple[int, int, bytes | None]] | None:
        """What has come in."""

    def send_message(self, stream: int, message: bytes) -> bool:
        """Send a message on a stream; False if it is gone."""

    def end_stream(self, stream: int, code: int = 0, message: str = "") -> None:
        """End a stream."""

    def ping(self, token: int) -> None:
        """Let `token` come out of `next_messages`, with -1 for a method."""


class Streams:
    """Answers the streams of a transport on a thread of its own. `set`, `ping` and `close` are for
    any thread.
    """

    def __init__(self, port: StreamPort, reflection: Reflection) -> None:
        self._port = port
        self._reflection = reflection
        self._lock = threading.Lock()  # over what follows
        self._states = ServingStates()
        self._watchers: dict[int, _Watcher] = {}  # by stream
        self._asking: set[int] = set()  # streams of reflection
        self._tokens = count()
        self._echoes: dict[int, Callable[[], None]] = {}
        self._handlers = [self._check, self._watch, *[self._reflect] * len(REFLECTION_METHODS)]
        self._thread = threading.Thread(target=self._run, name="rpc-streams", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread, which ends when the transport has stopped."""
        if self._thread.ident is not None:
            self._thread.join()

    def set(self, service: str, serving: bool | None) -> None:
        """Set one service's state, as `ServingStates.set`, and tell those who watch it."""
        with self._lock:
            self._states.set(service, serving)
            self._tell_watchers()

    def ping(self, answer: Callable[[], None]) -> None:
        """Have `answer` called by the thread here, by way of the threads that move bytes."""
        with self._lock:
            token = next(self._tokens)
            self._echoes[token] = answer
        self._port.ping(token)

    def close(self) -> None:
        """Say NOT_SERVING to everybody and end all streams."""
        with self._lock:
            self._states.close()
            self._tell_watchers()
            for stream in (*self._watchers, *self._asking):
                self._port.end_stream(stream)
            self._watchers.clear()
            self._asking.clear()

    def _run(self) -> None:
        while (messages := self._port.next_messages(None)) is not None:
            for stream, method, message in messages:
                if method == _ECHO:
                    self._echo(stream)
                else:
                    self._take(stream, method, message)

    def _echo(self, token: int) -> None:
        with self._lock:
            answer = self._echoes.pop(token)
        try:
            answer()
        except Exception:
            _log.exception("What a ping was to call failed.")

    def _take(self, stream: int, method: int, message: bytes | None) -> None:
        with self._lock:
            if message is None:
                self._hang_up(stream, method)
                return
            try:
                self._handlers[method](stream, message)
            except DecodeError as error:
                self._port.end_stream(stream, StatusCode.INTERNAL, f"no such request: {error}")
            except Exception as error:  # the next stream deserves an answer all the same
                _log.exception("A question about health or services could not be answered.")
                self._port.end_stream(stream, StatusCode.INTERNAL, str(error))

    def _hang_up(self, stream: int, method: int) -> None:
        watcher = self._watchers.get(stream)
        if watcher is None:
            self._asking.discard(stream)
            is_asking = STREAM_METHODS[method] in REFLECTION_METHODS
            code = StatusCode.OK if is_asking else StatusCode.INTERNAL
            self._port.end_stream(stream, code, "" if is_asking else "No request was sent.")
        elif watcher.has_finished:
            del self._watchers[stream]  # said again: it is gone
        else:
            watcher.has_finished = True  # it listens on

    def _check(self, stream: int, message: bytes) -> None:
        service = HealthCheckRequest.FromString(message).service
        status = self._states.status(service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            self._port.end_stream(stream, StatusCode.NOT_FOUND, unknown_service(service))
            return
        self._port.send_message(stream, HealthCheckResponse(status=status).SerializeToString())
        self._port.end_stream(stream)

    def _watch(self, stream: int, message: bytes) -> None:
        watcher = self._watchers[stream] = _Watcher(HealthCheckRequest.FromString(message).service)
        self._tell(stream, watcher)
        if self._states.is_closed:
            self._watchers.pop(stream, None)
            self._port.end_stream(stream)

    def _reflect(self, stream: int, message: bytes) -> None:
        response = self._reflection.answer(ServerReflectionRequest.FromString(message))
        is_there = self._port.send_message(stream, response.SerializeToString())
        if self._states.is_closed:
            self._port.end_stream(stream)
        elif is_there:
            self._asking.add(stream)

    def _tell_watchers(self) -> None:
        for stream, watcher in list(self._watchers.items()):
            self._tell(stream, watcher)

    def _tell(self, stream: int, watcher: "_Watcher") -> None:
        status = self._states.status(watcher.service)
        if status == watcher.last_told:
            return
        watcher.last_told = status
        message = HealthCheckResponse(status=status).SerializeToString()
        if not self._port.send_message(stream, message):
            del self._watchers[stream]


@dataclass(slots=True)
class _Watcher:
    """One who follows the state of a service."""

    service: str
    last_told: HealthCheckResponse.ServingStatus | None = None
    has_finished: bool = False
    """Whether it has said that it sends nothing more."""
