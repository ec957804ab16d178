"""Stored ModelServers on a real API server: what is defaulted, shared, scaled and shown."""

import json

import pytest

from modelserver_operator.api import (
    API_VERSION,
    GROUP,
    KIND,
    VERSION,
)
from modelserver_operator.api.crd import CRD_NAME, crd
from modelserver_operator.api.schema import walk
from modelserver_operator.json_types import JsonObject
from testcluster.cluster import Cluster
from testcluster.errors import ClusterError
from testcluster.waiting import wait_until

SCHEMA: JsonObject = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.fixture
def apply(kubernetes: Cluster, namespace: str) -> "Apply":
    return Apply(kubernetes, namespace)


class Apply:
    """Server-side apply of a ModelServer called mnist, by the manager that is named."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def __call__(self, manager: str, spec: JsonObject) -> JsonObject:
        """Apply the spec; give the spec that is stored then."""
        manifest = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": "mnist"},
            "spec": spec,
        }
        stored = self.kubectl(
            "apply",
            "--server-side",
            f"--field-manager={manager}",
            "--output=json",
            "--filename=-",
            text=json.dumps(manifest),
        )
        applied: JsonObject = json.loads(stored)["spec"]
        return applied

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return self._cluster.kubectl(f"--namespace={self._namespace}", *arguments, input=text)


def model(**fields: object) -> JsonObject:
    return {"name": "mnist", "uri": "pvc://models/mnist", **fields}


# Defaults and other managers


def test_what_is_left_out_is_defaulted(apply: Apply) -> None:
    assert apply("helm", {"models": [model()]}) == {
        "models": [
            model(
                platform="tensorflow",
                transitionPolicy="AvailabilityPreserving",
                versionPolicy={"latest": {"count": 1}},
            )
        ],
        "replicas": 1,
        "suspend": False,
    }


def test_the_version_policy_changes_and_returns_to_its_default_under_one_manager(
    apply: Apply,
) -> None:
    def policy(**given: object) -> object:
        return apply("helm", {"models": [model(**given)]})["models"][0]["versionPolicy"]

    assert policy() == {"latest": {"count": 1}}
    assert policy(versionPolicy={"all": {}}) == {"all": {}}
    assert policy(versionPolicy={"specific": {"versions": [3]}}) == {"specific": {"versions": [3]}}
    assert policy(versionPolicy={"latest": {}}) == {"latest": {"count": 1}}
    assert policy() == {"latest": {"count": 1}}


def test_another_manager_may_choose_a_version_policy_that_was_defaulted(apply: Apply) -> None:
    apply("helm", {"models": [model()]})

    changed = apply("pipeline", {"models": [{"name": "mnist", "versionPolicy": {"all": {}}}]})
    applied_again = apply("helm", {"models": [model()]})

    assert changed["models"][0]["versionPolicy"] == {"all": {}}
    assert changed["models"][0]["uri"] == "pvc://models/mnist"
    assert applied_again["models"][0]["versionPolicy"] == {"all": {}}


def test_another_manager_is_told_who_chose_the_version_policy(apply: Apply) -> None:
    apply("helm", {"models": [model(versionPolicy={"all": {}})]})

    with pytest.raises(ClusterError, match=r'conflict with "helm".*\n?.*versionPolicy'):
        apply("pipeline", {"models": [{"name": "mnist", "versionPolicy": {"latest": {}}}]})


def test_two_managers_own_different_fields_and_models(apply: Apply) -> None:
    apply("helm", {"models": [model()], "image": "example.org/server:1"})
    second = {"name": "second", "uri": "gs://bucket/second"}
    apply("pipeline", {"replicas": 3, "models": [second]})

    stored = apply("helm", {"models": [model(pollSeconds=5)]})

    assert stored["replicas"] == 3
    assert "image" not in stored
    assert {row["name"]: row.get("pollSeconds") for row in stored["models"]} == {
        "mnist": 5,
        "second": None,
    }


def test_two_managers_own_different_labels_of_a_model(apply: Apply) -> None:
    def labels(*pairs: tuple[str, int]) -> list[JsonObject]:
        return [{"name": name, "version": version} for name, version in pairs]

    apply("helm", {"models": [model(labels=labels(("stable", 1)))]})

    stored = apply("pipeline", {"models": [{"name": "mnist", "labels": labels(("canary", 2))}]})

    assert stored["models"][0]["labels"] == labels(("stable", 1), ("canary", 2))


# Scale, columns, explanations


def write_status(apply: Apply, **fields: object) -> None:
    patch = json.dumps({"status": fields})
    apply.kubectl("patch", "msrv/mnist", "--subresource=status", "--type=merge", f"--patch={patch}")


def test_kubectl_scales_it(apply: Apply) -> None:
    apply("helm", {"models": [model()]})

    apply.kubectl("scale", "modelserver/mnist", "--replicas=4")

    assert apply.kubectl("get", "msrv/mnist", "--output=jsonpath={.spec.replicas}") == "4"


def test_autoscalers_find_the_pods_by_the_scale_subresource(apply: Apply) -> None:
    apply("helm", {"models": [model()], "replicas": 2})
    write_status(apply, replicas=1, selector="modelserver.dev/name=mnist")

    scale = json.loads(apply.kubectl("get", "msrv/mnist", "--subresource=scale", "--output=json"))

    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 1, "selector": "modelserver.dev/name=mnist"}


def test_the_columns_show_the_state_at_a_glance(apply: Apply) -> None:
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "ModelsNotAvailable",
        "message": "mnist has no version",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    rollout = ready | {"type": "RolloutHealthy", "reason": "NotSupported"}
    apply("helm", {"models": [model()]})
    write_status(
        apply,
        conditions=[ready, rollout],
        servingVersions="mnist:2",
        readySummary="2/3",
        source="pvc://models/mnist",
        endpoints={"grpc": "mnist.default.svc:8500"},
    )

    header, row = apply.kubectl("get", "msrv").splitlines()
    wide_header, wide_row = apply.kubectl("get", "msrv", "--output=wide").splitlines()

    assert header.split() == ["NAME", "READY", "REASON", "VERSIONS", "REPLICAS", "AGE"]
    assert row.split()[:5] == ["mnist", "False", "ModelsNotAvailable", "mnist:2", "2/3"]
    assert wide_header.split()[6:] == ["SOURCE", "ROLLOUT", "ENDPOINT", "MESSAGE"]
    shown = ["pvc://models/mnist", "NotSupported", "mnist.default.svc:8500", "mnist has no version"]
    assert " ".join(wide_row.split()[6:]) == " ".join(shown)


def test_it_is_in_a_category(kubernetes: Cluster) -> None:
    listed = kubernetes.kubectl("api-resources", "--categories=modelserver", "--output=name")

    assert listed.split() == [CRD_NAME]


def published(kubernetes: Cluster) -> JsonObject | None:
    """The schema that the API server publishes, from which kubectl explains; it takes a while."""
    path = f"/openapi/v3/apis/{GROUP}/{VERSION}"
    try:
        schemas = json.loads(kubernetes.kubectl("get", "--raw", path))["components"]["schemas"]
    except ClusterError:
        return None
    found: JsonObject | None = schemas.get(f"dev.modelserver.{VERSION}.{KIND}")
    return found


def test_kubectl_explains_every_field(kubernetes: Cluster) -> None:
    wait_until(lambda: published(kubernetes) is not None, "the published schema")
    schema = published(kubernetes)
    assert schema is not None
    explained = {path for path, field in walk(schema) if field.get("description")}

    for path, field in walk(SCHEMA):
        if field.get("description"):
            assert path in explained


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ("spec.models.uri", "gs://BUCKET/PATH in Google Cloud Storage"),
        ("spec.models.batching.timeoutMicros", "in microseconds"),
        ("spec.image", "Cold: changing it restarts the pods."),
        (
            "status.models.versions.nextRetryTime",
            "When a failed load, or download, is tried again.",
        ),
    ],
)
def test_kubectl_explain_reads_like_documentation(
    kubernetes: Cluster, field: str, sentence: str
) -> None:
    wait_until(lambda: published(kubernetes) is not None, "the published schema")

    text = " ".join(kubernetes.kubectl("explain", f"msrv.{field}").split())

    assert sentence in text
