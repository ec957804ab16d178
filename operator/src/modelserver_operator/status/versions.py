"""VersionsConverged: do all pods follow the spec, with every version that it asks for?"""

from collections.abc import Callable, Sequence

from modelserver_operator.observed import PodSnapshot
from modelserver_operator.reports import PodReport
from modelserver_operator.status.facts import Check, Facts, Finding
from modelserver_operator.status.presence import switched_off, unanswered, unheard
from modelserver_operator.status.reasons import Aspect, Reason
from modelserver_operator.status.refused import config_cannot_be_written
from modelserver_operator.status.version_row import AVAILABLE, UNLOADING, Row
from modelserver_operator.status.wording import count_of_pods, names, pods

_MOST_DETAILS = 5

# What keeps a version from being loaded yet.
_BEFORE_LOADING = frozenset({Reason.INCOMPLETE, Reason.DOWNLOADING})


def _is_switched_off(facts: Facts) -> Finding | None:
    return switched_off(facts, "Unknown")


def _config_is_refused(facts: Facts) -> Finding | None:
    refusing = _reporting(facts, lambda report: _refused(report) == facts.desired.config_hash)
    if not refusing:
        return None
    pod, report = refusing[0]
    message = (
        f"The config was refused by {pods([pod.name for pod, _ in refusing])}, and the one before "
        "stays in force."
    )
    return Finding(
        "False",
        Reason.CONFIG_REFUSED,
        message,
        f"{pod.name}: {report.config_error.message}" if report.config_error else "",
    )


def _config_is_pending(facts: Facts) -> Finding | None:
    behind = _reporting(facts, lambda report: report.config_hash != facts.desired.config_hash)
    if not behind:
        return None
    message = f"Waiting for {pods([pod.name for pod, _ in behind])} to take up the config."
    return Finding("False", Reason.CONFIG_PENDING, message)


def _nobody_answers(facts: Facts) -> Finding | None:
    return None if facts.view.reporting else unanswered(facts)


def _is_unheard(facts: Facts) -> Finding | None:
    return unheard(facts, Aspect.VERSIONS_CONVERGED)


def _load_has_failed(facts: Facts) -> Finding | None:
    failed = [row for row in facts.rows.rows if row.has_failed]
    if not failed:
        return None
    return Finding("False", Reason.LOAD_FAILED, f"Failed to load: {_details(failed)}.")


def _version_is_loading(facts: Facts) -> Finding | None:
    loading = [row for row in facts.rows.rows if _is_loading(row)]
    if not loading:
        return None
    return Finding("False", Reason.LOADING, f"Loading {names([row.name for row in loading])}.")


def _version_is_downloading(facts: Facts) -> Finding | None:
    coming = facts.rows.telling(Reason.DOWNLOADING)
    if not coming:
        return None
    message = f"Downloading {names([row.name for row in coming])}."
    return Finding("False", Reason.DOWNLOADING, message)


def _version_is_unloading(facts: Facts) -> Finding | None:
    unloading = [row for row in facts.rows.rows if row.status.state == UNLOADING]
    if not unloading:
        return None
    message = f"Unloading {names([row.name for row in unloading])}."
    return Finding("False", Reason.PROGRESSING, message)


def _removed_model_is_loaded(facts: Facts) -> Finding | None:
    removed = [model for model in facts.rows.models if model not in facts.models]
    if not removed:
        return None
    message = f"Pods still have {names(removed)}, which the spec no longer names."
    return Finding("False", Reason.PROGRESSING, message)


def _upload_is_incomplete(facts: Facts) -> Finding | None:
    waiting = facts.rows.telling(Reason.INCOMPLETE)
    if not waiting:
        return None
    return Finding("False", Reason.INCOMPLETE, f"Waiting for upload: {_details(waiting)}.")


def _pod_lacks_a_version(facts: Facts) -> Finding | None:
    asked = len(facts.view.reporting) + len(facts.view.silent)
    lacking = [
        f"{row.name} is in {row.status.available_replicas} of {count_of_pods(asked)}"
        for row in facts.rows.rows
        if row.status.state == AVAILABLE and row.status.available_replicas < asked
    ]
    if not lacking:
        return None
    return Finding("False", Reason.PROGRESSING, f"{names(lacking)}.")


def _label_is_pending(facts: Facts) -> Finding | None:
    pending = [
        f"{label.name} of {model.name} waits for version {label.version}"
        for model in facts.server.spec.models
        for label in model.labels
        if _is_pending(facts, model.name, label.name)
    ]
    if not pending:
        return None
    message = f"A label moves when its version is available: {names(pending)}."
    return Finding("False", Reason.LABEL_PENDING, message)


def _named_version_is_missing(facts: Facts) -> Finding | None:
    missing = [
        f"{model.name} version {version}"
        for model in facts.server.spec.models
        if model.version_policy.specific
        for version in model.version_policy.specific.versions
        if facts.rows.find(model.name, version) is None
    ]
    if not missing:
        return None
    message = f"No pod has found {names(missing)}, which versionPolicy.specific names."
    return Finding("False", Reason.VERSION_NOT_FOUND, message)


def _model_has_no_version(facts: Facts) -> Finding | None:
    empty = [model for model in facts.models if not facts.rows.of(model)]
    if not empty:
        return None
    message = (
        f"No pod has found a version of {names(empty)}: a version is a folder whose name is a "
        "number, in the folder that uri names."
    )
    return Finding("False", Reason.NO_VERSION_AVAILABLE, message)


def _has_converged(_: Facts) -> Finding | None:
    return Finding("True", Reason.CONVERGED, "Every pod has the versions that the spec asks for.")


VERSIONS_CONVERGED: tuple[Check, ...] = (
    _is_switched_off,
    config_cannot_be_written,
    _config_is_refused,
    _config_is_pending,
    _nobody_answers,
    _is_unheard,
    _load_has_failed,
    _version_is_loading,
    _version_is_downloading,
    _version_is_unloading,
    _removed_model_is_loaded,
    _upload_is_incomplete,
    _pod_lacks_a_version,
    _label_is_pending,
    _named_version_is_missing,
    _model_has_no_version,
    unanswered,
    _has_converged,
)


def _reporting(
    facts: Facts, are_so: Callable[[PodReport], bool]
) -> list[tuple[PodSnapshot, PodReport]]:
    return [(pod, report) for pod, report in facts.view.reporting if are_so(report)]


def _refused(report: PodReport) -> str | None:
    return report.config_error.hash if report.config_error else None


def _is_loading(row: Row) -> bool:
    status = row.status
    return status.state in ("Start", "Loading") and status.reason not in _BEFORE_LOADING


def _is_pending(facts: Facts, model: str, label: str) -> bool:
    return any(
        said.name == label and said.pending
        for _, report in facts.view.reports_of(model)
        for said in report.labels
    )


def _details(rows: Sequence[Row]) -> str:
    told = [f"{row.name}: {row.status.message.rstrip('.') or row.status.reason}" for row in rows]
    return "; ".join(told[:_MOST_DETAILS]) + (
        f"; and {len(told) - _MOST_DETAILS} more" if len(told) > _MOST_DETAILS else ""
    )
