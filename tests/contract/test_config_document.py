"""The config document: what the operator writes is what the server reads."""

from modelserver.config import ModelConfig
from modelserver.config_document import ACCEPTED_SCHEMAS, parse_config_document
from modelserver.config_watch import hash_of
from modelserver.core.policy import availability_preserving, resource_preserving
from modelserver.inference.batching_options import BatchingOptions
from modelserver.sources.versions import All, Latest, Specific
from modelserver_operator.api import ModelServer
from modelserver_operator.desired.config_document import WRITABLE_SCHEMAS, config_document
from modelserver_operator.observed import Observed


def written(*models, **annotations):
    server = ModelServer.parse(
        {
            "apiVersion": "modelserver.dev/v1alpha1",
            "kind": "ModelServer",
            "metadata": {"name": "m", "namespace": "n", "uid": "u", "annotations": annotations},
            "spec": {"models": list(models)},
        }
    )
    return config_document(server, Observed(server))


def read(*models, **annotations):
    return parse_config_document(written(*models, **annotations).text.encode())


def test_everything_that_a_resource_says_of_a_model_reaches_the_server():
    found = read(
        {
            "name": "mnist",
            "uri": "pvc://claim/models/mnist",
            "platform": "lookup",
            "versionPolicy": {"specific": {"versions": [2, 1]}},
            "labels": [{"name": "stable", "version": 1}],
            "transitionPolicy": "ResourcePreserving",
            "pollSeconds": 7,
            "readyMarker": "_SUCCESS",
            "batching": {
                "maxBatchSize": 16,
                "timeoutMicros": 500,
                "maxEnqueuedBatches": 4,
                "allowedBatchSizes": [4, 16],
            },
        }
    )

    assert found.models == (
        ModelConfig(
            name="mnist",
            base_path="/mnt/modelserver/claims/claim/models/mnist",
            platform="lookup",
            version_policy=Specific(frozenset({1, 2})),
            version_labels={"stable": 1},
            transition_policy=resource_preserving,
            poll_wait_seconds=7.0,
            ready_marker="_SUCCESS",
            batching=BatchingOptions(
                max_batch_size=16,
                batch_timeout_micros=500,
                max_enqueued_batches=4,
                allowed_batch_sizes=(4, 16),
            ),
            is_awaited=True,
        ),
    )


def test_the_defaults_of_a_resource_are_read():
    (model,) = read({"name": "mnist", "uri": "gs://bucket/mnist"}).models

    assert model == ModelConfig(
        name="mnist",
        base_path="gs://bucket/mnist",
        version_policy=Latest(1),
        transition_policy=availability_preserving,
        poll_wait_seconds=30.0,
    )


def test_every_version_policy_is_read():
    uri = "pvc://claim/m"
    found = read(
        {"name": "a", "uri": uri, "versionPolicy": {"all": {}}},
        {"name": "b", "uri": uri, "versionPolicy": {"latest": {"count": 3}}},
    )

    assert [model.version_policy for model in found.models] == [All(), Latest(3)]


def test_a_request_to_poll_reaches_the_server():
    found = read({"name": "a", "uri": "pvc://c/m"}, **{"modelserver.dev/poll-now": "noon"})

    assert found.poll_request == "noon"


def test_both_sides_give_a_document_the_same_name():
    document = written({"name": "größe", "uri": "pvc://claim/m"})

    assert document.hash == hash_of(document.text.encode())


def test_the_operator_writes_a_schema_that_the_server_accepts():
    assert set(WRITABLE_SCHEMAS) & set(ACCEPTED_SCHEMAS)
