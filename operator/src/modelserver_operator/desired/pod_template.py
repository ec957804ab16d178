"""The pods' template, which meets the `restricted` pod security profile."""

from modelserver_operator.api import ModelServer
from modelserver_operator.desired.container import (
    CONNECTION_SECONDS,
    DRAIN_SECONDS,
    PRE_STOP_SECONDS,
    server_container,
)
from modelserver_operator.desired.defaults import Defaults
from modelserver_operator.desired.labels import labels, selector
from modelserver_operator.desired.strategic_merge import strategic_merge
from modelserver_operator.desired.volumes import mounted_volumes
from modelserver_operator.json_types import JsonObject

_USER = 65532
# Clients' connections have moved by then (1.1 times their age, and a second to notice), and what
# hangs after the drain has been given up (20 s).
_MOVE_SECONDS = CONNECTION_SECONDS + 3
_END_SECONDS = 25
_GRACE_SECONDS = PRE_STOP_SECONDS + _MOVE_SECONDS + DRAIN_SECONDS + _END_SECONDS


def pod_template(server: ModelServer, defaults: Defaults) -> JsonObject:
    """Render the template of the pods of `server`, with its `podTemplate` merged in.

    The result depends on nothing but the arguments, but for what another release of the operator
    renders: `template_revision` keeps that from running pods.
    """
    name = server.metadata.name
    template: JsonObject = {
        "metadata": {"labels": labels(name)},
        "spec": _without_empty(_pod_spec(server, defaults)),
    }
    given = server.spec.pod_template
    if given is None:
        return template
    merged = strategic_merge(template, {"metadata": given.metadata, "spec": given.spec})
    return strategic_merge(merged, {"metadata": {"labels": labels(name)}})


def _pod_spec(server: ModelServer, defaults: Defaults) -> JsonObject:
    spec = server.spec
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": _security_context(),
        "serviceAccountName": spec.service_account_name,
        "imagePullSecrets": _pull_secrets(server, defaults),
        "containers": [server_container(server, defaults)],
        "volumes": [mounted.volume for mounted in mounted_volumes(server)],
        "nodeSelector": spec.node_selector,
        "tolerations": _tolerations(server),
        "affinity": spec.affinity,
        "topologySpreadConstraints": list(spec.topology_spread_constraints) or _spread(server),
        "priorityClassName": spec.priority_class_name,
        "runtimeClassName": spec.runtime_class_name,
    }


def _security_context() -> JsonObject:
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        # Changing the owner of every file of a large volume takes longer than loading a model.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _pull_secrets(server: ModelServer, defaults: Defaults) -> list[JsonObject]:
    given = tuple(secret.name for secret in server.spec.image_pull_secrets)
    return [{"name": name} for name in given or defaults.image_pull_secrets]


def _tolerations(server: ModelServer) -> list[JsonObject]:
    given = [toleration.to_json() for toleration in server.spec.tolerations]
    gpu = server.spec.gpu
    if gpu is None or any(toleration.get("key") == gpu.resource_name for toleration in given):
        return given
    # Nodes with GPUs are commonly tainted with the name of what they offer.
    return [*given, {"key": gpu.resource_name, "operator": "Exists", "effect": "NoSchedule"}]


def _spread(server: ModelServer) -> list[JsonObject]:
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(server.metadata.name)},
    }
    return [constraint]


def _without_empty(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}
