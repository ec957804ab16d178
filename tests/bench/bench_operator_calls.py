"""What the operator asks of the API server, by the API server's own account.

The operator has a user of its own, and a FlowSchema for each sort of request that it makes: the API
server counts what it dispatches by FlowSchema, so every request is counted, and nobody else's is.
Whether anything has changed is told apart from that by the version of every object there is.
"""

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from modelserver_operator.cluster.kubernetes_client import KubernetesCluster
from modelserver_operator.cluster.resources import LEASE
from modelserver_operator.json_types import JsonObject

_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PREFIX = "operator-"
_COUNTER = "apiserver_flowcontrol_dispatched_requests"
_CHANGES = ("create", "update", "patch", "delete", "deletecollection")
_ANY = ["*"]

# The first that matches counts.
_SORTS: tuple[tuple[str, JsonObject], ...] = (
    ("lease", {"verbs": _ANY, "apiGroups": [LEASE.group], "resources": [LEASE.plural]}),
    ("write", {"verbs": [*_CHANGES], "apiGroups": _ANY, "resources": _ANY}),
    ("get", {"verbs": ["get"], "apiGroups": _ANY, "resources": _ANY}),
    ("list", {"verbs": ["list"], "apiGroups": _ANY, "resources": _ANY}),
    ("watch", {"verbs": ["watch"], "apiGroups": _ANY, "resources": _ANY}),
)


def flow_schemas(user: JsonObject) -> list[JsonObject]:
    """Manifests that make the API server count the requests of this subject, at the priority that
    they would have anyway.
    """
    resource_rules = {
        sort: {"resourceRules": [rule | {"clusterScope": True, "namespaces": _ANY}]}
        for sort, rule in _SORTS
    }
    other = {"nonResourceRules": [{"verbs": _ANY, "nonResourceURLs": _ANY}]}
    rules = resource_rules | {"discovery": other}
    return [
        {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": {"name": f"{_PREFIX}{sort}"},
            "spec": {
                "priorityLevelConfiguration": {"name": "workload-low"},
                "matchingPrecedence": 100 + number,
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{"subjects": [user], **rule}],
            },
        }
        for number, (sort, rule) in enumerate(rules.items())
    ]


async def count_calls(cluster: KubernetesCluster) -> Counter[str]:
    """The operator's requests so far, by sort; a watch counts when it begins."""
    async with (
        cluster.open_session() as session,
        session.get(f"{cluster.server}/metrics") as response,
    ):
        lines = (await response.text()).splitlines(keepends=True)
    text = "".join(line for line in lines if line.startswith(_COUNTER))
    calls: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            schema = sample.labels["flow_schema"]
            if schema.startswith(_PREFIX):
                calls[schema.removeprefix(_PREFIX)] += int(sample.value)
    return calls


Versions = dict[tuple[str, str, str], str]


async def object_versions(cluster: KubernetesCluster) -> Versions:
    """The resourceVersion of every object of every kind, Leases aside, by path, namespace and name.

    What is written anew has another one; what is deleted is missing.
    """
    versions: Versions = {}
    for path in await _listable(cluster):
        listed = await cluster.call("GET", path, accept=_METADATA_ONLY)
        for item in listed["items"] or ():
            metadata = item["metadata"]
            identity = (path, metadata.get("namespace", ""), metadata["name"])
            versions[identity] = metadata["resourceVersion"]
    return versions


def changed_objects(before: Versions, after: Versions) -> list[str]:
    """The objects written, made or deleted in between."""
    different = {identity for identity, _ in before.items() ^ after.items()}
    return sorted(" ".join(identity) for identity in different)


async def _listable(cluster: KubernetesCluster) -> list[str]:
    groups = (await cluster.call("GET", "/apis"))["groups"]
    preferred = (group["preferredVersion"]["groupVersion"] for group in groups)
    # Events are in the core group, too.
    found = (f"/apis/{version}" for version in preferred if not version.startswith("events.k8s.io"))
    return [path for base in ("/api/v1", *found) for path in await _kinds(cluster, base)]


async def _kinds(cluster: KubernetesCluster, base: str) -> list[str]:
    kinds = (await cluster.call("GET", base))["resources"]
    return [
        f"{base}/{kind['name']}"
        for kind in kinds
        # A ComponentStatus is no object: it is asked for as one asks.
        if "list" in kind["verbs"] and kind["name"] not in (LEASE.plural, "componentstatuses")
    ]
