"""The kinds of objects that the operator reads or writes, and where the API server keeps them.

Paths are built from this table, not from discovery: a cached discovery goes stale when a CRD is
installed, and an operator that knows its kinds needs none.
"""

from typing import NamedTuple


class Resource(NamedTuple):
    """One kind in one version of its API group; all of them live in namespaces."""

    api_version: str
    kind: str
    plural: str

    @property
    def group_path(self) -> str:
        """The path of its group and version, which is also where discovery answers."""
        prefix = "/apis" if "/" in self.api_version else "/api"
        return f"{prefix}/{self.api_version}"

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version within the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The path of one object, or of the collection without a name; a namespace of None is all
        of them.
        """
        scope = f"namespaces/{namespace}" if namespace else ""
        parts = (self.group_path, scope, self.plural, name, subresource)
        return "/".join(part for part in parts if part)


MODEL_SERVER = Resource("modelserver.dev/v1alpha1", "ModelServer", "modelservers")
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
SERVICE = Resource("v1", "Service", "services")
CONFIG_MAP = Resource("v1", "ConfigMap", "configmaps")
DISRUPTION_BUDGET = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER = Resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
NETWORK_POLICY = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
POD_MONITOR = Resource("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
CONTROLLER_REVISION = Resource("apps/v1", "ControllerRevision", "controllerrevisions")
POD = Resource("v1", "Pod", "pods")
CLAIM = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
EVENT = Resource("v1", "Event", "events")
LEASE = Resource("coordination.k8s.io/v1", "Lease", "leases")

CHILDREN = (
    DEPLOYMENT,
    SERVICE,
    CONFIG_MAP,
    DISRUPTION_BUDGET,
    AUTOSCALER,
    NETWORK_POLICY,
    CONTROLLER_REVISION,
)
"""The kinds of children that every cluster serves; PodMonitor comes with a CRD of its own."""

_BY_KIND = {
    resource.kind: resource
    for resource in (*CHILDREN, POD_MONITOR, MODEL_SERVER, POD, CLAIM, EVENT, LEASE)
}


def resource_of_kind(kind: str) -> Resource:
    """The resource of a kind that the operator knows.

    Raises:
        KeyError: it knows no such kind.

    """
    return _BY_KIND[kind]
