"""The document that the servers read."""

import json
from collections.abc import Sequence

import pytest

from modelserver_operator.desired import Defaults, desired
from modelserver_operator.desired.config_document import (
    ConfigDocument,
    common_schema,
    config_document,
    config_hash,
)
from modelserver_operator.desired.config_map import config_map
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ChildKey, Observed, PodSnapshot
from modelserver_operator.reports import PodReport
from modelserver_operator.testing.observations import (
    MNIST,
    a_model,
    a_pod,
    a_report,
    a_server,
    a_version,
)

PATH = "/mnt/modelserver/claims/models/mnist"


def written(**spec: object) -> JsonObject:
    """The one model of a document."""
    server = a_server(models=[MNIST | spec])
    (model,) = json.loads(config_document(server, Observed(server)).text)["models"]
    return dict(model)


def observing(
    document: str, pods: Sequence[PodSnapshot], reports: Sequence[PodReport], *, served: bool
) -> Observed:
    server = a_server()
    live = config_map(server, ConfigDocument(document, "", has_served=served))
    return Observed(
        server,
        children={ChildKey("ConfigMap", "web-config"): live},
        pods=tuple(pods),
        reports={report.pod_uid: report for report in reports},
    )


def test_a_model_is_written_with_every_default_filled_in() -> None:
    assert written() == {
        "name": "mnist",
        "basePath": PATH,
        "platform": "tensorflow",
        "versionPolicy": {"latest": {"count": 1}},
        "labels": {},
        "transitionPolicy": "AvailabilityPreserving",
        "pollSeconds": 1,
        "readyMarker": None,
        "batching": None,
        "await": True,
    }


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("pvc://models/mnist/", PATH),
        ("pvc://models", "/mnt/modelserver/claims/models"),
        ("pvc://models/", "/mnt/modelserver/claims/models"),
        ("pvc://team.models/a/b", "/mnt/modelserver/claims/team.models/a/b"),
        ("gs://bucket/a/mnist", "gs://bucket/a/mnist"),
    ],
)
def test_a_claim_is_read_where_it_is_mounted_and_a_bucket_by_its_uri(uri: str, path: str) -> None:
    assert written(uri=uri)["basePath"] == path


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        pytest.param({}, 1, id="a claim"),
        pytest.param({"uri": "gs://bucket/mnist"}, 30, id="a bucket"),
        pytest.param({"pollSeconds": 0}, 0, id="on request only"),
        pytest.param({"uri": "gs://bucket/mnist", "pollSeconds": 5}, 5, id="as told"),
    ],
)
def test_buckets_are_looked_at_less_often_unless_told(spec: JsonObject, seconds: int) -> None:
    assert written(**spec)["pollSeconds"] == seconds


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"latest": {"count": 3}}, {"latest": {"count": 3}}),
        ({"latest": {}}, {"latest": {"count": 1}}),
        ({"all": {}}, {"all": {}}),
        ({"specific": {"versions": [7, 2]}}, {"specific": {"versions": [2, 7]}}),
    ],
)
def test_exactly_one_version_policy_is_written(policy: JsonObject, expected: JsonObject) -> None:
    assert written(versionPolicy=policy)["versionPolicy"] == expected


def test_labels_and_batching_are_written_by_name() -> None:
    model = written(labels=[{"name": "stable", "version": 4}], batching={"maxBatchSize": 8})

    assert model["labels"] == {"stable": 4}
    assert model["batching"] == {
        "maxBatchSize": 8,
        "timeoutMicros": 1000,
        "maxEnqueuedBatches": 10,
        "allowedBatchSizes": [],
    }


def test_asking_for_a_poll_changes_the_document() -> None:
    server = a_server(annotations={"modelserver.dev/poll-now": "today"})

    document = config_document(server, Observed(server))

    assert json.loads(document.text)["pollRequest"] == "today"
    assert document.hash != config_document(a_server(), Observed(a_server())).hash


def test_the_hash_is_of_the_exact_bytes() -> None:
    # sha256 of the two bytes {}
    assert config_hash("{}") == "44136fa355b3678a"


# What is awaited…


def test_the_config_map_remembers_that_the_models_were_served() -> None:
    pod = a_pod()
    first = config_document(a_server(), Observed(a_server())).text
    reported = a_report(pod, a_model(a_version(), base_path=PATH), ready=True)

    serving = config_document(a_server(), observing(first, [pod], [reported], served=False))
    later = config_document(a_server(), observing(serving.text, [], [], served=True))

    assert serving.text == first
    assert (serving.has_served, later.has_served) == (True, True)
    assert later.text == first


def test_an_added_model_is_not_awaited_while_others_serve() -> None:
    document = config_document(a_server(), Observed(a_server())).text
    server = a_server(models=[MNIST, {"name": "new", "uri": "gs://bucket/new"}])

    later = config_document(server, observing(document, [], [], served=True))

    awaits = {model["name"]: model["await"] for model in json.loads(later.text)["models"]}
    assert awaits == {"mnist": True, "new": False}


@pytest.mark.parametrize(
    "document",
    ["", "{", "[]", "{}", '{"models": 5}', '{"models": [5, {}, {"name": 1}]}', "null"],
)
def test_whatever_somebody_made_of_the_live_document_it_is_written_anew(document: str) -> None:
    observed = observing(document, [], [], served=True)

    anew = config_document(a_server(), observed)

    assert anew.text == config_document(a_server(), Observed(a_server())).text


# Schemas…


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        pytest.param([], 3, id="nobody has been heard"),
        pytest.param([[1, 2, 3, 4]], 3, id="a newer server"),
        pytest.param([[1, 2, 3], [1, 2]], 2, id="the highest that all accept"),
        pytest.param([[1], [2]], None, id="nothing in common"),
        pytest.param([[9]], None, id="a much newer server"),
    ],
)
def test_the_schema_is_the_highest_that_all_pods_accept(
    accepted: list[list[int]], chosen: int | None
) -> None:
    assert common_schema(accepted, writable=(1, 2, 3)) == chosen


def test_the_schema_stays_while_a_pod_has_not_been_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "modelserver_operator.desired.config_document.WRITABLE_SCHEMAS"
    heard, silent = a_pod("web-1"), a_pod("web-2")
    reports = [a_report(heard, accepted_config_schemas=(1, 2))]
    monkeypatch.setattr(module, (1, 2))

    half = config_document(
        a_server(), observing('{"schemaVersion":1}', [heard, silent], reports, served=True)
    )

    assert json.loads(half.text)["schemaVersion"] == 1


def test_pods_that_accept_no_common_schema_are_refused_in_words() -> None:
    pod = a_pod()
    observed = observing("{}", [pod], [a_report(pod, accepted_config_schemas=(9,))], served=True)

    wanted = desired(a_server(), Defaults("image"), observed)

    (refusal,) = wanted.refusals
    assert refusal.reason == "ConfigRefused"
    assert "neighbouring releases" in refusal.message


def test_what_a_pod_that_is_going_away_accepts_does_not_matter() -> None:
    going = a_pod(deleting=True)
    observed = observing(
        "{}", [going], [a_report(going, accepted_config_schemas=(9,))], served=True
    )

    assert config_document(a_server(), observed).is_understood
