import json
import re
from collections.abc import Iterator

import pytest

from modelserver_operator.api.crd import crd, marked_schema
from modelserver_operator.api.marks import CHANGE
from modelserver_operator.api.schema import walk
from modelserver_operator.json_types import JsonObject

VERSION: JsonObject = crd()["spec"]["versions"][0]
SCHEMA: JsonObject = VERSION["schema"]["openAPIV3Schema"]
PLACES = list(walk(SCHEMA))
FIELDS = [(path, field) for path, field in PLACES if re.search(r"[A-Za-z0-9]$", path)]


def named(path: str) -> JsonObject:
    return dict(PLACES)[path]


def rules() -> Iterator[tuple[str, JsonObject]]:
    for path, field in PLACES:
        for rule in field.get("x-kubernetes-validations", ()):
            yield path, rule


def test_every_field_is_described_in_sentences() -> None:
    bare = [
        path
        for path, field in FIELDS
        if not field.get("description", "").endswith((".", "…")) and path != "metadata"
    ]

    assert bare == []


def test_every_list_string_and_map_is_bounded() -> None:
    assert [path for path, field in PLACES if not is_bounded(path, field)] == []


def is_bounded(path: str, field: JsonObject) -> bool:
    if path in ("apiVersion", "kind") or field.get("format") == "date-time" or "enum" in field:
        return True
    if field.get("type") == "array":
        return "maxItems" in field
    if field.get("type") == "string" or field.get("x-kubernetes-int-or-string"):
        return "maxLength" in field
    return "additionalProperties" not in field or "maxProperties" in field


def test_the_schema_is_structural() -> None:
    assert [path for path, field in PLACES if not is_structural(field)] == []


def is_structural(field: JsonObject) -> bool:
    """One type for each field, or Kubernetes' exception for numbers that may be text."""
    foreign = {"$ref", "$defs", "title", "const", "oneOf", "allOf", "anyOf", CHANGE}
    if field.get("x-kubernetes-int-or-string"):
        return "type" not in field
    return "type" in field and foreign.isdisjoint(field) and field.get("default", 0) is not None


def test_every_field_of_the_spec_says_whether_it_is_hot_or_cold() -> None:
    for path, field in FIELDS:
        if path.startswith("spec."):
            sentences = re.findall(r"(?:^|[.] )(Hot|Cold)[:,]", field["description"])
            assert len(sentences) == 1, path


def test_everything_about_a_model_is_hot() -> None:
    for path, field in FIELDS:
        if path.startswith("spec.models"):
            assert "Hot" in field["description"], path


@pytest.mark.parametrize(
    "path", ["image", "resources.limits", "env[].value", "gpu.count", "cache.claimName"]
)
def test_what_is_in_the_pod_template_is_cold(path: str) -> None:
    assert "Cold: changing it restarts the pods." in named(f"spec.{path}")["description"]


def test_defaults_are_in_the_descriptions() -> None:
    assert "Default: 1." in named("spec.replicas")["description"]
    assert "Default: tensorflow." in named("spec.models[].platform")["description"]
    assert (
        'Default: {"latest": {"count": 1}}.'
        in (named("spec.models[].versionPolicy")["description"])
    )


def test_the_marks_are_apart_from_the_descriptions_for_those_who_print_them_apart() -> None:
    replicas = marked_schema()["properties"]["spec"]["properties"]["replicas"]

    assert replicas[CHANGE].startswith("Hot")
    assert "Hot" not in replicas["description"]


def test_status_has_no_defaults_and_requires_only_what_identifies_a_row() -> None:
    required = {
        path: field["required"]
        for path, field in PLACES
        if path.startswith("status") and "required" in field
    }

    assert not [path for path, field in PLACES if path.startswith("status") and "default" in field]
    assert required == {
        "status.models[]": ["name"],
        "status.models[].versions[]": ["version"],
        "status.conditions[]": ["type", "status", "reason", "lastTransitionTime"],
    }


def test_every_rule_comes_with_a_sentence_of_its_own() -> None:
    found = list(rules())

    assert len(found) > 25
    for _, rule in found:
        assert 20 < len(rule["message"]) <= 200
        assert "self" not in rule["message"]


def test_the_defaulted_union_is_one_value_to_server_side_apply() -> None:
    policy = named("spec.models[].versionPolicy")

    assert policy["x-kubernetes-map-type"] == "atomic"
    assert policy["default"] == {"latest": {"count": 1}}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("spec.models", "name"),
        ("spec.models[].labels", "name"),
        ("spec.env", "name"),
        ("spec.imagePullSecrets", "name"),
        ("status.conditions", "type"),
    ],
)
def test_lists_that_several_managers_share_are_maps_by_a_key(path: str, key: str) -> None:
    assert named(path)["x-kubernetes-list-type"] == "map"
    assert named(path)["x-kubernetes-list-map-keys"] == [key]
    assert key in named(f"{path}[]")["required"]


def test_the_rows_of_status_are_one_value_with_one_writer() -> None:
    assert named("status.models")["x-kubernetes-list-type"] == "atomic"
    assert named("status.models[].versions")["x-kubernetes-list-type"] == "atomic"


def test_names_are_short_for_people() -> None:
    names = crd()["spec"]["names"]

    assert names["shortNames"] == ["msrv"]
    assert names["categories"] == ["modelserver"]
    assert crd()["metadata"]["name"] == f"{names['plural']}.{crd()['spec']['group']}"


def test_the_columns_are_ready_reason_versions_replicas_age_and_four_wide_ones() -> None:
    columns = VERSION["additionalPrinterColumns"]

    assert [column["name"] for column in columns if "priority" not in column] == [
        "Ready",
        "Reason",
        "Versions",
        "Replicas",
        "Age",
    ]
    assert [column["name"] for column in columns if column.get("priority") == 1] == [
        "Source",
        "Rollout",
        "Endpoint",
        "Message",
    ]


def test_the_columns_and_the_scale_subresource_lead_to_fields_that_exist() -> None:
    scale = VERSION["subresources"]["scale"]
    paths = [column["jsonPath"] for column in VERSION["additionalPrinterColumns"]]

    for path in (*paths, *scale.values()):
        place = re.sub(r"\[\?.*?\]", "[]", path).removeprefix(".")
        assert place == "metadata.creationTimestamp" or named(place)


def test_the_same_types_give_the_same_text() -> None:
    assert json.dumps(crd()) == json.dumps(crd())
