"""What a gRPC server may be told, whichever transport it is on."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TlsCredentials:
    """PEM contents: the server's certificate chain and key, and, if not empty, the authorities by
    which clients' certificates are verified. With `requires_client_certificate` clients without one
    are sent away.
    """

    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    client_ca: bytes = b""
    requires_client_certificate: bool = False


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """What a gRPC server may be told, beyond where it listens and what it serves.

    `descriptor_set` is a serialized FileDescriptorSet for server reflection. `max_message_bytes`
    limits requests and replies, None = no limit. `channel_arguments` are gRPC's (`grpc.…`), and
    override ours: with `grpc.so_reuseport` 1, and not otherwise, the TCP port is shared with others
    that say so. `socket_path`, if not empty, is a unix socket to listen on as well. With `tls`, the
    TCP address is served over TLS.
    """

    descriptor_set: bytes = b""
    max_message_bytes: int | None = None
    channel_arguments: Sequence[tuple[str, int | str]] = ()
    socket_path: str = ""
    tls: TlsCredentials | None = None
