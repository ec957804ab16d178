"""WorkloadAvailable: whether as many pods run as are wanted, and if not, why."""

import pytest

from modelserver_operator.desired import Desired
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import LastExit, Observed
from modelserver_operator.plan import NameConflict
from modelserver_operator.testing.observations import (
    CONFIG_HASH,
    a_deployment,
    a_pod,
    a_report,
    a_server,
    an_observation,
    condition,
    judge,
    verdict,
)


def waiting(reason: str, message: str = "", **fields):
    return a_pod(ready=False, waiting_reason=reason, waiting_message=message, **fields)


def failing_deployment(condition_type: str, reason: str, message: str, truth: str) -> JsonObject:
    told = {"type": condition_type, "status": truth, "reason": reason, "message": message}
    return a_deployment(conditions=[told])


GPU_MESSAGE = (
    "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint "
    "{gpu: true, team: a}. preemption: 0/2 nodes are available: 2 Preemption is not helpful."
)
OOM = LastExit("OOMKilled", 137)
ERROR = LastExit("Error", 1, "loading\n2026-01-02 03:04:05.678 ValueError: bad flag\n")


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        pytest.param(
            waiting("ErrImagePull", "manifest unknown"),
            "ImagePullFailed",
            ["pod web-1", "spec.image", "manifest unknown"],
            id="image",
        ),
        pytest.param(
            waiting("CreateContainerConfigError", 'secret "x" not found'),
            "CreateContainerConfigError",
            ["spec.env", 'secret "x" not found'],
            id="container config",
        ),
        pytest.param(
            a_pod(ready=False, last_exit=OOM, restart_count=4),
            "OOMKilled",
            ["spec.resources.limits.memory", "several times"],
            id="out of memory",
        ),
        pytest.param(
            waiting("CrashLoopBackOff", last_exit=ERROR, restart_count=1),
            "CrashLooping",
            [
                "once",
                "exit code 1 (Error)",
                "kubectl logs web-1 --previous",
                "ValueError: bad flag",
            ],
            id="crashes",
        ),
        pytest.param(
            a_pod(ready=False, last_exit=ERROR, restart_count=12),
            "CrashLooping",
            ["ten times or more"],
            id="running again between crashes",
        ),
        pytest.param(
            a_pod(ready=False, phase="Pending", unschedulable_message=GPU_MESSAGE),
            "Unschedulable",
            ["Insufficient nvidia.com/gpu", "spec.gpu.count", "spec.tolerations"],
            id="no GPU",
        ),
        pytest.param(
            waiting("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"),
            "Unschedulable",
            ["non-empty scheduling gates"],
            id="gated",
        ),
        pytest.param(a_pod(ready=False), "Progressing", ["0 of 1 pod"], id="just not ready"),
    ],
)
def test_what_keeps_a_pod_from_running_is_the_reason(pod, reason: str, words: list[str]) -> None:
    found = judge(an_observation(a_server(), [pod], []))

    assert verdict(found, "WorkloadAvailable") == ("False", reason)
    message = condition(found, "WorkloadAvailable").message
    assert [word for word in words if word not in message] == []
    assert "2026" not in message


def test_pods_in_trouble_are_named_in_order_and_many_are_counted() -> None:
    names = ["web-3", "web-1", "web-5", "web-2", "web-4"]
    stuck = [a_pod(name, ready=False, waiting_reason="ErrImagePull") for name in names]

    found = judge(an_observation(a_server(replicas=5), stuck, []))

    message = condition(found, "WorkloadAvailable").message
    assert "pods web-1, web-2, web-3 and 2 more" in message


def test_one_crash_of_a_pod_that_loads_again_is_no_crash_loop() -> None:
    pod = a_pod(ready=False, last_exit=ERROR, restart_count=1)

    found = judge(an_observation(a_server(), [pod], []))

    assert verdict(found, "WorkloadAvailable") == ("False", "Progressing")


def test_a_pod_that_cannot_start_is_named_though_enough_others_are_ready() -> None:
    pods = [a_pod("web-1"), waiting("ImagePullBackOff", name="web-2", uid="u2")]

    found = judge(an_observation(a_server(), pods, [a_report(pods[0])]))

    assert verdict(found, "Ready") == ("True", "Serving")
    assert verdict(found, "WorkloadAvailable") == ("False", "ImagePullFailed")
    assert "pod web-2" in condition(found, "WorkloadAvailable").message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param(
            'pods "web-x7" is forbidden: exceeded quota: q, used: pods=1', "QuotaExceeded"
        ),
        pytest.param(
            'pods "web-x7" is forbidden: violates PodSecurity "restricted"', "PodCreationFailed"
        ),
    ],
)
def test_pods_that_are_refused_are_the_reason(message: str, reason: str) -> None:
    deployment = failing_deployment("ReplicaFailure", "FailedCreate", message, "True")

    found = judge(an_observation(a_server(), [], [], deployment=deployment))

    assert verdict(found, "WorkloadAvailable") == ("False", reason)
    said = condition(found, "WorkloadAvailable").message
    assert message.partition("forbidden: ")[2] in said
    assert "web-x7" not in said


def test_a_deployment_that_is_not_there_yet_is_progress() -> None:
    server = a_server()

    found = judge(Observed(server=server))

    assert verdict(found, "WorkloadAvailable") == ("False", "Progressing")
    assert verdict(found, "Ready") == ("Unknown", "Starting")


def test_the_deployment_of_somebody_else_is_not_read() -> None:
    taken = NameConflict("Deployment", "web", "Deployment web was made by somebody else: delete it")

    found = judge(
        an_observation(a_server(), [], [], deployment=a_deployment(owner="somebody")),
        conflicts=[taken],
    )

    assert verdict(found, "WorkloadAvailable") == ("False", "NameConflict")


def test_unusual_choices_are_told_while_pods_are_missing() -> None:
    note = "claim models can be used on one node at a time"
    desired = Desired((), CONFIG_HASH, "t", notes=(note,))

    found = judge(an_observation(a_server(), [a_pod(ready=False)], []), desired)

    assert "Claim models can be used on one node" in condition(found, "WorkloadAvailable").message
