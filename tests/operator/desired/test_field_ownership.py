"""Telling from managedFields whether a live object still is what was applied."""

import pytest

from modelserver_operator.desired.field_ownership import is_applied, own_fields
from modelserver_operator.json_types import JsonObject

STAMP = {"modelserver.dev/applied-hash": "abc"}
MANIFEST: JsonObject = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop", "annotations": STAMP},
    "spec": {
        "type": "ClusterIP",
        "selector": {"a": "b"},
        "ports": [{"port": 1, "name": "x"}, {"port": 2, "protocol": "UDP"}],
        "finalizers": ["one"],
        "ranges": ["10.0.0.0/8"],
        "nothing": {},
        "none": [],
    },
}


def fields() -> JsonObject:
    """What an API server says about who owns the parts of MANIFEST."""
    return {
        "f:metadata": {"f:annotations": {".": {}, "f:modelserver.dev/applied-hash": {}}},
        "f:spec": {
            "f:type": {},
            "f:selector": {},
            "f:ports": {
                'k:{"port":1,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}},
                'k:{"port":2,"protocol":"UDP"}': {".": {}, "f:port": {}, "f:protocol": {}},
            },
            "f:finalizers": {'v:"one"': {}},
            "f:ranges": {},
        },
    }


def live(fields_v1: JsonObject | None, **entry: str) -> JsonObject:
    ours = {"manager": "modelserver-operator", "operation": "Apply", "fieldsV1": fields_v1}
    metadata = {**MANIFEST["metadata"], "uid": "u"}
    return {**MANIFEST, "metadata": metadata | {"managedFields": [ours | entry]}}


def test_what_is_owned_in_every_part_is_applied() -> None:
    assert is_applied(MANIFEST, live(fields()))


@pytest.mark.parametrize(
    "path",
    [
        ["f:metadata", "f:annotations", "f:modelserver.dev/applied-hash"],
        ["f:spec"],
        ["f:spec", "f:type"],
        ["f:spec", "f:selector"],
        ["f:spec", "f:ports", 'k:{"port":1,"protocol":"TCP"}'],
        ["f:spec", "f:ports", 'k:{"port":1,"protocol":"TCP"}', "f:name"],
        ["f:spec", "f:ports", 'k:{"port":2,"protocol":"UDP"}', "f:protocol"],
        ["f:spec", "f:ranges"],
    ],
    ids=lambda path: path[-1],
)
def test_a_part_that_somebody_took_over_is_not_applied(path: list[str]) -> None:
    owned = fields()
    inner = owned
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]

    assert not is_applied(MANIFEST, live(owned))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"manager": "kubectl"}, id="another manager"),
        pytest.param({"operation": "Update"}, id="another operation"),
        pytest.param({"subresource": "status"}, id="another subresource"),
    ],
)
def test_only_what_we_have_applied_counts(entry: dict[str, str]) -> None:
    assert own_fields(live(fields(), **entry)) == {}
    assert not is_applied(MANIFEST, live(fields(), **entry))


def test_an_object_that_does_not_tell_its_owners_is_not_applied() -> None:
    bare = live(fields())
    del bare["metadata"]["managedFields"]

    assert not is_applied(MANIFEST, bare)
    assert not is_applied(MANIFEST, live(None))


def test_another_manifest_than_the_last_one_is_not_applied() -> None:
    # It may have fewer fields: those that are left over are ours still.
    newer = {"modelserver.dev/applied-hash": "def"}
    fewer = {**MANIFEST, "metadata": MANIFEST["metadata"] | {"annotations": newer}, "spec": {}}

    assert not is_applied(fewer, live(fields()))
