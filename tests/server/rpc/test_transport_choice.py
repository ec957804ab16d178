import pytest

from modelserver.errors import FailedPreconditionError
from modelserver.rpc.transport.choice import Choice, TransportKind, choose, make_transport
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.rpc.transport.native import NativeTransport, why_not_native
from modelserver.rpc.transport.options import GrpcOptions

AUTO, NATIVE, GRPC = TransportKind.AUTO, TransportKind.NATIVE, TransportKind.GRPC
MISSING = "the wheel modelserver-transport is not installed"
FOREIGN = {"grpc.foo": 1, "grpc.max_connection_age_ms": 2000, "grpc.bar": "x"}
FOREIGN_REASON = "--grpc_channel_arguments=grpc.foo=1,grpc.bar=x is known to grpcio only"


def test_the_native_transport_is_taken_where_nothing_speaks_against_it() -> None:
    choice = choose(AUTO, {"grpc.max_connection_age_ms": 2000})

    assert choice == Choice(NATIVE)
    assert str(choice) == "gRPC is served by the native transport"


def test_grpcio_is_taken_where_it_is_asked_for() -> None:
    choice = choose(GRPC, {})

    assert str(choice) == "gRPC is served by grpcio: --transport=grpc"


def test_grpcio_serves_where_the_native_transport_is_missing() -> None:
    choice = choose(AUTO, {}, MISSING)

    assert str(choice) == f"gRPC is served by grpcio: {MISSING}"
    assert choice.kind is GRPC


def test_grpcio_serves_where_only_it_knows_what_is_asked_for() -> None:
    choice = choose(AUTO, FOREIGN)

    assert str(choice) == f"gRPC is served by grpcio: {FOREIGN_REASON}"
    assert choice.kind is GRPC


@pytest.mark.parametrize(
    ("arguments", "missing", "reason"), [({}, MISSING, MISSING), (FOREIGN, "", FOREIGN_REASON)]
)
def test_the_native_transport_is_not_replaced_silently_when_it_is_asked_for(
    arguments: dict[str, int | str], missing: str, reason: str
) -> None:
    with pytest.raises(FailedPreconditionError) as caught:
        choose(NATIVE, arguments, missing)

    assert caught.value.message == (
        f"--transport=native is not possible: {reason}. Leave it out, and grpcio serves instead"
    )


def test_what_is_chosen_is_made() -> None:
    expected = GrpcAioTransport if why_not_native() else NativeTransport

    assert isinstance(make_transport("127.0.0.1:0", []), expected)
    assert isinstance(make_transport("127.0.0.1:0", [], wanted=GRPC), GrpcAioTransport)
    foreign = GrpcOptions(channel_arguments=tuple(FOREIGN.items()))
    assert isinstance(make_transport("127.0.0.1:0", [], foreign), GrpcAioTransport)
