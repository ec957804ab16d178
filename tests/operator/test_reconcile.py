"""Whole reconciliations: a cluster and pods in memory, everything else as it runs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import wraps

import pytest

from modelserver_operator.api import Condition, Metadata, ModelServerStatus
from modelserver_operator.cluster.resources import (
    AUTOSCALER,
    CHILDREN,
    CLAIM,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    MODEL_SERVER,
    POD,
    POD_MONITOR,
    SERVICE,
    Resource,
)
from modelserver_operator.desired import Defaults
from modelserver_operator.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    UnavailableError,
)
from modelserver_operator.events import EventNote
from modelserver_operator.gather import Gatherer
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Capabilities
from modelserver_operator.polling import PodPoller
from modelserver_operator.reconcile import Reconciler, Round
from modelserver_operator.testing.fake_cluster import FakeCluster
from modelserver_operator.testing.fake_pods import FakePods
from modelserver_operator.testing.virtual_time import run_in_virtual_time
from modelserver_operator.work_queue import Key

NS = "team"
KEY = Key(NS, "mnist")
LABELS = {"modelserver.dev/name": "mnist"}


class Events:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def record(self, about: Metadata, notes: Iterator[EventNote]) -> None:
        self.reasons += [str(note.reason) for note in notes]


class World:
    """A ModelServer's surroundings, with the reconciler that looks after it."""

    def __init__(self, *, pod_monitors: bool = False) -> None:
        self.cluster = FakeCluster(serves_pod_monitors=pod_monitors)
        self.pods = FakePods()
        self.events = Events()
        self.woken: list[Key] = []
        self.poller = PodPoller(self.pods, self.woken.append, poll_seconds=4)
        self.capabilities = Capabilities(pod_monitor=pod_monitors)
        self._started = asyncio.get_running_loop().time()
        self._reconciler = self.operator("registry/modelserver:1")
        self._polling: asyncio.Task[None] | None = None

    def operator(self, image: str) -> Reconciler:
        gatherer = Gatherer(self.cluster, self.poller)
        defaults = Defaults(server_image=image)
        return Reconciler(self.cluster, gatherer, defaults, self.events, self.now)

    def now(self) -> datetime:
        elapsed = asyncio.get_running_loop().time() - self._started
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=elapsed)

    def upgrade(self, image: str) -> None:
        self._reconciler = self.operator(image)

    async def reconcile(self) -> Round:
        return await self._reconciler.reconcile(KEY, self.capabilities)

    async def settle(self) -> Round:
        """Reconcile until that changes nothing any more."""
        for _ in range(10):
            writes = len(self.cluster.writes)
            outcome = await self.reconcile()
            if len(self.cluster.writes) == writes:
                return outcome
        raise AssertionError(f"it does not come to rest: {self.cluster.writes[-5:]}")

    async def poll(self) -> None:
        """Let every pod be asked at least once."""
        async with asyncio.TaskGroup() as tasks:
            polling = tasks.create_task(self.poller.run())
            await asyncio.sleep(10)
            polling.cancel()

    # What is in it…

    def create(self, name: str = "mnist", **spec: object) -> JsonObject:
        models = [{"name": "mnist", "uri": "pvc://models/mnist"}]
        return self.cluster.put(model_server(name, {"models": models, **spec}))

    def edit_spec(self, **changes: object) -> None:
        self.cluster.edit(MODEL_SERVER, NS, "mnist", lambda live: live["spec"].update(changes))

    def annotate(self, **annotations: str) -> None:
        def change(live: JsonObject) -> None:
            live["metadata"].setdefault("annotations", {}).update(
                {
                    f"modelserver.dev/{name.replace('_', '-')}": text
                    for name, text in annotations.items()
                }
            )

        self.cluster.edit(MODEL_SERVER, NS, "mnist", change)

    def peek(self, resource: Resource, name: str = "mnist") -> JsonObject:
        return self.cluster.peek(resource, NS, name)

    def add_pod(self, name: str, ip: str = "", *, ready: bool = False) -> str:
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        status = {"phase": "Running", "podIP": ip, "conditions": conditions}
        metadata = {"name": name, "namespace": NS, "labels": LABELS}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}
        uid: str = self.cluster.put(pod)["metadata"]["uid"]
        return uid

    def add_claim(self) -> None:
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models", "namespace": NS},
            "spec": {"accessModes": ["ReadWriteMany"]},
            "status": {"phase": "Bound"},
        }
        self.cluster.put(claim)

    def serve(self, ip: str, uid: str, config_hash: str, state: str = "Available") -> None:
        """Let the pod at `ip` report one version of mnist."""
        path = "/mnt/modelserver/claims/models/mnist"
        versions = [{"version": 1, "state": state, "labels": []}]
        source = {"accessible": True}
        model = {"name": "mnist", "basePath": path, "source": source, "versions": versions}
        report = {"podUid": uid, "configHash": config_hash, "ready": True, "models": [model]}
        self.pods.report(ip, report)

    @property
    def config_hash(self) -> str:
        import hashlib

        document = self.peek(CONFIG_MAP, "mnist-config")["data"]["config.json"]
        return hashlib.sha256(document.encode()).hexdigest()[:16]

    @property
    def status(self) -> ModelServerStatus:
        return ModelServerStatus.parse(self.peek(MODEL_SERVER).get("status", {}))

    def condition(self, aspect: str) -> Condition | None:
        return next((item for item in self.status.conditions if item.type == aspect), None)

    def reason(self, aspect: str) -> str | None:
        found = self.condition(aspect)
        return found.reason if found is not None else None

    def written(self, since: int) -> list[str]:
        """What has been written after the first `since` writes: `KIND/NAME`."""
        return [f"{call.kind}/{call.name}" for call in self.cluster.writes[since:]]


def model_server(name: str, spec: JsonObject) -> JsonObject:
    metadata = {"name": name, "namespace": NS}
    identity = {"apiVersion": "modelserver.dev/v1alpha1", "kind": "ModelServer"}
    return identity | {"metadata": metadata, "spec": spec}


Scenario = Callable[[World], Awaitable[None]]


def scenario(test: Scenario) -> Callable[[], None]:
    """A test in a world of its own, in virtual time."""

    async def run() -> None:
        await test(World())

    @wraps(test)
    def run_test() -> None:
        run_in_virtual_time(run())

    # Otherwise pytest takes the world for a fixture.
    del run_test.__wrapped__  # type: ignore[attr-defined]
    return run_test


async def serving(world: World, replicas: int = 1) -> None:
    """Bring the world to where everything works."""
    world.add_claim()
    world.create(replicas=replicas)
    await world.settle()
    for number in range(1, replicas + 1):
        uid = world.add_pod(f"mnist-{number}", f"10.0.0.{number}", ready=True)
        world.serve(f"10.0.0.{number}", uid, world.config_hash)
    roll_out(world, replicas)
    await world.settle()
    await world.poll()
    await world.settle()


def roll_out(world: World, replicas: int) -> None:
    def change(live: JsonObject) -> None:
        counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
        live["status"] = dict.fromkeys(counts, replicas)
        live["status"]["observedGeneration"] = live["metadata"]["generation"]
        live["status"]["conditions"] = [{"type": "Available", "status": "True"}]

    world.cluster.edit(DEPLOYMENT, NS, "mnist", change)


# Creating…


@scenario
async def test_a_new_model_server_gets_its_children_and_a_status(world: World) -> None:
    world.create(replicas=2)

    await world.reconcile()

    assert world.cluster.names(DEPLOYMENT) == ["mnist"]
    assert world.cluster.names(SERVICE) == ["mnist", "mnist-headless"]
    assert world.cluster.names(CONFIG_MAP) == ["mnist-config"]
    assert world.cluster.names(DISRUPTION_BUDGET) == ["mnist"]
    assert len(world.cluster.names(CONTROLLER_REVISION)) == 1
    assert {"Ready", "SourceAccessible", "WorkloadAvailable", "VersionsConverged"} <= {
        condition.type for condition in world.status.conditions
    }


@scenario
async def test_every_child_is_owned_by_its_model_server(world: World) -> None:
    uid = world.create(replicas=2)["metadata"]["uid"]

    await world.settle()

    for resource in CHILDREN:
        for name in world.cluster.names(resource):
            owner = world.peek(resource, name)["metadata"]["ownerReferences"][0]
            assert (owner["uid"], owner["controller"]) == (uid, True)


@scenario
async def test_the_first_status_is_there_though_nothing_can_be_created(world: World) -> None:
    world.create()
    refusal = UnavailableError("etcd is slow")
    world.cluster.refuse(refusal, lambda call: call.verb == "apply")

    with pytest.raises(UnavailableError):
        await world.reconcile()

    assert world.reason("Ready") is not None


@scenario
async def test_what_pods_report_becomes_the_status(world: World) -> None:
    await serving(world)

    assert world.reason("Ready") == "Serving"
    assert world.status.serving_versions == "mnist:1"
    assert world.status.models[0].versions[0].available_replicas == 1


@scenario
async def test_a_pod_monitor_is_made_where_the_cluster_knows_them(world: World) -> None:
    knowing = World(pod_monitors=True)
    for each in (world, knowing):
        each.create()
        await each.settle()

    assert world.cluster.names(POD_MONITOR) == []
    assert knowing.cluster.names(POD_MONITOR) == ["mnist"]


# Resting…


@scenario
async def test_a_hundred_idle_reconciles_write_nothing(world: World) -> None:
    await serving(world, replicas=3)
    writes = len(world.cluster.writes)

    for _ in range(100):
        await world.reconcile()
        await asyncio.sleep(30)

    assert world.written(writes) == []


@scenario
async def test_polling_that_finds_nothing_new_wakes_nobody(world: World) -> None:
    await serving(world, replicas=3)
    world.woken.clear()

    await world.poll()

    assert world.woken == []


@scenario
async def test_who_rests_is_looked_at_again_some_day(world: World) -> None:
    await serving(world)

    outcome = await world.reconcile()

    assert outcome.again_seconds == 600


# Drift…


def _break_deployment(live: JsonObject) -> None:
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"


def _break_service(live: JsonObject) -> None:
    live["spec"]["ports"][0]["port"] = 1


def _break_config(live: JsonObject) -> None:
    live["data"]["config.json"] = "{}"


def _break_budget(live: JsonObject) -> None:
    live["spec"]["maxUnavailable"] = 9


def _break_revision(live: JsonObject) -> None:
    live["data"]["template"] = {}


CHANGES: dict[Resource, Callable[[JsonObject], None]] = {
    DEPLOYMENT: _break_deployment,
    SERVICE: _break_service,
    CONFIG_MAP: _break_config,
    DISRUPTION_BUDGET: _break_budget,
    CONTROLLER_REVISION: _break_revision,
}


@pytest.mark.parametrize("resource", CHANGES, ids=lambda resource: resource.kind)
def test_a_child_that_somebody_changes_is_put_right(resource: Resource) -> None:
    @scenario
    async def test(world: World) -> None:
        await serving(world, replicas=2)
        for name in world.cluster.names(resource):
            before = world.peek(resource, name)
            world.cluster.edit(resource, NS, name, CHANGES[resource])
            await world.settle()
            after = world.peek(resource, name)
            assert after.get("spec") == before.get("spec")
            assert after.get("data") == before.get("data")

    test()


@pytest.mark.parametrize("resource", CHANGES, ids=lambda resource: resource.kind)
def test_a_child_that_somebody_deletes_is_made_again(resource: Resource) -> None:
    @scenario
    async def test(world: World) -> None:
        await serving(world, replicas=2)
        names = world.cluster.names(resource)
        for name in names:
            world.cluster.remove(resource, NS, name)

        await world.settle()

        assert world.cluster.names(resource) == names

    test()


@scenario
async def test_labels_and_owners_that_somebody_removes_are_put_back(world: World) -> None:
    await serving(world)

    def strip(live: JsonObject) -> None:
        live["metadata"]["labels"] = {}
        live["metadata"]["annotations"] = {}

    before = world.peek(DEPLOYMENT)["metadata"]
    world.cluster.edit(DEPLOYMENT, NS, "mnist", strip)
    await world.settle()

    after = world.peek(DEPLOYMENT)["metadata"]
    assert (after["labels"], after["ownerReferences"]) == (
        before["labels"],
        before["ownerReferences"],
    )


@scenario
async def test_what_others_add_to_a_child_is_left_alone(world: World) -> None:
    await serving(world)
    sidecar = {"name": "sidecar", "image": "mesh"}

    def add(live: JsonObject) -> None:
        live["metadata"]["labels"]["team"] = "vision"
        live["metadata"]["annotations"]["note"] = "ours"
        live["spec"]["template"]["spec"]["containers"].append(sidecar)

    world.cluster.edit(DEPLOYMENT, NS, "mnist", add)
    writes = len(world.cluster.writes)
    await world.settle()
    world.edit_spec(replicas=4)
    await world.settle()

    live = world.peek(DEPLOYMENT)
    assert live["metadata"]["labels"]["team"] == "vision"
    assert live["metadata"]["annotations"]["note"] == "ours"
    assert sidecar in live["spec"]["template"]["spec"]["containers"]
    assert "Deployment/mnist" in world.written(writes)
    assert live["spec"]["replicas"] == 4


@scenario
async def test_an_object_of_somebody_else_is_reported_and_never_taken(world: World) -> None:
    metadata = {"name": "mnist", "namespace": NS}
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"a": "b"}}
    before = world.cluster.put(theirs)
    world.create()

    outcome = await world.settle()

    assert world.peek(SERVICE) == before
    assert world.reason("Stalled") == "NameConflict"
    assert "NameConflict" in world.events.reasons
    assert outcome.again_seconds == 10


@scenario
async def test_an_object_that_appears_while_it_is_created_is_not_taken_either(
    world: World,
) -> None:
    world.create()
    conflict = ConflictError("somebody was faster")
    world.cluster.refuse(conflict, lambda call: call[:2] == ("apply", "Service"))

    with pytest.raises(ConflictError):
        await world.reconcile()

    assert world.cluster.names(DEPLOYMENT) == []


# Changing…


@scenario
async def test_a_hot_change_touches_the_config_map_and_the_pods_annotations_alone(
    world: World,
) -> None:
    await serving(world, replicas=2)
    old_hash, writes = world.config_hash, len(world.cluster.writes)
    models = [{"name": "mnist", "uri": "pvc://models/mnist", "versionPolicy": {"all": {}}}]

    world.edit_spec(models=models)
    await world.settle()

    written = world.written(writes)
    assert world.config_hash != old_hash
    assert sorted(set(written)) == [
        "ConfigMap/mnist-config",
        "ModelServer/mnist",
        "Pod/mnist-1",
        "Pod/mnist-2",
    ]
    assert world.config_hash in world.peek(POD, "mnist-1")["metadata"]["annotations"].popitem()[1]


@scenario
async def test_pods_that_lag_behind_their_settings_are_looked_at_soon(world: World) -> None:
    await serving(world)
    models = [{"name": "mnist", "uri": "pvc://models/mnist", "versionPolicy": {"all": {}}}]
    world.edit_spec(models=models)

    lagging = await world.settle()
    world.serve("10.0.0.1", world.peek(POD, "mnist-1")["metadata"]["uid"], world.config_hash)
    await world.poll()
    converged = await world.settle()

    assert lagging.again_seconds == 3
    assert converged.again_seconds == 600
    assert world.reason("VersionsConverged") == "Converged"


@scenario
async def test_a_pod_that_may_not_be_patched_stops_nothing(world: World) -> None:
    await serving(world)
    refusal = ForbiddenError("pods is forbidden")
    world.cluster.refuse(refusal, lambda call: call[:2] == ("patch", "Pod"))

    world.annotate(poll_now="1")
    outcome = await world.reconcile()

    assert outcome.status is not None


@scenario
async def test_an_operator_with_another_default_image_changes_no_pod_template(
    world: World,
) -> None:
    await serving(world)
    before, writes = world.peek(DEPLOYMENT), len(world.cluster.writes)

    world.upgrade("registry/modelserver:2")
    await world.settle()

    assert world.written(writes) == []
    assert world.peek(DEPLOYMENT) == before


@scenario
async def test_a_child_that_is_not_wanted_any_more_is_deleted(world: World) -> None:
    await serving(world, replicas=2)

    world.edit_spec(replicas=1)
    await world.settle()

    assert world.cluster.names(DISRUPTION_BUDGET) == []


@scenario
async def test_switching_autoscaling_on_keeps_the_pods_that_there_are(world: World) -> None:
    await serving(world, replicas=3)

    world.edit_spec(autoscaling={"minReplicas": 1, "maxReplicas": 5})
    await world.settle()

    assert world.peek(DEPLOYMENT)["spec"]["replicas"] == 3
    assert world.cluster.names(AUTOSCALER) == ["mnist"]


@scenario
async def test_an_autoscaled_deployment_keeps_the_autoscalers_number(world: World) -> None:
    world.create(autoscaling={"minReplicas": 1, "maxReplicas": 5})
    await world.settle()
    world.cluster.edit(DEPLOYMENT, NS, "mnist", lambda live: live["spec"].update(replicas=4))

    await world.settle()

    assert world.peek(DEPLOYMENT)["spec"]["replicas"] == 4


# Pausing…


@scenario
async def test_a_paused_model_server_is_not_touched(world: World) -> None:
    await serving(world)
    world.annotate(reconcile="paused")
    await world.settle()
    writes = len(world.cluster.writes)

    world.cluster.remove(SERVICE, NS, "mnist")
    world.edit_spec(replicas=7)
    await world.settle()

    assert world.reason("Paused") == "ReconcilePaused"
    assert set(world.written(writes)) <= {"ModelServer/mnist"}
    assert world.peek(DEPLOYMENT)["spec"]["replicas"] == 1


@scenario
async def test_what_was_held_back_is_done_when_the_pause_ends(world: World) -> None:
    await serving(world)
    world.annotate(reconcile="paused")
    world.edit_spec(replicas=7)
    await world.settle()

    world.annotate(reconcile="")
    await world.settle()

    assert world.peek(DEPLOYMENT)["spec"]["replicas"] == 7
    assert world.reason("Paused") is None


@scenario
async def test_a_suspended_model_server_has_no_pods_and_keeps_the_rest(world: World) -> None:
    await serving(world, replicas=2)

    world.edit_spec(suspend=True)
    await world.settle()

    assert world.peek(DEPLOYMENT)["spec"]["replicas"] == 0
    assert world.cluster.names(SERVICE) == ["mnist", "mnist-headless"]
    assert world.reason("Ready") == "Suspended"


# Ending…


@scenario
async def test_a_model_server_that_is_gone_is_left_to_the_garbage_collector(world: World) -> None:
    await serving(world)
    world.cluster.remove(MODEL_SERVER, NS, "mnist")
    writes = len(world.cluster.writes)

    outcome = await world.reconcile()

    assert outcome.status is None
    assert world.written(writes) == []


@scenario
async def test_a_model_server_that_is_being_deleted_is_not_touched(world: World) -> None:
    await serving(world)
    deleted = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    world.cluster.edit(MODEL_SERVER, NS, "mnist", lambda live: live["metadata"].update(deleted))
    world.cluster.remove(DEPLOYMENT, NS, "mnist")
    writes = len(world.cluster.writes)

    outcome = await world.reconcile()

    assert outcome.status is None
    assert world.written(writes) == []


# Trouble…


@scenario
async def test_a_spec_that_cannot_be_read_stalls_and_keeps_what_serves(world: World) -> None:
    await serving(world)
    before = world.peek(DEPLOYMENT)

    world.edit_spec(models="all of them")
    outcome = await world.settle()

    assert world.reason("Stalled") == "InvalidSpec"
    assert world.status.serving_versions == "mnist:1"
    assert world.peek(DEPLOYMENT) == before
    assert outcome.again_seconds == 600


@scenario
async def test_what_the_api_server_finds_invalid_stalls_with_its_words(world: World) -> None:
    world.create()
    refusal = InvalidError("spec.template.spec.containers[0].image: Required value")
    world.cluster.refuse(refusal, lambda call: call[:2] == ("apply", "Deployment"))

    with pytest.raises(InvalidError):
        await world.reconcile()

    stalled = world.condition("Stalled")
    assert stalled is not None
    assert "image: Required value" in stalled.message


@scenario
async def test_later_steps_wait_for_one_that_failed(world: World) -> None:
    world.create()
    outage = UnavailableError("no leader")
    world.cluster.refuse(outage, lambda call: call[:2] == ("apply", "ConfigMap"))

    with pytest.raises(UnavailableError):
        await world.reconcile()
    assert world.cluster.names(DEPLOYMENT) == []

    world.cluster.relent()
    await world.settle()
    assert world.cluster.names(DEPLOYMENT) == ["mnist"]


@pytest.mark.parametrize("kind", ["ModelServer", "Deployment", "Service", "Pod"])
def test_what_cannot_be_read_is_not_taken_for_missing(kind: str) -> None:
    @scenario
    async def test(world: World) -> None:
        await serving(world)
        writes = len(world.cluster.writes)
        reads = ("get", "list_objects")
        outage = UnavailableError("no answer")
        world.cluster.refuse(outage, lambda call: call.verb in reads and call.kind == kind)

        with pytest.raises(UnavailableError):
            await world.reconcile()

        assert world.written(writes) == []

    test()


@scenario
async def test_pods_that_do_not_answer_leave_the_last_rows(world: World) -> None:
    await serving(world)
    rows = world.status.models

    world.pods.silence("10.0.0.1")
    await world.poll()
    await world.settle()

    assert world.woken[-1] == KEY
    assert world.reason("VersionsConverged") == "PodsUnreachable"
    assert world.status.models == rows


@scenario
async def test_claims_that_may_not_be_read_are_not_missing(world: World) -> None:
    world.create()
    refusal = ForbiddenError("persistentvolumeclaims is forbidden")
    world.cluster.refuse(refusal, lambda call: call.kind == CLAIM.kind)

    outcome = await world.settle()

    assert outcome.again_seconds == 600
    assert world.reason("SourceAccessible") != "ClaimNotFound"


@scenario
async def test_a_missing_claim_is_looked_for_again(world: World) -> None:
    world.create()
    missing = await world.settle()
    assert world.reason("SourceAccessible") == "ClaimNotFound"
    world.add_claim()

    there = await world.settle()

    assert (missing.again_seconds, there.again_seconds) == (10, 600)


@scenario
async def test_events_tell_of_transitions_once(world: World) -> None:
    await serving(world)
    told = list(world.events.reasons)

    for _ in range(5):
        await world.reconcile()

    assert "Ready" in told
    assert world.events.reasons == told


@scenario
async def test_a_status_that_cannot_be_written_is_told_of_once_it_is(world: World) -> None:
    world.create()
    outage = UnavailableError("etcd is slow")
    world.cluster.refuse(outage, lambda call: call.verb == "apply_status")
    with pytest.raises(ClusterError):
        await world.reconcile()
    assert world.events.reasons == []

    world.cluster.relent()
    await world.settle()

    assert "NotReady" in world.events.reasons


@scenario
async def test_two_rounds_at_once_come_to_the_same_end(world: World) -> None:
    world.create(replicas=2)

    await asyncio.gather(world.reconcile(), world.reconcile(), return_exceptions=True)
    await world.settle()

    assert world.cluster.names(SERVICE) == ["mnist", "mnist-headless"]


@scenario
async def test_what_the_api_server_forbids_is_told(world: World) -> None:
    world.create()
    refusal = ForbiddenError("exceeded quota: used: 1, limited: 1")
    world.cluster.refuse(refusal, lambda call: call[:2] == ("apply", "Deployment"))

    for _ in range(3):
        with pytest.raises(ForbiddenError):
            await world.reconcile()

    reconciling = world.condition("Reconciling")
    assert reconciling is not None
    assert "exceeded quota" in reconciling.message
    assert world.condition("Stalled") is None


@scenario
async def test_a_pod_that_refuses_its_settings_is_not_looked_at_again_and_again(
    world: World,
) -> None:
    await serving(world)
    world.annotate(poll_now="1")
    await world.settle()
    uid = world.peek(POD, "mnist-1")["metadata"]["uid"]
    error = {"hash": world.config_hash, "message": "models: a list is expected"}
    world.pods.report("10.0.0.1", {"podUid": uid, "configHash": "old", "configError": error})
    await world.poll()

    outcome = await world.settle()

    assert world.reason("VersionsConverged") == "ConfigRefused"
    assert outcome.again_seconds == 600


@scenario
async def test_a_paused_model_server_whose_pods_lag_is_left_in_peace(world: World) -> None:
    await serving(world)
    world.annotate(reconcile="paused", poll_now="1")

    outcome = await world.settle()

    assert outcome.again_seconds == 600
