"""The NetworkPolicy that restricts who may call the pods, where one is asked for."""

from modelserver_operator.api import ModelServer
from modelserver_operator.desired.container import ADMIN_PORT, GRPC_PORT
from modelserver_operator.desired.defaults import Defaults
from modelserver_operator.desired.labels import child_metadata, selector
from modelserver_operator.json_types import JsonObject

_SAME_NAMESPACE: JsonObject = {"podSelector": {}}
_EVERYWHERE: JsonObject = {"namespaceSelector": {}}


def network_policy(
    server: ModelServer, defaults: Defaults, *, is_monitored: bool
) -> JsonObject | None:
    """The manifest; None where none is asked for.

    The operator's namespace is let in to the pods' reports. Where Prometheus is told to come
    (`is_monitored`) every pod of the cluster may read them: nobody knows where it runs.
    """
    policy = server.spec.network_policy
    if policy is None or not policy.enabled:
        return None
    callers = list(policy.ingress_from) or [_SAME_NAMESPACE]
    readers = [_EVERYWHERE] if is_monitored else [_SAME_NAMESPACE, *_operator(defaults)]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": child_metadata(server, server.metadata.name),
        "spec": {
            "podSelector": {"matchLabels": selector(server.metadata.name)},
            "policyTypes": ["Ingress"],
            "ingress": [_rule(callers, GRPC_PORT), _rule(readers, ADMIN_PORT)],
        },
    }


def _operator(defaults: Defaults) -> list[JsonObject]:
    if not defaults.operator_namespace:
        return []
    labels = {"kubernetes.io/metadata.name": defaults.operator_namespace}
    return [{"namespaceSelector": {"matchLabels": labels}}]


def _rule(peers: list[JsonObject], port: int) -> JsonObject:
    return {"from": peers, "ports": [{"port": port, "protocol": "TCP"}]}
