"""The load generator over TLS."""

import os
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# The first test that needs the program waits for its build.
pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]


class Loader(Protocol):
    module: ModuleType

    def __call__(
        self, port: int, requests: list[bytes], answers: list[bytes], **options: Any
    ) -> Any: ...


class Identity(NamedTuple):
    """Files in PEM: a certificate that is signed with its own key, and this key."""

    certificate: Path
    key: Path


def make_identity(folder: Path, name: str) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    identity = Identity(folder / f"{name}.crt", folder / f"{name}.key")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    identity.certificate.write_bytes(certificate.public_bytes(pem))
    identity.key.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return identity


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("identity"), "localhost")


@contextmanager
def serving(identity: Identity | None, **arguments: int) -> Iterator[int]:
    """A gRPC server that echoes, over TLS if it has an identity; its port. `arguments` are those of
    gRPC's channels.
    """
    sizes = {f"max_{way}_message_length": 64 << 20 for way in ("send", "receive")}
    options = [(f"grpc.{name}", value) for name, value in (sizes | arguments).items()]
    server = grpc.server(ThreadPoolExecutor(2), options=options)
    echo = {"Echo": grpc.unary_unary_rpc_method_handler(lambda request, _: request)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", echo),))
    if identity is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = identity.key.read_bytes(), identity.certificate.read_bytes()
        credentials = grpc.ssl_server_credentials([pair])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextmanager
def serving_http1(identity: Identity) -> Iterator[int]:
    """A TLS server that agrees on HTTP/1.1 or on no protocol, and says nothing; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*identity)
    context.set_alpn_protocols(["http/1.1"])

    def serve() -> None:
        with (
            suppress(OSError),
            context.wrap_socket(listener.accept()[0], server_side=True) as client,
        ):
            client.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(serve)
        yield listener.getsockname()[1]


def refusal(load: Loader, port: int, **options: Any) -> str:
    """What is said where no load can be made."""
    with pytest.raises(load.module.LoadGeneratorError) as caught:
        load(port, [b"x"], [b"x"], connections=1, **options)
    return str(caught.value)


# Answers.


@pytest.mark.parametrize("size", [0, 3136, 100_000, 8_000_000])
def test_right_answers_of_every_size_are_right(load: Loader, identity: Identity, size: int) -> None:
    message = os.urandom(size)

    # Of an open loop those requests count that were due, however long large answers take.
    with serving(identity) as port:
        result = load(port, [message], [message], rate=20, tls_ca=identity.certificate)

    assert (result.requests, result.failed, result.examples) == (6, 0, ())


def test_a_wrong_answer_is_found(load: Loader, identity: Identity) -> None:
    requests, answers = [b"right answer"] * 2, [b"right answer", b"wrong answer"]

    with serving(identity) as port:
        result = load(port, requests, answers, tls_ca=identity.certificate)

    assert result.requests > 0
    assert result.failures["wrong_answer"] == result.failed > 0
    assert result.examples[0] == "request 1: wrong answer: it differs at byte 0"


def test_connections_that_a_server_ends_are_made_anew(load: Loader, identity: Identity) -> None:
    message = os.urandom(3136)

    with serving(identity, max_connection_age_ms=100) as port:
        result = load(port, [message], [message], tls_ca=identity.certificate, seconds=1)

    assert (result.failed, result.examples) == (0, ())
    assert result.reconnections == result.goaways > 0


# Errors.


def test_a_certificate_that_another_has_signed_is_an_error(
    load: Loader, identity: Identity, tmp_path: Path
) -> None:
    stranger = make_identity(tmp_path, "localhost")

    with serving(identity) as port:
        said = refusal(load, port, tls_ca=stranger.certificate)

    assert f"no HTTP/2 over TLS with 127.0.0.1:{port}: TLS: invalid peer certificate" in said
    assert "signed by one in the file of --tls-ca" in said


def test_a_certificate_for_another_name_is_an_error(load: Loader, tmp_path: Path) -> None:
    other = make_identity(tmp_path, "example.com")

    with serving(other) as port:
        said = refusal(load, port, tls_ca=other.certificate)

    assert 'not valid for name "localhost"' in said


def test_a_server_that_does_not_choose_http2_is_an_error(load: Loader, identity: Identity) -> None:
    with serving_http1(identity) as port:
        said = refusal(load, port, tls_ca=identity.certificate)

    assert "TLS: the server does not choose HTTP/2 (h2, by ALPN)" in said


def test_a_server_in_clear_text_is_an_error(load: Loader, identity: Identity) -> None:
    with serving(None) as port:
        said = refusal(load, port, tls_ca=identity.certificate)

    assert f"no HTTP/2 over TLS with 127.0.0.1:{port}: " in said


def test_a_server_over_tls_is_an_error_without(load: Loader, identity: Identity) -> None:
    with serving(identity) as port:
        said = refusal(load, port)

    assert f"no HTTP/2 in clear text with 127.0.0.1:{port}: " in said


def test_a_file_without_a_certificate_is_an_error(
    load: Loader, identity: Identity, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.crt"

    with serving(identity) as port:
        not_there = refusal(load, port, tls_ca=missing)
        key = refusal(load, port, tls_ca=identity.key)

    assert f"cannot read {missing}: No such file" in not_there
    assert f"{identity.key} holds no certificate in PEM" in key
