"""grpc.health.v1.Health on an event loop."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import grpc

from modelserver.rpc.transport.health import (
    CHECK,
    WATCH,
    HealthCheckRequest,
    HealthCheckResponse,
    ServingStates,
    unknown_service,
)

if TYPE_CHECKING:
    from grpc.aio import ServicerContext


class AioHealth:
    """The state of each service, asked once (Check) or followed (Watch).

    `set` may be called from any thread; the handlers run on `loop`. After `close` watchers are told
    that nothing is SERVING, and sent away.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._states = ServingStates()
        self._changed = asyncio.Event()

    @property
    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """The method handlers by full name."""
        codec = {
            "request_deserializer": HealthCheckRequest.FromString,
            "response_serializer": HealthCheckResponse.SerializeToString,
        }
        return {
            CHECK: grpc.unary_unary_rpc_method_handler(self._check, **codec),
            WATCH: grpc.unary_stream_rpc_method_handler(self._watch, **codec),
        }

    def set(self, service: str, serving: bool | None) -> None:
        """Set one service's state, as `ServingStates.set`."""
        self._loop.call_soon_threadsafe(self._set, service, serving)

    def close(self) -> None:
        """Say NOT_SERVING to everybody and end all watches. On the loop."""
        self._states.close()
        self._tell_watchers()

    def _set(self, service: str, serving: bool | None) -> None:
        self._states.set(service, serving)
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _check(
        self, request: HealthCheckRequest, context: "ServicerContext"
    ) -> HealthCheckResponse:
        status = self._states.status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, unknown_service(request.service))
        return HealthCheckResponse(status=status)

    async def _watch(
        self, request: HealthCheckRequest, context: "ServicerContext"
    ) -> AsyncIterator[HealthCheckResponse]:
        last_told = None
        while True:
            # All of one moment: the state may change while the client is being told.
            changed, is_last = self._changed, self._states.is_closed
            status = self._states.status(request.service)
            if status != last_told:
                yield HealthCheckResponse(status=status)
                last_told = status
            if is_last:
                return
            await changed.wait()
