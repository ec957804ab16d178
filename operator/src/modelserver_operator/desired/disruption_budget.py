"""The PodDisruptionBudget: draining nodes takes one pod at a time."""

from modelserver_operator.api import ModelServer
from modelserver_operator.desired.labels import child_metadata, selector
from modelserver_operator.json_types import JsonObject


def disruption_budget(server: ModelServer) -> JsonObject | None:
    """The manifest; None for a single pod, where it would only stand in the way of a drain."""
    if server.spec.autoscaling is None and server.spec.replicas < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": child_metadata(server, server.metadata.name),
        "spec": {
            "maxUnavailable": 1,
            # A pod that does not serve anyway may always be evicted.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(server.metadata.name)},
        },
    }
