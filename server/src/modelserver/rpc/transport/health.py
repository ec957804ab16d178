"""grpc.health.v1.Health on an event loop: what load balancers and Kubernetes' gRPC probes ask."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

HEALTH_DESCRIPTOR: bytes = DESCRIPTOR.serialized_pb
"""The serialized FileDescriptorProto of the service."""

HEALTH_SERVICE = "grpc.health.v1.Health"


class Health:
    """The state of each service, asked once (Check) or followed (Watch).

    `set` may be called from any thread; the handlers run on `loop`. The server itself, "", is
    SERVING until somebody says otherwise. After `close` all are NOT_SERVING, and watchers are told
    so and sent away.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._serving = {"": True}
        self._is_closed = False
        self._changed = asyncio.Event()

    @property
    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """The method handlers by full name."""
        codec = {
            "request_deserializer": HealthCheckRequest.FromString,
            "response_serializer": HealthCheckResponse.SerializeToString,
        }
        return {
            f"/{HEALTH_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check, **codec),
            f"/{HEALTH_SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(self._watch, **codec),
        }

    def set(self, service: str, serving: bool | None) -> None:
        """Set one service's state; None = unknown here."""
        self._loop.call_soon_threadsafe(self._set, service, serving)

    def close(self) -> None:
        """Say NOT_SERVING to everybody and end all watches. On the loop."""
        self._is_closed = True
        self._tell_watchers()

    def _set(self, service: str, serving: bool | None) -> None:
        if serving is None:
            self._serving.pop(service, None)
        else:
            self._serving[service] = serving
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _status(self, service: str) -> HealthCheckResponse.ServingStatus:
        serving = self._serving.get(service)
        if serving is None:
            return HealthCheckResponse.SERVICE_UNKNOWN
        is_serving = serving and not self._is_closed
        return HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING

    async def _check(
        self, request: HealthCheckRequest, context: "ServicerContext"
    ) -> HealthCheckResponse:
        status = self._status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service}")
        return HealthCheckResponse(status=status)

    async def _watch(
        self, request: HealthCheckRequest, context: "ServicerContext"
    ) -> AsyncIterator[HealthCheckResponse]:
        last_told = None
        while True:
            # All of one moment: the state may change while the client is being told.
            changed, is_last = self._changed, self._is_closed
            status = self._status(request.service)
            if status != last_told:
                yield HealthCheckResponse(status=status)
                last_told = status
            if is_last:
                return
            await changed.wait()
