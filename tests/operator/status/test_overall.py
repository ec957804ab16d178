"""What holds for all conditions: servers that are switched off or held up, and kstatus."""

from datetime import timedelta

import pytest

from modelserver_operator.api import ModelServerStatus
from modelserver_operator.desired import Desired, Refusal
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ChildKey, Observed
from modelserver_operator.plan import NameConflict
from modelserver_operator.status import invalid_spec_status, is_same
from modelserver_operator.testing.observations import (
    CONFIG_HASH,
    MNIST,
    NOW,
    a_deployment,
    a_pod,
    a_report,
    a_server,
    an_observation,
    condition,
    judge,
    verdict,
)

LATER = NOW + timedelta(hours=1)


def served_once(**spec) -> ModelServerStatus:
    """The status of a server that works."""
    return judge(an_observation(a_server(**spec)))


def failing_deployment(condition_type: str, reason: str, message: str, truth: str) -> JsonObject:
    told = {"type": condition_type, "status": truth, "reason": reason, "message": message}
    return a_deployment(conditions=[told])


def kstatus(found: ModelServerStatus, generation: int) -> str:
    """The rules of cli-utils' kstatus for a custom resource."""
    if found.observed_generation != generation:
        return "InProgress"
    said = {c.type: c.status for c in found.conditions}
    if said.get("Reconciling") == "True":
        return "InProgress"
    if said.get("Stalled") == "True":
        return "Failed"
    return "Current" if said["Ready"] == "True" else "InProgress"


@pytest.mark.parametrize(
    ("spec", "reason"), [({"suspend": True}, "Suspended"), ({"replicas": 0}, "ScaledToZero")]
)
def test_a_server_without_pods_on_request_says_so_and_is_at_rest(spec, reason: str) -> None:
    found = judge(an_observation(a_server(status=served_once(), **spec)))

    assert verdict(found, "Ready") == ("False", reason)
    assert verdict(found, "WorkloadAvailable") == ("False", reason)
    assert verdict(found, "SourceAccessible") == ("Unknown", reason)
    assert verdict(found, "VersionsConverged") == ("Unknown", reason)
    assert verdict(found, "Reconciling") is None
    assert found.ready_summary == "0/0"
    assert found.serving_versions == ""


def test_suspended_and_paused_show_as_the_condition_paused() -> None:
    paused = {"modelserver.dev/reconcile": "paused"}

    suspended = judge(an_observation(a_server(suspend=True)))
    handed_off = judge(an_observation(a_server(annotations=paused)))
    neither = judge(an_observation(a_server()))

    assert verdict(suspended, "Paused") == ("True", "Suspended")
    assert verdict(handed_off, "Paused") == ("True", "ReconcilePaused")
    assert verdict(neither, "Paused") is None


def test_while_paused_a_newer_spec_counts_as_unobserved() -> None:
    server = a_server(
        status=served_once(),
        generation=2,
        annotations={"modelserver.dev/reconcile": "paused"},
    )

    found = judge(an_observation(server))

    assert found.observed_generation == 1
    assert {c.observed_generation for c in found.conditions} == {1}
    assert kstatus(found, generation=2) == "InProgress"


def test_an_object_in_the_way_stalls_and_is_named() -> None:
    taken = NameConflict("Service", "web", "Service web was made by somebody else: delete it")

    found = judge(an_observation(a_server()), conflicts=[taken])

    assert verdict(found, "Stalled") == ("True", "NameConflict")
    assert verdict(found, "Ready") == ("False", "NameConflict")
    assert condition(found, "Stalled").message == f"{taken.message}."
    assert verdict(found, "Reconciling") is None


def test_an_object_in_the_way_that_calls_do_not_need_leaves_it_ready() -> None:
    taken = NameConflict("PodDisruptionBudget", "web", "PodDisruptionBudget web is not ours")

    found = judge(an_observation(a_server()), conflicts=[taken])

    assert verdict(found, "Stalled") == ("True", "NameConflict")
    assert verdict(found, "Ready") == ("True", "Serving")


def test_what_the_api_server_finds_invalid_stalls() -> None:
    refusal = Refusal("InvalidSpec", "spec.env[0].name: invalid")
    desired = Desired((), CONFIG_HASH, "t", refusals=(refusal,))

    found = judge(an_observation(a_server()), desired)

    assert verdict(found, "Stalled") == ("True", "InvalidSpec")
    assert verdict(found, "Ready") == ("False", "InvalidSpec")
    assert "spec.env[0].name: invalid." in condition(found, "Stalled").message


def test_pods_that_do_not_get_ready_in_time_stall() -> None:
    deployment = failing_deployment("Progressing", "ProgressDeadlineExceeded", "", "False")

    found = judge(an_observation(a_server(), [], [], deployment=deployment))

    assert verdict(found, "Stalled") == ("True", "ProgressDeadlineExceeded")
    assert verdict(found, "Reconciling") is None


def test_a_rollout_in_the_spec_is_said_to_be_without_effect() -> None:
    rollout = {"steps": [{"weight": 10}, {"weight": 100}]}

    found = judge(an_observation(a_server(models=[MNIST | {"rollout": rollout}])))

    assert verdict(found, "RolloutHealthy") == ("False", "NotSupported")


def test_a_spec_that_cannot_be_read_stalls_and_keeps_what_was_known() -> None:
    server = a_server(status=served_once(), generation=2)

    found = invalid_spec_status(server.metadata, server.status, "spec.models: missing", LATER)
    again = invalid_spec_status(server.metadata, found, "spec.models: missing", LATER)

    assert verdict(found, "Ready") == ("False", "InvalidSpec")
    assert verdict(found, "Stalled") == ("True", "InvalidSpec")
    assert found.observed_generation == 2
    assert found.models == server.status.models
    assert is_same(found, again)


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        pytest.param(an_observation(a_server()), "Current", id="serves"),
        pytest.param(Observed(server=a_server()), "InProgress", id="just created"),
        pytest.param(
            an_observation(a_server(), deployment=a_deployment(updatedReplicas=0)),
            "InProgress",
            id="pods are replaced",
        ),
        pytest.param(
            an_observation(a_server(), deployment=a_deployment(observedGeneration=0)),
            "InProgress",
            id="deployment not observed",
        ),
        pytest.param(
            an_observation(a_server(replicas=3), [a_pod()], [a_report(a_pod())]),
            "InProgress",
            id="scales up",
        ),
    ],
)
def test_kstatus_reads_progress(observed: Observed, expected: str) -> None:
    assert kstatus(judge(observed), generation=1) == expected


def test_kstatus_reads_a_conflict_as_failed() -> None:
    taken = NameConflict("Service", "web", "Service web is not ours")

    assert kstatus(judge(an_observation(a_server()), conflicts=[taken]), generation=1) == "Failed"


def test_a_change_that_this_round_makes_is_reconciling_before_it_is_observed() -> None:
    stamped = {"modelserver.dev/applied-hash": "new"}
    child = a_deployment() | {"metadata": {"name": "web", "annotations": stamped}}
    desired = Desired((child,), CONFIG_HASH, "t")

    found = judge(an_observation(a_server()), desired)

    assert verdict(found, "Reconciling") == ("True", "Progressing")
    assert "Deployment web" in condition(found, "Reconciling").message


def test_a_child_that_carries_the_hash_of_what_is_desired_is_applied() -> None:
    stamped = {"modelserver.dev/applied-hash": "new"}
    live = a_deployment()
    live["metadata"]["annotations"] = stamped
    observed = an_observation(a_server(), deployment=live)
    child = {"kind": "Deployment", "metadata": {"name": "web", "annotations": stamped}}

    found = judge(observed, Desired((child,), CONFIG_HASH, "t"))

    assert ChildKey("Deployment", "web") in observed.children
    assert verdict(found, "Reconciling") is None
