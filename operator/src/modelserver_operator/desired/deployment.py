"""The Deployment that runs the pods."""

from modelserver_operator.api import ModelServer
from modelserver_operator.desired.labels import child_metadata, selector
from modelserver_operator.json_types import JsonObject

# Loading a large model from a bucket takes its time; what is wrong is told long before, by status.
_PROGRESS_DEADLINE_SECONDS = 1800
# Until the Services' addresses have reached every node.
_MIN_READY_SECONDS = 3
_REVISIONS_KEPT = 3


def deployment(server: ModelServer, template: JsonObject, strategy: JsonObject) -> JsonObject:
    """The manifest. Without `replicas` where an autoscaler decides on them."""
    replicas = wanted_replicas(server)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child_metadata(server, server.metadata.name),
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "selector": {"matchLabels": selector(server.metadata.name)},
            "strategy": strategy,
            "minReadySeconds": _MIN_READY_SECONDS,
            "progressDeadlineSeconds": _PROGRESS_DEADLINE_SECONDS,
            "revisionHistoryLimit": _REVISIONS_KEPT,
            "template": template,
        },
    }


def wanted_replicas(server: ModelServer) -> int | None:
    """How many pods `server` asks for; None where an autoscaler decides."""
    if server.spec.suspend:
        return 0
    return None if server.spec.autoscaling else server.spec.replicas
