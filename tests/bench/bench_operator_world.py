"""The cluster in which the operator is measured: what has to be there before it starts."""

import json
from pathlib import Path

from bench_operator_calls import flow_schemas
from modelserver_operator.json_types import JsonObject
from testcluster.cluster import Cluster

NAMESPACE = "bench"
_ACCOUNT = "operator"
_CRDS = Path(__file__).parents[2] / "crds"


def prepare(cluster: Cluster) -> None:
    """Install the CRD, a volume with models, and a user for the operator whom the API server
    counts.
    """
    cluster.kubectl("apply", "--server-side", "-f", str(_CRDS))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(_CRDS))
    manifests = {"apiVersion": "v1", "kind": "List", "items": [*_account(), *_volume()]}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(manifests))
    cluster.kubectl("wait", "pvc/models", "-n", NAMESPACE, "--for=jsonpath={.status.phase}=Bound")
    # Endpoints may not be loopback addresses. These two would try it again and again; without any
    # rights they fail sooner, and write no Events about it.
    for controller in ("endpoint-controller", "endpointslice-controller"):
        cluster.kubectl("delete", "clusterrolebinding", f"system:controller:{controller}")


def write_kubeconfig(cluster: Cluster, file: Path) -> Path:
    """Write the kubeconfig of the operator's user. Returns `file`."""
    config = json.loads(cluster.kubeconfig.read_text())
    lifetime = "--duration=12h"
    token = cluster.kubectl("create", "token", _ACCOUNT, "-n", NAMESPACE, lifetime)
    config["users"][0]["user"] = {"token": token.strip()}
    file.write_text(json.dumps(config))
    return file


def model_server(name: str, poll_seconds: int = 1) -> JsonObject:
    """A ModelServer of one model; `poll_seconds` is a hot field."""
    model = {"name": "mnist", "uri": "pvc://models/mnist", "pollSeconds": poll_seconds}
    # The benchmark makes the pods run; the scheduler would keep on looking for a node.
    template = {"spec": {"schedulerName": "nobody"}}
    return {
        "apiVersion": "modelserver.dev/v1alpha1",
        "kind": "ModelServer",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"models": [model], "podTemplate": template},
    }


def _account() -> list[JsonObject]:
    service_account = {"name": _ACCOUNT, "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": service_account},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "benchmark-operator"},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **service_account}],
        },
        *flow_schemas({"kind": "ServiceAccount", "serviceAccount": service_account}),
    ]


def _volume() -> list[JsonObject]:
    shared: JsonObject = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    size = {"storage": "1Gi"}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "models"},
            "spec": {**shared, "capacity": size, "hostPath": {"path": "/nowhere"}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models", "namespace": NAMESPACE},
            "spec": {**shared, "volumeName": "models", "resources": {"requests": size}},
        },
    ]
