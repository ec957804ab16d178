"""The conditions that are present only while they apply: Reconciling and Stalled, as kstatus
libraries read them, RolloutHealthy and Paused.
"""

from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ChildKey
from modelserver_operator.status.facts import Check, Facts, Finding, first_finding
from modelserver_operator.status.ready import READY
from modelserver_operator.status.reasons import Reason
from modelserver_operator.status.refused import (
    config_cannot_be_written,
    name_conflict,
    spec_is_refused,
)
from modelserver_operator.status.versions import VERSIONS_CONVERGED
from modelserver_operator.status.wording import names
from modelserver_operator.status.workload import (
    WORKLOAD_AVAILABLE,
    deployment_condition,
    with_notes,
)

_APPLIED_HASH_ANNOTATION = "modelserver.dev/applied-hash"

_MOVING = frozenset({Reason.LOADING, Reason.DOWNLOADING, Reason.PROGRESSING, Reason.CONFIG_PENDING})
_AT_REST = frozenset({Reason.SUSPENDED, Reason.SCALED_TO_ZERO})


# Stalled: nothing will change until somebody does something.


def _spec_is_refused(facts: Facts) -> Finding | None:
    return _true(spec_is_refused(facts))


def _config_cannot_be_written(facts: Facts) -> Finding | None:
    return _true(config_cannot_be_written(facts))


def _name_is_taken(facts: Facts) -> Finding | None:
    return _true(name_conflict(facts))


def _deadline_is_exceeded(facts: Facts) -> Finding | None:
    progress = deployment_condition(facts, "Progressing")
    if facts.wanted_replicas == 0 or progress.get("reason") != "ProgressDeadlineExceeded":
        return None
    message = (
        "The new pods do not become ready in time: see WorkloadAvailable and VersionsConverged."
    )
    return Finding("True", Reason.PROGRESS_DEADLINE_EXCEEDED, message)


STALLED: tuple[Check, ...] = (
    _spec_is_refused,
    _name_is_taken,
    _config_cannot_be_written,
    _deadline_is_exceeded,
)


# Reconciling: what is differs from the spec, and is on its way there.


def _is_held_up(facts: Facts) -> bool:
    return facts.server.is_paused or first_finding(STALLED, facts) is not None


def _pods_are_missing(facts: Facts) -> Finding | None:
    found = first_finding(WORKLOAD_AVAILABLE, facts)
    if found is None or found.status != "False" or found.reason in _AT_REST:
        return None
    return _true(found)


def _pods_are_replaced(facts: Facts) -> Finding | None:
    if facts.deployment is None or _is_rolled_out(facts):
        return None
    message = with_notes(facts, "The pods are being replaced.")
    return Finding("True", Reason.PROGRESSING, message)


def _is_rolled_out(facts: Facts) -> bool:
    deployment = facts.deployment or {}
    status = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return False
    counts = {status.get("replicas", 0), status.get("updatedReplicas", 0)}
    return counts == {facts.wanted_replicas}


def _versions_are_moving(facts: Facts) -> Finding | None:
    found = first_finding(VERSIONS_CONVERGED, facts)
    return _true(found) if found is not None and found.reason in _MOVING else None


def _is_starting(facts: Facts) -> Finding | None:
    found = first_finding(READY, facts)
    return _true(found) if found is not None and found.reason == Reason.STARTING else None


def _children_are_changed(facts: Facts) -> Finding | None:
    """What is observed is from before the changes that this very round makes."""
    changing = [child for child in facts.desired.children if not _is_applied(child, facts)]
    if not changing:
        return None
    named = names([f"{child['kind']} {child['metadata']['name']}" for child in changing])
    return Finding("True", Reason.PROGRESSING, f"Applying {named}.", facts.desired.forbidden)


def _is_applied(child: JsonObject, facts: Facts) -> bool:
    live = facts.children.get(ChildKey(child["kind"], child["metadata"]["name"]))
    return live is not None and _stamp(live) == _stamp(child)


def _stamp(manifest: JsonObject) -> str | None:
    annotations: dict[str, str] = manifest["metadata"].get("annotations") or {}
    return annotations.get(_APPLIED_HASH_ANNOTATION)


RECONCILING: tuple[Check, ...] = (
    _children_are_changed,
    _pods_are_missing,
    _pods_are_replaced,
    _versions_are_moving,
    _is_starting,
)


def reconciling(facts: Facts) -> Finding | None:
    """Reconciling, unless the operator or the cluster cannot go on."""
    return None if _is_held_up(facts) else first_finding(RECONCILING, facts)


def rollout_healthy(facts: Facts) -> Finding | None:
    """What became of `rollout`, which this release keeps and does not act on."""
    asked = [model.name for model in facts.server.spec.models if model.rollout]
    if not asked:
        return None
    message = (
        f"This release does not act on the rollout of {names(asked)}: a new version gets all calls "
        "at once."
    )
    return Finding("False", Reason.NOT_SUPPORTED, message)


def paused(facts: Facts) -> Finding | None:
    """Whether somebody stopped the operator or the pods."""
    if facts.server.is_paused:
        message = (
            "The annotation modelserver.dev/reconcile is paused: nothing is created, changed or "
            "deleted until it is removed. Status is kept up to date."
        )
        return Finding("True", Reason.RECONCILE_PAUSED, message)
    if facts.server.spec.suspend:
        return Finding("True", Reason.SUSPENDED, "spec.suspend is true, so no pod runs.")
    return None


def _true(found: Finding | None) -> Finding | None:
    return found and Finding("True", found.reason, found.message, found.aside)
