"""TLS: what clients see of certificates, and what is asked of theirs."""

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

rust = pytest.importorskip(
    "modelserver_transport", reason="modelserver_transport is not installed: build server/transport"
)

ECHO = "/test.Texts/Echo"
FAR_SECONDS = 30.0

Serve = Callable[..., Any]


class Identity(NamedTuple):
    """A certificate and its key, as PEM and to sign with."""

    certificate: bytes
    key: bytes
    name: x509.Name
    signer: ec.EllipticCurvePrivateKey


def make_identity(name: str, issuer: Identity | None = None) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.name if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(issuer.signer if issuer else key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key_pem = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(certificate.public_bytes(pem), key_pem, subject, key)


@pytest.fixture(scope="module")
def authority() -> Identity:
    return make_identity("authority")


@pytest.fixture(scope="module")
def identity(authority: Identity) -> Identity:
    return make_identity("server", authority)


def tls(identity: Identity, **given: Any) -> dict[str, Any]:
    return {
        "certificate_chain": identity.certificate,
        "private_key": identity.key,
        **given,
    }


def call(port: int, roots: bytes, client: Identity | None = None) -> bytes:
    pair = (client.key, client.certificate) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(roots, *pair)
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"localhost:{port}", credentials, options) as channel:
        answer: bytes = channel.unary_unary(ECHO)(bytes(200_000), timeout=FAR_SECONDS)
        return answer


def shown_certificate(port: int) -> bytes:
    return ssl.get_server_certificate(("127.0.0.1", port)).encode()


def test_calls_travel_over_tls(serve: Serve, authority: Identity, identity: Identity) -> None:
    server = serve(tls=tls(identity))

    answer = call(server.port, authority.certificate)

    assert answer == bytes(200_000)


def test_http2_is_agreed_on(serve: Serve, identity: Identity) -> None:
    server = serve(tls=tls(identity))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1", "h2"])

    with (
        socket.create_connection(("127.0.0.1", server.port), FAR_SECONDS) as plain,
        context.wrap_socket(plain) as secured,
    ):
        protocol = secured.selected_alpn_protocol()

    assert protocol == "h2"


def test_a_client_without_tls_is_not_served(serve: Serve, identity: Identity) -> None:
    server = serve(tls=tls(identity))

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        error = channel.unary_unary(ECHO).future(b"x", timeout=FAR_SECONDS).exception()

    assert error.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("is_required", [True, False])
def test_a_client_shows_a_certificate_of_the_right_authority(
    serve: Serve, authority: Identity, identity: Identity, is_required: bool
) -> None:
    server = serve(
        tls=tls(identity, client_ca=authority.certificate, requires_client_certificate=is_required)
    )

    answer = call(server.port, authority.certificate, make_identity("client", authority))

    assert answer == bytes(200_000)


def test_a_client_without_a_certificate_is_turned_away_if_one_is_required(
    serve: Serve, authority: Identity, identity: Identity
) -> None:
    given = {"client_ca": authority.certificate, "requires_client_certificate": True}
    server = serve(tls=tls(identity, **given))

    with pytest.raises(grpc.RpcError) as caught:
        call(server.port, authority.certificate)

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_without_a_certificate_is_served_if_none_is_required(
    serve: Serve, authority: Identity, identity: Identity
) -> None:
    server = serve(tls=tls(identity, client_ca=authority.certificate))

    assert call(server.port, authority.certificate) == bytes(200_000)


@pytest.mark.parametrize("is_required", [True, False])
def test_a_client_with_a_certificate_of_another_authority_is_turned_away(
    serve: Serve, authority: Identity, identity: Identity, is_required: bool
) -> None:
    given = {"client_ca": authority.certificate, "requires_client_certificate": is_required}
    server = serve(tls=tls(identity, **given))
    stranger = make_identity("stranger", make_identity("another authority"))

    with pytest.raises(grpc.RpcError) as caught:
        call(server.port, authority.certificate, stranger)

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_new_connections_get_the_new_certificate_and_old_ones_stay(
    serve: Serve, authority: Identity, identity: Identity
) -> None:
    server = serve(tls=tls(identity))
    successor = make_identity("successor", authority)
    credentials = grpc.ssl_channel_credentials(authority.certificate)
    with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
        stub = channel.unary_unary(ECHO)
        stub(b"before", timeout=FAR_SECONDS)

        server.transport.set_tls(**tls(successor))

        assert shown_certificate(server.port) == successor.certificate
        assert stub(b"after", timeout=FAR_SECONDS) == b"after"
    assert call(server.port, authority.certificate) == bytes(200_000)


def test_a_certificate_that_cannot_be_used_changes_nothing(
    serve: Serve, identity: Identity
) -> None:
    server = serve(tls=tls(identity))

    with pytest.raises(ValueError, match="certificate_chain"):
        server.transport.set_tls(b"rubbish", identity.key)

    assert shown_certificate(server.port) == identity.certificate


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"certificate_chain": b""}, "certificate_chain holds no certificate"),
        ({"certificate_chain": b"-----BEGIN CERTIFICATE-----\n!\n"}, "certificate_chain"),
        ({"private_key": b""}, "private_key holds no private key"),
        ({"client_ca": b""}, "client_ca holds no certificate"),
        ({"requires_client_certificate": True}, "client_ca is None"),
    ],
)
def test_pem_that_cannot_be_used_is_named(
    identity: Identity, changed: dict[str, Any], complaint: str
) -> None:
    transport = rust.Transport(["127.0.0.1:0"], [ECHO])

    with pytest.raises(ValueError, match=complaint):
        transport.set_tls(**{**tls(identity), **changed})


def test_a_key_of_another_certificate_is_refused(identity: Identity, authority: Identity) -> None:
    transport = rust.Transport(["127.0.0.1:0"], [ECHO])

    with pytest.raises(ValueError, match="together"):
        transport.set_tls(identity.certificate, authority.key)


def test_a_server_without_tls_cannot_get_it_later(serve: Serve, identity: Identity) -> None:
    server = serve()

    with pytest.raises(RuntimeError, match="without TLS"):
        server.transport.set_tls(**tls(identity))


def test_a_stop_under_tls_is_clean(serve: Serve, authority: Identity, identity: Identity) -> None:
    server = serve(tls=tls(identity))
    credentials = grpc.ssl_channel_credentials(authority.certificate)
    with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
        stub = channel.unary_unary(ECHO)
        calls = [stub.future(bytes(300_000), timeout=FAR_SECONDS) for _ in range(20)]
        assert [len(call.result()) for call in calls] == [300_000] * 20

        assert server.transport.stop(FAR_SECONDS) is True
