"""What goes wrong in a cluster shows in the resource, with a hint, and passes with its cause."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def operator_process(node, release, workspace, tmp_path):
    """Starts operators as processes of this machine, which a signal can kill, in place of the
    installed one.
    """
    processes = []
    log = (tmp_path / "operator.log").open("w")

    def start():
        command = [sys.executable, "-m", "modelserver_operator", f"--kubeconfig={node.kubeconfig}"]
        # Without an election the next one works at once, and can be killed at work.
        command += [f"--namespaces={workspace.namespace}", "--no-leader-elect"]
        command += ["--server-image=localhost/modelserver:0.1.0", "--health-port=0"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)
        processes.append(process)
        return process

    release.scale(0)
    yield start
    for process in processes:
        process.kill()
        process.wait()
    log.close()
    release.scale(1)


def test_an_operator_killed_at_ten_moments_of_a_rollout_finishes_it(
    workspace, operator_process, eventually
):
    workspace.add_version(1)
    process = operator_process()
    served = workspace.serve(replicas=2)
    served.wait_for_pods(2)
    chance = random.Random(7)

    with served.load() as load:
        for round in range(10):
            served.update(replicas=2, env=[{"name": "ROUND", "value": str(round)}])
            time.sleep(chance.uniform(1.0, 6.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = operator_process()
        eventually(lambda: rounds(served.pods()), lambda found: found == ["9", "9"], "round 9")
        served.wait_for("Reconciling", "")
        served.wait_for_pods(2)

    assert load.failures == []


def rounds(pods):
    """Which round of changes each pod is of."""
    env = [variable for pod in pods for variable in pod["spec"]["containers"][0]["env"]]
    return [variable["value"] for variable in env if variable["name"] == "ROUND"]


def test_a_restarted_api_server_is_noticed_and_the_work_goes_on(workspace, node):
    workspace.add_version(1)
    served = workspace.serve()
    served.wait_for("Ready")

    with served.load() as load:
        node.restart_apiserver()
        workspace.kubectl("delete", "service/tables-headless")
        workspace.add_version(2)
        served.wait_until_serving("tables:2", seconds=60)
        workspace.kubectl("wait", "--for=create", "service/tables-headless", "--timeout=30s")

    assert load.failures == []


def test_a_server_that_is_out_of_memory_says_so_within_thirty_seconds(workspace, eventually):
    workspace.add_version(1)
    limits = {"limits": {"memory": "24Mi"}, "requests": {"cpu": "10m"}}

    served = workspace.serve(resources=limits)
    eventually(served.endings, lambda endings: "OOMKilled" in endings, "the kernel's verdict")

    condition = served.wait_for("WorkloadAvailable", "False", "OOMKilled", seconds=30)
    assert "memory" in condition["message"]


def test_a_server_that_crashes_says_how_it_ended_within_thirty_seconds(workspace, eventually):
    workspace.add_version(1)
    container = {"name": "modelserver", "args": ["--no_such_flag"]}

    served = workspace.serve(podTemplate={"spec": {"containers": [container]}})
    eventually(served.waits, lambda waits: "CrashLoopBackOff" in waits, "the kubelet's verdict")

    condition = served.wait_for("WorkloadAvailable", "False", "CrashLooping", seconds=30)
    assert "exit code 2" in condition["message"]


def test_a_gpu_that_is_nowhere_is_named_with_a_hint(workspace, eventually):
    workspace.add_version(1)

    served = workspace.serve(gpu={"count": 1})

    eventually(
        lambda: served.condition("WorkloadAvailable"),
        lambda c: c["reason"] == "Unschedulable" and "nvidia.com/gpu" in c["message"],
        "the GPU in the condition",
        seconds=30,
    )


def test_an_image_that_cannot_be_pulled_is_named(workspace):
    workspace.add_version(1)

    served = workspace.serve(image="localhost/no-such-image:1")

    condition = served.wait_for("WorkloadAvailable", "False", "ImagePullFailed", seconds=60)
    assert "localhost/no-such-image:1" in condition["message"]


def test_a_claim_that_is_not_there_is_named(workspace):
    models = [{"name": "tables", "uri": "pvc://nowhere/tables", "platform": "lookup"}]

    served = workspace.serve(models=models)

    condition = served.wait_for("SourceAccessible", "False", "ClaimNotFound", seconds=30)
    assert "nowhere" in condition["message"]


def test_a_model_path_that_is_not_there_is_named_and_found_later(workspace):
    served = workspace.serve()

    condition = served.wait_for("SourceAccessible", "False", "NotFound", seconds=60)
    assert "tables" in condition["message"]

    workspace.add_version(1)
    served.wait_for("Ready", seconds=60)


def test_the_second_operator_takes_over_when_the_leading_one_is_killed(
    workspace, release, eventually
):
    workspace.add_version(1)
    served = workspace.serve()
    served.wait_for("Ready")
    release.scale(2)
    leader = release.leader()

    release.kubectl("delete", "pod", leader, "--grace-period=0", "--force")
    served.update(models=[served.spec["models"][0] | {"versionPolicy": {"all": {}}}])
    config = f"configmap/{served.name}-config"
    eventually(
        lambda: workspace.get(config)["data"]["config.json"],
        lambda document: '"all"' in document,
        "the change in the ConfigMap",
        seconds=20,
    )

    assert release.leader() != leader
    release.scale(1)
