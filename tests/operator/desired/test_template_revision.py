"""Keeping pod templates as they were rendered."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver_operator.api import ModelServerSpec
from modelserver_operator.desired import Defaults, desired
from modelserver_operator.desired.labels import owner_reference
from modelserver_operator.desired.template_revision import (
    cold_fields,
    cold_hash,
    template_revision,
)
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ChildKey, ClaimSnapshot, Observed
from modelserver_operator.testing.observations import MNIST, a_server

DEFAULTS = Defaults("server:1")

# A value for every field of the spec, other than the one it has where nothing is said.
COLD: JsonObject = {
    "image": "other",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "a"}],
    "resources": {"limits": {"cpu": 1}},
    "gpu": {"count": 1},
    "credentialsSecretRef": {"name": "key"},
    "env": [{"name": "A", "value": "b"}],
    "serviceAccountName": "a",
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1}],
    "priorityClassName": "a",
    "runtimeClassName": "a",
    "cache": {"sizeLimit": "1Gi"},
    "podTemplate": {"spec": {"dnsPolicy": "Default"}},
}
HOT: JsonObject = {
    "replicas": 5,
    "autoscaling": {"maxReplicas": 3},
    "suspend": True,
    "networkPolicy": {},
    "podMonitor": {"enabled": False},
}
HOT_IN_MODEL: JsonObject = {
    "uri": "pvc://models/elsewhere",
    "platform": "lookup",
    "versionPolicy": {"all": {}},
    "labels": [{"name": "stable", "version": 1}],
    "transitionPolicy": "ResourcePreserving",
    "pollSeconds": 5,
    "readyMarker": "_SUCCESS",
    "batching": {"maxBatchSize": 4},
    "rollout": {"steps": [{"weight": 5}]},
}


def some(fields: JsonObject) -> st.SearchStrategy[JsonObject]:
    return st.fixed_dictionaries(
        {}, optional={key: st.just(value) for key, value in fields.items()}
    )


def with_kept(server_spec: JsonObject, defaults: Defaults) -> Observed:
    """What is observed once the template of a server has been kept."""
    server = a_server(**server_spec)
    manifest = template_revision(server, defaults, Observed(server)).manifest
    key = ChildKey("ControllerRevision", manifest["metadata"]["name"])
    return Observed(server, children={key: manifest})


def test_the_table_of_this_test_names_every_field_of_the_spec() -> None:
    aliases = {field.alias for field in ModelServerSpec.model_fields.values()}

    assert aliases == COLD.keys() | HOT.keys() | {"models"}
    assert len(cold_fields()) == len(COLD)


@settings(deadline=None)
@given(some(COLD), some(HOT), some(HOT_IN_MODEL))
def test_hot_changes_never_change_the_template(
    cold: JsonObject, hot: JsonObject, hot_in_model: JsonObject
) -> None:
    plain = a_server(**cold)
    changed = a_server(models=[MNIST | hot_in_model], **cold, **hot)

    assert cold_hash(changed) == cold_hash(plain)
    assert (
        template_revision(changed, DEFAULTS, Observed(changed)).template
        == template_revision(plain, DEFAULTS, Observed(plain)).template
    )


@pytest.mark.parametrize("field", COLD)
def test_every_cold_field_changes_the_hash(field: str) -> None:
    assert cold_hash(a_server(**{field: COLD[field]})) != cold_hash(a_server())


@pytest.mark.parametrize(
    ("models", "is_cold"),
    [
        pytest.param([MNIST, {"name": "b", "uri": "pvc://models/b"}], False, id="same claim"),
        pytest.param([MNIST, {"name": "b", "uri": "gs://bucket/b"}], False, id="a bucket"),
        pytest.param([MNIST, {"name": "b", "uri": "pvc://more/b"}], True, id="another claim"),
        pytest.param([{"name": "mnist", "uri": "gs://bucket/b"}], True, id="no claim any more"),
    ],
)
def test_only_the_set_of_claims_is_cold_about_models(
    models: list[JsonObject], is_cold: bool
) -> None:
    assert (cold_hash(a_server(models=models)) != cold_hash(a_server())) is is_cold


def test_the_order_of_models_does_not_matter() -> None:
    models = [MNIST, {"name": "b", "uri": "pvc://more/b"}]

    assert cold_hash(a_server(models=models)) == cold_hash(a_server(models=models[::-1]))


@settings(deadline=None)
@given(some(COLD), some(HOT))
def test_an_operator_with_other_defaults_uses_the_kept_template(
    cold: JsonObject, hot: JsonObject
) -> None:
    observed = with_kept(cold, DEFAULTS)
    newer = replace(DEFAULTS, server_image="server:2", image_pull_secrets=("new",))

    before = desired(a_server(**cold), DEFAULTS, observed)
    after = desired(a_server(**cold, **hot), newer, observed)

    assert _template(after.children) == _template(before.children)


def test_a_kept_template_is_used_as_it_is_whatever_this_release_would_render() -> None:
    observed = with_kept({}, DEFAULTS)
    (revision,) = observed.children.values()
    revision["data"]["template"]["spec"]["renderedBy"] = "an older release"

    wanted = desired(a_server(), DEFAULTS, observed)

    assert _template(wanted.children)["spec"]["renderedBy"] == "an older release"


def test_pods_that_were_started_without_a_variable_of_the_cache_are_not_replaced_for_it() -> None:
    observed = with_kept({"cache": {"sizeLimit": "1Gi"}}, DEFAULTS)
    (revision,) = observed.children.values()
    (container,) = revision["data"]["template"]["spec"]["containers"]
    container["env"] = [each for each in container["env"] if "CACHE" not in each["name"]]

    wanted = desired(observed.server, DEFAULTS, observed)

    (kept,) = _template(wanted.children)["spec"]["containers"]
    assert [each["name"] for each in kept["env"]] == ["POD_NAME", "POD_NAMESPACE", "POD_UID"]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda live: live.pop("data"), id="nothing in it"),
        pytest.param(lambda live: live["data"].update(coldHash="x"), id="another hash"),
        pytest.param(lambda live: live["data"].pop("template"), id="no template"),
        pytest.param(
            lambda live: live["metadata"].update(
                ownerReferences=[owner_reference(a_server()) | {"uid": "somebody"}]
            ),
            id="of another owner",
        ),
    ],
)
def test_a_revision_that_is_not_ours_or_not_whole_is_not_used(spoil: Any) -> None:
    observed = with_kept({}, DEFAULTS)
    (revision,) = observed.children.values()
    spoil(revision)
    newer = replace(DEFAULTS, server_image="server:2")

    template = template_revision(a_server(), newer, observed).template

    assert template["spec"]["containers"][0]["image"] == "server:2"


def test_a_cold_change_renders_anew_with_what_the_operator_has_now() -> None:
    observed = with_kept({}, DEFAULTS)
    newer = replace(DEFAULTS, server_image="server:2")
    changed = a_server(env=[{"name": "A", "value": "b"}])

    revision = template_revision(changed, newer, observed)

    assert revision.template["spec"]["containers"][0]["image"] == "server:2"
    assert revision.manifest["metadata"]["name"] == f"web-{revision.hash[:10]}"


def test_how_claims_can_be_mounted_is_no_part_of_the_template() -> None:
    server = a_server()
    seen = Observed(server, claims={"models": ClaimSnapshot(("ReadWriteOnce",), "Bound")})

    assert (
        desired(server, DEFAULTS, seen).template_hash
        == desired(server, DEFAULTS, Observed(server)).template_hash
    )


def test_the_hashes_are_for_ever() -> None:
    # If this fails, the change restarts every pod of every user: find another way.
    everything = a_server(**COLD)

    assert cold_hash(a_server()).startswith("1fec248eae")
    assert cold_hash(everything).startswith("ce15f70129")


def _template(children: tuple[JsonObject, ...]) -> JsonObject:
    (deployment,) = (child for child in children if child["kind"] == "Deployment")
    return dict(deployment["spec"]["template"])
