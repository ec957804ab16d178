"""FakeCluster: a `Cluster` in memory.

It knows uids, resource versions, generations, field ownership, the status subresource, label
selectors, and that dependents go with their owner. It validates nothing, sets no defaults and runs
no controllers. `tests/contract/test_cluster.py` holds it to what a real API server does.
"""

import copy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from modelserver_operator.cluster.resources import (
    DEPLOYMENT,
    MODEL_SERVER,
    POD_MONITOR,
    Resource,
    resource_of_kind,
)
from modelserver_operator.errors import ClusterError, ConflictError, NotFoundError
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.field_ownership import Manager, OwnedFields

_CREATED = "2026-01-01T00:00:00Z"
_SERVER_SET = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
_WITH_GENERATION = (MODEL_SERVER, DEPLOYMENT)


class Call(NamedTuple):
    """One request: `verb` is the name of a `Cluster`'s method; namespace and name may be empty."""

    verb: str
    kind: str
    namespace: str
    name: str


class Change(NamedTuple):
    """What has happened to an object: its manifest before and after, None where it did not exist,
    and the resource version that this gave the cluster.
    """

    resource: Resource
    before: JsonObject | None
    after: JsonObject | None
    version: int


class _Id(NamedTuple):
    resource: Resource
    namespace: str
    name: str


@dataclass
class _Stored:
    uid: str
    version: int
    generation: int = 1
    fields: OwnedFields = field(default_factory=OwnedFields)


class FakeCluster:
    """A `Cluster` whose objects are what tests put there.

    `calls` lists every request and `writes` those that may change something. `refuse` makes
    requests fail; `put` and `edit` are what other people's clients do.
    """

    def __init__(self, *, serves_pod_monitors: bool = False) -> None:
        self.calls: list[Call] = []
        self.serves_pod_monitors = serves_pod_monitors
        self._objects: dict[_Id, _Stored] = {}
        self._refusals: list[tuple[Callable[[Call], bool], ClusterError]] = []
        self._version = 0
        self._subscribers: list[Callable[[Change], None]] = []

    # What tests do and see…

    @property
    def version(self) -> int:
        """The newest resource version."""
        return self._version

    def subscribe(self, changed: Callable[[Change], None]) -> None:
        """Call `changed` at every change from now on."""
        self._subscribers.append(changed)

    @property
    def writes(self) -> list[Call]:
        """The requests that were not mere reads."""
        return [call for call in self.calls if call.verb in _WRITING]

    def refuse(self, error: ClusterError, matches: Callable[[Call], bool]) -> None:
        """Raise `error` for every request that matches, until `relent`."""
        self._refusals.append((matches, error))

    def relent(self) -> None:
        """Refuse nothing any more."""
        self._refusals.clear()

    def put(self, manifest: JsonObject, manager: str = "kubectl") -> JsonObject:
        """Create or replace an object as another client would, its status included."""
        key = _id(manifest)
        stored = self._objects.get(key) or self._new(key)
        self._store(
            key,
            stored,
            lambda fields: fields.update(Manager(manager, "Update"), _content(manifest)),
        )
        return self.peek(key.resource, key.namespace, key.name)

    def edit(
        self, resource: Resource, namespace: str, name: str, change: Callable[[JsonObject], object]
    ) -> JsonObject:
        """Let `change` alter an object in place, and store it as another client would."""
        manifest = self.peek(resource, namespace, name)
        change(manifest)
        return self.put(manifest)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object and its dependents, as others and the garbage collector would."""
        before = self.peek(resource, namespace, name)
        stored = self._objects.pop(_Id(resource, namespace, name))
        self._version += 1
        self._publish(Change(resource, before, None, self._version))
        for key in [key for key in self._objects if self._is_owned_by(key, stored.uid)]:
            self.remove(*key)

    def peek(self, resource: Resource, namespace: str, name: str) -> JsonObject:
        """An object as it is now; a KeyError when there is none. Counts as no call."""
        return self._render(_Id(resource, namespace, name))

    def matching(
        self, resource: Resource, namespace: str | None, selector: str
    ) -> list[JsonObject]:
        """The objects that `list_objects` returns. Counts as no call."""
        keys = (key for key in self._objects if key.resource == resource)
        found = (self._render(key) for key in keys if namespace in (None, key.namespace))
        return [manifest for manifest in found if selects(selector, manifest)]

    def names(self, resource: Resource) -> list[str]:
        """The names of all objects of a kind, sorted."""
        return sorted(key.name for key in self._objects if key.resource == resource)

    # What a `Cluster` does…

    async def get(self, resource: Resource, namespace: str, name: str) -> JsonObject:
        """See `Cluster`."""
        self._called("get", resource, namespace, name)
        self._require(_Id(resource, namespace, name))
        return self.peek(resource, namespace, name)

    async def list_objects(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> list[JsonObject]:
        """See `Cluster`."""
        self._called("list_objects", resource, namespace or "")
        return self.matching(resource, namespace, selector)

    async def list_metadata(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[JsonObject]:
        """See `Cluster`."""
        self._called("list_metadata", resource, namespace or "")
        for manifest in self.matching(resource, namespace, selector):
            yield manifest["metadata"]

    async def create(self, manifest: JsonObject) -> JsonObject:
        """See `Cluster`."""
        key = _id(manifest)
        self._called("create", *key)
        if key in self._objects:
            raise ConflictError(f"{key.name} already exists")
        return self.put(manifest, "modelserver-operator")

    async def apply(
        self, manifest: JsonObject, *, manager: str, force: bool = False, subresource: str = ""
    ) -> JsonObject:
        """See `Cluster`."""
        key = _id(manifest)
        self._called("apply_status" if subresource else "apply", *key)
        stored = self._for_apply(key, manifest["metadata"].get("uid"), subresource)
        owner = Manager(manager, "Apply", subresource)
        content = _only_status(manifest) if subresource else _without_status(manifest)
        self._store(key, stored, lambda fields: fields.apply(owner, content, force=force))
        return self._render(key)

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: JsonObject
    ) -> JsonObject:
        """See `Cluster`."""
        key = _Id(resource, namespace, name)
        self._called("patch", *key)
        stored = self._require(key)
        live = self._render(key)
        for precondition in ("uid", "resourceVersion"):
            wanted = patch.get("metadata", {}).get(precondition)
            if wanted is not None and wanted != live["metadata"][precondition]:
                raise ConflictError(f"{name} has another {precondition}")
        merged = _merge(live, patch)
        self._store(key, stored, lambda fields: fields.update(_PATCHER, _content(merged)))
        return self._render(key)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """See `Cluster`."""
        key = _Id(resource, namespace, name)
        self._called("delete", *key)
        if self._require(key).uid != uid:
            raise ConflictError(f"{name} has another uid")
        self.remove(*key)

    async def serves(self, resource: Resource) -> bool:
        """See `Cluster`."""
        self._called("serves", resource)
        return resource != POD_MONITOR or self.serves_pod_monitors

    # How…

    def _called(self, verb: str, resource: Resource, namespace: str = "", name: str = "") -> None:
        call = Call(verb, resource.kind, namespace, name)
        self.calls.append(call)
        for matches, error in self._refusals:
            if matches(call):
                raise error

    def _require(self, key: _Id) -> _Stored:
        if key not in self._objects:
            raise NotFoundError(f'{key.resource.plural} "{key.name}" not found')
        return self._objects[key]

    def _for_apply(self, key: _Id, uid: str | None, subresource: str) -> _Stored:
        stored = self._require(key) if subresource else self._objects.get(key)
        if uid is not None and (stored is None or stored.uid != uid):
            raise ConflictError(f"uid mismatch: no {key.resource.kind} {key.name} with uid {uid}")
        return stored or self._new(key)

    def _new(self, key: _Id) -> _Stored:
        return _Stored(uid=f"uid-{self._version + 1}-{key.name}", version=0)

    def _store(self, key: _Id, stored: _Stored, change: Callable[[OwnedFields], None]) -> None:
        previous = self._render(key) if stored.version else None
        fields = copy.deepcopy(stored.fields)
        change(fields)
        before, after = stored.fields.manifest(), fields.manifest()
        stored.fields = fields
        if stored.version and before == after:
            return
        if stored.version and before.get("spec") != after.get("spec"):
            stored.generation += 1
        self._version += 1
        stored.version = self._version
        self._objects[key] = stored
        self._publish(Change(key.resource, previous, self._render(key), self._version))

    def _publish(self, change: Change) -> None:
        for changed in self._subscribers:
            changed(change)

    def _render(self, key: _Id) -> JsonObject:
        stored = self._objects[key]
        manifest = copy.deepcopy(stored.fields.manifest())
        metadata: JsonObject = {
            "name": key.name,
            "namespace": key.namespace,
            "uid": stored.uid,
            "resourceVersion": str(stored.version),
            "creationTimestamp": _CREATED,
        }
        if key.resource in _WITH_GENERATION:
            metadata["generation"] = stored.generation
        metadata["managedFields"] = stored.fields.managed_fields(key.resource.api_version)
        manifest["metadata"] = metadata | manifest.get("metadata", {})
        identity = {"apiVersion": key.resource.api_version, "kind": key.resource.kind}
        return identity | manifest

    def _is_owned_by(self, key: _Id, uid: str) -> bool:
        owners = self._render(key)["metadata"].get("ownerReferences", ())
        return any(owner["uid"] == uid for owner in owners)


_PATCHER = Manager("modelserver-operator", "Update")
_WRITING = frozenset({"create", "apply", "apply_status", "patch", "delete"})


def _id(manifest: JsonObject) -> _Id:
    metadata = manifest["metadata"]
    return _Id(resource_of_kind(manifest["kind"]), metadata["namespace"], metadata["name"])


def _content(manifest: JsonObject) -> JsonObject:
    """What clients own of an object: everything but its identity and what the server sets."""
    content = {key: copy.deepcopy(manifest[key]) for key in manifest.keys() - _IDENTITY}
    metadata = content.pop("metadata", {})
    for name in (*_SERVER_SET, "name", "namespace"):
        metadata.pop(name, None)
    return {"metadata": metadata} | content if metadata else content


_IDENTITY = {"apiVersion", "kind"}


def _without_status(manifest: JsonObject) -> JsonObject:
    content = _content(manifest)
    content.pop("status", None)
    return content


def _only_status(manifest: JsonObject) -> JsonObject:
    return {"status": copy.deepcopy(manifest.get("status", {}))}


def _merge(target: JsonObject, patch: JsonObject) -> JsonObject:
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merge(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged


def selects(selector: str, manifest: JsonObject) -> bool:
    """Whether a label selector of `name` and `name=value` terms matches an object."""
    labels = manifest["metadata"].get("labels", {})
    terms = (term.partition("=") for term in selector.split(",") if term)
    return all(
        name in labels and (not is_equal or labels[name] == value)
        for name, is_equal, value in terms
    )
