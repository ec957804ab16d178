from collections.abc import Callable
from copy import deepcopy

import pytest

from modelserver_operator.api.compatibility import breaking_changes
from modelserver_operator.api.crd import crd
from modelserver_operator.json_types import JsonObject

BASE: JsonObject = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 10, "pattern": "^a"},
        "size": {"type": "integer", "format": "int64", "minimum": 1, "maximum": 5},
        "mode": {"type": "string", "enum": ["A", "B"]},
        "rows": {
            "type": "array",
            "maxItems": 3,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["key"],
            "items": {"type": "object", "properties": {"key": {"type": "string"}}},
        },
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "words": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 5}},
        "ruled": {
            "type": "string",
            "x-kubernetes-validations": [{"rule": "self != ''", "message": "say something"}],
        },
    },
}


def definition(schema: JsonObject) -> JsonObject:
    version = {"name": "v1", "served": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Thing", "plural": "things"}
    return {
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        }
    }


def changes_after(edit: Callable[[JsonObject], object]) -> list[str]:
    schema = deepcopy(BASE)
    edit(schema["properties"])
    return breaking_changes(definition(BASE), definition(schema))


BREAKING: list[tuple[Callable[[JsonObject], object], str]] = [
    (lambda f: f.pop("size"), "size: removed"),
    (lambda f: f["rows"]["items"]["properties"].pop("key"), "rows[].key: removed"),
    (lambda f: f["size"].update(type="string"), "size: type integer became string"),
    (lambda f: f["size"].update(format="int32"), "size: format int64 became int32"),
    (lambda f: f["size"].update(minimum=2), "size: minimum 1 tightened to 2"),
    (lambda f: f["size"].update(maximum=4), "size: maximum 5 tightened to 4"),
    (lambda f: f["name"].update(maxLength=9), "name: maxLength 10 tightened to 9"),
    (lambda f: f["rows"].update(maxItems=2), "rows: maxItems 3 tightened to 2"),
    (lambda f: f["rows"].update(minItems=1), "rows: minItems 1 added"),
    (lambda f: f["mode"].update(maxLength=1), "mode: maxLength 1 added"),
    (lambda f: f["name"].update(pattern="^b"), "name: pattern ^a became ^b"),
    (lambda f: f["mode"].update(pattern="^A"), "mode: pattern None became ^A"),
    (lambda f: f["mode"].update(enum=["A"]), "mode: value B removed"),
    (lambda f: f["name"].update(enum=["a"]), "name: enum ['a'] added"),
    (lambda f: f["rows"]["items"].update(required=["key"]), "rows[]: key became required"),
    (
        lambda f: f["rows"].update({"x-kubernetes-list-type": "atomic"}),
        "rows: x-kubernetes-list-type map became atomic",
    ),
    (
        lambda f: f["rows"].update({"x-kubernetes-list-map-keys": ["other"]}),
        "rows: x-kubernetes-list-map-keys ['key'] became ['other']",
    ),
    (
        lambda f: f["open"].pop("x-kubernetes-preserve-unknown-fields"),
        "open: x-kubernetes-preserve-unknown-fields removed",
    ),
    (
        lambda f: f["words"]["additionalProperties"].update(maxLength=4),
        "words.*: maxLength 5 tightened to 4",
    ),
    (
        lambda f: f["ruled"]["x-kubernetes-validations"].append({"rule": "size(self) > 3"}),
        "ruled: rule added: size(self) > 3",
    ),
]

HARMLESS: list[Callable[[JsonObject], object]] = [
    lambda f: f.update(extra={"type": "string", "maxLength": 3}),
    lambda f: f["size"].update(minimum=0, maximum=6),
    lambda f: f["size"].pop("minimum"),
    lambda f: f["size"].pop("format"),
    lambda f: f["name"].pop("pattern"),
    lambda f: f["mode"].update(enum=["A", "B", "C"]),
    lambda f: f["mode"].pop("enum"),
    lambda f: f["name"].update(description="Better words."),
    lambda f: f["size"].update(default=2),
    lambda f: f["ruled"].pop("x-kubernetes-validations"),
    lambda f: f["ruled"]["x-kubernetes-validations"][0].update(rule="true"),
    lambda f: f["rows"]["items"].update({"x-kubernetes-preserve-unknown-fields": True}),
]


@pytest.mark.parametrize(("edit", "line"), BREAKING, ids=[line for _, line in BREAKING])
def test_what_breaks_stored_objects_is_named_with_its_place(
    edit: Callable[[JsonObject], object], line: str
) -> None:
    assert changes_after(edit) == [line]


@pytest.mark.parametrize("edit", HARMLESS)
def test_what_stored_objects_survive_is_no_breaking_change(
    edit: Callable[[JsonObject], object],
) -> None:
    assert changes_after(edit) == []


def test_a_field_that_becomes_part_of_an_open_object_keeps_its_value() -> None:
    def open_it(fields: JsonObject) -> None:
        items = fields["rows"]["items"]
        del items["properties"]
        items["x-kubernetes-preserve-unknown-fields"] = True

    assert changes_after(open_it) == []


def test_a_new_required_field_of_the_resource_itself_is_named() -> None:
    new = deepcopy(BASE)
    new["required"] = ["name", "size"]

    assert breaking_changes(definition(BASE), definition(new)) == [
        "the resource: size became required"
    ]


def test_a_version_that_is_no_longer_served_is_named() -> None:
    new = definition(BASE)
    new["spec"]["versions"][0]["served"] = False

    assert breaking_changes(definition(BASE), new) == ["version v1: no longer served"]


def test_a_version_may_be_added() -> None:
    new = definition(BASE)
    new["spec"]["versions"].append({"name": "v2", "served": True})

    assert breaking_changes(definition(BASE), new) == []


def test_another_group_scope_or_name_is_named() -> None:
    new = definition(BASE)
    new["spec"].update(group="example.com", scope="Cluster", names={"kind": "T", "plural": "ts"})

    assert breaking_changes(definition(BASE), new) == [
        "group: example.org became example.com",
        "scope: Namespaced became Cluster",
        "names.kind: Thing became T",
        "names.plural: things became ts",
    ]


def test_the_crd_is_compatible_with_itself() -> None:
    assert breaking_changes(crd(), crd()) == []
