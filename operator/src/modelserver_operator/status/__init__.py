"""What the resource says about itself, decided anew from what is observed. Pure: no client, no
clock, no log.

The status is a function of the observation and of the present status, from which it keeps what has
not changed: times, and words that differ only in what ticks. Deciding twice on the same observation
gives the same status, however much time passes, so that an idle cluster sees no write.
"""

from collections.abc import Sequence
from datetime import datetime

from modelserver_operator.api import Condition, Metadata, ModelServer, ModelServerStatus
from modelserver_operator.observed import Observed
from modelserver_operator.status.conditions import condition, conditions
from modelserver_operator.status.facts import (
    Conflict,
    Desired,
    Facts,
    Finding,
    gather_facts,
)
from modelserver_operator.status.reasons import Aspect, Reason
from modelserver_operator.status.rows import to_status
from modelserver_operator.status.summary import (
    endpoints,
    ready_summary,
    selector,
    serving_versions,
    source,
)

__all__ = ["Aspect", "Reason", "invalid_spec_status", "is_same", "status"]


def status(
    server: ModelServer,
    observed: Observed,
    desired: Desired,
    conflicts: Sequence[Conflict],
    now: datetime,
) -> ModelServerStatus:
    """The status of `server`, whose present one is in `server.status`.

    `conflicts` are the objects that are in the way; `now` is an aware time, used for transitions.
    """
    facts = gather_facts(server, observed, desired, conflicts)
    generation = _observed_generation(facts)
    models, truncated = to_status(facts.rows)
    return ModelServerStatus(
        observed_generation=generation,
        replicas=len(facts.view.pods),
        ready_replicas=len(facts.view.ready),
        selector=selector(server.metadata),
        endpoints=endpoints(server.metadata),
        serving_versions=serving_versions(facts),
        source=source(facts),
        ready_summary=ready_summary(facts),
        models=models,
        versions_truncated=truncated,
        conditions=conditions(facts, generation, now),
    )


def invalid_spec_status(
    metadata: Metadata, last: ModelServerStatus, message: str, now: datetime
) -> ModelServerStatus:
    """The status of a resource whose spec cannot be read; `message` says why.

    Nothing is known about what it asks for, so the pods and everything said about them stay.
    """
    kept: dict[str, Condition] = {c.type: c for c in last.conditions}
    kept.pop(Aspect.RECONCILING, None)
    findings = {
        Aspect.READY: Finding("False", Reason.INVALID_SPEC, message),
        Aspect.STALLED: Finding("True", Reason.INVALID_SPEC, message),
    }
    for aspect, found in findings.items():
        kept[aspect] = condition(aspect, found, kept.get(aspect), metadata.generation, now)
    return last.model_copy(
        update={"observed_generation": metadata.generation, "conditions": tuple(kept.values())}
    )


def is_same(one: ModelServerStatus, other: ModelServerStatus) -> bool:
    """Whether writing `other` over `one` would change nothing. Times count: `status` keeps those
    that have not changed.
    """
    return one.to_json() == other.to_json()


def _observed_generation(facts: Facts) -> int | None:
    """While reconciling is paused, a newer spec is read and not carried out."""
    if facts.server.is_paused:
        return facts.server.status.observed_generation
    return facts.server.metadata.generation
