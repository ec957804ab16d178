"""Server reflection: lets grpcurl and its like list the services and ask for their messages."""

from collections.abc import Iterable

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import (
    DESCRIPTOR,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

REFLECTION_METHODS = tuple(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    for version in ("v1", "v1alpha")
)
"""The method under its two names, whose messages are the same on the wire."""


class Reflection:
    """What clients are told about `services`, reflection itself, and the messages in a serialized
    FileDescriptorSet and in further serialized FileDescriptorProtos. Thread-safe.

    A service without a descriptor is listed all the same.
    """

    def __init__(
        self, services: Iterable[str], descriptor_set: bytes, more_files: Iterable[bytes]
    ) -> None:
        pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(descriptor_set).file:
            pool.Add(file)
        for serialized_file in (*more_files, DESCRIPTOR.serialized_pb):
            pool.AddSerializedFile(serialized_file)
        self._servicer = reflection.ReflectionServicer(
            [*services, reflection.SERVICE_NAME], pool=pool
        )

    def answer(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        """The answer to one request of a stream."""
        (response,) = self._servicer.ServerReflectionInfo(iter([request]), None)
        return response


__all__ = [
    "REFLECTION_METHODS",
    "Reflection",
    "ServerReflectionRequest",
    "ServerReflectionResponse",
]
