"""What a request to a `FakeApiServer` asks for, read from its method, path and headers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelserver_operator.cluster.resources import (
    CHILDREN,
    CLAIM,
    EVENT,
    LEASE,
    MODEL_SERVER,
    POD,
    POD_MONITOR,
    Resource,
)
from modelserver_operator.json_types import JsonObject

SERVED = (*CHILDREN, POD_MONITOR, MODEL_SERVER, POD, CLAIM, EVENT, LEASE)
"""The kinds that have objects here."""

_NAMESPACES = ("v1", "Namespace", "namespaces")
_CRDS = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
_CLUSTER_SCOPED = (Resource(*_NAMESPACES), Resource(*_CRDS))
_VERBS = {"POST": "create", "PUT": "update", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request about objects of one kind."""

    verb: str
    """get, list, watch, create, update, patch, apply or delete."""
    resource: Resource
    namespace: str | None
    """None: all of them."""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    accept: str = ""

    @property
    def is_metadata_only(self) -> bool:
        """Whether objects are wanted without their bodies."""
        return "as=PartialObjectMetadata" in self.accept


def understand(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> ApiRequest | None:
    """The request about objects; None when the path is not that of any kind in namespaces."""
    for resource in SERVED:
        if path.startswith(f"{resource.group_path}/"):
            parts = path.removeprefix(f"{resource.group_path}/").split("/")
            namespace = None
            if parts[0] == "namespaces" and len(parts) > 2:
                namespace, parts = parts[1], parts[2:]
            if parts[0] == resource.plural:
                name, subresource = [*parts[1:], "", ""][:2]
                verb = _verb(method, name, query, headers.get("Content-Type", ""))
                accept = headers.get("Accept", "")
                return ApiRequest(verb, resource, namespace, name, subresource, query, accept)
    return None


def _verb(method: str, name: str, query: Mapping[str, str], content_type: str) -> str:
    if method == "GET":
        return "get" if name else "watch" if query.get("watch") in ("true", "1") else "list"
    if method == "PATCH":
        return "apply" if "apply-patch" in content_type else "patch"
    return _VERBS.get(method, method)


def discovery(resources: Iterable[Resource]) -> dict[str, JsonObject]:
    """What the paths of discovery answer in a cluster that serves these kinds."""
    known = (*resources, *_CLUSTER_SCOPED)
    groups = sorted({resource.api_version for resource in known if resource.group})
    answers: dict[str, JsonObject] = {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0-fake"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(map(_group, groups))},
    }
    for resource in known:
        empty = {"kind": "APIResourceList", "groupVersion": resource.api_version, "resources": []}
        answer = answers.setdefault(resource.group_path, empty)
        answer["resources"] += _entries(resource)
    return answers


def _group(api_version: str) -> JsonObject:
    group, _, version = api_version.rpartition("/")
    entry = {"groupVersion": api_version, "version": version}
    return {"name": group, "versions": [entry], "preferredVersion": entry}


def _entries(resource: Resource) -> list[JsonObject]:
    entry = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "kind": resource.kind,
        "namespaced": resource not in _CLUSTER_SCOPED,
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
    }
    return [entry, entry | {"name": f"{resource.plural}/status"}]
