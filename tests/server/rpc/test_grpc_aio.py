"""What is grpcio's alone; what all transports promise is in tests/contract."""

import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from modelserver.errors import InvalidArgumentError, UnavailableError
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.rpc.transport.options import GrpcOptions, TlsCredentials

PREDICT = "/tensorflow.serving.PredictionService/Predict"


Make: TypeAlias = Callable[..., GrpcAioTransport]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[GrpcAioTransport] = []

    def make(options: GrpcOptions | None = None) -> GrpcAioTransport:
        made.append(GrpcAioTransport("127.0.0.1:0", [PREDICT], options))
        return made[-1]

    yield make
    for transport in made:
        transport.stop(0)


def test_a_port_in_use_is_reported_with_where_the_reason_is_to_be_found(make: Make) -> None:
    port = make().start()
    second = GrpcAioTransport(f"127.0.0.1:{port}", [])

    with pytest.raises(UnavailableError) as caught:
        second.start()

    assert caught.value.message == (
        f"Could not listen on 127.0.0.1:{port}: gRPC has written the system's reason to stderr. "
        "Is another process using it?"
    )


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


def test_a_limit_of_requests_does_not_limit_answers(make: Make) -> None:
    transport = make(GrpcOptions(channel_arguments=[("grpc.max_receive_message_length", 10)]))

    with grpc.insecure_channel(f"127.0.0.1:{transport.start()}") as channel:
        too_large = channel.unary_unary(PREDICT).future(b"x" * 11)
        fitting = channel.unary_unary(PREDICT).future(b"x" * 10)
        calls = transport.next_calls(30)
        assert calls is not None
        transport.reply_many(calls.ids, [b"x" * 11])

        assert too_large.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert fitting.result() == b"x" * 11


def test_whether_clients_need_a_certificate_cannot_be_changed_while_it_runs(
    make: Make, make_authority: Callable[[], Any]
) -> None:
    authority = make_authority()
    transport = make(GrpcOptions(tls=TlsCredentials(*authority.issue())))
    stricter = TlsCredentials(*authority.issue(), authority.certificate, True)

    with pytest.raises(InvalidArgumentError, match="only a restart"):
        transport.set_tls(stricter)
