import pytest

from modelserver.errors import InvalidArgumentError
from modelserver.rpc.transport.channel_arguments import grpcio_only, native_options
from modelserver.rpc.transport.native import NativeTransport, why_not_native
from modelserver.rpc.transport.options import GrpcOptions

RECEIVE = "grpc.max_receive_message_length"
SEND = "grpc.max_send_message_length"


@pytest.mark.parametrize(
    ("name", "value", "option", "meaning"),
    [
        ("grpc.max_connection_age_ms", 2500, "max_connection_age_seconds", 2.5),
        ("grpc.max_connection_age_grace_ms", 100, "max_connection_age_grace_seconds", 0.1),
        ("grpc.max_connection_idle_ms", "1000", "max_connection_idle_seconds", 1.0),
        ("grpc.keepalive_time_ms", 2**31 - 1, "keepalive_seconds", None),
        ("grpc.keepalive_time_ms", 7200000, "keepalive_seconds", 7200.0),
        ("grpc.keepalive_timeout_ms", 500, "keepalive_timeout_seconds", 0.5),
        ("grpc.max_concurrent_streams", 7, "max_concurrent_streams", 7),
        ("grpc.max_metadata_size", 8192, "max_header_bytes", 8192),
        ("grpc.so_reuseport", 1, "reuse_port", True),
        ("grpc.so_reuseport", 0, "reuse_port", False),
        (RECEIVE, 1000, "max_message_bytes", 1000),
        (RECEIVE, -1, "max_message_bytes", None),
    ],
)
def test_arguments_have_their_meaning_on_the_native_transport(
    name: str, value: int | str, option: str, meaning: object
) -> None:
    assert native_options({name: value}) == {option: meaning}


def test_arguments_that_ask_for_what_it_does_anyway_are_no_obstacle() -> None:
    arguments = {"grpc.http2.max_ping_strikes": 0, "grpc.keepalive_permit_without_calls": 1}

    assert grpcio_only(arguments) == ""
    assert native_options(arguments) == {}


def test_arguments_that_it_does_not_know_are_named() -> None:
    arguments = {"grpc.max_connection_age_ms": 1, "grpc.foo": 1}

    assert grpcio_only(arguments) == "--grpc_channel_arguments=grpc.foo=1 is known to grpcio only"


@pytest.mark.parametrize("arguments", [{RECEIVE: 9, SEND: 9}, {RECEIVE: -1}, {SEND: -1}, {}])
def test_one_limit_for_requests_and_answers_is_no_obstacle(arguments: dict[str, int]) -> None:
    assert grpcio_only(arguments) == ""


@pytest.mark.parametrize("arguments", [{RECEIVE: 9, SEND: 8}, {RECEIVE: 9}, {SEND: 9}])
def test_two_limits_are_for_grpcio(arguments: dict[str, int]) -> None:
    assert grpcio_only(arguments) == (
        f"the native transport has one limit for both {RECEIVE} and {SEND}"
    )


@pytest.mark.skipif(bool(why_not_native()), reason=why_not_native() or "it is there")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grpc.keepalive_time_ms", "soon"),
        ("grpc.max_concurrent_streams", 0),
        ("grpc.so_reuseport", "yes"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, value: int | str) -> None:
    options = GrpcOptions(channel_arguments=[(name, value)])

    with pytest.raises(InvalidArgumentError, match="The gRPC server: "):
        NativeTransport("127.0.0.1:0", [], options)
