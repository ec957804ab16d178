"""Server-side apply as the fake cluster knows it: who owns which field of one object.

An object is kept as its leaves: a path to each scalar, empty map or atomic list. Items of lists
that are maps in disguise are addressed by their key, as the API server does.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from modelserver_operator.errors import ConflictError
from modelserver_operator.json_types import JsonObject

# Of the lists that are maps in disguise, those that the operator's objects have, with their keys:
# `x-kubernetes-list-map-keys` in the API server's OpenAPI document (v1.34).
_MAP_KEYS: Mapping[str, tuple[str, ...]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "port", "protocol"),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}


class Item(NamedTuple):
    """The step of a path into the item of a list that has this key."""

    key: tuple[tuple[str, object], ...]

    def __str__(self) -> str:
        return f"k:{json.dumps(dict(self.key), separators=(',', ':'))}"


class Manager(NamedTuple):
    """Who owns fields: an entry of `managedFields`."""

    name: str
    operation: str
    subresource: str = ""


Path = tuple[str | Item, ...]


@dataclass
class OwnedFields:
    """The fields of one object, and which manager owns which."""

    leaves: dict[Path, Any] = field(default_factory=dict)
    owners: dict[Manager, set[Path]] = field(default_factory=dict)

    def apply(self, manager: Manager, manifest: JsonObject, *, force: bool) -> None:
        """Make `manager` own exactly the fields of `manifest`.

        Fields that it owned alone and that are not in it any more are removed.

        Raises:
            ConflictError: another manager owns a field with another value, and not `force`.

        """
        applied = leaves(manifest)
        disputed = self._disputed(manager, applied)
        if disputed and not force:
            raise ConflictError(f"Apply failed with {len(disputed)} conflict: {disputed}")
        for owned in self.owners.values():
            owned -= disputed
        left = self.owners.get(manager, set()) - applied.keys()
        self.owners[manager] = set(applied)
        self._remove(path for path in left if not self._is_owned(path))
        self._write(applied)

    def update(self, manager: Manager, manifest: JsonObject) -> None:
        """Replace the object as a plain update does: whoever changes a field owns it, alone."""
        replaced = leaves(manifest)
        changed = {path for path, value in replaced.items() if self.leaves.get(path) != value}
        gone = self.leaves.keys() - replaced.keys()
        for owned in self.owners.values():
            owned -= changed | gone
        self.owners.setdefault(manager, set()).update(changed)
        self.leaves = replaced

    def manifest(self) -> JsonObject:
        """The object as JSON."""
        tree: dict[Any, Any] = {}
        for path, value in self.leaves.items():
            node = tree
            for step in path[:-1]:
                node = node.setdefault(step, {})
            node[path[-1]] = value
        return _with_lists(tree)  # type: ignore[no-any-return]

    def managed_fields(self, api_version: str) -> list[JsonObject]:
        """What `metadata.managedFields` says of who owns what."""
        return [
            {
                "manager": manager.name,
                "operation": manager.operation,
                "apiVersion": api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": _fields_v1(owned),
            }
            | ({"subresource": manager.subresource} if manager.subresource else {})
            for manager, owned in self.owners.items()
            if owned
        ]

    def _disputed(self, manager: Manager, applied: Mapping[Path, Any]) -> set[Path]:
        theirs = {path for name, owned in self.owners.items() if name != manager for path in owned}
        return {
            path
            for path, value in applied.items()
            if path in theirs and self.leaves.get(path) != value
        }

    def _is_owned(self, path: Path) -> bool:
        return any(path in owned for owned in self.owners.values())

    def _remove(self, paths: Iterable[Path]) -> None:
        for path in list(paths):
            self.leaves.pop(path, None)

    def _write(self, applied: Mapping[Path, Any]) -> None:
        for path, value in applied.items():
            for shorter in range(1, len(path)):
                self.leaves.pop(path[:shorter], None)
            if value != {} or not self._has_content(path):
                self.leaves[path] = value

    def _has_content(self, path: Path) -> bool:
        """Whether somebody has put something into the map at `path`."""
        return any(known[: len(path)] == path and known != path for known in self.leaves)


def leaves(value: JsonObject) -> dict[Path, Any]:
    """Every leaf of an object under its path."""
    found: dict[Path, Any] = {}
    for name, part in value.items():
        _collect(part, (name,), found)
    return found


def _collect(value: object, path: Path, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            _collect(inner, (*path, name), found)
    elif isinstance(value, list) and (items := _keyed(str(path[-1]), value)):
        for key, inner in items.items():
            _collect(inner, (*path, key), found)
    else:
        found[path] = value


def _keyed(name: str, items: list[Any]) -> dict[Item, Any]:
    """The items by key, or nothing when the list is atomic."""
    keys = _MAP_KEYS.get(name)
    if keys is None or not all(isinstance(item, dict) for item in items):
        return {}
    return {Item(tuple((key, item[key]) for key in keys if key in item)): item for item in items}


def _fields_v1(owned: set[Path]) -> JsonObject:
    tree: JsonObject = {}
    for path in sorted(owned, key=str):
        node = tree
        for step in path:
            is_item = isinstance(step, Item)
            node = node.setdefault(
                str(step) if is_item else f"f:{step}", {".": {}} if is_item else {}
            )
    return tree


def _with_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(isinstance(step, Item) for step in node):
        return [_with_lists(inner) for inner in node.values()]
    return {step: _with_lists(inner) for step, inner in node.items()}
