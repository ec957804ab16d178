"""NativeTransport: the `Transport` on Rust, several times as fast as the one on grpcio.

It is there where the wheel `modelserver-transport` is installed; importing this module works
without it.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

from modelserver.errors import InvalidArgumentError, UnavailableError, UnimplementedError
from modelserver.histogram import SECONDS, HistogramSnapshot
from modelserver.rpc.transport.base import (
    Answer,
    Calls,
    ContiguousBuffer,
    StatusCode,
    TransportStats,
)
from modelserver.rpc.transport.channel_arguments import native_options
from modelserver.rpc.transport.health import HEALTH_DESCRIPTOR, HEALTH_SERVICE
from modelserver.rpc.transport.native_streams import STREAM_METHODS, Streams
from modelserver.rpc.transport.options import GrpcOptions, TlsCredentials
from modelserver.rpc.transport.reflection import Reflection

_obstacle = ""
try:
    import modelserver_transport
except ModuleNotFoundError:
    _obstacle = "the wheel modelserver-transport is not installed"
except ImportError as _error:
    _obstacle = f"the wheel modelserver-transport cannot be loaded: {_error}"


def why_not_native() -> str:
    """Why this transport is not there; empty where it is."""
    return _obstacle


class NativeTransport:
    """A `Transport` on the crate in server/transport. `address` is `HOST:PORT` or `unix:PATH`.

    Network work happens on a thread without Python. Health and reflection are answered by a thread
    of their own. Raises `UnimplementedError` where the wheel is missing, and `InvalidArgumentError`
    for a channel argument or a certificate that makes no sense.
    """

    drains = True

    def __init__(
        self, address: str, methods: Sequence[str], options: GrpcOptions | None = None
    ) -> None:
        options = options or GrpcOptions()
        self._native = _make(address, methods, options)
        services = {method.split("/")[1] for method in methods} | {HEALTH_SERVICE}
        reflection = Reflection(services, options.descriptor_set, [HEALTH_DESCRIPTOR])
        self._streams = Streams(self._native, reflection)
        if options.tls is not None:
            self.set_tls(options.tls)

    def start(self) -> int:
        """Bind and accept, as `Transport.start`. Returns 0 for a unix socket."""
        try:
            port = self._native.start()
        except OSError as error:
            raise UnavailableError(f"The gRPC server {error.strerror or error}") from error
        self._streams.start()
        return port

    def stop(self, grace: float) -> bool:
        """Drain and close, as `Transport.stop`."""
        self._streams.close()
        is_drained = self._native.stop(grace)
        self._streams.join()
        return is_drained

    def next_calls(self, timeout: float | None) -> Calls | None:
        """All calls that have arrived, as `Transport.next_calls`."""
        calls = self._native.next_calls(timeout)
        return None if calls is None else Calls._make(calls)

    def reply_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
        """Answer several calls, as `Transport.reply_many`."""
        self._native.reply_many(ids, answers)

    def reply_split(
        self, ids: Sequence[int], rows: ContiguousBuffer, prefix: bytes, suffix: bytes
    ) -> None:
        """Answer calls with equal pieces, as `Transport.reply_split`."""
        self._native.reply_split(ids, cast(bytearray, rows), prefix, suffix)

    def cork(self) -> None:
        """Let answers wait for each other, as `Transport.cork`."""
        self._native.cork()

    def uncork(self) -> None:
        """Send those that wait, as `Transport.uncork`."""
        self._native.uncork()

    def gather(
        self, out: ContiguousBuffer, bodies: Sequence[bytes], offset: int, length: int
    ) -> None:
        """Copy a piece of each body, as `Transport.gather`."""
        modelserver_transport.gather(cast(bytearray, out), bodies, offset, length)

    def fail_many(self, ids: Sequence[int], code: StatusCode, message: str) -> None:
        """Answer several calls with one error, as `Transport.fail_many`."""
        self._native.fail_many(ids, code, message)

    def alive(self, ids: Sequence[int]) -> list[bool]:
        """Which calls still want an answer, as `Transport.alive`."""
        return self._native.alive(ids)

    def set_serving(self, service: str, serving: bool | None) -> None:
        """Set what health says of `service`, as `Transport.set_serving`."""
        self._streams.set(service, serving)

    def set_tls(self, credentials: TlsCredentials) -> None:
        """Use these from the next connection on, as `Transport.set_tls`."""
        try:
            self._native.set_tls(
                credentials.certificate_chain,
                credentials.private_key,
                credentials.client_ca or None,
                credentials.requires_client_certificate,
            )
        except (ValueError, RuntimeError) as error:
            raise InvalidArgumentError(f"TLS: {error}") from error

    def ping(self, answer: Callable[[], None]) -> None:
        """Have `answer` called by way of all threads here, as `Transport.ping`."""
        self._streams.ping(answer)

    def fileno(self) -> int:
        """An eventfd that is readable when calls wait, as `Transport.fileno`."""
        return self._native.fileno()

    def stats(self) -> TransportStats:
        """Counters since start."""
        stats = self._native.stats()
        return TransportStats(
            accepted=stats["accepted"],
            replied=stats["replied"],
            failed=stats["failed"],
            cancelled=stats["cancelled"],
            dropped_replies=stats["dropped_replies"],
            in_flight=stats["in_flight"],
            oldest_waiting_seconds=stats["oldest_waiting_seconds"],
            codes={(m, StatusCode(code)): n for (m, code), n in stats["codes"].items()},
            seconds={
                method: HistogramSnapshot(SECONDS, tuple(counts), total)
                for method, (counts, total) in stats["seconds"].items()
            },
        )


def _make(
    address: str, methods: Sequence[str], options: GrpcOptions
) -> "modelserver_transport.Transport":
    if _obstacle:
        raise UnimplementedError(f"There is no native transport: {_obstacle}")
    addresses = [address, f"unix:{options.socket_path}"] if options.socket_path else [address]
    try:
        given: dict[str, Any] = {
            "max_message_bytes": options.max_message_bytes,
            "seconds_bounds": SECONDS,
            **native_options(dict(options.channel_arguments)),
        }
        native = modelserver_transport.Options(**given)
        return modelserver_transport.Transport(addresses, methods, STREAM_METHODS, native)
    except (ValueError, OverflowError) as error:
        raise InvalidArgumentError(f"The gRPC server: {error}") from error
