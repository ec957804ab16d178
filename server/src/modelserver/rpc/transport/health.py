"""grpc.health.v1.Health: what load balancers and Kubernetes' gRPC probes ask."""

from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

HEALTH_DESCRIPTOR: bytes = DESCRIPTOR.serialized_pb
"""The serialized FileDescriptorProto of the service."""

HEALTH_SERVICE = "grpc.health.v1.Health"
CHECK = f"/{HEALTH_SERVICE}/Check"
WATCH = f"/{HEALTH_SERVICE}/Watch"


class ServingStates:
    """Which services are SERVING. Not thread-safe: it belongs to its owner's lock or event loop.

    The server itself, "", is SERVING until somebody says otherwise. After `close` all are
    NOT_SERVING.
    """

    def __init__(self) -> None:
        self._serving = {"": True}
        self.is_closed = False

    def set(self, service: str, serving: bool | None) -> None:
        """Set one service's state; None = unknown here."""
        if serving is None:
            self._serving.pop(service, None)
        else:
            self._serving[service] = serving

    def close(self) -> None:
        """Say NOT_SERVING of all."""
        self.is_closed = True

    def status(self, service: str) -> HealthCheckResponse.ServingStatus:
        """What Watch says of a service. Check answers NOT_FOUND for SERVICE_UNKNOWN."""
        serving = self._serving.get(service)
        if serving is None:
            return HealthCheckResponse.SERVICE_UNKNOWN
        is_serving = serving and not self.is_closed
        return HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING


def unknown_service(service: str) -> str:
    """The message of Check's NOT_FOUND."""
    return f"unknown service {service}"


__all__ = [
    "CHECK",
    "HEALTH_DESCRIPTOR",
    "HEALTH_SERVICE",
    "WATCH",
    "HealthCheckRequest",
    "HealthCheckResponse",
    "ServingStates",
    "unknown_service",
]
