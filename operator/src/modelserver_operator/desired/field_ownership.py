"""Which fields of a live object are ours, by what the API server keeps in `managedFields`.

Whoever changes a field takes it from its owner, so a field that is still ours has the value that
was applied last, as the API server writes it (quantities, defaults, what admission made of it).
That tells drift exactly, without a guess at what values are equal.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from modelserver_operator.desired.labels import APPLIED_HASH_ANNOTATION, MANAGER
from modelserver_operator.json_types import JsonObject

# Part of an object's address: nobody owns them.
_IDENTITY = frozenset({"name", "namespace", "uid"})


def is_applied(manifest: JsonObject, live: JsonObject) -> bool:
    """Whether `manifest` is what was applied last to `live`, and nobody has changed it since."""
    if _stamp(manifest) != _stamp(live):
        return False
    fields = own_fields(live)
    return bool(fields) and _owns(fields, _own_part(manifest))


def own_fields(live: JsonObject) -> JsonObject:
    """The fields of `live` that we have applied and still own, in the form of `fieldsV1`; empty
    when there are none.
    """
    entries: Iterable[JsonObject] = live["metadata"].get("managedFields") or ()
    ours = (entry for entry in entries if _is_ours(entry))
    return next((entry.get("fieldsV1") or {} for entry in ours), {})


def _is_ours(entry: JsonObject) -> bool:
    whose = (entry.get("manager"), entry.get("operation"), entry.get("subresource", ""))
    return whose == (MANAGER, "Apply", "")


def _stamp(manifest: JsonObject) -> object:
    return (manifest["metadata"].get("annotations") or {}).get(APPLIED_HASH_ANNOTATION)


def _own_part(manifest: JsonObject) -> JsonObject:
    """The part of a manifest whose fields get an owner."""
    metadata = {key: part for key, part in manifest["metadata"].items() if key not in _IDENTITY}
    rest = {key: part for key, part in manifest.items() if key not in ("apiVersion", "kind")}
    return {**rest, "metadata": metadata}


def _owns(fields: Mapping[str, Any], value: object) -> bool:
    """Whether `fields`, the owned ones of some object, cover everything in `value`."""
    if not fields:
        # No parts are told apart: the whole is owned, as a number or an atomic list is.
        return True
    if isinstance(value, dict):
        return all(_owns_part(fields, f"f:{key}", part) for key, part in value.items())
    if isinstance(value, list):
        return all(_owns_part(fields, _item_key(fields, item), item) for item in value)
    return True


def _owns_part(fields: Mapping[str, Any], key: str, part: object) -> bool:
    # An empty object or list leaves nothing behind that could be owned.
    return part in ({}, []) or (key in fields and _owns(fields[key], part))


def _item_key(fields: Mapping[str, Any], item: object) -> str:
    """The key of a list's `item`: its value in a set; in a map whichever key's fields it has, and
    none of `fields` where it has none of them.
    """
    if not isinstance(item, dict):
        return f"v:{json.dumps(item)}"
    return next((key for key in fields if key.startswith("k:") and _has_key(item, key)), "")


def _has_key(item: JsonObject, key: str) -> bool:
    # A field that the item leaves out was filled with its default, such as a port's protocol.
    identity: JsonObject = json.loads(key.removeprefix("k:"))
    return all(item.get(name, value) == value for name, value in identity.items())
