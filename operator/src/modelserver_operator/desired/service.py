"""The Services: one address for all pods, and one that resolves to each of them.

Neither has the admin port: reports are about one pod, and are not for clients.
"""

from modelserver_operator.api import ModelServer
from modelserver_operator.desired.container import GRPC_PORT
from modelserver_operator.desired.labels import child_metadata, headless_name, selector
from modelserver_operator.json_types import JsonObject


def service(server: ModelServer) -> JsonObject:
    """The Service that balances connections over the ready pods."""
    return _service(server, server.metadata.name, {"type": "ClusterIP"})


def headless_service(server: ModelServer) -> JsonObject:
    """The Service for gRPC clients that balance calls over the ready pods by themselves."""
    name = headless_name(server.metadata.name)
    # Its clients call the pods' own port: a headless Service maps none.
    return _service(server, name, {"clusterIP": "None", "publishNotReadyAddresses": False})


def _service(server: ModelServer, name: str, spec: JsonObject) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(server, name),
        "spec": {
            **spec,
            "selector": selector(server.metadata.name),
            "ports": [
                {
                    "name": "grpc",
                    "port": GRPC_PORT,
                    "targetPort": "grpc",
                    "protocol": "TCP",
                    "appProtocol": "kubernetes.io/h2c",
                }
            ],
        },
    }
