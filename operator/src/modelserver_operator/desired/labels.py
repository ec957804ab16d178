"""What a ModelServer's children are called, labelled and owned by.

Names and the selector are for ever: a Deployment's selector cannot be changed, and clients know
the Services by name.
"""

from collections.abc import Mapping

from modelserver_operator.api import API_VERSION, KIND, ModelServer
from modelserver_operator.json_types import JsonObject

NAME_LABEL = "modelserver.dev/name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "modelserver-operator"

APPLIED_HASH_ANNOTATION = "modelserver.dev/applied-hash"
POLL_NOW_ANNOTATION = "modelserver.dev/poll-now"


def headless_name(name: str) -> str:
    """The Service that resolves to every ready pod of the ModelServer called `name`."""
    return f"{name}-headless"


def config_map_name(name: str) -> str:
    """The ConfigMap with the config document of the ModelServer called `name`."""
    return f"{name}-config"


def selector(name: str) -> dict[str, str]:
    """The labels that tell the pods of the ModelServer called `name` from all others."""
    return {NAME_LABEL: name}


def labels(name: str) -> dict[str, str]:
    """The labels of everything made for the ModelServer called `name`, pods included."""
    return {
        **selector(name),
        "app.kubernetes.io/name": "modelserver",
        "app.kubernetes.io/instance": name,
        MANAGED_BY_LABEL: MANAGER,
    }


def owner_reference(server: ModelServer) -> JsonObject:
    """Makes a child be garbage-collected with its ModelServer, and controlled by it alone."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": server.metadata.name,
        "uid": server.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child_metadata(
    server: ModelServer, name: str, annotations: Mapping[str, str] | None = None
) -> JsonObject:
    """The `metadata` of the child called `name`."""
    metadata: JsonObject = {
        "name": name,
        "namespace": server.metadata.namespace,
        "labels": labels(server.metadata.name),
        "ownerReferences": [owner_reference(server)],
    }
    return {**metadata, "annotations": dict(annotations)} if annotations else metadata
