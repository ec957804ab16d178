"""WorkloadAvailable: do as many pods run as are wanted, and does none need help?

It is False also while other pods serve, for a pod that cannot start: Ready tells whether calls are
answered.
"""

import re
from collections.abc import Mapping
from typing import Any

from modelserver_operator.status.facts import Check, Facts, Finding
from modelserver_operator.status.pod_trouble import (
    container_cannot_be_created,
    image_cannot_be_pulled,
    memory_is_exceeded,
    no_node_is_suitable,
    server_crashes,
)
from modelserver_operator.status.presence import switched_off
from modelserver_operator.status.reasons import Reason
from modelserver_operator.status.wording import count_of_pods, sentence

_REFUSED_POD = re.compile(r'^pods "[^"]*" is forbidden: ')


def _name_is_taken(facts: Facts) -> Finding | None:
    if not any(conflict.kind == "Deployment" for conflict in facts.conflicts):
        return None
    message = f"A Deployment {facts.server.metadata.name} exists that is not this ModelServer's."
    return Finding("False", Reason.NAME_CONFLICT, message)


def _is_switched_off(facts: Facts) -> Finding | None:
    return switched_off(facts, "False")


def _pods_are_refused(facts: Facts) -> Finding | None:
    failure = deployment_condition(facts, "ReplicaFailure")
    if failure.get("status") != "True":
        return None
    said = _REFUSED_POD.sub("", failure.get("message") or "")
    if "quota" in said:
        message = (
            "The namespace's quota allows no further pod: raise it, or lower spec.replicas or "
            "spec.resources."
        )
        return Finding("False", Reason.QUOTA_EXCEEDED, message, said)
    message = "The API server refuses to create the pods."
    return Finding("False", Reason.POD_CREATION_FAILED, message, said)


def _is_not_made_yet(facts: Facts) -> Finding | None:
    if facts.deployment is not None:
        return None
    return Finding("False", Reason.PROGRESSING, "The Deployment is being created.")


def _too_few_are_ready(facts: Facts) -> Finding | None:
    ready, wanted = len(facts.view.ready), facts.wanted_replicas
    if ready >= wanted:
        return None
    message = f"{ready} of {count_of_pods(wanted)} {'is' if ready == 1 else 'are'} ready."
    return Finding("False", Reason.PROGRESSING, with_notes(facts, message))


def _enough_are_ready(facts: Facts) -> Finding | None:
    ready, wanted = len(facts.view.ready), facts.wanted_replicas
    # While pods are replaced there may be one more than wanted.
    message = (
        f"{min(ready, wanted)} of {count_of_pods(wanted)} {'is' if wanted == 1 else 'are'} ready."
    )
    return Finding("True", Reason.MINIMUM_REPLICAS_AVAILABLE, message)


WORKLOAD_AVAILABLE: tuple[Check, ...] = (
    _name_is_taken,
    _is_switched_off,
    image_cannot_be_pulled,
    container_cannot_be_created,
    memory_is_exceeded,
    server_crashes,
    _pods_are_refused,
    no_node_is_suitable,
    _is_not_made_yet,
    _too_few_are_ready,
    _enough_are_ready,
)


def deployment_condition(facts: Facts, condition_type: str) -> Mapping[str, Any]:
    """A condition of the live Deployment; empty when it does not say."""
    status = (facts.deployment or {}).get("status") or {}
    conditions: list[Mapping[str, Any]] = status.get("conditions") or []
    return next((c for c in conditions if c.get("type") == condition_type), {})


def with_notes(facts: Facts, message: str) -> str:
    """The message, and what is unusual about how this server's pods are replaced."""
    return " ".join((message, *(sentence(note) for note in facts.desired.notes)))
