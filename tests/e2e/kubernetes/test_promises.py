"""What the project promises, each by its number in ARCHITECTURE.md, on real pods."""

import json
import time

import pytest

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def served(workspace):
    workspace.add_version(1)
    served = workspace.serve()
    served.wait_for("Ready")
    return served


@pytest.fixture
def operator_down(release):
    release.scale(0)
    yield
    release.scale(1)


def test_promise_1_serving_never_depends_on_the_operator(served, operator_down, workspace):
    workspace.kubectl("delete", "pods", "--all", "--wait=true")
    served.wait_for_pods(1)
    workspace.add_version(2)

    with served.load() as load:
        while 2 not in load.answers:
            load.wait_for_answers(50)

    assert load.failures == []


def test_promise_2_a_restart_of_the_operator_changes_no_pod(served, release):
    before = served.pod_uids()

    release.kubectl("rollout", "restart", "deployment/modelserver-operator")
    release.kubectl("rollout", "status", "deployment/modelserver-operator", "--timeout=120s")
    served.update(replicas=2)
    served.wait_for_pods(2)

    assert before < served.pod_uids()


def test_promise_2_an_upgrade_that_renders_other_pods_changes_no_pod(served, release):
    before = served.pod_uids()

    release.install("--set", "serverImage.pullPolicy=Never", "--set", "podAnnotations.upgraded=yes")
    served.update(replicas=2)
    served.wait_for_pods(2)

    assert before < served.pod_uids()
    release.install()


def test_promise_3_delete_completes_with_the_operator_down(served, operator_down, workspace):
    workspace.kubectl("delete", "msrv", served.name, "--timeout=60s")

    kinds = "deployments,services,configmaps,controllerrevisions,pods"
    selector = f"modelserver.dev/name={served.name}"
    workspace.kubectl("wait", "--for=delete", kinds, "-l", selector, "--timeout=90s")

    assert workspace.get(kinds, "-l", selector)["items"] == []


def test_promise_3_a_namespace_goes_with_the_operator_down(workspace, release, request):
    namespace = f"{workspace.namespace}-gone"
    server = {"apiVersion": "modelserver.dev/v1alpha1", "kind": "ModelServer"}
    server["metadata"] = {"name": "tables", "namespace": namespace}
    server["spec"] = {"models": [{"name": "tables", "uri": "pvc://models/tables"}]}
    workspace.cluster.kubectl("create", "namespace", namespace)
    workspace.cluster.kubectl("apply", "-f", "-", input=json.dumps(server))
    workspace.cluster.kubectl(
        *("-n", namespace, "wait", "--for=create", "deployment/tables", "--timeout=60s")
    )

    request.getfixturevalue("operator_down")
    workspace.cluster.kubectl("delete", "namespace", namespace, "--timeout=90s")

    assert not exists(workspace, f"namespace/{namespace}")


def test_promise_4_the_status_is_at_most_ten_seconds_behind_the_pods(served, workspace):
    workspace.add_version(2)
    while served.predict() != 2:
        time.sleep(0.05)

    served.wait_until_serving("tables:2", seconds=10)


def test_promise_5_a_bad_version_never_removes_a_good_one(served, workspace):
    with served.load() as load:
        workspace.add_broken_version(2)
        (workspace.directory / "tables" / "3").mkdir()
        row = eventually_row(served, 2, "LoadFailed")
        load.wait_for_answers(50)

    assert load.failures == []
    assert set(load.answers) == {1}
    assert row["message"]
    assert served.condition("Ready")["status"] == "True"
    assert served.condition("VersionsConverged")["status"] == "False"


def test_promise_6_a_deleted_or_edited_child_is_back_within_ten_seconds(served, workspace):
    children = ["deployment/tables", "service/tables", "service/tables-headless"]
    children += ["configmap/tables-config"]
    before = {child: workspace.get(child)["metadata"]["uid"] for child in children}

    workspace.kubectl("delete", *children, "--wait=true")
    deleted = time.monotonic()
    while missing := [c for c in children if not exists(workspace, c)]:
        assert time.monotonic() - deleted < 10, f"not back: {missing}"
    port = {"spec": {"ports": [{"port": 8500, "name": "grpc", "targetPort": 1}]}}
    workspace.kubectl("patch", "service/tables", "--type=merge", "-p", json.dumps(port))
    edited = time.monotonic()
    while workspace.get("service/tables")["spec"]["ports"][0]["targetPort"] == 1:
        assert time.monotonic() - edited < 10, "the edit is still there"

    after = {child: workspace.get(child)["metadata"]["uid"] for child in children}
    assert all(before[child] != after[child] for child in children)


def test_promise_8_everything_runs_under_the_restricted_profile(served, release, workspace):
    namespace = json.loads(
        workspace.cluster.kubectl("get", "namespace", workspace.namespace, "-o", "json")
    )
    enforced = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]

    said = release.kubectl(
        *("label", "namespace", "modelserver-system", "--dry-run=server", "--overwrite"),
        "pod-security.kubernetes.io/enforce=restricted",
    )

    assert enforced == "restricted"
    assert len(served.pods()) == 1
    assert "violate" not in said.lower()


def test_promise_9_a_version_change_under_load_fails_no_request(served, workspace):
    with served.load(threads=8) as load:
        for version in (2, 3, 4):
            workspace.add_version(version)
            while version not in load.answers:
                load.wait_for_answers(50)

    assert load.failures == []
    assert set(load.answers) == {1, 2, 3, 4}


def test_promise_10_a_pod_that_is_told_to_stop_loses_no_request(served, workspace):
    served.update(replicas=2)
    served.wait_for_pods(2)

    with served.load(threads=8) as load:
        for pod in served.pods():
            workspace.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=true")
            served.wait_for_pods(2)
            load.wait_for_answers(50)

    assert load.failures == []


def eventually_row(served, version, reason):
    end = time.monotonic() + 60
    while (row := served.row(version)).get("reason") != reason:
        assert time.monotonic() < end, f"version {version} is {row}"
    return row


def exists(workspace, child):
    return bool(workspace.kubectl("get", child, "--ignore-not-found", "-o", "name").strip())
