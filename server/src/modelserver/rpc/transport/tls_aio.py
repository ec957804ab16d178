"""Certificates of a grpcio server that can be replaced while it runs."""

import grpc

from modelserver.errors import InvalidArgumentError
from modelserver.rpc.transport.options import TlsCredentials
from modelserver.rpc.transport.pem import check_pem


class ReplaceableTls:
    """What a grpcio server shows to those who connect. `replace` is for any thread.

    Raises `InvalidArgumentError` for credentials that cannot be used.
    """

    def __init__(self, credentials: TlsCredentials) -> None:
        check_pem(credentials)
        self._current = credentials

    def replace(self, credentials: TlsCredentials) -> None:
        """Use these from the next connection on. Raises `InvalidArgumentError` for those that
        cannot be used, and goes on with those that it has.
        """
        check_pem(credentials)
        if credentials.requires_client_certificate != self._current.requires_client_certificate:
            # gRPC fixes it when the port opens.
            raise InvalidArgumentError(
                "TLS: only a restart can change whether clients need a certificate"
            )
        self._current = credentials

    def server_credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`: gRPC asks for the certificates at each connection."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._current),
            lambda: _configuration(self._current),
            require_client_authentication=self._current.requires_client_certificate,
        )


def _configuration(tls: TlsCredentials) -> grpc.ServerCertificateConfiguration:
    pair = (tls.private_key, tls.certificate_chain)
    return grpc.ssl_server_certificate_configuration([pair], tls.client_ca or None)
