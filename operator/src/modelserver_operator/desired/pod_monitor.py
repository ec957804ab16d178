"""The PodMonitor that tells Prometheus where the pods' metrics are."""

from modelserver_operator.api import ModelServer, PodMonitor
from modelserver_operator.desired.labels import child_metadata, selector
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Capabilities


def pod_monitor(server: ModelServer, capabilities: Capabilities) -> JsonObject | None:
    """The manifest; None where the cluster knows no PodMonitors or `server` wants none."""
    monitor = server.spec.pod_monitor or PodMonitor()
    if not (capabilities.pod_monitor and monitor.enabled):
        return None
    metadata = child_metadata(server, server.metadata.name)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata | {"labels": monitor.labels | metadata["labels"]},
        "spec": {
            "selector": {"matchLabels": selector(server.metadata.name)},
            "podMetricsEndpoints": [{"port": "admin", "path": "/metrics"}],
        },
    }
