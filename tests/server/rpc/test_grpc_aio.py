"""What the grpcio transport answers by itself, and how it listens."""

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from modelserver.errors import UnavailableError
from modelserver.rpc.descriptors import descriptor_set
from modelserver.rpc.transport.base import StatusCode
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport, GrpcOptions

PREDICT = "/tensorflow.serving.PredictionService/Predict"
SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def transport() -> Iterator[GrpcAioTransport]:
    transport = GrpcAioTransport(
        "127.0.0.1:0", [PREDICT], GrpcOptions(descriptor_set=descriptor_set())
    )
    yield transport
    transport.stop(0)


@pytest.fixture
def channel(transport: GrpcAioTransport) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{transport.start()}") as channel:
        yield channel


@pytest.fixture
def start() -> Iterator[Callable[[GrpcAioTransport], int]]:
    started: list[GrpcAioTransport] = []

    def start(transport: GrpcAioTransport) -> int:
        started.append(transport)
        return transport.start()

    yield start
    for transport in started:
        transport.stop(0)


def answer_one(transport: GrpcAioTransport, body: bytes) -> None:
    calls = transport.next_calls(30)
    assert calls is not None
    transport.reply_many(calls.ids, [body])


def test_a_port_in_use_is_reported_with_the_address(
    start: Callable[[GrpcAioTransport], int],
) -> None:
    port = start(GrpcAioTransport("127.0.0.1:0", []))
    second = GrpcAioTransport(f"127.0.0.1:{port}", [])

    with pytest.raises(UnavailableError) as caught:
        second.start()

    assert caught.value.message == (
        f"Could not listen on 127.0.0.1:{port}: gRPC has written the system's reason to stderr. "
        "Is another process using it?"
    )
    assert second.stop(0) is True


def test_a_start_that_fails_at_the_socket_gives_the_port_back(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    options = GrpcOptions(socket_path=f"{tmp_path}/missing/socket")
    transport = GrpcAioTransport(f"127.0.0.1:{address[1]}", [PREDICT], options)

    with pytest.raises(UnavailableError, match="missing/socket"):
        transport.start()

    with socket.socket() as client:
        assert client.connect_ex(address) == errno.ECONNREFUSED


def test_it_listens_on_a_unix_socket(
    tmp_path: Path, start: Callable[[GrpcAioTransport], int]
) -> None:
    transport = GrpcAioTransport(f"unix:{tmp_path}/socket", [PREDICT])
    assert start(transport) == 0

    with grpc.insecure_channel(f"unix:{tmp_path}/socket") as channel:
        future = channel.unary_unary(PREDICT).future(b"")
        answer_one(transport, b"here")

        assert future.result() == b"here"


def test_it_listens_on_a_unix_socket_beside_a_port(
    tmp_path: Path, start: Callable[[GrpcAioTransport], int]
) -> None:
    options = GrpcOptions(socket_path=f"{tmp_path}/socket")
    transport = GrpcAioTransport("127.0.0.1:0", [PREDICT], options)
    port = start(transport)

    for target in (f"127.0.0.1:{port}", f"unix:{tmp_path}/socket"):
        with grpc.insecure_channel(target) as channel:
            future = channel.unary_unary(PREDICT).future(b"")
            answer_one(transport, target.encode())

            assert future.result() == target.encode()


def test_messages_of_any_size_pass_unless_a_limit_is_set(
    transport: GrpcAioTransport, channel: grpc.Channel
) -> None:
    body = b"x" * (5 << 20)

    future = channel.unary_unary(PREDICT).future(body)
    calls = transport.next_calls(30)
    assert calls is not None
    transport.reply_many(calls.ids, [b"seen"])

    assert calls.bodies == [body]
    assert future.result() == b"seen"


def test_a_message_over_the_limit_is_answered_resource_exhausted(
    start: Callable[[GrpcAioTransport], int],
) -> None:
    options = GrpcOptions(max_message_bytes=1000)
    port = start(GrpcAioTransport("127.0.0.1:0", [PREDICT], options))

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        future = channel.unary_unary(PREDICT).future(b"x" * 1001)

        assert future.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_channel_arguments_reach_grpc(start: Callable[[GrpcAioTransport], int]) -> None:
    options = GrpcOptions(channel_arguments=[("grpc.max_receive_message_length", 10)])
    port = start(GrpcAioTransport("127.0.0.1:0", [PREDICT], options))

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        future = channel.unary_unary(PREDICT).future(b"x" * 11)

        assert future.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_two_transports_of_one_process_serve_independently(
    start: Callable[[GrpcAioTransport], int],
) -> None:
    first, second = (GrpcAioTransport("127.0.0.1:0", [PREDICT]) for _ in range(2))
    start(first)
    port = start(second)
    first.stop(0)

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        future = channel.unary_unary(PREDICT).future(b"")
        answer_one(second, b"still here")

        assert future.result() == b"still here"


@pytest.mark.parametrize(("serving", "status"), [(True, SERVING), (False, NOT_SERVING)])
def test_health_check_says_what_was_set(
    transport: GrpcAioTransport, channel: grpc.Channel, serving: bool, status: int
) -> None:
    transport.set_serving("half_plus_two", serving)

    response = HealthStub(channel).Check(HealthCheckRequest(service="half_plus_two"))

    assert response.status == status


def test_health_check_of_the_server_is_serving_until_said_otherwise(
    transport: GrpcAioTransport, channel: grpc.Channel
) -> None:
    health = HealthStub(channel)

    before = health.Check(HealthCheckRequest())
    transport.set_serving("", False)
    after = health.Check(HealthCheckRequest())

    assert (before.status, after.status) == (SERVING, NOT_SERVING)


def test_health_check_of_an_unknown_service_is_not_found(
    transport: GrpcAioTransport, channel: grpc.Channel
) -> None:
    transport.set_serving("gone", True)
    transport.set_serving("gone", None)

    with pytest.raises(grpc.RpcError) as caught:
        HealthStub(channel).Check(HealthCheckRequest(service="gone"))

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_watch_follows_every_change_and_ends_when_the_server_stops(
    transport: GrpcAioTransport, channel: grpc.Channel
) -> None:
    watch = HealthStub(channel).Watch(HealthCheckRequest(service="m"))

    seen = [next(watch).status]
    transport.set_serving("other", True)
    transport.set_serving("m", True)
    seen.append(next(watch).status)
    transport.stop(30)
    seen += [response.status for response in watch]

    assert seen == [SERVICE_UNKNOWN, SERVING, NOT_SERVING]


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    request = ServerReflectionRequest(list_services="")

    (response,) = ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))

    assert [service.name for service in response.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "tensorflow.serving.PredictionService",
    ]


def test_reflection_knows_the_messages(channel: grpc.Channel) -> None:
    request = ServerReflectionRequest(file_containing_symbol="tensorflow.serving.PredictRequest")

    (response,) = ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))

    files = response.file_descriptor_response.file_descriptor_proto
    names = [FileDescriptorProto.FromString(file).name for file in files]
    assert "tensorflow_serving/apis/predict.proto" in names
    assert "tensorflow/core/framework/tensor.proto" in names


def test_an_idle_reflection_stream_is_ended_by_the_server_when_it_stops(
    transport: GrpcAioTransport, channel: grpc.Channel
) -> None:
    is_over = threading.Event()

    def requests() -> Iterator[ServerReflectionRequest]:
        yield ServerReflectionRequest(list_services="")
        is_over.wait()

    stream = ServerReflectionStub(channel).ServerReflectionInfo(requests())
    next(stream)

    is_drained = transport.stop(30)

    assert is_drained
    assert list(stream) == []  # a stream that the grace cut off would raise
    is_over.set()


def test_a_long_error_message_arrives_whole(
    transport: GrpcAioTransport, channel: grpc.Channel
) -> None:
    future = channel.unary_unary(PREDICT).future(b"")
    calls = transport.next_calls(30)
    assert calls is not None

    transport.fail_many(calls.ids, StatusCode.INVALID_ARGUMENT, "é" * 512)

    assert future.details() == "é" * 512
