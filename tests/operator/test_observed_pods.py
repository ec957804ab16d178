"""Reading Pod and PersistentVolumeClaim objects."""

import pytest

from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ClaimSnapshot, LastExit, PodSnapshot
from modelserver_operator.observed_pods import claim_snapshot, pod_snapshot

YOUNG: JsonObject = {"metadata": {"name": "web-1", "uid": "u1"}}


def a_pod(*, conditions=(), containers=(), inits=(), **status) -> JsonObject:
    told = {
        "conditions": list(conditions),
        "containerStatuses": list(containers),
        "initContainerStatuses": list(inits),
    }
    return YOUNG | {"status": told | status}


def server(**fields) -> JsonObject:
    return {"name": "modelserver", **fields}


def waits(reason: str, message: str = "") -> JsonObject:
    return {"waiting": {"reason": reason, "message": message}}


def ended(reason: str, code: int, message: str = "") -> JsonObject:
    return {"terminated": {"reason": reason, "exitCode": code, "message": message}}


def test_a_pod_that_has_no_status_yet_is_pending() -> None:
    assert pod_snapshot(YOUNG) == PodSnapshot("web-1", "u1", claims=())


def test_a_ready_pod_is_read() -> None:
    pod = a_pod(
        conditions=[{"type": "Ready", "status": "True"}],
        containers=[server(state={"running": {}}, restartCount=0)],
        phase="Running",
        podIP="10.0.0.7",
    )

    assert pod_snapshot(pod) == PodSnapshot(
        "web-1", "u1", ip="10.0.0.7", phase="Running", ready=True, claims=()
    )


def test_a_pod_with_a_deletion_timestamp_is_deleting() -> None:
    metadata = YOUNG["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}

    assert pod_snapshot({"metadata": metadata}).deleting


def test_the_annotation_with_the_config_hash_is_read() -> None:
    annotated = YOUNG["metadata"] | {"annotations": {"modelserver.dev/config-hash": "abc"}}

    assert pod_snapshot({"metadata": annotated}).config_hash == "abc"


def test_the_claims_that_a_pod_mounts_are_read() -> None:
    volumes = [{"emptyDir": {}}, {"persistentVolumeClaim": {"claimName": "models"}}]

    assert pod_snapshot(YOUNG | {"spec": {"volumes": volumes}}).claims == ("models",)


def test_the_servers_container_counts_and_a_sidecar_does_not() -> None:
    pod = a_pod(
        containers=[
            {"name": "proxy", "state": waits("CrashLoopBackOff"), "restartCount": 9},
            server(state=waits("ErrImagePull", "no such image"), restartCount=0),
        ]
    )

    found = pod_snapshot(pod)

    assert (found.waiting_reason, found.waiting_message) == ("ErrImagePull", "no such image")
    assert found.restart_count == 0


def test_an_init_container_that_cannot_start_is_why_the_server_waits() -> None:
    pod = a_pod(
        inits=[
            {"name": "done", "state": ended("Completed", 0)},
            {"name": "setup", "state": waits("ImagePullBackOff", "denied"), "restartCount": 2},
        ],
        containers=[server(state=waits("PodInitializing"))],
    )

    found = pod_snapshot(pod)

    assert (found.waiting_reason, found.restart_count) == ("ImagePullBackOff", 2)


def test_init_containers_that_are_still_at_work_are_an_ordinary_wait() -> None:
    pod = a_pod(
        inits=[{"name": "setup", "state": {"running": {}}}],
        containers=[server(state=waits("PodInitializing"))],
    )

    assert pod_snapshot(pod).waiting_reason == "PodInitializing"


@pytest.mark.parametrize(
    "container",
    [
        pytest.param(server(state=ended("OOMKilled", 137, "bye")), id="ended just now"),
        pytest.param(
            server(state={"running": {}}, lastState=ended("OOMKilled", 137, "bye")),
            id="running again",
        ),
        pytest.param(
            server(state=ended("OOMKilled", 137, "bye"), lastState=ended("Error", 1)),
            id="ended twice",
        ),
    ],
)
def test_the_last_exit_is_the_newest(container: JsonObject) -> None:
    found = pod_snapshot(a_pod(containers=[container | {"restartCount": 3}]))

    assert found.last_exit == LastExit("OOMKilled", 137, "bye")
    assert found.restart_count == 3


def test_what_the_scheduler_says_is_read() -> None:
    def scheduled(reason: str) -> JsonObject:
        condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": "why"}
        return a_pod(conditions=[condition])

    homeless, gated = pod_snapshot(scheduled("Unschedulable")), scheduled("SchedulingGated")

    assert (homeless.unschedulable_message, homeless.waiting_reason) == ("why", "")
    assert pod_snapshot(gated).waiting_reason == "SchedulingGated"
    assert pod_snapshot(gated).waiting_message == "why"
    assert pod_snapshot(gated).unschedulable_message == ""


def test_a_scheduled_pod_has_nothing_to_say_about_nodes() -> None:
    pod = a_pod(conditions=[{"type": "PodScheduled", "status": "True"}])

    assert pod_snapshot(pod).unschedulable_message == ""


def test_a_claim_is_read() -> None:
    claim = {"spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Bound"}}

    assert claim_snapshot(claim) == ClaimSnapshot(("ReadWriteOnce",), "Bound")
    assert claim_snapshot({"metadata": {"name": "new"}}) == ClaimSnapshot()
