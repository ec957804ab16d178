"""What every `Cluster` promises: the fake, and the real client against a real API server."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from modelserver_operator.cluster.base import Cluster
from modelserver_operator.cluster.kubernetes_client import connect
from modelserver_operator.cluster.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD_MONITOR,
    SERVICE,
)
from modelserver_operator.errors import ConflictError, NotFoundError
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.fake_api_server import FakeApiServer
from modelserver_operator.testing.fake_cluster import FakeCluster

pytestmark = pytest.mark.asyncio

OURS, THEIRS = "modelserver-operator", "somebody-else"


@pytest_asyncio.fixture(
    params=["fake", "fake server", pytest.param("real", marks=pytest.mark.cluster)]
)
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    if request.param == "fake":
        yield FakeCluster()
    elif request.param == "fake server":
        async with (
            FakeApiServer() as server,
            connect(server.write_kubeconfig(tmp_path)) as client,
        ):
            yield client
    else:
        async with connect(request.getfixturevalue("control_plane").kubeconfig) as real:
            yield real


@pytest.fixture
def name() -> str:
    return f"contract-{uuid.uuid4().hex[:10]}"


def config_map(name: str, **data: str) -> JsonObject:
    labels = {"contract": name}
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployment(name: str, *containers: JsonObject, **spec: object) -> JsonObject:
    labels = {"contract": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": list(containers)}},
            **spec,
        },
    }


def container(name: str, image: str = "one", **env: str) -> JsonObject:
    variables = [{"name": key, "value": value} for key, value in env.items()]
    return {"name": name, "image": image, "env": variables}


def containers(manifest: JsonObject) -> dict[str, JsonObject]:
    return {item["name"]: item for item in manifest["spec"]["template"]["spec"]["containers"]}


async def test_what_was_applied_can_be_read(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name, key="value"), manager=OURS)

    live = await cluster.get(CONFIG_MAP, "default", name)

    assert (live["apiVersion"], live["kind"], live["data"]) == ("v1", "ConfigMap", {"key": "value"})
    assert live["metadata"]["uid"]
    assert live["metadata"]["resourceVersion"]


async def test_an_apply_answers_with_the_object_as_it_is(cluster: Cluster, name: str) -> None:
    answer = await cluster.apply(config_map(name, key="value"), manager=OURS)

    assert answer["metadata"]["uid"] == (await _get(cluster, name))["metadata"]["uid"]


async def test_what_does_not_exist_is_not_found(cluster: Cluster, name: str) -> None:
    with pytest.raises(NotFoundError, match=name):
        await cluster.get(CONFIG_MAP, "default", name)
    with pytest.raises(NotFoundError):
        await cluster.patch(CONFIG_MAP, "default", name, {"data": {}})
    with pytest.raises(NotFoundError):
        await cluster.delete(CONFIG_MAP, "default", name, uid="any")
    with pytest.raises(NotFoundError):
        await cluster.apply(deployment(name), manager=OURS, subresource="status")


async def test_applying_the_same_again_changes_nothing(cluster: Cluster, name: str) -> None:
    first = await cluster.apply(config_map(name, key="value"), manager=OURS)

    second = await cluster.apply(config_map(name, key="value"), manager=OURS)

    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_a_change_gives_a_new_resource_version_under_the_same_uid(
    cluster: Cluster, name: str
) -> None:
    first = await cluster.apply(config_map(name, key="value"), manager=OURS)

    second = await cluster.apply(config_map(name, key="other"), manager=OURS)

    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    assert second["metadata"]["uid"] == first["metadata"]["uid"]


async def test_a_field_that_is_not_applied_any_more_goes(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name, kept="1", dropped="2"), manager=OURS)

    await cluster.apply(config_map(name, kept="1"), manager=OURS)

    assert (await _get(cluster, name))["data"] == {"kept": "1"}


def owned_by(manager: str, live: JsonObject) -> JsonObject:
    entries = live["metadata"]["managedFields"]
    applied = [
        item for item in entries if (item["manager"], item["operation"]) == (manager, "Apply")
    ]
    return applied[0]["fieldsV1"] if applied else {}


async def test_an_object_tells_who_owns_which_field(cluster: Cluster, name: str) -> None:
    ours = container("server", A="1") | {"ports": [{"containerPort": 80, "protocol": "TCP"}]}
    await cluster.apply(deployment(name, ours), manager=OURS)
    await cluster.apply(deployment(name, container("sidecar")), manager=THEIRS)

    live = await cluster.get(DEPLOYMENT, "default", name)

    pod_spec = owned_by(OURS, live)["f:spec"]["f:template"]["f:spec"]
    server = pod_spec["f:containers"]['k:{"name":"server"}']
    assert pod_spec["f:containers"].keys() == {'k:{"name":"server"}'}
    assert server["f:image"] == {}
    assert server["f:env"]['k:{"name":"A"}'].keys() == {".", "f:name", "f:value"}
    assert server["f:ports"].keys() == {'k:{"containerPort":80,"protocol":"TCP"}'}


async def test_whoever_changes_a_field_takes_it_from_its_owner(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name, a="1", b="1"), manager=OURS)

    await cluster.patch(CONFIG_MAP, "default", name, {"data": {"a": "2"}})

    assert owned_by(OURS, await _get(cluster, name))["f:data"] == {"f:b": {}}


async def test_fields_of_others_are_left_alone(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name, ours="1"), manager=OURS)
    await cluster.apply(config_map(name, theirs="2"), manager=THEIRS)

    await cluster.apply(config_map(name, ours="3"), manager=OURS)

    assert (await _get(cluster, name))["data"] == {"ours": "3", "theirs": "2"}


async def test_a_field_that_others_own_too_stays_when_we_let_go(
    cluster: Cluster, name: str
) -> None:
    await cluster.apply(config_map(name, shared="1", ours="1"), manager=OURS)
    await cluster.apply(config_map(name, shared="1"), manager=THEIRS)

    await cluster.apply(config_map(name, ours="1"), manager=OURS)

    assert (await _get(cluster, name))["data"] == {"shared": "1", "ours": "1"}


async def test_an_apply_conflicts_with_the_owner_of_a_field(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name, key="theirs"), manager=THEIRS)

    with pytest.raises(ConflictError):
        await cluster.apply(config_map(name, key="ours"), manager=OURS)

    assert (await _get(cluster, name))["data"] == {"key": "theirs"}


async def test_force_takes_a_field_over(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name, key="theirs"), manager=THEIRS)

    await cluster.apply(config_map(name, key="ours"), manager=OURS, force=True)
    await cluster.apply(config_map(name), manager=THEIRS)

    assert (await _get(cluster, name))["data"] == {"key": "ours"}


async def test_a_field_that_somebody_patched_is_theirs(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name, key="ours"), manager=OURS)
    await cluster.patch(CONFIG_MAP, "default", name, {"data": {"key": "drift"}})

    with pytest.raises(ConflictError):
        await cluster.apply(config_map(name, key="ours"), manager=OURS)
    await cluster.apply(config_map(name, key="ours"), manager=OURS, force=True)

    assert (await _get(cluster, name))["data"] == {"key": "ours"}


async def test_an_apply_to_another_uid_conflicts(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name), manager=OURS)
    other = config_map(name)
    other["metadata"]["uid"] = "of-its-predecessor"

    with pytest.raises(ConflictError):
        await cluster.apply(other, manager=OURS, force=True)


async def test_an_apply_to_a_uid_that_is_gone_creates_nothing(cluster: Cluster, name: str) -> None:
    gone = config_map(name)
    gone["metadata"]["uid"] = "of-its-predecessor"

    with pytest.raises(ConflictError):
        await cluster.apply(gone, manager=OURS, force=True)
    with pytest.raises(NotFoundError):
        await cluster.get(CONFIG_MAP, "default", name)


async def test_an_apply_to_the_observed_uid_is_done(cluster: Cluster, name: str) -> None:
    live = await cluster.apply(config_map(name, key="1"), manager=OURS)
    again = config_map(name, key="2")
    again["metadata"]["uid"] = live["metadata"]["uid"]

    assert (await cluster.apply(again, manager=OURS, force=True))["data"] == {"key": "2"}


async def test_containers_of_others_stay_beside_ours(cluster: Cluster, name: str) -> None:
    await cluster.apply(deployment(name, container("server")), manager=OURS)
    await cluster.apply(deployment(name, container("sidecar")), manager=THEIRS)

    await cluster.apply(deployment(name, container("server", "two")), manager=OURS)

    live = containers(await cluster.get(DEPLOYMENT, "default", name))
    assert {key: item["image"] for key, item in live.items()} == {"server": "two", "sidecar": "one"}


async def test_environment_variables_are_owned_one_by_one(cluster: Cluster, name: str) -> None:
    await cluster.apply(deployment(name, container("server", A="1", B="1")), manager=OURS)
    await cluster.apply(deployment(name, container("server", C="1")), manager=THEIRS)

    await cluster.apply(deployment(name, container("server", A="2")), manager=OURS)

    live = containers(await cluster.get(DEPLOYMENT, "default", name))["server"]
    assert {item["name"]: item["value"] for item in live["env"]} == {"A": "2", "C": "1"}


async def test_a_generation_counts_changes_of_the_spec_alone(cluster: Cluster, name: str) -> None:
    first = await cluster.apply(deployment(name, container("server"), paused=True), manager=OURS)
    patch = {"metadata": {"labels": {"a": "b"}}}
    labelled = await cluster.patch(DEPLOYMENT, "default", name, patch)
    changed = await cluster.patch(DEPLOYMENT, "default", name, {"spec": {"minReadySeconds": 5}})

    generations = [item["metadata"]["generation"] for item in (first, labelled, changed)]

    assert generations == [1, 1, 2]


async def test_an_apply_cannot_touch_the_status(cluster: Cluster, name: str) -> None:
    manifest = deployment(name, container("server"), paused=True)

    await cluster.apply(manifest | {"status": {"collisionCount": 7}}, manager=OURS)

    live = await cluster.get(DEPLOYMENT, "default", name)
    assert "collisionCount" not in live.get("status", {})


async def test_a_status_is_applied_alone(cluster: Cluster, name: str) -> None:
    await cluster.apply(deployment(name, container("server"), paused=True), manager=OURS)
    identity = deployment(name)
    del identity["spec"]

    status = {"conditions": [{"type": "Odd", "status": "True"}]}
    applied = await cluster.apply(
        identity | {"status": status}, manager=OURS, force=True, subresource="status"
    )

    assert "Odd" in [item["type"] for item in applied["status"]["conditions"]]
    assert containers(applied).keys() == {"server"}


async def test_a_merge_patch_changes_and_removes(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name, changed="1", removed="1", kept="1"), manager=OURS)

    patch = {"data": {"changed": "2", "removed": None}}
    answer = await cluster.patch(CONFIG_MAP, "default", name, patch)

    assert answer["data"] == {"changed": "2", "kept": "1"}


@pytest.mark.parametrize("precondition", ["uid", "resourceVersion"])
async def test_a_patch_of_another_object_conflicts(
    cluster: Cluster, name: str, precondition: str
) -> None:
    await cluster.apply(config_map(name, key="0"), manager=OURS)
    await cluster.apply(config_map(name, key="1"), manager=OURS)

    patch = {"metadata": {precondition: "1"}, "data": {"key": "2"}}
    with pytest.raises(ConflictError):
        await cluster.patch(CONFIG_MAP, "default", name, patch)

    assert (await _get(cluster, name))["data"] == {"key": "1"}


async def test_a_delete_needs_the_right_uid(cluster: Cluster, name: str) -> None:
    live = await cluster.apply(config_map(name), manager=OURS)

    with pytest.raises(ConflictError):
        await cluster.delete(CONFIG_MAP, "default", name, uid="another")
    await cluster.delete(CONFIG_MAP, "default", name, uid=live["metadata"]["uid"])

    with pytest.raises(NotFoundError):
        await cluster.get(CONFIG_MAP, "default", name)


async def test_an_object_is_created_once(cluster: Cluster, name: str) -> None:
    await cluster.create(config_map(name, key="1"))

    with pytest.raises(ConflictError):
        await cluster.create(config_map(name, key="2"))

    assert (await _get(cluster, name))["data"] == {"key": "1"}


@pytest.mark.parametrize("namespace", ["default", None])
async def test_a_list_has_what_matches_its_selector(
    cluster: Cluster, name: str, namespace: str | None
) -> None:
    await cluster.apply(config_map(name, key="1"), manager=OURS)
    await cluster.apply(config_map(f"{name}-other"), manager=OURS)

    found = await cluster.list_objects(CONFIG_MAP, namespace, f"contract={name}")

    assert [(item["kind"], item["metadata"]["name"]) for item in found] == [("ConfigMap", name)]
    assert found[0]["data"] == {"key": "1"}


async def test_a_list_of_another_namespace_is_empty(cluster: Cluster, name: str) -> None:
    await cluster.apply(config_map(name), manager=OURS)

    selector = f"contract={name}"
    assert await cluster.list_objects(CONFIG_MAP, "kube-node-lease", selector) == []
    listing = cluster.list_metadata(CONFIG_MAP, "kube-node-lease", selector)
    assert [item async for item in listing] == []


@pytest.mark.parametrize("form", ["contract={}", "contract"], ids=["equal", "exists"])
async def test_metadata_is_listed_with_versions_and_labels(
    cluster: Cluster, name: str, form: str
) -> None:
    live = await cluster.apply(config_map(name, key="1"), manager=OURS)

    listing = cluster.list_metadata(CONFIG_MAP, None, form.format(name))
    found = {item["name"]: item async for item in listing}

    for field in ("uid", "resourceVersion", "labels", "namespace"):
        assert found[name][field] == live["metadata"][field]


async def test_a_cluster_tells_which_kinds_it_serves(cluster: Cluster) -> None:
    assert await cluster.serves(SERVICE)
    assert await cluster.serves(DEPLOYMENT)
    assert not await cluster.serves(POD_MONITOR)


async def _get(cluster: Cluster, name: str) -> JsonObject:
    return await cluster.get(CONFIG_MAP, "default", name)
