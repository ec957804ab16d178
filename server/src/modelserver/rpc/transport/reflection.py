"""Server reflection: lets grpcurl and its like list the services and ask for their messages."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import (
    DESCRIPTOR,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

REFLECTION_SERVICE: str = reflection.SERVICE_NAME


class Reflection:
    """What clients are told about `services`, reflection itself, and the messages in a serialized
    FileDescriptorSet and in further serialized FileDescriptorProtos.

    A service without a descriptor is listed all the same. The handlers run on an event loop, and
    `close` is called there.
    """

    def __init__(
        self, services: Iterable[str], descriptor_set: bytes, more_files: Iterable[bytes]
    ) -> None:
        pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(descriptor_set).file:
            pool.Add(file)
        for serialized_file in (*more_files, DESCRIPTOR.serialized_pb):
            pool.AddSerializedFile(serialized_file)
        names = [*services, REFLECTION_SERVICE]
        self._servicer = reflection.aio.ReflectionServicer(names, pool=pool)
        self._closed = asyncio.Event()

    @property
    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """The method handlers by full name."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._info,
            request_deserializer=ServerReflectionRequest.FromString,
            response_serializer=ServerReflectionResponse.SerializeToString,
        )
        return {f"/{REFLECTION_SERVICE}/ServerReflectionInfo": handler}

    def close(self) -> None:
        """End all streams: clients may keep theirs open for as long as they like."""
        self._closed.set()

    async def _info(
        self, requests: AsyncIterator[ServerReflectionRequest], context: "ServicerContext"
    ) -> AsyncIterator[ServerReflectionResponse]:
        wanted = _until(self._closed, requests)
        async for response in self._servicer.ServerReflectionInfo(wanted, context):
            yield response


async def _until(
    closed: asyncio.Event, requests: AsyncIterator[ServerReflectionRequest]
) -> AsyncIterator[ServerReflectionRequest]:
    closing = asyncio.ensure_future(closed.wait())
    try:
        while True:
            coming = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait({closing, coming}, return_when=asyncio.FIRST_COMPLETED)
            request = coming.result() if coming.done() else None
            if request is None:
                return
            yield request
    finally:
        closing.cancel()
        coming.cancel()
