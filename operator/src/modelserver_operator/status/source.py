"""SourceAccessible: can the pods read what the models' URIs name?"""

from modelserver_operator.api import ModelSpec
from modelserver_operator.observed import PodSnapshot
from modelserver_operator.reports import SourceReport
from modelserver_operator.status.facts import Check, Facts, Finding
from modelserver_operator.status.presence import switched_off, unanswered, unheard
from modelserver_operator.status.reasons import Aspect, Reason
from modelserver_operator.status.wording import names

# The server's words; one that this release does not know counts as Unavailable.
_REPORTED = {
    str(reason): reason
    for reason in (
        Reason.NOT_FOUND,
        Reason.FORBIDDEN,
        Reason.CREDENTIALS_MISSING,
        Reason.UNAVAILABLE,
        Reason.UNSUPPORTED,
    )
}

_OF_CLAIMS = {Reason.CLAIM_NOT_FOUND, Reason.CLAIM_LOST, Reason.CLAIM_NOT_BOUND}


def claims_of(facts: Facts) -> tuple[str, ...]:
    """All claims that models are in, in the spec's order."""
    claims = (model.claim for model in facts.server.spec.models)
    return tuple(dict.fromkeys(claim for claim in claims if claim))


def _claim_is_missing(facts: Facts) -> Finding | None:
    missing = [c for c in claims_of(facts) if c in facts.claims and facts.claims[c] is None]
    if not missing:
        return None
    message = (
        f"PersistentVolumeClaim {names(missing)} does not exist in namespace "
        f"{facts.server.metadata.namespace}: create it, or correct the uri."
    )
    return Finding("False", Reason.CLAIM_NOT_FOUND, message)


def _claim_is_lost(facts: Facts) -> Finding | None:
    lost = _claims_in_phase(facts, "Lost")
    if not lost:
        return None
    message = (
        f"PersistentVolumeClaim {names(lost)} has lost its volume: restore it, or make another "
        "claim and name that in the uri."
    )
    return Finding("False", Reason.CLAIM_LOST, message)


def _is_switched_off(facts: Facts) -> Finding | None:
    return switched_off(facts, "Unknown")


def _claim_is_unbound(facts: Facts) -> Finding | None:
    unbound = _claims_in_phase(facts, "Pending")
    if not unbound:
        return None
    message = (
        f"PersistentVolumeClaim {names(unbound)} has no volume yet. Its storage class may wait for "
        "the first pod; otherwise `kubectl describe pvc` says what is missing."
    )
    return Finding("Unknown", Reason.CLAIM_NOT_BOUND, message)


def _is_inaccessible(facts: Facts) -> Finding | None:
    failing = [
        (model.name, source)
        for model in facts.server.spec.models
        for source in _failing_sources(facts, model)[:1]
    ]
    if not failing:
        return None
    message = f"The URI of {names([model for model, _ in failing])} cannot be read."
    said = "; ".join(f"{model}: {source.message or source.reason}" for model, source in failing)
    reason = _REPORTED.get(failing[0][1].reason, Reason.UNAVAILABLE)
    return Finding("False", reason, message, said)


def _failing_sources(facts: Facts, model: ModelSpec) -> list[SourceReport]:
    """What the pods say that cannot read it. Those that still follow an older config may speak of
    an older URI, and count only while there are no others. A pod that does not mount the claim is
    about to be replaced by one that does.
    """
    told = [(pod, said) for pod, said in facts.view.reports_of(model.name) if _mounts(pod, model)]
    current = [(pod, said) for pod, said in told if _follows_config(facts, pod)]
    sources = [said.source for _, said in current or told]
    return [source for source in sources if source.accessible is False]


def _mounts(pod: PodSnapshot, model: ModelSpec) -> bool:
    return not model.claim or pod.claims is None or model.claim in pod.claims


def _follows_config(facts: Facts, pod: PodSnapshot) -> bool:
    return facts.view.reports[pod.uid].config_hash == facts.desired.config_hash


def _is_unheard(facts: Facts) -> Finding | None:
    finding = unheard(facts, Aspect.SOURCE_ACCESSIBLE)
    # What was said of a claim has been looked at anew, above, without any pod's help.
    return None if finding and finding.reason in _OF_CLAIMS else finding


def _is_not_listed_yet(facts: Facts) -> Finding | None:
    unlisted = [
        model
        for model in facts.models
        if not any(said.source.accessible for _, said in facts.view.reports_of(model))
    ]
    if not unlisted:
        return None
    message = f"No pod has looked at {names(unlisted)} yet."
    return unanswered(facts) or Finding("Unknown", Reason.NOT_REPORTED, message)


def _is_accessible(_: Facts) -> Finding | None:
    return Finding("True", Reason.ACCESSIBLE, "The pods can read every model's URI.")


SOURCE_ACCESSIBLE: tuple[Check, ...] = (
    _claim_is_missing,
    _claim_is_lost,
    _is_switched_off,
    _is_inaccessible,
    _claim_is_unbound,
    _is_unheard,
    _is_not_listed_yet,
    _is_accessible,
)


def _claims_in_phase(facts: Facts, phase: str) -> list[str]:
    claims = ((name, facts.claims.get(name)) for name in claims_of(facts))
    return [name for name, claim in claims if claim is not None and claim.phase == phase]
