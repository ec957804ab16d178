"""The HorizontalPodAutoscaler, where the number of pods is to follow the load."""

from modelserver_operator.api import Autoscaling, ModelServer
from modelserver_operator.desired.labels import child_metadata
from modelserver_operator.json_types import JsonObject

_DEFAULT_CPU_UTILIZATION_PERCENTAGE = 80


def autoscaler(server: ModelServer) -> JsonObject | None:
    """The manifest; None where `server` names a number of pods."""
    autoscaling = server.spec.autoscaling
    if autoscaling is None:
        return None
    name = server.metadata.name
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": child_metadata(server, name),
        "spec": {
            # The Deployment: the scale subresource of a ModelServer is for people.
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "metrics": list(autoscaling.metrics) or [_cpu(autoscaling)],
            **({"behavior": autoscaling.behavior} if autoscaling.behavior else {}),
        },
    }


def _cpu(autoscaling: Autoscaling) -> JsonObject:
    given = autoscaling.target_cpu_utilization_percentage
    target = {
        "type": "Utilization",
        "averageUtilization": given or _DEFAULT_CPU_UTILIZATION_PERCENTAGE,
    }
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
