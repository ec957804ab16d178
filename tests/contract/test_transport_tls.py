"""TLS, on every transport that serves gRPC."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

import grpc
import pytest

from modelserver.errors import InvalidArgumentError
from modelserver.rpc.transport.base import Transport
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.rpc.transport.native import NativeTransport, why_not_native
from modelserver.rpc.transport.options import GrpcOptions, TlsCredentials

ECHO = "/test.Texts/Echo"
FAR_SECONDS = 30.0


class Authority(Protocol):
    certificate: bytes

    def issue(self) -> tuple[bytes, bytes]: ...


Make: TypeAlias = Callable[[GrpcOptions], Transport]


@pytest.fixture(params=["native", "grpc_aio"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Transport] = []

    def make(options: GrpcOptions) -> Transport:
        if request.param == "grpc_aio":
            made.append(GrpcAioTransport("127.0.0.1:0", [ECHO], options))
        elif reason := why_not_native():
            pytest.skip(reason)
        else:
            made.append(NativeTransport("127.0.0.1:0", [ECHO], options))
        return made[-1]

    yield make
    for transport in made:
        transport.stop(0)


@pytest.fixture
def authority(make_authority: Callable[[], Authority]) -> Authority:
    return make_authority()


@pytest.fixture
def open_channel() -> Iterator[Callable[..., grpc.Channel]]:
    """Opens a connection that trusts an authority, and shows a certificate if one is given."""
    opened: list[grpc.Channel] = []

    def open_channel(
        port: int, trusted: Authority, chain: bytes | None = None, key: bytes | None = None
    ) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(trusted.certificate, key, chain)
        own = [("grpc.use_local_subchannel_pool", 1)]
        opened.append(grpc.secure_channel(f"127.0.0.1:{port}", credentials, own))
        return opened[-1]

    yield open_channel
    for channel in opened:
        channel.close()


def signed_by(authority: Authority, **more: object) -> TlsCredentials:
    return TlsCredentials(*authority.issue(), **more)


def echo(transport: Transport, channel: grpc.Channel) -> bytes:
    """Make a call and answer it."""
    future = channel.unary_unary(ECHO).future(b"hello", wait_for_ready=True)
    calls = transport.next_calls(FAR_SECONDS)
    assert calls is not None
    transport.reply_many(calls.ids, calls.bodies)
    return future.result()


def code(channel: grpc.Channel) -> grpc.StatusCode:
    """How a call ends that does not reach the transport."""
    return channel.unary_unary(ECHO).future(b"hello").code()


def test_a_client_that_trusts_the_authority_gets_answers(
    make: Make, authority: Authority, open_channel: Callable[..., grpc.Channel]
) -> None:
    transport = make(GrpcOptions(tls=signed_by(authority)))

    channel = open_channel(transport.start(), authority)

    assert echo(transport, channel) == b"hello"


def test_a_client_without_tls_is_sent_away(make: Make, authority: Authority) -> None:
    transport = make(GrpcOptions(tls=signed_by(authority)))

    with grpc.insecure_channel(f"127.0.0.1:{transport.start()}") as channel:
        assert code(channel) == grpc.StatusCode.UNAVAILABLE


def test_the_unix_socket_is_not_encrypted(tmp_path: Path, make: Make, authority: Authority) -> None:
    options = GrpcOptions(socket_path=f"{tmp_path}/socket", tls=signed_by(authority))
    transport = make(options)
    transport.start()

    with grpc.insecure_channel(f"unix:{tmp_path}/socket") as channel:
        assert echo(transport, channel) == b"hello"


def test_new_connections_get_new_certificates_and_old_ones_go_on(
    make: Make,
    make_authority: Callable[[], Authority],
    open_channel: Callable[..., grpc.Channel],
) -> None:
    old, new = make_authority(), make_authority()
    transport = make(GrpcOptions(tls=signed_by(old)))
    port = transport.start()
    standing = open_channel(port, old)
    echo(transport, standing)

    transport.set_tls(signed_by(new))

    assert echo(transport, standing) == b"hello"
    assert echo(transport, open_channel(port, new)) == b"hello"
    assert code(open_channel(port, old)) == grpc.StatusCode.UNAVAILABLE


def unreadable(authority: Authority) -> TlsCredentials:
    return TlsCredentials(b"no certificate", b"no key")


def mismatched(authority: Authority) -> TlsCredentials:
    (chain, _), (_, key) = authority.issue(), authority.issue()
    return TlsCredentials(chain, key)


def with_an_unreadable_authority(authority: Authority) -> TlsCredentials:
    return signed_by(authority, client_ca=b"no authority")


@pytest.mark.parametrize("spoilt", [unreadable, mismatched, with_an_unreadable_authority])
def test_credentials_that_cannot_be_used_are_refused_and_the_old_ones_stand(
    make: Make,
    authority: Authority,
    open_channel: Callable[..., grpc.Channel],
    spoilt: Callable[[Authority], TlsCredentials],
) -> None:
    transport = make(GrpcOptions(tls=signed_by(authority)))
    port = transport.start()

    with pytest.raises(InvalidArgumentError, match="TLS: "):
        transport.set_tls(spoilt(authority))

    assert echo(transport, open_channel(port, authority)) == b"hello"


@pytest.mark.parametrize("spoilt", [unreadable, mismatched, with_an_unreadable_authority])
def test_a_transport_is_not_made_with_credentials_that_cannot_be_used(
    make: Make, authority: Authority, spoilt: Callable[[Authority], TlsCredentials]
) -> None:
    with pytest.raises(InvalidArgumentError, match="TLS: "):
        make(GrpcOptions(tls=spoilt(authority)))


def test_where_clients_need_certificates_those_without_one_are_sent_away(
    make: Make,
    make_authority: Callable[[], Authority],
    open_channel: Callable[..., grpc.Channel],
) -> None:
    server, clients, strangers = (make_authority() for _ in range(3))
    credentials = signed_by(server, client_ca=clients.certificate, requires_client_certificate=True)
    transport = make(GrpcOptions(tls=credentials))
    port = transport.start()

    known = open_channel(port, server, *clients.issue())

    assert echo(transport, known) == b"hello"
    assert code(open_channel(port, server)) == grpc.StatusCode.UNAVAILABLE
    assert code(open_channel(port, server, *strangers.issue())) == grpc.StatusCode.UNAVAILABLE


def test_where_clients_need_none_those_without_one_get_answers(
    make: Make, authority: Authority, open_channel: Callable[..., grpc.Channel]
) -> None:
    transport = make(GrpcOptions(tls=signed_by(authority, client_ca=authority.certificate)))

    channel = open_channel(transport.start(), authority)

    assert echo(transport, channel) == b"hello"


def test_a_transport_that_was_started_without_certificates_takes_none(
    make: Make, authority: Authority
) -> None:
    transport = make(GrpcOptions())
    port = transport.start()

    with pytest.raises(InvalidArgumentError, match="TLS: "):
        transport.set_tls(signed_by(authority))

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert echo(transport, channel) == b"hello"
