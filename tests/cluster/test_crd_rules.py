"""Each rule of the CRD on a real API server: what it lets through, what it answers otherwise."""

import json
from collections.abc import Callable, Iterator

import pytest
from kubernetes.client import ApiClient, CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config

from modelserver_operator.api import API_VERSION, GROUP, KIND, PLURAL, VERSION
from modelserver_operator.api.crd import crd
from modelserver_operator.api.schema import walk
from modelserver_operator.json_types import JsonObject
from testcluster.cluster import Cluster
from testcluster.errors import ClusterError

Create = Callable[[JsonObject], JsonObject]


def model(**fields: object) -> JsonObject:
    return {"name": "mnist", "uri": "pvc://models/mnist", **fields}


def server(*models: JsonObject, name: str = "mnist", **spec: object) -> JsonObject:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"models": list(models) or [model()], **spec},
    }


def weights(*values: int) -> JsonObject:
    return {"steps": [{"weight": value} for value in values]}


NAME = "must be the name of a Kubernetes object"
POLICY = "set exactly one of latest, all and specific, such as {latest: {count: 1}}"
URI = "must be gs://BUCKET/PATH or pvc://CLAIM/PATH, the folder that holds the numbered version"
DOTS = "must not have '.' or '..' as a part of its path"
LABELS = "under versionPolicy.specific each label must name one of the versions listed there"
RISING = "weights must rise from step to step"
SIZES = "must rise from size to size"
LAST = "the last of allowedBatchSizes must equal maxBatchSize"
SERVER = "metadata.name must be at most 40 lower-case letters, digits and '-'"

BAD: list[tuple[JsonObject, str, str]] = [
    # the manifest; the field that the answer names; the beginning of its sentence
    (server(name="a" * 41), "<nil>", SERVER),
    (server(name="1st"), "<nil>", SERVER),
    (server(name="a.b"), "<nil>", SERVER),
    (server(model(name="a/b")), "spec.models[0].name", "must be made of letters"),
    (server(model(name="-a")), "spec.models[0].name", "must be made of letters"),
    (server(model(uri="s3://bucket/path")), "spec.models[0].uri", URI),
    (server(model(uri="/models/mnist")), "spec.models[0].uri", URI),
    (server(model(uri="file:///models/mnist")), "spec.models[0].uri", URI),
    (server(model(uri="pvc:///mnist")), "spec.models[0].uri", URI),
    (server(model(uri="pvc://Claim/mnist")), "spec.models[0].uri", URI),
    (server(model(uri="gs://b/a\nb")), "spec.models[0].uri", URI),
    (server(model(uri="pvc://models/../../etc")), "spec.models[0].uri", DOTS),
    (server(model(uri="pvc://models/.")), "spec.models[0].uri", DOTS),
    (server(model(platform="my platform")), "spec.models[0].platform", "must be made of letters"),
    (server(model(versionPolicy={})), "spec.models[0].versionPolicy", POLICY),
    (
        server(model(versionPolicy={"all": {}, "latest": {"count": 2}})),
        "spec.models[0].versionPolicy",
        POLICY,
    ),
    (
        server(
            model(
                versionPolicy={"specific": {"versions": [1, 2]}},
                labels=[{"name": "stable", "version": 1}, {"name": "canary", "version": 3}],
            )
        ),
        "spec.models[0]",
        LABELS,
    ),
    (
        server(model(labels=[{"name": "not a label", "version": 1}])),
        "spec.models[0].labels[0].name",
        "must be made of letters",
    ),
    (
        server(model(readyMarker="done/_SUCCESS")),
        "spec.models[0].readyMarker",
        "must be the name of a file in the version's folder",
    ),
    (
        server(model(readyMarker="..")),
        "spec.models[0].readyMarker",
        "must be the name of a file in the version's folder",
    ),
    (
        server(model(transitionPolicy="ResourcePreserving", rollout=weights(10))),
        "spec.models[0]",
        "a rollout needs both versions at a time: set transitionPolicy to AvailabilityPreserving",
    ),
    (server(model(rollout=weights(25, 5))), "spec.models[0].rollout.steps", RISING),
    (server(model(rollout=weights(5, 5, 25))), "spec.models[0].rollout.steps", RISING),
    (
        server(model(rollout=weights(5) | {"analysis": {"minRequests": 5}})),
        "spec.models[0].rollout.analysis",
        "set maxErrorRate, maxP99Millis or both",
    ),
    (
        server(model(rollout=weights(5) | {"analysis": {"maxErrorRate": "101%"}})),
        "spec.models[0].rollout.analysis.maxErrorRate",
        "must be a percentage from 0% to 100%",
    ),
    (
        server(model(rollout=weights(5) | {"analysis": {"maxErrorRate": "0.5"}})),
        "spec.models[0].rollout.analysis.maxErrorRate",
        "must be a percentage from 0% to 100%",
    ),
    (server(model(batching={"allowedBatchSizes": [8, 16]})), "spec.models[0].batching", LAST),
    (
        server(model(batching={"maxBatchSize": 16, "allowedBatchSizes": [8, 32]})),
        "spec.models[0].batching",
        LAST,
    ),
    (
        server(model(batching={"allowedBatchSizes": [16, 8, 32]})),
        "spec.models[0].batching.allowedBatchSizes",
        SIZES,
    ),
    (
        server(model(batching={"allowedBatchSizes": [8, 8, 32]})),
        "spec.models[0].batching.allowedBatchSizes",
        SIZES,
    ),
    (
        server(autoscaling={"minReplicas": 3, "maxReplicas": 2}),
        "spec.autoscaling",
        "minReplicas must not be larger than maxReplicas",
    ),
    (
        server(
            autoscaling={
                "maxReplicas": 2,
                "metrics": [{"type": "Resource"}],
                "targetCPUUtilizationPercentage": 50,
            }
        ),
        "spec.autoscaling",
        "set metrics or targetCPUUtilizationPercentage, not both",
    ),
    (server(gpu={"count": 0}), "spec.gpu.count", "must be 1 or more; to use no GPU, leave gpu out"),
    (
        server(gpu={}, resources={"limits": {"nvidia.com/gpu": 1}}),
        "spec",
        "name the GPUs once: in gpu, or in resources.limits",
    ),
    (server(cache={}), "spec.cache", "set exactly one of sizeLimit and claimName"),
    (
        server(cache={"sizeLimit": "1Gi", "claimName": "cache"}),
        "spec.cache",
        "set exactly one of sizeLimit and claimName",
    ),
    (server(cache={"claimName": "My_Claim"}), "spec.cache.claimName", NAME),
    (server(serviceAccountName="-reader"), "spec.serviceAccountName", NAME),
    (server(priorityClassName="High"), "spec.priorityClassName", NAME),
    (server(runtimeClassName="nvidia."), "spec.runtimeClassName", NAME),
    (server(imagePullSecrets=[{"name": "a b"}]), "spec.imagePullSecrets[0].name", NAME),
    (server(credentialsSecretRef={"name": "Key"}), "spec.credentialsSecretRef.name", NAME),
    (
        server(credentialsSecretRef={"name": "key", "key": "a/b"}),
        "spec.credentialsSecretRef.key",
        "must be made of letters",
    ),
    (server(env=[{"name": "1A"}]), "spec.env[0].name", "must be made of letters"),
    (server(env=[{"name": "A=B"}]), "spec.env[0].name", "must be made of letters"),
    (server(env=[{"name": "POD_UID"}]), "spec.env[0].name", "must not be POD_NAME"),
    (
        server(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {}}}]),
        "spec.env[0]",
        "set value or valueFrom, not both",
    ),
]

GOOD: list[JsonObject] = [
    server(),
    server(name="a"),
    server(name="a" * 40),
    server(name="my-server-2"),
    server(model(name="Mnist_v2.0-x")),
    server(model(uri="gs://bucket.example_1/deep/path")),
    server(model(uri="gs://bucket")),
    server(model(uri="pvc://claim")),
    server(model(uri="pvc://claim.with.dots/a/b..c/.hidden/d.")),
    server(model(platform="lookup")),
    server(model(versionPolicy={"latest": {}})),
    server(model(versionPolicy={"all": {}})),
    server(model(versionPolicy={"specific": {"versions": [0, 2**62]}})),
    server(model(labels=[{"name": "stable", "version": 7}])),
    server(
        model(
            versionPolicy={"specific": {"versions": [1, 2]}},
            labels=[{"name": "stable", "version": 1}, {"name": "v2.x_y-z", "version": 2}],
        )
    ),
    server(model(readyMarker="_SUCCESS")),
    server(model(transitionPolicy="ResourcePreserving")),
    server(model(rollout=weights(1))),
    server(model(rollout=weights(5, 25, 100))),
    server(model(rollout=weights(5) | {"analysis": {"maxErrorRate": "0.5%"}})),
    server(model(rollout=weights(5) | {"analysis": {"maxErrorRate": "100%", "maxP99Millis": 8}})),
    server(model(batching={})),
    server(model(batching={"allowedBatchSizes": []})),
    server(model(batching={"allowedBatchSizes": [8, 16, 32]})),
    server(model(batching={"maxBatchSize": 1, "allowedBatchSizes": [1]})),
    server(autoscaling={"maxReplicas": 1}),
    server(autoscaling={"minReplicas": 2, "maxReplicas": 2, "targetCPUUtilizationPercentage": 50}),
    server(autoscaling={"maxReplicas": 2, "metrics": [{"type": "Resource"}]}),
    server(gpu={}),
    server(gpu={"count": 2, "resourceName": "example.com/gpu"}, resources={"limits": {"cpu": 2}}),
    server(resources={"limits": {"nvidia.com/gpu": 1, "memory": "1.5Gi"}}),
    server(cache={"sizeLimit": "10Gi"}),
    server(cache={"sizeLimit": "1.5e3"}),
    server(cache={"sizeLimit": 1024}),
    server(cache={"claimName": "cache"}),
    server(serviceAccountName="reader", priorityClassName="high", runtimeClassName="nvidia"),
    server(imagePullSecrets=[{"name": "a.b"}], credentialsSecretRef={"name": "key"}),
    server(env=[{"name": "TF_ENABLE_ONEDNN_OPTS", "value": "0"}, {"name": "EMPTY"}]),
    server(
        model(uri="gs://bucket/mnist"), env=[{"name": "MODELSERVER_GCS_ANONYMOUS", "value": "true"}]
    ),
    server(env=[{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]),
    server(replicas=0, suspend=True, networkPolicy={}, podMonitor={}),
    # as much as fits, so that no rule runs out of the time that it may take
    server(
        *(
            model(
                name=f"model-{number}",
                uri="gs://bucket/" + "a" * 1000,
                versionPolicy={"specific": {"versions": list(range(100))}},
                labels=[{"name": f"label-{label}", "version": 99} for label in range(32)],
                batching={"maxBatchSize": 64, "allowedBatchSizes": list(range(1, 65))},
                rollout=weights(*range(1, 21)),
            )
            for number in range(64)
        ),
        env=[{"name": f"{'X' * 250}_{number}"} for number in range(128)],
    ),
]


@pytest.fixture(scope="module")
def create(kubernetes: Cluster) -> Iterator[Create]:
    """Has the API server check a manifest, and gives what it would store."""
    client: ApiClient = new_client_from_config(config_file=str(kubernetes.kubeconfig))
    with client:
        api = CustomObjectsApi(client)

        def check(manifest: JsonObject) -> JsonObject:
            stored: JsonObject = api.create_namespaced_custom_object(
                GROUP, VERSION, "default", PLURAL, manifest, dry_run="All"
            )
            return stored

        yield check


@pytest.mark.parametrize(
    ("manifest", "field", "sentence"),
    BAD,
    ids=[f"{field}-{number}" for number, (_, field, _) in enumerate(BAD)],
)
def test_a_bad_manifest_is_refused_with_a_sentence_that_says_what_to_write(
    create: Create, manifest: JsonObject, field: str, sentence: str
) -> None:
    with pytest.raises(ApiException) as refusal:
        create(manifest)

    causes = json.loads(refusal.value.body)["details"]["causes"]
    assert refusal.value.status == 422
    assert [cause for cause in causes if cause["field"] == field and sentence in cause["message"]]


@pytest.mark.parametrize("manifest", GOOD, ids=range(len(GOOD)))
def test_a_good_manifest_is_taken(create: Create, manifest: JsonObject) -> None:
    assert create(manifest)["metadata"]["name"] == manifest["metadata"]["name"]


def test_every_rule_has_a_bad_manifest() -> None:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    untried = [
        f"{path}: {rule['message']}"
        for path, field in walk(schema)
        for rule in field.get("x-kubernetes-validations", ())
        if not any(
            _place(tried) == path and sentence in rule["message"] for _, tried, sentence in BAD
        )
    ]

    assert untried == []


def _place(field: str) -> str:
    return "" if field == "<nil>" else field.replace("[0]", "[]")


def test_kubectl_shows_the_field_and_the_sentence(kubernetes: Cluster) -> None:
    manifest = json.dumps(server(model(uri="s3://bucket/mnist")))

    with pytest.raises(ClusterError) as refusal:
        kubernetes.kubectl("apply", "-f", "-", input=manifest)

    assert 'The ModelServer "mnist" is invalid: spec.models[0].uri:' in str(refusal.value)
    assert URI in str(refusal.value)


def test_a_field_that_does_not_exist_is_refused_by_its_name(kubernetes: Cluster) -> None:
    manifest = json.dumps(server(model(versionPolcy={"all": {}})))

    with pytest.raises(ClusterError, match=r'unknown field "spec.models\[0\].versionPolcy"'):
        kubernetes.kubectl("apply", "-f", "-", input=manifest)
