"""What the operator wants and plans, on a real API server: what it makes of manifests, and what it
tells of who owns which field. `Site` carries plans out with kubectl, as the operator does.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from modelserver_operator.api import ModelServer
from modelserver_operator.desired import Defaults, desired
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ChildKey, ClaimSnapshot, Observed
from modelserver_operator.plan import Apply, Plan, plan
from testcluster.cluster import Cluster

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "operator" / "desired" / "golden"
SPECS = sorted(path.name.removesuffix(".spec.yaml") for path in GOLDEN.glob("*.spec.yaml"))
KINDS = (
    "deployment,service,configmap,poddisruptionbudget,horizontalpodautoscaler,networkpolicy,"
    "controllerrevision"
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULTS = Defaults("registry.example/modelserver:1.0", operator_namespace="modelserver-system")


class Site:
    """One ModelServer called mnist in a namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.defaults = DEFAULTS
        self.claims: dict[str, ClaimSnapshot | None] = {}

    def kubectl(self, *arguments: str, manifest: JsonObject | None = None) -> str:
        text = None if manifest is None else json.dumps(manifest)
        return self.cluster.kubectl("-n", self.namespace, *arguments, input=text)

    def read(self, *what: str) -> JsonObject:
        document: JsonObject = json.loads(
            self.kubectl("get", *what, "-o", "json", "--show-managed-fields")
        )
        return document

    def live(self, kind: str, name: str = "mnist") -> JsonObject:
        return self.read(kind, name)

    def declare(self, spec: JsonObject) -> None:
        """Let a user apply the resource."""
        resource = {
            "apiVersion": "modelserver.dev/v1alpha1",
            "kind": "ModelServer",
            "metadata": {"name": "mnist"},
            "spec": spec,
        }
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", manifest=resource)

    def plan(self) -> Plan:
        server = ModelServer.parse(self.read("modelserver", "mnist"))
        items = self.read(KINDS)["items"]
        children = {ChildKey(item["kind"], item["metadata"]["name"]): item for item in items}
        observed = Observed(server, children, claims=self.claims)
        return plan(desired(server, self.defaults, observed), observed, NOW)

    def reconcile(self) -> Plan:
        """Carry out what is planned now, and return it."""
        steps = self.plan()
        for apply in steps.applies:
            if apply.handover is not None:
                self.apply([(apply, apply.handover)], "modelserver-operator-handover", force=True)
            if apply.reset is not None:
                self.patch(apply.manifest["kind"], apply.reset, apply.manifest["metadata"]["name"])
        for force in (False, True):
            chosen = [(step, step.manifest) for step in steps.applies if step.force is force]
            self.apply(chosen, "modelserver-operator", force=force)
        for delete in steps.deletes:
            self.kubectl("delete", delete.kind, delete.name, "--wait=false")
        return steps

    def apply(
        self, steps: Sequence[tuple[Apply, JsonObject]], manager: str, *, force: bool
    ) -> None:
        """Apply some manifests in one call: kubectl takes its time to start."""
        if not steps:
            return
        sent = [_with_uid(manifest, step.uid) for step, manifest in steps]
        # Not a List of one: kubectl would ask for fields that a handover does without.
        items = {"apiVersion": "v1", "kind": "List", "items": sent}
        everything = sent[0] if len(sent) == 1 else items
        flags = [f"--field-manager={manager}", *(["--force-conflicts"] if force else [])]
        self.kubectl("apply", "--server-side", *flags, "-f", "-", manifest=everything)

    def patch(self, kind: str, patch: JsonObject, name: str = "mnist") -> None:
        """Let somebody else change a child."""
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(patch))


def _with_uid(manifest: JsonObject, uid: str | None) -> JsonObject:
    return manifest if uid is None else manifest | {"metadata": manifest["metadata"] | {"uid": uid}}


@pytest.fixture(scope="session")
def crd(control_plane: Cluster) -> None:
    file = ROOT / "crds" / "modelserver.dev_modelservers.yaml"
    control_plane.kubectl("apply", "--server-side", "-f", str(file))
    control_plane.kubectl("wait", "--for=condition=Established", "-f", str(file), "--timeout=60s")


@pytest.fixture
def site(control_plane: Cluster, namespace: str, crd: None) -> Site:
    level = "pod-security.kubernetes.io/enforce=restricted"
    control_plane.kubectl("label", "namespace", namespace, level)
    return Site(control_plane, namespace)


def golden_spec(name: str) -> JsonObject:
    spec: JsonObject = yaml.safe_load((GOLDEN / f"{name}.spec.yaml").read_text())
    return spec


MINIMAL = golden_spec("minimal")


@pytest.mark.parametrize("name", SPECS)
def test_the_api_server_takes_every_child_and_then_nothing_is_left_to_do(
    site: Site, name: str
) -> None:
    site.declare(golden_spec(name))

    first = site.reconcile()

    assert len(first.applies) >= 5
    assert site.plan() == Plan()


@pytest.mark.parametrize("name", SPECS)
def test_a_pod_of_the_template_is_admitted_where_restricted_is_enforced(
    site: Site, name: str
) -> None:
    site.declare(golden_spec(name))
    template = {apply.manifest["kind"]: apply.manifest for apply in site.plan().applies}[
        "Deployment"
    ]["spec"]["template"]
    # What these name has to exist for a pod to be admitted.
    missing = ("serviceAccountName", "priorityClassName", "runtimeClassName")
    spec = {key: value for key, value in template["spec"].items() if key not in missing}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}

    answer = site.kubectl("create", "--dry-run=server", "-f", "-", manifest=pod)

    assert "pod/pod created" in answer


def pod_patch(spec: JsonObject) -> JsonObject:
    return {"spec": {"template": {"spec": spec}}}


CHANGES: list[tuple[str, str, JsonObject]] = [
    ("deployment", "mnist", {"spec": {"replicas": 7}}),
    ("deployment", "mnist", pod_patch({"automountServiceAccountToken": None})),
    ("deployment", "mnist", pod_patch({"containers": [{"name": "modelserver", "image": "x:1"}]})),
    ("deployment", "mnist", {"metadata": {"ownerReferences": None}}),
    ("service", "mnist", {"spec": {"selector": {"app": "x"}}}),
    ("service", "mnist", {"spec": {"ports": [{"name": "grpc", "port": 9000}]}}),
    ("service", "mnist-headless", {"metadata": {"labels": {"modelserver.dev/name": "mine"}}}),
    ("configmap", "mnist-config", {"data": {"config.json": "{}"}}),
    ("networkpolicy", "mnist", {"spec": {"ingress": [{"from": [{"namespaceSelector": {}}]}]}}),
    ("poddisruptionbudget", "mnist", {"spec": {"maxUnavailable": "50%"}}),
]


def without_server_fields(objects: JsonObject) -> list[JsonObject]:
    told = ("labels", "ownerReferences", "name", "uid")
    return [
        {
            "metadata": {key: item["metadata"].get(key) for key in told},
            "content": item.get("spec") or item.get("data"),
        }
        for item in objects["items"]
    ]


def test_whatever_somebody_changes_in_the_children_is_put_back(site: Site) -> None:
    site.declare(MINIMAL | {"replicas": 2, "networkPolicy": {}})
    site.reconcile()
    before = without_server_fields(site.read(KINDS))
    for kind, name, patch in CHANGES:
        site.patch(kind, patch, name)

    steps = site.reconcile()

    changed = {(kind, name) for kind, name, _ in CHANGES}
    assert {
        (step.manifest["kind"].lower(), step.manifest["metadata"]["name"]) for step in steps.applies
    } == changed
    assert without_server_fields(site.read(KINDS)) == before
    assert site.plan() == Plan()


def test_what_others_add_is_left_alone(site: Site) -> None:
    site.declare(MINIMAL)
    site.reconcile()
    sidecar = {"name": "mesh", "image": "registry.example/mesh:1"}
    additions = {
        "metadata": {"labels": {"team": "x"}, "annotations": {"note": "y"}},
        "spec": {
            "template": {
                "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}},
                "spec": {"containers": [sidecar]},
            }
        },
    }
    site.kubectl("patch", "deployment", "mnist", "--type=strategic", "-p", json.dumps(additions))
    site.patch("configmap", {"data": {"more.txt": "x"}}, "mnist-config")

    steps = site.reconcile()

    assert steps == Plan()
    containers = site.live("deployment")["spec"]["template"]["spec"]["containers"]
    assert {container["name"] for container in containers} == {"modelserver", "mesh"}


def test_what_is_not_asked_for_any_more_is_removed(site: Site) -> None:
    rich = {
        "replicas": 2,
        "networkPolicy": {},
        "env": [{"name": "A", "value": "1"}],
        "podTemplate": {"spec": {"hostAliases": [{"ip": "127.0.0.1", "hostnames": ["x"]}]}},
    }
    site.declare(MINIMAL | rich)
    site.reconcile()
    site.declare(MINIMAL)

    steps = site.reconcile()

    assert {step.kind for step in steps.deletes} == {
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ControllerRevision",
    }
    pod = site.live("deployment")["spec"]["template"]["spec"]
    assert "hostAliases" not in pod
    assert "A" not in {variable["name"] for variable in pod["containers"][0]["env"]}
    assert site.plan() == Plan()


def test_turning_autoscaling_on_and_off_never_changes_the_number_of_pods_by_itself(
    site: Site,
) -> None:
    autoscaling = {"minReplicas": 2, "maxReplicas": 5}
    site.declare(MINIMAL | {"replicas": 3})
    site.reconcile()

    hot = [MINIMAL["models"][0] | {"pollSeconds": 9}]  # at the same time
    site.declare({"models": hot, "replicas": 3, "autoscaling": autoscaling})
    site.reconcile()
    handed_over = site.live("deployment")["spec"]["replicas"]
    site.kubectl("scale", "deployment", "mnist", "--replicas=4")  # as the autoscaler does
    steps = site.reconcile()
    scaled = site.live("deployment")["spec"]["replicas"]
    site.declare(MINIMAL | {"replicas": 3})
    site.reconcile()

    assert handed_over == 3
    assert (steps, scaled) == (Plan(), 4)
    assert site.live("deployment")["spec"]["replicas"] == 3


def test_resuming_under_an_autoscaler_starts_at_its_minimum(site: Site) -> None:
    autoscaled = MINIMAL | {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}
    site.declare(autoscaled | {"suspend": True})
    site.reconcile()
    assert site.live("deployment")["spec"]["replicas"] == 0

    site.declare(autoscaled)
    site.reconcile()

    assert site.live("deployment")["spec"]["replicas"] == 2
    assert site.plan() == Plan()


def test_the_strategy_can_change_in_both_directions(site: Site) -> None:
    site.declare(MINIMAL)
    site.reconcile()
    rolling = site.live("deployment")["spec"]["strategy"]

    site.claims = {"mnist-models": ClaimSnapshot(("ReadWriteOnce",), "Bound")}
    site.reconcile()
    recreating = site.live("deployment")["spec"]["strategy"]
    site.claims = {}
    site.reconcile()

    assert recreating == {"type": "Recreate"}
    assert site.live("deployment")["spec"]["strategy"] == rolling


def test_another_operator_release_leaves_the_pod_template_as_it_is(site: Site) -> None:
    site.declare(MINIMAL)
    site.reconcile()
    before = site.live("deployment")

    site.defaults = replace(DEFAULTS, server_image="registry.example/modelserver:2.0")
    steps = site.reconcile()

    assert steps == Plan()
    assert site.live("deployment")["spec"] == before["spec"]


def test_an_object_of_somebody_else_is_not_touched(site: Site) -> None:
    site.kubectl("create", "service", "clusterip", "mnist", "--tcp=80")
    before = site.live("service")
    site.declare(MINIMAL)

    steps = site.reconcile()

    assert [(conflict.kind, conflict.name) for conflict in steps.conflicts] == [
        ("Service", "mnist")
    ]
    assert site.live("service") == before


def test_children_that_an_orphaning_delete_left_behind_are_adopted_with_their_pods(
    site: Site,
) -> None:
    site.declare(MINIMAL)
    site.reconcile()
    site.kubectl("delete", "modelserver", "mnist", "--cascade=orphan", "--wait=true")
    before = site.live("deployment")
    site.declare(MINIMAL)

    site.reconcile()

    after = site.live("deployment")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]
    (owner,) = after["metadata"]["ownerReferences"]
    assert owner["uid"] == site.read("modelserver", "mnist")["metadata"]["uid"]
    assert site.plan() == Plan()
