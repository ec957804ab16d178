"""What a new CRD would refuse or lose of the objects that an old one stored. Pure.

Limits. Of two CEL rules nobody can say by machine which one allows more, so a changed rule passes
and only a rule more than before counts; the person who changes one must see to it.
"""

from collections.abc import Iterator

from modelserver_operator.api.schema import children
from modelserver_operator.json_types import JsonObject

_LOWER_BOUNDS = ("minimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "maxLength", "maxItems", "maxProperties")
_FIXED = (
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
_ONLY_REMOVABLE = ("pattern", "format")
_ONLY_ADDABLE = ("x-kubernetes-preserve-unknown-fields", "nullable")


def breaking_changes(old: JsonObject, new: JsonObject) -> list[str]:
    """Compare two CustomResourceDefinitions.

    Returns one line for each thing that breaks stored objects or clients, with the path of the
    field; nothing where every object of `old` is one of `new` and keeps all its fields.
    """
    return [*_identity_changes(old["spec"], new["spec"]), *_version_changes(old, new)]


def _identity_changes(old: JsonObject, new: JsonObject) -> Iterator[str]:
    for key in ("group", "scope"):
        if old[key] != new[key]:
            yield f"{key}: {old[key]} became {new[key]}"
    for key in ("kind", "plural"):
        if old["names"][key] != new["names"][key]:
            yield f"names.{key}: {old['names'][key]} became {new['names'][key]}"


def _version_changes(old: JsonObject, new: JsonObject) -> Iterator[str]:
    kept = {version["name"]: version for version in new["spec"]["versions"]}
    for version in old["spec"]["versions"]:
        name = version["name"]
        if not kept.get(name, {}).get("served"):
            yield f"version {name}: no longer served"
        else:
            yield from _schema_changes(_schema(version), _schema(kept[name]), "")


def _schema(version: JsonObject) -> JsonObject:
    schema: JsonObject = version["schema"]["openAPIV3Schema"]
    return schema


def _schema_changes(old: JsonObject, new: JsonObject, path: str) -> Iterator[str]:
    where = path.lstrip(".") or "the resource"
    for change in _field_changes(old, new):
        yield f"{where}: {change}"
    after = dict(children(new))
    for step, child in children(old):
        if step in after:
            yield from _schema_changes(child, after[step], path + step)
        elif not new.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{(path + step).lstrip('.')}: removed"


def _field_changes(old: JsonObject, new: JsonObject) -> Iterator[str]:
    yield from _keyword_changes(old, new)
    yield from _bound_changes(old, new)
    yield from _enum_changes(old, new)
    yield from _required_changes(old, new)
    yield from _rule_changes(old, new)


def _keyword_changes(old: JsonObject, new: JsonObject) -> Iterator[str]:
    for key in _FIXED:
        if old.get(key) != new.get(key):
            yield f"{key} {old.get(key)} became {new.get(key)}"
    for key in _ONLY_REMOVABLE:
        if key in new and new[key] != old.get(key):
            yield f"{key} {old.get(key)} became {new[key]}"
    for key in _ONLY_ADDABLE:
        if old.get(key) and not new.get(key):
            yield f"{key} removed"


def _bound_changes(old: JsonObject, new: JsonObject) -> Iterator[str]:
    for key in (*_LOWER_BOUNDS, *_UPPER_BOUNDS):
        if key not in new:
            continue
        if key not in old:
            yield f"{key} {new[key]} added"
        elif (new[key] > old[key]) if key in _LOWER_BOUNDS else (new[key] < old[key]):
            yield f"{key} {old[key]} tightened to {new[key]}"


def _enum_changes(old: JsonObject, new: JsonObject) -> Iterator[str]:
    if "enum" in new and "enum" not in old:
        yield f"enum {new['enum']} added"
    elif "enum" in new:
        for value in old["enum"]:
            if value not in new["enum"]:
                yield f"value {value} removed"


def _required_changes(old: JsonObject, new: JsonObject) -> Iterator[str]:
    for name in new.get("required", ()):
        if name not in old.get("required", ()):
            yield f"{name} became required"


def _rule_changes(old: JsonObject, new: JsonObject) -> Iterator[str]:
    before = [rule["rule"] for rule in old.get("x-kubernetes-validations", ())]
    after = [rule["rule"] for rule in new.get("x-kubernetes-validations", ())]
    for rule in after if len(after) > len(before) else ():
        if rule not in before:
            yield f"rule added: {rule}"
