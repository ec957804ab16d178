"""Whatever the types allow is stored by a real API server and comes back whole."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kubernetes.client import ApiClient, CustomObjectsApi
from kubernetes.config import new_client_from_config

from modelserver_operator.api import (
    API_VERSION,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    ModelServer,
    ModelServerSpec,
    ModelServerStatus,
)
from modelserver_operator.api.crd import CRD_NAME, crd
from modelserver_operator.json_types import JsonObject
from testcluster.cluster import Cluster

SCHEMA: JsonObject = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
MINIMAL: JsonObject = {"models": [{"name": "mnist", "uri": "pvc://models/mnist"}]}


@pytest.fixture(scope="module")
def modelservers(kubernetes: Cluster) -> Iterator[CustomObjectsApi]:
    """A client, for what is done too often to start kubectl each time."""
    client: ApiClient = new_client_from_config(config_file=str(kubernetes.kubeconfig))
    with client:
        yield CustomObjectsApi(client)


def texts(field: JsonObject) -> st.SearchStrategy[str]:
    letters = st.characters(codec="ascii", categories=("L", "N"))
    longest = min(field["maxLength"], 20)
    return st.text(letters, min_size=field.get("minLength", 0), max_size=longest)


def open_objects() -> st.SearchStrategy[JsonObject]:
    words = st.text(st.characters(codec="ascii", categories=("L",)), min_size=1, max_size=5)
    leaves = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), words)
    values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(words, inner))
    return st.dictionaries(words, values, max_size=3)


def objects(field: JsonObject, path: str) -> st.SearchStrategy[JsonObject]:
    fields = {
        name: matching(inner, f"{path}.{name}".lstrip("."))
        for name, inner in field.get("properties", {}).items()
    }
    required = {name: fields.pop(name) for name in field.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


def lists(field: JsonObject, path: str) -> st.SearchStrategy[list[object]]:
    keys = field.get("x-kubernetes-list-map-keys")
    unique_by = (lambda row: row[keys[0]]) if keys else None
    return st.lists(
        matching(field["items"], f"{path}[]"),
        min_size=field.get("minItems", 0),
        max_size=min(field["maxItems"], 3),
        unique_by=unique_by,
        unique=field["x-kubernetes-list-type"] == "set",
    )


def maps(field: JsonObject, path: str) -> st.SearchStrategy[JsonObject]:
    words = st.text(st.characters(codec="ascii", categories=("L",)), min_size=1, max_size=5)
    return st.dictionaries(words, matching(field["additionalProperties"], path), max_size=2)


# Where rules say more than the types: values that keep them.
NAMES = st.sampled_from(["a", "reader", "my-object.v2"])
RULED: dict[str, st.SearchStrategy[object]] = {
    "spec.models[].name": st.sampled_from(["a", "B_2", "c.d-e"]),
    "spec.models[].uri": st.sampled_from(["gs://bucket/a b", "pvc://claim", "pvc://claim/ü/x"]),
    "spec.models[].platform": st.sampled_from(["tensorflow", "lookup"]),
    "spec.models[].versionPolicy": st.sampled_from(
        [{"latest": {}}, {"latest": {"count": 3}}, {"all": {}}, {"specific": {"versions": [1, 2]}}]
    ),
    "spec.models[].labels[].name": st.sampled_from(["stable", "canary"]),
    "spec.models[].labels[].version": st.sampled_from([1, 2]),
    "spec.models[].transitionPolicy": st.just("AvailabilityPreserving"),
    "spec.models[].readyMarker": st.just("_SUCCESS"),
    "spec.models[].batching": st.sampled_from(
        [{}, {"timeoutMicros": 0}, {"maxBatchSize": 16, "allowedBatchSizes": [8, 16]}]
    ),
    "spec.models[].rollout.steps": st.sampled_from(
        [[{"weight": 5}], [{"weight": 5, "holdSeconds": 0}, {"weight": 100}]]
    ),
    "spec.models[].rollout.analysis": st.sampled_from(
        [{"maxErrorRate": "0.5%"}, {"maxP99Millis": 80, "onFail": "Pause"}]
    ),
    "spec.autoscaling": st.sampled_from(
        [
            {"maxReplicas": 3},
            {"maxReplicas": 3, "minReplicas": 2, "targetCPUUtilizationPercentage": 60},
            {"maxReplicas": 3, "metrics": [{"type": "Resource"}], "behavior": {"scaleUp": {}}},
        ]
    ),
    "spec.gpu.count": st.integers(1, 64),
    "spec.cache": st.sampled_from([{"sizeLimit": "1Gi"}, {"sizeLimit": 5}, {"claimName": "c"}]),
    "spec.env[].name": st.sampled_from(["A", "B_C", "_d"]),
    "spec.env[].valueFrom": st.nothing(),
    "spec.credentialsSecretRef.key": st.sampled_from(["key.json", "A_b-c"]),
    "spec.credentialsSecretRef.name": NAMES,
    "spec.imagePullSecrets[].name": NAMES,
    "spec.serviceAccountName": NAMES,
    "spec.priorityClassName": NAMES,
    "spec.runtimeClassName": NAMES,
}


def integers(field: JsonObject) -> st.SearchStrategy[int]:
    return st.integers(field.get("minimum", -(2**40)), field.get("maximum", 2**62))


def matching(field: JsonObject, path: str) -> st.SearchStrategy[object]:
    """Values of a field's type and bounds, and within its rules."""
    if path in RULED:
        return RULED[path]
    if "enum" in field:
        return st.sampled_from(field["enum"])
    return BY_KIND[kind(field)](field, path)


def kind(field: JsonObject) -> str:
    """The type, or what Kubernetes says beyond it."""
    for marker in ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"):
        if field.get(marker):
            return marker
    if "additionalProperties" in field:
        return "map"
    return "time" if field.get("format") == "date-time" else str(field["type"])


BY_KIND: dict[str, Callable[[JsonObject, str], st.SearchStrategy[object]]] = {
    "x-kubernetes-int-or-string": lambda *_: st.sampled_from([2, "500m", "1.5Gi", "1e3"]),
    "x-kubernetes-preserve-unknown-fields": lambda *_: open_objects(),
    "map": maps,
    "object": objects,
    "array": lists,
    "time": lambda *_: st.just("2026-01-02T03:04:05Z"),
    "string": lambda field, _: texts(field),
    "integer": lambda field, _: integers(field),
    "boolean": lambda *_: st.booleans(),
}


def assert_kept(sent: object, stored: object, path: str = "") -> None:
    """Everything that was sent is there; defaults may have come in beside it."""
    if isinstance(sent, dict):
        assert isinstance(stored, dict), path
        for name, value in sent.items():
            assert name in stored, f"{path}.{name}"
            assert_kept(value, stored[name], f"{path}.{name}")
    elif isinstance(sent, list):
        assert isinstance(stored, list), path
        assert len(sent) == len(stored), path
        for number, (before, after) in enumerate(zip(sent, stored, strict=True)):
            assert_kept(before, after, f"{path}[{number}]")
    else:
        assert sent == stored, path


bounded = settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


class Store:
    """Creates ModelServers under ever new names."""

    def __init__(self, api: CustomObjectsApi, namespace: str) -> None:
        self._api = api
        self._place = (GROUP, VERSION, namespace, PLURAL)
        self._names = (f"server-{number}" for number in count())

    def create(self, spec: JsonObject, **fields: object) -> JsonObject:
        """Create one; give what is stored."""
        name = next(self._names)
        manifest = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name},
            "spec": spec,
            **fields,
        }
        self._api.create_namespaced_custom_object(*self._place, manifest)
        return self._get(name)

    def write_status(self, stored: JsonObject, status: JsonObject) -> JsonObject:
        """Replace the status; give what is stored then."""
        name = stored["metadata"]["name"]
        body = stored | {"status": status}
        self._api.replace_namespaced_custom_object_status(*self._place, name, body)
        return self._get(name)

    def _get(self, name: str) -> JsonObject:
        stored: JsonObject = self._api.get_namespaced_custom_object(*self._place, name)
        return stored


@pytest.fixture
def store(modelservers: CustomObjectsApi, namespace: str) -> Store:
    return Store(modelservers, namespace)


@bounded
@given(spec=matching(SCHEMA["properties"]["spec"], "spec"))
def test_every_valid_spec_comes_back_whole_and_with_the_types_own_defaults(
    store: Store, spec: JsonObject
) -> None:
    stored = store.create(spec)

    assert_kept(spec, stored["spec"])
    assert ModelServer.parse(stored).spec == ModelServerSpec.parse(spec)


@bounded
@given(status=matching(SCHEMA["properties"]["status"], "status"))
def test_every_valid_status_comes_back_whole(store: Store, status: JsonObject) -> None:
    stored = store.write_status(store.create(MINIMAL), status)

    assert_kept(status, stored["status"])
    written = ModelServerStatus.parse(stored["status"])
    assert written == ModelServerStatus.parse(status)
    assert ModelServerStatus.parse(written.to_json()) == written


def test_who_writes_the_spec_does_not_write_the_status(store: Store) -> None:
    assert "status" not in store.create(MINIMAL, status={"replicas": 9})


def test_the_definition_itself_is_stored_whole_and_found_without_fault(
    modelservers: CustomObjectsApi,
) -> None:
    definitions = CustomObjectsApi(modelservers.api_client)
    place = ("apiextensions.k8s.io", "v1", "customresourcedefinitions", CRD_NAME)

    stored = definitions.get_cluster_custom_object(*place)

    conditions = {row["type"]: row["status"] for row in stored["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert_kept(crd()["spec"], stored["spec"])
