"""Server reflection on an event loop."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import grpc

from modelserver.rpc.transport.reflection import (
    REFLECTION_METHODS,
    Reflection,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

if TYPE_CHECKING:
    from grpc.aio import ServicerContext


class AioReflection:
    """Streams of questions to a `Reflection`. The handlers run on an event loop, and `close` is
    called there.
    """

    def __init__(self, reflection: Reflection) -> None:
        self._reflection = reflection
        self._closed = asyncio.Event()

    @property
    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """The method handlers by full name."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._info,
            request_deserializer=ServerReflectionRequest.FromString,
            response_serializer=ServerReflectionResponse.SerializeToString,
        )
        return dict.fromkeys(REFLECTION_METHODS, handler)

    def close(self) -> None:
        """End all streams: clients may keep theirs open for as long as they like."""
        self._closed.set()

    async def _info(
        self, requests: AsyncIterator[ServerReflectionRequest], context: "ServicerContext"
    ) -> AsyncIterator[ServerReflectionResponse]:
        del context
        async for request in _until(self._closed, requests):
            yield self._reflection.answer(request)


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
