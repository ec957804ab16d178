from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from modelserver_operator.api import (
    All,
    Condition,
    Latest,
    ModelServer,
    ModelServerStatus,
    VersionPolicy,
    VersionStatus,
)
from modelserver_operator.errors import InvalidSpecError
from modelserver_operator.json_types import JsonObject


def manifest(**spec: object) -> JsonObject:
    models = [{"name": "mnist", "uri": "pvc://models/mnist"}]
    return {"metadata": {"name": "mnist"}, "spec": {"models": models, **spec}}


def test_a_manifest_with_a_name_and_a_uri_is_enough() -> None:
    server = ModelServer.parse(manifest())

    (model,) = server.spec.models
    assert model.name == "mnist"
    assert model.platform == "tensorflow"
    assert model.version_policy == VersionPolicy(latest=Latest(count=1))
    assert model.transition_policy == "AvailabilityPreserving"
    assert model.poll_seconds is None
    assert server.spec.replicas == 1
    assert server.status == ModelServerStatus()


def test_fields_are_read_by_their_names_in_json() -> None:
    server = ModelServer.parse(
        manifest(
            autoscaling={"maxReplicas": 3, "targetCPUUtilizationPercentage": 70},
            credentialsSecretRef={"name": "key"},
        )
    )

    assert server.spec.autoscaling is not None
    assert server.spec.autoscaling.target_cpu_utilization_percentage == 70
    assert server.spec.credentials_secret_ref is not None
    assert server.spec.credentials_secret_ref.key == "key.json"


def test_fields_of_a_newer_operator_are_ignored() -> None:
    assert ModelServer.parse(manifest(telepathy={"range": 3})).spec == (
        ModelServer.parse(manifest()).spec
    )


def test_a_version_policy_that_is_given_replaces_the_default() -> None:
    document = manifest()
    document["spec"]["models"][0]["versionPolicy"] = {"all": {}}

    (model,) = ModelServer.parse(document).spec.models

    assert model.version_policy == VersionPolicy(all=All())
    assert model.version_policy.latest is None


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"models": [{"name": "mnist"}]}, "spec.models.0.uri: Field required"),
        ({"models": []}, "spec.models: Tuple should have at least 1 item"),
        ({"replicas": "many"}, "spec.replicas: Input should be a valid integer"),
        ({"gpu": {"count": 65}}, "spec.gpu.count: Input should be less than or equal to 64"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(spec: JsonObject, sentence: str) -> None:
    with pytest.raises(InvalidSpecError) as error:
        ModelServer.parse(manifest(**spec))

    assert str(error.value).startswith(sentence)


def test_what_is_no_object_at_all_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="valid dictionary"):
        ModelServer.parse(None)


def test_a_status_that_cannot_be_read_is_empty_and_the_spec_still_counts() -> None:
    document = manifest() | {"status": {"conditions": "none"}}

    server = ModelServer.parse(document)

    assert server.status == ModelServerStatus()
    assert server.spec.models[0].name == "mnist"


def test_a_status_that_can_be_read_is_kept() -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }

    server = ModelServer.parse(manifest() | {"status": {"conditions": [condition]}})

    assert server.status.conditions[0].reason == "Serving"
    assert server.status.to_json()["conditions"] == [condition | {"message": ""}]


def test_nothing_can_be_changed_in_place() -> None:
    server = ModelServer.parse(manifest())

    with pytest.raises(ValidationError, match="frozen"):
        server.spec.replicas = 2  # type: ignore[misc]


def test_messages_that_are_too_long_are_cut_with_an_ellipsis() -> None:
    version = VersionStatus(version=1, message="x" * 300)
    condition = Condition(
        type="Ready",
        status="False",
        reason="Because",
        message="y" * 1025,
        last_transition_time=datetime(2026, 1, 1, tzinfo=UTC),
    )

    assert version.message == "x" * 255 + "…"
    assert condition.message == "y" * 1023 + "…"


def test_words_of_pods_that_are_too_long_are_cut_so_that_they_can_be_stored() -> None:
    version = VersionStatus(version=1, reason="R" * 70, labels=("l" * 70,))

    assert version.reason == "R" * 62 + "…"
    assert len(version.labels[0]) == 63


def test_a_message_that_just_fits_is_left_as_it_is() -> None:
    assert VersionStatus(version=1, message="x" * 256).message == "x" * 256


def test_times_are_kept_in_whole_seconds_of_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    moment = datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=berlin)

    version = VersionStatus(version=1, available_time=moment)

    assert version.to_json()["availableTime"] == "2026-01-02T02:04:05Z"
    assert VersionStatus.parse(version.to_json()) == version


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        VersionStatus(version=1, available_time=datetime(2026, 1, 2))


def test_what_is_written_reads_back_as_the_same() -> None:
    server = ModelServer.parse(
        manifest(
            resources={"limits": {"cpu": 2, "memory": "8Gi"}},
            podTemplate={"spec": {"containers": [{"name": "sidecar"}]}},
            cache={"sizeLimit": "10Gi"},
        )
    )

    assert ModelServer.parse(server.to_json()) == server
