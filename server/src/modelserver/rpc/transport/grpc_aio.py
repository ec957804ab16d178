"""GrpcAioTransport: the `Transport` that always works, on grpcio."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NoReturn, Protocol

import grpc
import grpc.aio

from modelserver.clock import SystemClock
from modelserver.errors import InvalidArgumentError, UnavailableError
from modelserver.rpc.transport.base import (
    Answer,
    Calls,
    StatusCode,
    TransportStats,
)
from modelserver.rpc.transport.call_queue import CallQueue
from modelserver.rpc.transport.event_loop import grpc_event_loop
from modelserver.rpc.transport.health import HEALTH_DESCRIPTOR, HEALTH_SERVICE
from modelserver.rpc.transport.health_aio import AioHealth
from modelserver.rpc.transport.options import GrpcOptions, TlsCredentials
from modelserver.rpc.transport.pieces import PiecesInPython
from modelserver.rpc.transport.reflection import Reflection
from modelserver.rpc.transport.reflection_aio import AioReflection
from modelserver.rpc.transport.tls_aio import ReplaceableTls

_FLUSH_SECONDS = 1.0
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


class _Context(Protocol):
    """What is used of grpc.aio.ServicerContext, which comes without types."""

    def time_remaining(self) -> float | None: ...

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...


class GrpcAioTransport(PiecesInPython):
    """A `Transport` on grpc.aio. `address` is `HOST:PORT` or `unix:PATH`.

    All network work happens on one event loop that every transport of the process shares. A call
    costs that loop one future; an answer from another thread wakes it only if it is not awake
    already.
    """

    def __init__(
        self, address: str, methods: Sequence[str], options: GrpcOptions | None = None
    ) -> None:
        self._address = address
        self._methods = tuple(methods)
        self._options = options or GrpcOptions()
        self._queue: CallQueue[asyncio.Future[Answer]] = CallQueue(SystemClock())
        self._loop = grpc_event_loop()
        self._health = AioHealth(self._loop)
        services = {method.split("/")[1] for method in methods} | {HEALTH_SERVICE}
        self._reflection = AioReflection(
            Reflection(services, self._options.descriptor_set, [HEALTH_DESCRIPTOR])
        )
        self._tls = None if self._options.tls is None else ReplaceableTls(self._options.tls)
        self._server: grpc.aio.Server | None = None
        self._outbox: list[tuple[asyncio.Future[Answer], Answer]] = []
        self._lock = threading.Lock()

    drains = False
    """At its end grpcio cancels calls that it has received and not handed over yet."""

    def start(self) -> int:
        """Bind and accept, as `Transport.start`. Returns 0 for a unix socket."""
        return asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def stop(self, grace: float) -> bool:
        """Drain and close, as `Transport.stop`."""
        with self._lock:
            server, self._server = self._server, None
        if server is None:
            self._queue.close()
            return True
        return asyncio.run_coroutine_threadsafe(self._stop(server, grace), self._loop).result()

    def next_calls(self, timeout: float | None) -> Calls | None:
        """All calls that have arrived, as `Transport.next_calls`."""
        return self._queue.take(timeout)

    def reply_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
        """Answer several calls, as `Transport.reply_many`."""
        claimed = self._queue.claim(ids, answers)
        with self._lock:
            is_loop_told = bool(self._outbox)
            self._outbox.extend(claimed)
        if claimed and not is_loop_told:
            self._loop.call_soon_threadsafe(self._deliver)

    def alive(self, ids: Sequence[int]) -> list[bool]:
        """Which calls still want an answer, as `Transport.alive`."""
        return self._queue.alive(ids)

    def set_serving(self, service: str, serving: bool | None) -> None:
        """Set what health says of `service`, as `Transport.set_serving`."""
        self._health.set(service, serving)

    def set_tls(self, credentials: TlsCredentials) -> None:
        """Use these from the next connection on, as `Transport.set_tls`."""
        if self._tls is None:
            raise InvalidArgumentError("TLS: this transport was made without certificates")
        self._tls.replace(credentials)

    def ping(self, answer: Callable[[], None]) -> None:
        """Have the event loop call `answer`, as `Transport.ping`."""
        self._loop.call_soon_threadsafe(answer)

    def fileno(self) -> int:
        """An eventfd that is readable when calls wait, as `Transport.fileno`."""
        return self._queue.fileno()

    def stats(self) -> TransportStats:
        """Counters since start."""
        return self._queue.stats()

    # From here on everything runs on the event loop.

    async def _start(self) -> int:
        server = grpc.aio.server(options=_channel_arguments(self._options))
        server.add_generic_rpc_handlers([_MethodTable(self._handlers())])
        is_socket = self._address.startswith("unix:")
        try:
            port = _bind(server, self._address, None if is_socket else self._tls)
            if self._options.socket_path:
                _bind(server, f"unix:{self._options.socket_path}")
        except UnavailableError:
            # The address that was bound accepts connections, and gRPC stops what was started only.
            await server.start()
            await server.stop(0)
            raise
        await server.start()
        self._server = server
        return 0 if is_socket else port

    def _handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        unary = {
            method: grpc.unary_unary_rpc_method_handler(self._handler(index))
            for index, method in enumerate(self._methods)
        }
        return {**self._reflection.handlers, **self._health.handlers, **unary}

    def _handler(self, method: int) -> Callable[[bytes, _Context], Awaitable[bytes]]:
        queue, loop = self._queue, self._loop

        async def handle(body: bytes, context: _Context) -> bytes:
            remaining = context.time_remaining()
            deadline = None if remaining is None else time.monotonic() + remaining
            waiting: asyncio.Future[Answer] = loop.create_future()
            id = queue.accept(method, body, deadline, waiting)
            try:
                answer = await waiting
            except asyncio.CancelledError:  # by the client, or by gRPC at the deadline
                queue.abandon(id)
                raise
            if not isinstance(answer, bytes):
                code, message = answer
                await context.abort(_GRPC_CODES[code], message)
            return answer

        return handle

    def _deliver(self) -> None:
        with self._lock:
            outbox, self._outbox = self._outbox, []
        _settle(outbox)

    async def _stop(self, server: grpc.aio.Server, grace: float) -> bool:
        self._health.close()
        self._reflection.close()
        stopping = asyncio.ensure_future(server.stop(grace + _FLUSH_SECONDS))
        await asyncio.wait({stopping}, timeout=grace)
        rest = self._queue.claim_rest((StatusCode.UNAVAILABLE, "The server is shutting down."))
        _settle(rest)
        await server.stop(_FLUSH_SECONDS)
        await stopping
        self._queue.close()
        return not rest


class _MethodTable:
    """Finds a call's handler by its full method name; gRPC answers UNIMPLEMENTED to the others."""

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The method of gRPC's GenericRpcHandler."""
        return self._handlers.get(details.method)


def _channel_arguments(options: GrpcOptions) -> list[tuple[str, int | str]]:
    limit = -1 if options.max_message_bytes is None else options.max_message_bytes
    ours: dict[str, int | str] = {
        # gRPC's own default is 1: two servers would share a port by accident, and each get some of
        # the calls.
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": limit,
        "grpc.max_send_message_length": limit,
    }
    # Of two values for one name gRPC takes the first.
    return list((ours | dict(options.channel_arguments)).items())


def _bind(server: grpc.aio.Server, address: str, tls: ReplaceableTls | None = None) -> int:
    try:
        if tls is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, tls.server_credentials()))
    except RuntimeError as error:
        raise UnavailableError(
            f"Could not listen on {address}: gRPC has written the system's reason to stderr. "
            "Is another process using it?"
        ) from error


def _settle(claimed: Iterable[tuple[asyncio.Future[Answer], Answer]]) -> None:
    for waiting, answer in claimed:
        if not waiting.done():  # cancelled in the moment between claim and here
            waiting.set_result(answer)
