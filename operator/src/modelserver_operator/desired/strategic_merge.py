"""A user's part of a pod template merged into ours, as `kubectl patch --type=strategic` would.

Objects merge key by key, and a null removes. Lists that are maps in disguise merge item by item;
any other list is replaced. Patch directives (`$patch`, `$setElementOrder`) are not understood: the
API server refuses them where they stay.
"""

from typing import Any

from modelserver_operator.json_types import JsonObject

# What identifies an item of a list in a pod template. Source: the patch merge keys of the API
# server's OpenAPI document (v1.34).
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}


def strategic_merge(base: JsonObject, patch: JsonObject) -> JsonObject:
    """Return `base` with `patch` merged into it; neither is changed."""
    merged = dict(base)
    for field, value in patch.items():
        if value is None:
            merged.pop(field, None)
        else:
            merged[field] = _merged_value(field, base.get(field), value)
    return merged


def _merged_value(field: str, base: object, value: object) -> object:
    if isinstance(base, dict) and isinstance(value, dict):
        return strategic_merge(base, value)
    if isinstance(base, list) and isinstance(value, list):
        return _merged_items(field, base, value)
    return strategic_merge({}, value) if isinstance(value, dict) else value


def _merged_items(field: str, base: list[Any], patch: list[Any]) -> list[Any]:
    """Return the list called `field` with the items of `patch` merged in: those known by their key
    in their place, the others after them.
    """
    key = _MERGE_KEYS.get(field)
    if key is None or not all(isinstance(item, dict) for item in (*base, *patch)):
        return patch
    items = list(base)
    for item in patch:
        place = _place(items, key, item)
        if place is None:
            items.append(item)
        else:
            items[place] = strategic_merge(items[place], item)
    return items


def _place(items: list[Any], key: str, item: JsonObject) -> int | None:
    """Where in `items` the one is that `item` is about; None for a new one, or without a key."""
    if item.get(key) is None:
        return None
    return next((at for at, known in enumerate(items) if known.get(key) == item[key]), None)
