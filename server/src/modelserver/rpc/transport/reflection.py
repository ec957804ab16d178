"""Server reflection: lets grpcurl and its like list the services and ask for their messages."""

from collections.abc import Iterable, Mapping

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import (
    DESCRIPTOR,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

REFLECTION_SERVICE: str = reflection.SERVICE_NAME


def reflection_handlers(
    services: Iterable[str], descriptor_set: bytes, more_files: Iterable[bytes]
) -> Mapping[str, grpc.RpcMethodHandler]:
    """The method handlers by full name.

    Clients are told about `services` and reflection itself, and about the messages in a serialized
    FileDescriptorSet and in further serialized FileDescriptorProtos. A service without a descriptor
    is listed all the same.
    """
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(descriptor_set).file:
        pool.Add(file)
    for serialized_file in (*more_files, DESCRIPTOR.serialized_pb):
        pool.AddSerializedFile(serialized_file)
    servicer = reflection.aio.ReflectionServicer([*services, REFLECTION_SERVICE], pool=pool)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    return {f"/{REFLECTION_SERVICE}/ServerReflectionInfo": handler}
