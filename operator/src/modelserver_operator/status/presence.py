"""Checks that several chains begin with: whether there is anything to look at, and who can say."""

from modelserver_operator.status.facts import Facts, Finding, Truth
from modelserver_operator.status.reasons import Aspect, Reason
from modelserver_operator.status.wording import pods


def switched_off(facts: Facts, status: Truth) -> Finding | None:
    """No pod is wanted."""
    if facts.server.spec.suspend:
        return Finding(status, Reason.SUSPENDED, "spec.suspend is true, so no pod runs.")
    if facts.wanted_replicas == 0:
        return Finding(status, Reason.SCALED_TO_ZERO, "spec.replicas is 0, so no pod runs.")
    return None


def unheard(facts: Facts, aspect: Aspect) -> Finding | None:
    """No pod says anything. What was last known stays, if it was about this generation."""
    if facts.view.reporting:
        return None
    last = facts.last(aspect)
    is_current = last and last.observed_generation == facts.server.metadata.generation
    if last and is_current and last.reason in set(Reason):
        return Finding(last.status, Reason(last.reason), last.message)
    return unanswered(facts) or Finding(
        "Unknown", Reason.NOT_REPORTED, "No pod has reported on its models yet."
    )


def unanswered(facts: Facts) -> Finding | None:
    """Pods that Kubernetes calls ready do not answer the operator."""
    silent = facts.view.unanswering
    if not silent:
        return None
    named = pods([pod.name for pod in silent])
    message = (
        f"The operator cannot ask {named}, which Kubernetes calls ready: does a NetworkPolicy keep "
        "it from port 8502? What they last reported is shown."
    )
    return Finding(
        "Unknown", Reason.PODS_UNREACHABLE, message, facts.view.unreachable[silent[0].uid]
    )
