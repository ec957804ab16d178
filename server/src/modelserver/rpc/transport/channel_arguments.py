"""gRPC's channel arguments as the native transport understands them. Pure."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

_UNLIMITED_MILLIS = 2**31 - 1


def _seconds(value: int | str) -> float | None:
    millis = int(value)
    return None if millis in (0, _UNLIMITED_MILLIS) else millis / 1000


def _limit(value: int | str) -> int | None:
    return None if int(value) < 0 else int(value)


def _switch(value: int | str) -> bool:
    return bool(int(value))


_RECEIVED = "grpc.max_receive_message_length"
_SENT = "grpc.max_send_message_length"

_OPTIONS: Mapping[str, tuple[str, Callable[[int | str], object]]] = MappingProxyType(
    {
        "grpc.max_connection_age_ms": ("max_connection_age_seconds", _seconds),
        "grpc.max_connection_age_grace_ms": ("max_connection_age_grace_seconds", _seconds),
        "grpc.max_connection_idle_ms": ("max_connection_idle_seconds", _seconds),
        "grpc.keepalive_time_ms": ("keepalive_seconds", _seconds),
        "grpc.keepalive_timeout_ms": ("keepalive_timeout_seconds", lambda ms: int(ms) / 1000),
        "grpc.max_concurrent_streams": ("max_concurrent_streams", int),
        "grpc.max_metadata_size": ("max_header_bytes", int),
        "grpc.so_reuseport": ("reuse_port", _switch),
        _RECEIVED: ("max_message_bytes", _limit),
        _SENT: ("max_message_bytes", _limit),
    }
)

_MOOT = frozenset(
    {
        "grpc.http2.max_ping_strikes",
        "grpc.http2.min_ping_interval_without_data_ms",
        "grpc.http2.min_recv_ping_interval_without_data_ms",
        "grpc.keepalive_permit_without_calls",
    }
)
"""Arguments that ask for nothing there: it never sends clients away for their pings."""


def native_options(arguments: Mapping[str, int | str]) -> dict[str, object]:
    """The options of `modelserver_transport.Options` that these arguments stand for. Raises
    ValueError where a number is expected and something else is given.
    """
    known = [name for name in arguments if name in _OPTIONS]
    return {
        option: convert(arguments[name]) for name in known for option, convert in [_OPTIONS[name]]
    }


def grpcio_only(arguments: Mapping[str, int | str]) -> str:
    """Which of the arguments only grpcio can honour, as a sentence; empty if there is none."""
    foreign = [name for name in arguments if name not in _OPTIONS and name not in _MOOT]
    if foreign:
        given = ",".join(f"{name}={arguments[name]}" for name in foreign)
        return f"--grpc_channel_arguments={given} is known to grpcio only"
    if str(arguments.get(_RECEIVED, -1)) != str(arguments.get(_SENT, -1)):
        return f"the native transport has one limit for both {_RECEIVED} and {_SENT}"
    return ""
