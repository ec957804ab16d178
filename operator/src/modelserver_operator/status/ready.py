"""Ready: does every model of the spec answer calls? The sum of the other conditions."""

from modelserver_operator.status.facts import Check, Facts, Finding, first_finding
from modelserver_operator.status.presence import switched_off, unanswered
from modelserver_operator.status.reasons import Aspect, Reason
from modelserver_operator.status.refused import name_conflict, spec_is_refused
from modelserver_operator.status.source import SOURCE_ACCESSIBLE
from modelserver_operator.status.version_row import MUTATED, Row
from modelserver_operator.status.wording import count_of_pods, names
from modelserver_operator.status.workload import WORKLOAD_AVAILABLE

# Without these objects no call arrives; without the others, calls are answered all the same.
_ESSENTIAL = frozenset({"Deployment", "Service", "ConfigMap"})

# From these, a server that has no ready pod is one that starts, not one that broke down.
_BEFORE_START: frozenset[str] = frozenset(
    {
        Reason.STARTING,
        Reason.SUSPENDED,
        Reason.SCALED_TO_ZERO,
        Reason.NAME_CONFLICT,
        Reason.INVALID_SPEC,
    }
)
_MOST_DETAILS = 5


def _essential_name_is_taken(facts: Facts) -> Finding | None:
    return name_conflict(facts, _ESSENTIAL)


def _is_switched_off(facts: Facts) -> Finding | None:
    return switched_off(facts, "False")


def _all_models_serve(facts: Facts) -> Finding | None:
    if not all(facts.rows.serves(model) for model in facts.models):
        return None
    ready, wanted = len(facts.view.ready), facts.wanted_replicas
    few = f"{ready} of {count_of_pods(wanted)}" if ready < wanted else count_of_pods(wanted)
    what = facts.models[0] if len(facts.models) == 1 else f"all {len(facts.models)} models"
    return Finding("True", Reason.SERVING, f"Serving {what} with {few}.")


def _source_keeps_pods_from_serving(facts: Facts) -> Finding | None:
    if any(facts.rows.serves(model) for model in facts.models):
        return None
    found = first_finding(SOURCE_ACCESSIBLE, facts)
    if found is None or found.status != "False":
        return None
    return Finding(
        "False", Reason.SOURCE_INACCESSIBLE, f"{found.reason}: {found.message}", found.aside
    )


def _pods_cannot_run(facts: Facts) -> Finding | None:
    if facts.view.ready:
        return None
    found = first_finding(WORKLOAD_AVAILABLE, facts)
    if found is None or found.reason in (Reason.PROGRESSING, Reason.MINIMUM_REPLICAS_AVAILABLE):
        return None
    message = f"No pod is ready. {found.reason}: {found.message}"
    return Finding("False", Reason.WORKLOAD_UNAVAILABLE, message, found.aside)


def _no_version_could_be_loaded(facts: Facts) -> Finding | None:
    """While pods are not ready yet: nothing loads any more, so it is not just a start."""
    rows = [row for model in facts.models for row in facts.rows.of(model)]
    if facts.view.ready or not rows or not all(row.has_failed for row in rows):
        return None
    return _unserved(facts)


def _no_pod_is_ready(facts: Facts) -> Finding | None:
    if facts.view.ready:
        return None
    last = facts.last(Aspect.READY)
    if last is None or last.reason in _BEFORE_START:
        return Finding("Unknown", Reason.STARTING, _with_downloads(facts, "The pods are starting"))
    message = _with_downloads(facts, "No pod is ready")
    return Finding("False", Reason.WORKLOAD_UNAVAILABLE, message)


def _nobody_can_say(facts: Facts) -> Finding | None:
    """Pods are ready, and none of them has ever said what it serves."""
    if facts.view.reporting:
        return None
    found = unanswered(facts)
    return found or Finding(
        "Unknown", Reason.STARTING, "The pods are ready and have not reported yet."
    )


def _models_do_not_serve(facts: Facts) -> Finding | None:
    return _unserved(facts)


READY: tuple[Check, ...] = (
    spec_is_refused,
    _essential_name_is_taken,
    _is_switched_off,
    _all_models_serve,
    _pods_cannot_run,
    _source_keeps_pods_from_serving,
    _no_version_could_be_loaded,
    _no_pod_is_ready,
    _nobody_can_say,
    _models_do_not_serve,
)


def _with_downloads(facts: Facts, message: str) -> str:
    """The message, and what takes its time though nothing is wrong."""
    coming = facts.rows.telling(Reason.DOWNLOADING)
    if not coming:
        return f"{message}."
    return f"{message}: downloading {names([row.name for row in coming])}."


def _unserved(facts: Facts) -> Finding:
    missing = [model for model in facts.models if not facts.rows.serves(model)]
    told = [f"{model} ({_why(facts, model)})" for model in missing]
    listed = names(told, _MOST_DETAILS)
    if len(missing) == len(facts.models):
        return Finding("False", Reason.NO_VERSION_AVAILABLE, f"No version is available: {listed}.")
    return Finding("False", Reason.MODELS_NOT_AVAILABLE, f"Without an available version: {listed}.")


def _why(facts: Facts, model: str) -> str:
    rows = facts.rows.of(model)
    if rows:
        return _state(next((row for row in rows if _is_held_up(row)), rows[0]))
    sources = [said.source for _, said in facts.view.reports_of(model)]
    failing = next((source for source in sources if source.accessible is False), None)
    if failing is not None:
        return failing.reason or Reason.UNAVAILABLE
    return "none found" if any(source.accessible for source in sources) else "not reported yet"


def _is_held_up(row: Row) -> bool:
    return row.status.reason not in ("", MUTATED)


def _state(row: Row) -> str:
    status = row.status
    what = f"version {status.version}: {status.reason if _is_held_up(row) else status.state}"
    is_told = not status.message or status.reason in (Reason.DOWNLOADING, MUTATED)
    return what if is_told else f"{what}, {status.message.rstrip('.')}"
