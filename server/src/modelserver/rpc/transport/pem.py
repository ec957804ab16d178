"""Whether PEM contents are certificates and a key that belong together."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from modelserver.errors import InvalidArgumentError
from modelserver.rpc.transport.options import TlsCredentials


def check_pem(credentials: TlsCredentials) -> None:
    """Raise `InvalidArgumentError` that says what cannot be used: gRPC only writes that to stderr,
    and then has no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain, key = credentials.certificate_chain, credentials.private_key
    try:
        with _in_memory(chain) as chain_path, _in_memory(key) as key_path:
            context.load_cert_chain(chain_path, key_path)
        if credentials.client_ca:
            context.load_verify_locations(cadata=credentials.client_ca.decode())
    except (ssl.SSLError, ValueError) as error:
        raise InvalidArgumentError(f"TLS: certificate and key cannot be used: {error}") from error


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A file of this content that is on no disk: Python's ssl reads keys from files only."""
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
