"""Checks for what cannot be carried out, whatever is tried."""

from modelserver_operator.status.facts import Facts, Finding
from modelserver_operator.status.reasons import Reason
from modelserver_operator.status.wording import sentence


def spec_is_refused(facts: Facts) -> Finding | None:
    """The spec asks for something that cannot be."""
    refused = [r.message for r in facts.desired.refusals if r.reason != Reason.CONFIG_REFUSED]
    return _finding(Reason.INVALID_SPEC, refused)


def config_cannot_be_written(facts: Facts) -> Finding | None:
    """There is no form of the config document that the operator writes and every pod reads."""
    refused = [r.message for r in facts.desired.refusals if r.reason == Reason.CONFIG_REFUSED]
    return _finding(Reason.CONFIG_REFUSED, refused)


def name_conflict(facts: Facts, kinds: frozenset[str] | None = None) -> Finding | None:
    """An object of one of these kinds (None: of any) exists under our name and is not ours."""
    taken = [c.message for c in facts.conflicts if kinds is None or c.kind in kinds]
    return _finding(Reason.NAME_CONFLICT, taken)


def _finding(reason: Reason, messages: list[str]) -> Finding | None:
    return Finding("False", reason, " ".join(map(sentence, messages))) if messages else None
