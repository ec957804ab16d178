"""The ValidatingAdmissionPolicy: the operator changes our annotations of our pods, nothing else."""

import json
import secrets

import pytest
import yaml

from testcluster.errors import ClusterError
from testcluster.waiting import wait_until

LABEL = "modelserver.dev/name"


@pytest.fixture(scope="module")
def operator(control_plane, render):
    """The operator's user name, once the policy is in force."""
    name = f"chart-{secrets.token_hex(3)}"
    control_plane.kubectl("create", "namespace", name)
    values = {"fullnameOverride": name, "crds": {"enabled": False}}
    objects = [one for one in render(values, name) if one["kind"] not in {"Deployment", "Pod"}]
    manifests = yaml.safe_dump_all(objects)
    control_plane.kubectl("apply", "-f", "-", input=manifests)
    control_plane.kubectl("create", "-n", name, "-f", "-", input=json.dumps(pod("canary")))
    user = f"system:serviceaccount:{name}:{name}"
    wait_until(lambda: is_refused(control_plane, user, name, "canary"), "the policy to be in force")
    yield user
    control_plane.kubectl("delete", "-f", "-", input=manifests)
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


def is_refused(cluster, user, namespace, name):
    change = {"metadata": {"annotations": {"foreign": "2"}}}
    try:
        patch(cluster, user, namespace, name, change)
    except ClusterError as error:
        return "annotations modelserver.dev/" in str(error)
    return False


@pytest.fixture(scope="module")
def pods(control_plane, operator):
    """A namespace with the pods `served`, of a ModelServer, and `foreign`."""
    namespace = operator.rpartition(":")[2]
    for made in (pod("served"), pod("foreign", labels={"app": "other"})):
        control_plane.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(made))
    return namespace


def pod(name, labels=None):
    metadata = {
        "name": name,
        "labels": labels or {LABEL: "mnist"},
        "annotations": {"modelserver.dev/old": "1", "foreign": "1"},
    }
    container = {"name": "modelserver", "image": "localhost/modelserver"}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def patch(cluster, user, namespace, name, change, groups=()):
    """What the pod would be; it stays as it is."""
    return json.loads(
        cluster.kubectl(
            *("patch", "pod", name, "-n", namespace, "--type=merge", "-o=json", "--dry-run=server"),
            *("-p", json.dumps(change), f"--as={user}"),
            *(f"--as-group={group}" for group in groups),
        )
    )


@pytest.mark.parametrize(
    ("annotations", "left"),
    [
        (
            {"modelserver.dev/config-hash": "ab12"},
            {"modelserver.dev/config-hash", "modelserver.dev/old", "foreign"},
        ),
        ({"modelserver.dev/old": "2"}, {"modelserver.dev/old", "foreign"}),
        ({"modelserver.dev/old": None}, {"foreign"}),
    ],
)
def test_the_operator_sets_changes_and_removes_its_own_annotations(
    control_plane, operator, pods, annotations, left
):
    changed = patch(
        control_plane, operator, pods, "served", {"metadata": {"annotations": annotations}}
    )

    assert set(changed["metadata"]["annotations"]) == left


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"metadata": {"annotations": {"foreign": "2"}}}, "annotations modelserver.dev/… only"),
        ({"metadata": {"annotations": {"foreign": None}}}, "annotations modelserver.dev/… only"),
        ({"metadata": {"annotations": {"new": "1"}}}, "annotations modelserver.dev/… only"),
        ({"metadata": {"annotations": None}}, "annotations modelserver.dev/… only"),
        ({"metadata": {"labels": {LABEL: "other"}}}, "nothing of a pod but its annotations"),
        ({"metadata": {"labels": {LABEL: None}}}, "nothing of a pod but its annotations"),
        ({"metadata": {"labels": {"new": "1"}}}, "nothing of a pod but its annotations"),
        (
            {"metadata": {"finalizers": ["example.com/mine"]}},
            "nothing of a pod but its annotations",
        ),
        (
            {
                "metadata": {
                    "ownerReferences": [
                        {"apiVersion": "v1", "kind": "ConfigMap", "name": "me", "uid": "1"}
                    ]
                }
            },
            "nothing of a pod but its annotations",
        ),
        (
            {"spec": {"containers": [{"name": "modelserver", "image": "evil"}]}},
            "nothing of a pod but its annotations",
        ),
        ({"spec": {"activeDeadlineSeconds": 1}}, "nothing of a pod but its annotations"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_the_operator_changes_nothing_else_of_its_pods(
    control_plane, operator, pods, change, sentence
):
    with pytest.raises(ClusterError, match=sentence):
        patch(control_plane, operator, pods, "served", change)


def test_the_operator_changes_nothing_of_foreign_pods(control_plane, operator, pods):
    change = {"metadata": {"annotations": {"modelserver.dev/config-hash": "ab12"}}}

    with pytest.raises(ClusterError, match="pods of ModelServers only") as refusal:
        patch(control_plane, operator, pods, "foreign", change)

    assert "Forbidden" in str(refusal.value)


def test_the_operator_cannot_make_a_foreign_pod_its_own(control_plane, operator, pods):
    change = {"metadata": {"labels": {LABEL: "mine"}}}

    with pytest.raises(ClusterError, match="pods of ModelServers only"):
        patch(control_plane, operator, pods, "foreign", change)


def test_others_patch_pods_as_their_own_rights_say(control_plane, operator, pods):
    change = {"metadata": {"annotations": {"foreign": "2"}, "labels": {"new": "1"}}}

    for name in ("served", "foreign"):
        patch(control_plane, "kubernetes-admin", pods, name, change, groups=["system:masters"])


def test_the_api_server_finds_no_fault_in_the_policys_expressions(control_plane, operator):
    name = operator.rpartition(":")[2]

    def checked():
        found = control_plane.kubectl(
            "get", "validatingadmissionpolicy", f"{name}-pod-patch", "-o=json"
        )
        return json.loads(found).get("status", {}).get("typeChecking")

    wait_until(lambda: checked() is not None, "the policy's expressions to be type-checked")
    assert checked() == {}
