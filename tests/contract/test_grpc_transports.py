"""What the transports that serve gRPC answer by themselves, how they listen and how they drain."""

import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from modelserver.errors import UnavailableError
from modelserver.rpc.descriptors import descriptor_set
from modelserver.rpc.transport.base import Calls, StatusCode, Transport
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.rpc.transport.native import NativeTransport, why_not_native
from modelserver.rpc.transport.options import GrpcOptions

PREDICT = "/tensorflow.serving.PredictionService/Predict"
SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN
FAR_SECONDS = 30.0
MANY_CONNECTIONS = 100
"""That the kernel gives all of them to the same of two: once in 2**99."""

Make: TypeAlias = Callable[..., Transport]
"""Makes a transport that serves `PREDICT`: of an address and `GrpcOptions`, both optional."""


@pytest.fixture(params=["native", "grpc_aio"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Transport] = []

    def make(address: str = "127.0.0.1:0", options: GrpcOptions | None = None) -> Transport:
        if request.param == "grpc_aio":
            made.append(GrpcAioTransport(address, [PREDICT], options))
        elif reason := why_not_native():
            pytest.skip(reason)
        else:
            made.append(NativeTransport(address, [PREDICT], options))
        return made[-1]

    yield make
    for transport in made:
        transport.stop(0)


@pytest.fixture
def transport(make: Make) -> Transport:
    return make("127.0.0.1:0", GrpcOptions(descriptor_set=descriptor_set()))


@pytest.fixture
def target(transport: Transport) -> str:
    return f"127.0.0.1:{transport.start()}"


@pytest.fixture
def channel(target: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target) as channel:
        yield channel


def take(transport: Transport) -> Calls:
    calls = transport.next_calls(FAR_SECONDS)
    assert calls is not None
    return calls


def answer_one(transport: Transport, body: bytes) -> None:
    transport.reply_many(take(transport).ids, [body])


@contextmanager
def echoing(transport: Transport) -> Iterator[None]:
    """Answer every call with its own body until the transport stops, which is at the end of this
    at the latest.
    """

    def serve() -> None:
        while (calls := transport.next_calls(None)) is not None:
            transport.reply_many(calls.ids, calls.bodies)

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield
    finally:
        transport.stop(0)
        server.join()


def reusing_port(value: int) -> GrpcOptions:
    return GrpcOptions(channel_arguments=[("grpc.so_reuseport", value)])


def call_on_a_new_connection(port: int) -> bytes:
    with grpc.insecure_channel(
        f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        answer: bytes = channel.unary_unary(PREDICT)(b"body", timeout=FAR_SECONDS)
    return answer


# Listening


def test_a_port_in_use_is_reported_with_the_address(make: Make) -> None:
    port = make().start()
    second = make(f"127.0.0.1:{port}")

    with pytest.raises(UnavailableError, match=f"ould not listen on 127.0.0.1:{port}: "):
        second.start()

    assert second.stop(0) is True


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (0, 1)])
def test_a_port_is_not_shared_unless_both_agree(make: Make, first: int, second: int) -> None:
    port = make("127.0.0.1:0", reusing_port(first)).start()

    with pytest.raises(UnavailableError, match=f"ould not listen on 127.0.0.1:{port}: "):
        make(f"127.0.0.1:{port}", reusing_port(second)).start()


def test_two_that_share_a_port_both_answer_and_one_goes_on_when_the_other_stops(
    make: Make,
) -> None:
    first = make("127.0.0.1:0", reusing_port(1))
    port = first.start()
    second = make(f"127.0.0.1:{port}", reusing_port(1))
    assert second.start() == port

    with echoing(first), echoing(second):
        for _ in range(MANY_CONNECTIONS):
            assert call_on_a_new_connection(port) == b"body"
            if first.stats().accepted and second.stats().accepted:
                break
        of_both = (first.stats().accepted, second.stats().accepted)
        first.stop(FAR_SECONDS)
        answer = call_on_a_new_connection(port)

    assert 0 not in of_both
    assert answer == b"body"
    assert second.stats().accepted == of_both[1] + 1


def test_it_listens_on_a_unix_socket(tmp_path: Path, make: Make) -> None:
    transport = make(f"unix:{tmp_path}/socket")
    assert transport.start() == 0

    with grpc.insecure_channel(f"unix:{tmp_path}/socket") as channel:
        future = channel.unary_unary(PREDICT).future(b"")
        answer_one(transport, b"here")

        assert future.result() == b"here"


def test_a_client_may_have_several_addresses(make: Make) -> None:
    """gRPC's clients name all of them as the authority then."""
    first, second = make(), make()
    addresses = f"127.0.0.1:{first.start()},127.0.0.1:{second.start()}"

    with (
        echoing(first),
        echoing(second),
        grpc.insecure_channel(f"ipv4:{addresses}") as channel,
    ):
        answer = channel.unary_unary(PREDICT)(b"body", timeout=FAR_SECONDS)
        first.stop(0)
        second.stop(0)

    assert answer == b"body"


def test_it_listens_on_a_unix_socket_beside_a_port(tmp_path: Path, make: Make) -> None:
    transport = make("127.0.0.1:0", GrpcOptions(socket_path=f"{tmp_path}/socket"))
    port = transport.start()

    for target in (f"127.0.0.1:{port}", f"unix:{tmp_path}/socket"):
        with grpc.insecure_channel(target) as channel:
            future = channel.unary_unary(PREDICT).future(b"")
            answer_one(transport, target.encode())

            assert future.result() == target.encode()


def test_two_transports_of_one_process_serve_independently(make: Make) -> None:
    first, second = make(), make()
    first.start()
    port = second.start()
    first.stop(0)

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        future = channel.unary_unary(PREDICT).future(b"")
        answer_one(second, b"still here")

        assert future.result() == b"still here"


# Messages


def test_messages_of_any_size_pass_both_ways_unless_a_limit_is_set(
    transport: Transport, target: str
) -> None:
    body = bytes(range(256)) * (80 << 10)

    with grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)]) as channel:
        future = channel.unary_unary(PREDICT).future(body)
        calls = take(transport)
        transport.reply_many(calls.ids, [body[::-1]])

        assert calls.bodies == [body]
        assert future.result() == body[::-1]


def test_compressed_messages_arrive_as_they_were(
    transport: Transport, channel: grpc.Channel
) -> None:
    body = b"again and " * 1000

    future = channel.unary_unary(PREDICT).future(body, compression=grpc.Compression.Gzip)
    calls = take(transport)
    transport.reply_many(calls.ids, calls.bodies)

    assert future.result() == body


@pytest.mark.parametrize(
    "options",
    [
        GrpcOptions(max_message_bytes=1000),
        GrpcOptions(
            channel_arguments=[
                ("grpc.max_receive_message_length", 1000),
                ("grpc.max_send_message_length", 1000),
            ]
        ),
    ],
    ids=["option", "channel arguments"],
)
def test_a_message_over_the_limit_is_answered_resource_exhausted(
    make: Make, options: GrpcOptions
) -> None:
    transport = make("127.0.0.1:0", options)
    with grpc.insecure_channel(f"127.0.0.1:{transport.start()}") as channel, echoing(transport):
        predict = channel.unary_unary(PREDICT)

        assert predict(b"x" * 1000) == b"x" * 1000
        assert predict.future(b"x" * 1001).code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_answer_over_the_limit_is_answered_resource_exhausted(make: Make) -> None:
    transport = make("127.0.0.1:0", GrpcOptions(max_message_bytes=1000))

    with grpc.insecure_channel(f"127.0.0.1:{transport.start()}") as channel:
        future = channel.unary_unary(PREDICT).future(b"")
        answer_one(transport, b"x" * 1001)

        assert future.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_error_message_longer_than_a_kilobyte_arrives_whole(
    transport: Transport, channel: grpc.Channel
) -> None:
    future = channel.unary_unary(PREDICT).future(b"")

    transport.fail_many(take(transport).ids, StatusCode.INVALID_ARGUMENT, "é" * 512)

    assert future.details() == "é" * 512


# Health


@pytest.mark.parametrize(("serving", "status"), [(True, SERVING), (False, NOT_SERVING)])
def test_health_check_says_what_was_set(
    transport: Transport, channel: grpc.Channel, serving: bool, status: int
) -> None:
    transport.set_serving("half_plus_two", serving)

    response = HealthStub(channel).Check(HealthCheckRequest(service="half_plus_two"))

    assert response.status == status


def test_health_check_of_the_server_is_serving_until_said_otherwise(
    transport: Transport, channel: grpc.Channel
) -> None:
    health = HealthStub(channel)

    before = health.Check(HealthCheckRequest())
    transport.set_serving("", False)
    after = health.Check(HealthCheckRequest())

    assert (before.status, after.status) == (SERVING, NOT_SERVING)


def test_health_check_of_an_unknown_service_is_not_found(
    transport: Transport, channel: grpc.Channel
) -> None:
    transport.set_serving("gone", True)
    transport.set_serving("gone", None)

    with pytest.raises(grpc.RpcError) as caught:
        HealthStub(channel).Check(HealthCheckRequest(service="gone"))

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "unknown service gone"


def test_health_watch_follows_every_change_and_ends_when_the_server_stops(
    transport: Transport, channel: grpc.Channel
) -> None:
    watch = HealthStub(channel).Watch(HealthCheckRequest(service="m"))

    seen = [next(watch).status]
    transport.set_serving("other", True)
    transport.set_serving("m", True)
    seen.append(next(watch).status)
    transport.stop(30)
    seen += [response.status for response in watch]

    assert seen == [SERVICE_UNKNOWN, SERVING, NOT_SERVING]


def test_a_watcher_that_hangs_up_leaves_the_others_alone(
    transport: Transport, channel: grpc.Channel
) -> None:
    leaving, staying = (HealthStub(channel).Watch(HealthCheckRequest()) for _ in range(2))
    assert [next(leaving).status, next(staying).status] == [SERVING, SERVING]

    leaving.cancel()
    transport.set_serving("", False)

    assert next(staying).status == NOT_SERVING


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_a_question_that_is_not_one_is_an_error_and_health_goes_on(
    channel: grpc.Channel, method: str
) -> None:
    call = channel.unary_stream(f"/grpc.health.v1.Health/{method}")(b"\xff")

    assert call.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    assert HealthStub(channel).Check(HealthCheckRequest()).status == SERVING


# Reflection


def reflect_v1(
    channel: grpc.Channel,
) -> Callable[[Iterator[ServerReflectionRequest]], Iterator[ServerReflectionResponse]]:
    """The method by the name that newer clients use; its messages are the same on the wire."""
    return channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )


def reflect_v1alpha(
    channel: grpc.Channel,
) -> Callable[[Iterator[ServerReflectionRequest]], Iterator[ServerReflectionResponse]]:
    return ServerReflectionStub(channel).ServerReflectionInfo


@pytest.mark.parametrize("reflect", [reflect_v1, reflect_v1alpha])
def test_reflection_answers_every_question_of_a_stream(
    channel: grpc.Channel, reflect: Callable[..., Callable[..., Iterator[ServerReflectionResponse]]]
) -> None:
    questions = [
        ServerReflectionRequest(list_services=""),
        ServerReflectionRequest(file_containing_symbol="tensorflow.serving.PredictRequest"),
        ServerReflectionRequest(file_containing_symbol="no.Such"),
    ]

    services, files, unknown = reflect(channel)(iter(questions))

    assert [service.name for service in services.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "tensorflow.serving.PredictionService",
    ]
    found = files.file_descriptor_response.file_descriptor_proto
    names = [FileDescriptorProto.FromString(file).name for file in found]
    assert "tensorflow_serving/apis/predict.proto" in names
    assert "tensorflow/core/framework/tensor.proto" in names
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_client_that_knows_no_messages_builds_them_by_reflection(
    channel: grpc.Channel,
) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)

    assert "tensorflow.serving.PredictionService" in database.get_services()
    service = pool.FindServiceByName("tensorflow.serving.PredictionService")
    predict = service.methods_by_name["Predict"]
    assert predict.input_type.fields_by_name["inputs"].message_type.fields_by_name["value"]


def test_an_idle_reflection_stream_is_ended_by_the_server_when_it_stops(
    transport: Transport, channel: grpc.Channel
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


# Draining


def test_calls_that_are_accepted_while_it_stops_under_load_are_all_answered(make: Make) -> None:
    transport = make()
    port = transport.start()
    seen: list[grpc.StatusCode | None] = []
    has_begun = threading.Semaphore(0)

    def call_until_refused() -> None:
        with grpc.insecure_channel(
            f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]
        ) as c:
            code = None
            while code in (None, grpc.StatusCode.OK):
                begun = [c.unary_unary(PREDICT).future(b"x") for _ in range(8)]
                codes = [call.code() for call in begun]
                seen.extend(codes)
                code = codes[-1]
                has_begun.release()

    clients = [threading.Thread(target=call_until_refused) for _ in range(4)]
    with echoing(transport):
        for client in clients:
            client.start()
        for _ in range(20):
            has_begun.acquire()
        is_drained = transport.stop(FAR_SECONDS)
        for client in clients:
            client.join()

    assert is_drained
    counts = Counter(seen)
    assert counts.pop(grpc.StatusCode.OK) == transport.stats().accepted
    if transport.drains:  # the others have found nobody that listens
        assert set(counts) == {grpc.StatusCode.UNAVAILABLE}


# A client that is not gRPC's


@pytest.mark.process
@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed (nghttp2)")
def test_h2load_gets_an_answer_to_every_call(tmp_path: Path, make: Make) -> None:
    transport = make()
    request = tmp_path / "request"
    request.write_bytes(b"\0\0\0\0\3abc")
    url = f"http://127.0.0.1:{transport.start()}{PREDICT}"
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]

    with echoing(transport):
        command = ["h2load", "-n2000", "-c4", "-m16", *headers, "-d", str(request), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)

        assert re.search(r"2000 succeeded, 0 failed", done.stdout), done.stdout + done.stderr
        assert re.search(r"2000 2xx", done.stdout)
        assert transport.stats().codes == {(0, StatusCode.OK): 2000}
