"""Plan: what is written, and above all what is not. `World` is a cluster in memory in which plans
are carried out.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver_operator.api import ModelServer
from modelserver_operator.carry_out import carry_out
from modelserver_operator.cluster.resources import (
    AUTOSCALER,
    CHILDREN,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD_MONITOR,
    SERVICE,
    Resource,
)
from modelserver_operator.desired import Defaults, desired
from modelserver_operator.desired.labels import labels, owner_reference
from modelserver_operator.desired.pod_annotation import Attempt
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Capabilities, ChildKey, Observed, PodSnapshot
from modelserver_operator.plan import Apply, Plan, plan
from modelserver_operator.reports import ConfigError, PodReport
from modelserver_operator.testing.fake_cluster import FakeCluster
from modelserver_operator.testing.observations import MNIST, a_pod, a_report, a_server

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULTS = Defaults("server:1")
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 5}


class World:
    """A cluster with everything that one reconcile after another has made of it."""

    def __init__(self) -> None:
        self.cluster = FakeCluster(serves_pod_monitors=True)
        self.defaults = DEFAULTS
        self.pods: tuple[PodSnapshot, ...] = ()
        self.reports: Mapping[str, PodReport] = {}

    def children(self) -> dict[ChildKey, JsonObject]:
        return {
            ChildKey(kind.kind, name): self.cluster.peek(kind, "shop", name)
            for kind in (*CHILDREN, POD_MONITOR)
            for name in self.cluster.names(kind)
        }

    def observe(self, server: ModelServer) -> Observed:
        monitors = Capabilities(pod_monitor=True)
        return Observed(server, self.children(), self.pods, self.reports, capabilities=monitors)

    def plan(self, server: ModelServer, now: datetime = NOW) -> Plan:
        observed = self.observe(server)
        return plan(desired(server, self.defaults, observed), observed, now)

    def reconcile(self, server: ModelServer) -> Plan:
        """Carry out what is planned, and return it."""
        steps = self.plan(server)
        asyncio.run(carry_out(self.cluster, "shop", replace(steps, pod_annotations=())))
        return steps

    def live(self, resource: Resource, name: str = "web") -> JsonObject:
        return self.cluster.peek(resource, "shop", name)

    def edit(self, resource: Resource, name: str, change: Callable[[JsonObject], object]) -> None:
        self.cluster.edit(resource, "shop", name, change)


@pytest.fixture
def world() -> World:
    return World()


def names(applies: Iterable[Apply]) -> list[tuple[str, str]]:
    return [(step.manifest["kind"], step.manifest["metadata"]["name"]) for step in applies]


# Applying…


def test_children_are_created_unforced_with_what_pods_need_before_the_deployment(
    world: World,
) -> None:
    steps = world.plan(a_server())

    order = [kind for kind, _ in names(steps.applies)]
    assert not any(step.force or step.uid or step.handover for step in steps.applies)
    assert order.index("ConfigMap") < order.index("Deployment")
    assert order.index("ControllerRevision") < order.index("Deployment")


def test_an_existing_child_is_forced_and_named_by_its_uid(world: World) -> None:
    world.reconcile(a_server())
    uid = world.live(DEPLOYMENT)["metadata"]["uid"]

    (step,) = world.plan(a_server(replicas=0)).applies

    assert (step.force, step.uid) == (True, uid)
    assert names([step]) == [("Deployment", "web")]


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 3),
        "suspend": st.booleans(),
        "autoscaling": st.just(AUTOSCALING),
        "networkPolicy": st.just({}),
        "podMonitor": st.builds(lambda enabled: {"enabled": enabled}, st.booleans()),
        "env": st.lists(
            st.builds(lambda name: {"name": name, "value": "1"}, st.sampled_from("ABC")),
            max_size=2,
            unique_by=lambda variable: str(variable["name"]),
        ),
        "models": st.lists(
            st.builds(
                lambda name: {"name": name, "uri": f"pvc://{name}/x"}, st.sampled_from("abc")
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda model: str(model["name"]),
        ),
        "podTemplate": st.sampled_from(
            [{}, {"spec": {"tolerations": [{"operator": "Exists"}], "nodeSelector": {}}}]
        ),
    },
)


@settings(deadline=None, max_examples=40)
@given(st.lists(SPECS, min_size=1, max_size=3))
def test_once_carried_out_nothing_is_left_to_do_whatever_was_there_before(
    specs: list[JsonObject],
) -> None:
    world = World()
    for spec in specs:
        steps = world.reconcile(a_server(**spec))

        assert world.plan(a_server(**spec)) == Plan()
        assert all(step.uid is not None for step in steps.applies if step.force)
        assert all(step.force for step in steps.applies if step.handover is not None)


def _set(*path: Any, to: object) -> Callable[[JsonObject], object]:
    def change(manifest: Any) -> None:
        for step in path[:-1]:
            manifest = manifest[step]
        manifest[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("resource", "name", "change"),
    [
        pytest.param(DEPLOYMENT, "web", _set("spec", "replicas", to=9), id="replicas"),
        pytest.param(DEPLOYMENT, "web", _set("spec", "strategy", "type", to="x"), id="strategy"),
        pytest.param(
            DEPLOYMENT, "web", _set("spec", "template", "spec", "volumes", to=[]), id="volumes"
        ),
        pytest.param(
            DEPLOYMENT,
            "web",
            _set("spec", "template", "spec", "containers", 0, "args", to=["--evil"]),
            id="arguments",
        ),
        pytest.param(SERVICE, "web", _set("spec", "ports", to=[]), id="no ports"),
        pytest.param(
            SERVICE, "web", _set("spec", "ports", 0, "port", to=9000), id="a port's number"
        ),
        pytest.param(
            SERVICE,
            "web",
            lambda live: live["spec"]["ports"].append({"name": "admin", "port": 8502}),
            id="another port",
        ),
        pytest.param(SERVICE, "web", _set("metadata", "labels", to={}), id="labels"),
        pytest.param(SERVICE, "web", _set("metadata", "annotations", to={}), id="our annotation"),
        pytest.param(CONFIG_MAP, "web-config", _set("data", "config.json", to="{}"), id="document"),
        pytest.param(
            CONFIG_MAP, "web-config", _set("metadata", "ownerReferences", to=[]), id="ownership"
        ),
    ],
)
def test_what_somebody_changes_is_put_back(
    world: World, resource: Resource, name: str, change: Callable[[JsonObject], object]
) -> None:
    world.reconcile(a_server())
    before = world.live(resource, name)
    world.edit(resource, name, change)

    steps = world.reconcile(a_server())

    assert names(steps.applies) == [(resource.kind, name)]
    after = world.live(resource, name)
    for part in ("spec", "data"):
        assert after.get(part) == before.get(part)
    assert world.plan(a_server()) == Plan()


def test_what_others_add_is_left_alone(world: World) -> None:
    def add(deployment: JsonObject) -> None:
        deployment["metadata"]["labels"]["team"] = "x"
        template = deployment["spec"]["template"]
        template["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "now"}
        template["spec"]["containers"].append({"name": "mesh", "image": "mesh:1"})

    world.reconcile(a_server())
    world.edit(DEPLOYMENT, "web", add)

    assert world.plan(a_server()) == Plan()


def test_a_child_without_a_spec_is_put_back_too(world: World) -> None:
    world.reconcile(a_server())
    before = world.live(SERVICE)["spec"]
    world.edit(SERVICE, "web", lambda live: live.pop("spec"))

    (step,) = world.reconcile(a_server()).applies

    assert step.reset is None
    assert world.live(SERVICE)["spec"] == before


@pytest.mark.parametrize("resource", [SERVICE, CONTROLLER_REVISION, DEPLOYMENT])
def test_a_deleted_child_is_made_again(world: World, resource: Resource) -> None:
    world.reconcile(a_server())
    (name, *_) = world.cluster.names(resource)
    world.cluster.remove(resource, "shop", name)

    (step,) = world.plan(a_server()).applies

    assert names([step]) == [(resource.kind, name)]
    assert (step.force, step.uid) == (False, None)


def test_a_child_that_is_being_deleted_is_waited_for(world: World) -> None:
    world.reconcile(a_server())
    world.edit(SERVICE, "web", _set("metadata", "deletionTimestamp", to="2026-01-01T00:00:00Z"))

    assert world.plan(a_server()) == Plan()


def test_an_operator_with_another_default_image_has_nothing_to_do(world: World) -> None:
    world.reconcile(a_server())
    world.defaults = Defaults("server:2")

    assert world.plan(a_server()) == Plan()


def test_a_hot_change_applies_the_config_map_and_nothing_else(world: World) -> None:
    world.reconcile(a_server())

    steps = world.plan(a_server(models=[MNIST | {"pollSeconds": 7}]))

    assert names(steps.applies) == [("ConfigMap", "web-config")]
    assert steps.deletes == ()


# Deleting…


def test_what_is_not_asked_for_any_more_is_deleted_by_its_uid(world: World) -> None:
    world.reconcile(a_server(replicas=2, autoscaling=AUTOSCALING))
    uid = world.live(AUTOSCALER)["metadata"]["uid"]

    uids = {leftover.kind: leftover.uid for leftover in world.plan(a_server()).deletes}

    assert uids.keys() == {"PodDisruptionBudget", "HorizontalPodAutoscaler"}
    assert uids["HorizontalPodAutoscaler"] == uid


def test_a_pod_template_that_is_not_used_any_more_is_deleted(world: World) -> None:
    world.reconcile(a_server())
    old = world.cluster.names(CONTROLLER_REVISION)
    changed = a_server(image="server:3")

    steps = world.reconcile(changed)

    assert [(leftover.kind, leftover.name) for leftover in steps.deletes] == [
        ("ControllerRevision", old[0])
    ]
    assert len(world.cluster.names(CONTROLLER_REVISION)) == 1


FOREIGN = {"uid": "other", "kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}
OWNERS = {
    "nobody": [],
    "somebody": [FOREIGN | {"controller": True}],
    "a namesake that was deleted": [owner_reference(a_server()) | {"uid": "before"}],
    "us, but not in control": [owner_reference(a_server()) | {"controller": False}],
}


@settings(deadline=None)
@given(
    kind=st.sampled_from([*CHILDREN, POD_MONITOR]),
    name=st.sampled_from(["web", "web-headless", "web-config", "web-0123456789", "other"]),
    owner=st.sampled_from(sorted(OWNERS)),
    managed_by=st.sampled_from(["modelserver-operator", "somebody"]),
    server_name=st.sampled_from(["web", "another"]),
)
def test_what_is_not_ours_is_never_forced_and_never_deleted(
    kind: Resource, name: str, owner: str, managed_by: str, server_name: str
) -> None:
    world = World()
    marks = labels(server_name) | {"app.kubernetes.io/managed-by": managed_by}
    metadata = {"name": name, "namespace": "shop", "labels": marks}
    theirs = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata | {"ownerReferences": OWNERS[owner]},
        "spec": {},
    }
    uid = world.cluster.put(theirs)["metadata"]["uid"]
    is_adoptable = owner in ("nobody", "us, but not in control") and (managed_by, server_name) == (
        "modelserver-operator",
        "web",
    )

    steps = world.plan(a_server())

    touched = {step.uid for step in steps.applies} | {step.uid for step in steps.deletes}
    created = names(step for step in steps.applies if step.uid is None)
    assert (uid in touched) is is_adoptable
    assert (kind.kind, name) not in created
    assert not (is_adoptable and steps.conflicts)


# Conflicts…


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        pytest.param([], "was made by somebody else: delete or rename it", id="nobody's"),
        pytest.param(
            [FOREIGN | {"controller": True}], "belongs to Deployment x: delete", id="somebody's"
        ),
    ],
)
def test_an_object_that_is_not_ours_is_reported_and_the_rest_goes_on(
    world: World, owners: list[JsonObject], message: str
) -> None:
    metadata = {"name": "web", "namespace": "shop", "ownerReferences": owners}
    world.cluster.put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}})

    steps = world.plan(a_server())

    (conflict,) = steps.conflicts
    assert (conflict.kind, conflict.name) == ("Service", "web")
    assert message in conflict.message
    assert ("Service", "web") not in names(steps.applies)
    assert ("Deployment", "web") in names(steps.applies)


def test_an_object_of_a_deleted_namesake_is_waited_for_and_no_conflict(world: World) -> None:
    owners = OWNERS["a namesake that was deleted"]
    metadata = {"name": "web", "namespace": "shop", "ownerReferences": owners}
    world.cluster.put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}})

    steps = world.plan(a_server())

    assert steps.conflicts == ()
    assert ("Service", "web") not in names(steps.applies)
    assert ("Deployment", "web") in names(steps.applies)


def test_what_an_orphaning_delete_left_behind_is_adopted_with_its_template(world: World) -> None:
    world.reconcile(a_server())
    template = world.live(DEPLOYMENT)["spec"]["template"]
    for key in world.children():
        resource = next(kind for kind in (*CHILDREN, POD_MONITOR) if kind.kind == key.kind)
        world.edit(resource, key.name, _set("metadata", "ownerReferences", to=[]))
    world.defaults = Defaults("server:2")
    reborn = a_server()
    reborn = reborn.model_copy(
        update={"metadata": reborn.metadata.model_copy(update={"uid": "reborn"})}
    )

    steps = world.reconcile(reborn)

    assert len(steps.applies) == len(world.children())
    assert world.live(DEPLOYMENT)["spec"]["template"] == template
    assert world.plan(reborn) == Plan()


# Hands off…


def test_a_paused_resource_is_left_alone(world: World) -> None:
    paused = a_server(annotations={"modelserver.dev/reconcile": "paused"})

    assert world.plan(paused) == Plan()


def test_another_value_of_the_annotation_is_no_pause(world: World) -> None:
    running = a_server(annotations={"modelserver.dev/reconcile": ""})

    assert world.plan(running).applies


def test_the_children_of_a_deleted_resource_are_left_to_the_garbage_collector(
    world: World,
) -> None:
    server = a_server()
    metadata = server.metadata.model_copy(update={"deletion_timestamp": NOW})

    assert world.plan(server.model_copy(update={"metadata": metadata})) == Plan()


# Handing over to an autoscaler…


def test_turning_autoscaling_on_keeps_the_number_of_pods(world: World) -> None:
    world.reconcile(a_server(replicas=3))
    autoscaled = a_server(replicas=3, autoscaling=AUTOSCALING)

    steps = world.reconcile(autoscaled)

    (handover,) = [step.handover for step in steps.applies if step.handover]
    assert handover["spec"] == {"replicas": 3}
    assert world.live(DEPLOYMENT)["spec"]["replicas"] == 3
    assert world.plan(autoscaled) == Plan()


def test_what_an_autoscaler_does_is_left_alone(world: World) -> None:
    world.reconcile(a_server(replicas=3))
    autoscaled = a_server(replicas=3, autoscaling=AUTOSCALING)
    world.reconcile(autoscaled)
    world.edit(DEPLOYMENT, "web", _set("spec", "replicas", to=5))

    assert world.plan(autoscaled) == Plan()
    world.reconcile(autoscaled)
    assert world.live(DEPLOYMENT)["spec"]["replicas"] == 5


def test_turning_autoscaling_off_sets_the_number_that_is_asked_for(world: World) -> None:
    world.reconcile(a_server(autoscaling=AUTOSCALING))
    world.edit(DEPLOYMENT, "web", _set("spec", "replicas", to=5))

    world.reconcile(a_server(replicas=3))

    assert world.live(DEPLOYMENT)["spec"]["replicas"] == 3


def test_resuming_under_an_autoscaler_starts_at_its_minimum(world: World) -> None:
    world.reconcile(a_server(autoscaling=AUTOSCALING, suspend=True))

    world.reconcile(a_server(autoscaling=AUTOSCALING))

    assert world.live(DEPLOYMENT)["spec"]["replicas"] == 2


# Telling pods of a new document…


@pytest.fixture
def serving(world: World) -> World:
    """All is in place, and one pod acts on an older document."""
    world.reconcile(a_server())
    pod = a_pod("web-1")
    world.pods, world.reports = (pod,), {pod.uid: a_report(pod, config_hash="older")}
    return world


def annotated(world: World, value: str) -> None:
    world.pods = tuple(replace(pod, config_hash=value) for pod in world.pods)


def config_hash(world: World) -> str:
    return desired(a_server(), DEFAULTS, world.observe(a_server())).config_hash


def test_a_pod_that_acts_on_an_older_document_is_annotated(serving: World) -> None:
    (patch,) = serving.plan(a_server()).pod_annotations

    assert (patch.name, patch.uid) == ("web-1", "uid-of-web-1")
    assert patch.annotation == "modelserver.dev/config-hash"
    assert patch.value == Attempt(config_hash(serving), 1, NOW).value()


def test_a_pod_is_annotated_again_with_another_value_until_it_reports_the_document(
    serving: World,
) -> None:
    values = []
    for seconds in range(0, 100, 4):
        for patch in serving.plan(a_server(), NOW + timedelta(seconds=seconds)).pod_annotations:
            values.append(patch.value)
            annotated(serving, patch.value)
    pod = serving.pods[0]
    serving.reports = {pod.uid: a_report(pod, config_hash=config_hash(serving))}

    assert len(set(values)) == len(values) == 6  # after 0, 4, 12, 24, 48 and 96 seconds
    assert serving.plan(a_server(), NOW + timedelta(hours=1)) == Plan()


def _refused(world: World) -> None:
    pod = world.pods[0]
    error = ConfigError(config_hash(world), "no such platform")
    world.reports = {pod.uid: a_report(pod, config_hash="older", config_error=error)}


def _unheard(world: World) -> None:
    world.reports = {}


def _going(world: World) -> None:
    world.pods = (replace(world.pods[0], deleting=True),)


def _not_ours(world: World) -> None:
    world.edit(CONFIG_MAP, "web-config", lambda live: live["metadata"].pop("ownerReferences"))
    world.edit(CONFIG_MAP, "web-config", lambda live: live["metadata"].pop("labels"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_refused, id="it has read the newest and refused it"),
        pytest.param(_unheard, id="it has never reported"),
        pytest.param(_going, id="it is going away"),
        pytest.param(_not_ours, id="its ConfigMap is somebody else's"),
    ],
)
def test_a_pod_is_not_annotated_in_vain(serving: World, change: Callable[[World], None]) -> None:
    change(serving)

    assert serving.plan(a_server()).pod_annotations == ()


def test_a_pod_that_refused_an_older_document_is_told_of_the_newest(serving: World) -> None:
    pod = serving.pods[0]
    error = ConfigError("another", "no such platform")
    serving.reports = {pod.uid: a_report(pod, config_hash="older", config_error=error)}

    assert len(serving.plan(a_server()).pod_annotations) == 1
