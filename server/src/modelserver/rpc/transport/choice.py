"""Which transport serves, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from modelserver.errors import FailedPreconditionError
from modelserver.rpc.transport.base import Transport
from modelserver.rpc.transport.channel_arguments import grpcio_only
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.rpc.transport.native import NativeTransport, why_not_native
from modelserver.rpc.transport.options import GrpcOptions


class TransportKind(Enum):
    """What may be asked for. `AUTO` is `NATIVE` where that can do what the options ask for."""

    AUTO = "auto"
    NATIVE = "native"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Choice:
    """A transport, and why it is not the native one."""

    kind: TransportKind
    reason: str = ""

    def __str__(self) -> str:
        if self.kind is TransportKind.NATIVE:
            return "gRPC is served by the native transport"
        return f"gRPC is served by grpcio: {self.reason}"


def choose(wanted: TransportKind, arguments: Mapping[str, int | str], missing: str = "") -> Choice:
    """Decide. `missing` says why the native transport is not there, if so.

    Raises `FailedPreconditionError` where the native one is asked for and cannot be had.
    """
    if wanted is TransportKind.GRPC:
        return Choice(TransportKind.GRPC, "--transport=grpc")
    obstacle = missing or grpcio_only(arguments)
    if not obstacle:
        return Choice(TransportKind.NATIVE)
    if wanted is TransportKind.NATIVE:
        raise FailedPreconditionError(
            f"--transport=native is not possible: {obstacle}. "
            "Leave it out, and grpcio serves instead"
        )
    return Choice(TransportKind.GRPC, obstacle)


def choose_here(wanted: TransportKind, options: GrpcOptions) -> Choice:
    """Decide by what is installed. Raises as `choose`."""
    return choose(wanted, dict(options.channel_arguments), why_not_native())


def make_transport(
    address: str,
    methods: Sequence[str],
    options: GrpcOptions | None = None,
    wanted: TransportKind = TransportKind.AUTO,
) -> Transport:
    """Make the transport that `choose_here` chooses. Raises as that."""
    options = options or GrpcOptions()
    if choose_here(wanted, options).kind is TransportKind.NATIVE:
        return NativeTransport(address, methods, options)
    return GrpcAioTransport(address, methods, options)
