"""The conditions of a status, in the form and with the manners of `metav1.Condition`."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from modelserver_operator.api import Condition
from modelserver_operator.status.facts import Facts, Finding, first_finding
from modelserver_operator.status.mutated import version_mutated
from modelserver_operator.status.overall import STALLED, paused, reconciling, rollout_healthy
from modelserver_operator.status.ready import READY
from modelserver_operator.status.reasons import Aspect
from modelserver_operator.status.source import SOURCE_ACCESSIBLE
from modelserver_operator.status.versions import VERSIONS_CONVERGED
from modelserver_operator.status.workload import WORKLOAD_AVAILABLE

LONGEST_MESSAGE = 1024

ASPECTS: tuple[tuple[Aspect, Callable[[Facts], Finding | None]], ...] = (
    (Aspect.READY, partial(first_finding, READY)),
    (Aspect.SOURCE_ACCESSIBLE, partial(first_finding, SOURCE_ACCESSIBLE)),
    (Aspect.WORKLOAD_AVAILABLE, partial(first_finding, WORKLOAD_AVAILABLE)),
    (Aspect.VERSIONS_CONVERGED, partial(first_finding, VERSIONS_CONVERGED)),
    (Aspect.RECONCILING, reconciling),
    (Aspect.STALLED, partial(first_finding, STALLED)),
    (Aspect.ROLLOUT_HEALTHY, rollout_healthy),
    (Aspect.VERSION_MUTATED, version_mutated),
    (Aspect.PAUSED, paused),
)
"""Each condition with what decides on it; where nothing is found, the condition is absent."""


def conditions(
    facts: Facts, observed_generation: int | None, now: datetime
) -> tuple[Condition, ...]:
    """All conditions that apply, always in the same order."""
    found = ((aspect, decide(facts)) for aspect, decide in ASPECTS)
    return tuple(
        condition(aspect, finding, facts.last(aspect), observed_generation, now)
        for aspect, finding in found
        if finding is not None
    )


def condition(
    aspect: Aspect,
    finding: Finding,
    last: Condition | None,
    observed_generation: int | None,
    now: datetime,
) -> Condition:
    """Write down a finding. `lastTransitionTime` moves only with `status`, and never back."""
    since = last.last_transition_time if last and last.status == finding.status else now
    return Condition(
        type=aspect,
        status=finding.status,
        reason=finding.reason,
        message=_message(finding, last),
        last_transition_time=max(since, last.last_transition_time) if last else since,
        observed_generation=observed_generation,
    )


def _message(finding: Finding, last: Condition | None) -> str:
    if finding.aside and last and _is_same_but_for_aside(finding, last):
        return last.message
    message = f"{finding.message} {finding.aside}".strip()
    too_long = len(message) > LONGEST_MESSAGE
    return f"{message[: LONGEST_MESSAGE - 1]}…" if too_long else message


def _is_same_but_for_aside(finding: Finding, last: Condition) -> bool:
    same = (last.status, last.reason) == (finding.status, finding.reason)
    return same and last.message.startswith(f"{finding.message} ")
