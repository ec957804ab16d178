"""Which events a change of status is worth. Pure; events are told for transitions only.

The status before is the one in the resource, so that an operator that restarts repeats nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from modelserver_operator.api import Condition, ModelServerStatus, VersionStatus
from modelserver_operator.status.reasons import Aspect, Reason
from modelserver_operator.status.version_row import AVAILABLE, UNLOADING
from modelserver_operator.status.wording import names

_LONGEST_MESSAGE = 1024
_MOST_VERSIONS = 10
_MOST_FAILURES = 3


class EventReason(StrEnum):
    """What happened, in a word. docs/status.md explains each, and a test keeps the lists equal."""

    VERSION_DISCOVERED = "VersionDiscovered"
    VERSION_AVAILABLE = "VersionAvailable"
    VERSION_FAILED = "VersionFailed"
    VERSION_MUTATED = "VersionMutated"
    VERSION_UNLOADED = "VersionUnloaded"
    READY = "Ready"
    NOT_READY = "NotReady"
    SUSPENDED = "Suspended"
    SCALED_TO_ZERO = "ScaledToZero"
    SOURCE_ACCESSIBLE = "SourceAccessible"
    SOURCE_NOT_FOUND = "SourceNotFound"
    SOURCE_FORBIDDEN = "SourceForbidden"
    SOURCE_CREDENTIALS_MISSING = "SourceCredentialsMissing"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_UNSUPPORTED = "SourceUnsupported"
    CLAIM_NOT_FOUND = "ClaimNotFound"
    CLAIM_LOST = "ClaimLost"
    WORKLOAD_AVAILABLE = "WorkloadAvailable"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
    CRASH_LOOPING = "CrashLooping"
    OOM_KILLED = "OOMKilled"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_CREATION_FAILED = "PodCreationFailed"
    PODS_UNREACHABLE = "PodsUnreachable"
    LABEL_PENDING = "LabelPending"
    VERSION_NOT_FOUND = "VersionNotFound"
    CONFIG_REFUSED = "ConfigRefused"
    NAME_CONFLICT = "NameConflict"
    INVALID_SPEC = "InvalidSpec"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    ROLLOUT_NOT_SUPPORTED = "RolloutNotSupported"
    RECONCILE_PAUSED = "ReconcilePaused"
    RECONCILE_RESUMED = "ReconcileResumed"


@dataclass(frozen=True, slots=True)
class EventNote:
    """An event to record about a ModelServer."""

    type: Literal["Normal", "Warning"]
    reason: EventReason
    message: str


def transitions(old: ModelServerStatus, new: ModelServerStatus) -> tuple[EventNote, ...]:
    """The events that tell how `old` became `new`, the cause before its consequence.

    The first status of a resource tells what is wrong, and not every version that there is.
    """
    versions = _versions(old, new) if old.conditions else ()
    return (*versions, *_conditions(old, new))


# Conditions.

# What a condition says when it begins to have this reason. Names that are the same word in both
# lists are not repeated here.
_RENAMED: Mapping[tuple[str, str], EventReason] = {
    (Aspect.SOURCE_ACCESSIBLE, Reason.NOT_FOUND): EventReason.SOURCE_NOT_FOUND,
    (Aspect.SOURCE_ACCESSIBLE, Reason.FORBIDDEN): EventReason.SOURCE_FORBIDDEN,
    (Aspect.SOURCE_ACCESSIBLE, Reason.CREDENTIALS_MISSING): EventReason.SOURCE_CREDENTIALS_MISSING,
    (Aspect.SOURCE_ACCESSIBLE, Reason.UNAVAILABLE): EventReason.SOURCE_UNAVAILABLE,
    (Aspect.SOURCE_ACCESSIBLE, Reason.UNSUPPORTED): EventReason.SOURCE_UNSUPPORTED,
    (Aspect.ROLLOUT_HEALTHY, Reason.NOT_SUPPORTED): EventReason.ROLLOUT_NOT_SUPPORTED,
    (Aspect.VERSION_MUTATED, Reason.FILES_CHANGED): EventReason.VERSION_MUTATED,
}
_TOLD_BY_NAME: Mapping[str, tuple[Reason, ...]] = {
    Aspect.SOURCE_ACCESSIBLE: (Reason.CLAIM_NOT_FOUND, Reason.CLAIM_LOST),
    Aspect.WORKLOAD_AVAILABLE: (
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_PULL_FAILED,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        Reason.CRASH_LOOPING,
        Reason.OOM_KILLED,
        Reason.QUOTA_EXCEEDED,
        Reason.POD_CREATION_FAILED,
    ),
    Aspect.VERSIONS_CONVERGED: (
        Reason.PODS_UNREACHABLE,
        Reason.LABEL_PENDING,
        Reason.VERSION_NOT_FOUND,
        Reason.CONFIG_REFUSED,
    ),
    Aspect.STALLED: (
        Reason.NAME_CONFLICT,
        Reason.INVALID_SPEC,
        Reason.PROGRESS_DEADLINE_EXCEEDED,
    ),
    Aspect.PAUSED: (Reason.RECONCILE_PAUSED,),
}
TOLD: Mapping[tuple[str, str], EventReason] = {
    **_RENAMED,
    **{
        (aspect, reason): EventReason(reason)
        for aspect, reasons in _TOLD_BY_NAME.items()
        for reason in reasons
    },
}
"""The event for a condition that begins to have a reason, by its type and reason."""

_RECOVERED = {
    Aspect.SOURCE_ACCESSIBLE: EventReason.SOURCE_ACCESSIBLE,
    Aspect.WORKLOAD_AVAILABLE: EventReason.WORKLOAD_AVAILABLE,
}
_NORMAL = frozenset({EventReason.LABEL_PENDING, EventReason.RECONCILE_PAUSED})

# For these, Ready repeats what Stalled says.
_TOLD_ELSEWHERE = frozenset({Reason.NAME_CONFLICT, Reason.INVALID_SPEC})
_SWITCHED_OFF = {
    Reason.SUSPENDED: EventReason.SUSPENDED,
    Reason.SCALED_TO_ZERO: EventReason.SCALED_TO_ZERO,
}


def _conditions(old: ModelServerStatus, new: ModelServerStatus) -> Iterator[EventNote]:
    before = {condition.type: condition for condition in old.conditions}
    changed = [
        (before.get(condition.type), condition)
        for condition in new.conditions
        if _has_changed(before.get(condition.type), condition)
    ]
    for last, condition in sorted(changed, key=lambda pair: pair[1].type == Aspect.READY):
        yield from (
            _ready(last, condition) if condition.type == Aspect.READY else _aspect(last, condition)
        )
    if _is_paused(old) and not _is_paused(new):
        yield EventNote("Normal", EventReason.RECONCILE_RESUMED, "The operator is at work again.")


def _is_paused(status: ModelServerStatus) -> bool:
    return any(condition.reason == Reason.RECONCILE_PAUSED for condition in status.conditions)


def _has_changed(last: Condition | None, condition: Condition) -> bool:
    return last is None or (last.status, last.reason) != (condition.status, condition.reason)


def _aspect(last: Condition | None, condition: Condition) -> Iterator[EventNote]:
    told = TOLD.get((condition.type, condition.reason))
    if told is not None:
        yield EventNote("Normal" if told in _NORMAL else "Warning", told, condition.message)
    elif condition.status == "True" and last and (last.type, last.reason) in TOLD:
        recovered = _RECOVERED.get(Aspect(condition.type))
        if recovered is not None:
            yield EventNote("Normal", recovered, condition.message)


def _ready(last: Condition | None, condition: Condition) -> Iterator[EventNote]:
    if condition.status == "True":
        yield EventNote("Normal", EventReason.READY, condition.message)
    elif condition.reason in _SWITCHED_OFF:
        yield EventNote("Normal", _SWITCHED_OFF[Reason(condition.reason)], condition.message)
    elif condition.reason not in _TOLD_ELSEWHERE and _is_worse(last, condition):
        message = _cut(f"{condition.reason}: {condition.message}")
        yield EventNote("Warning", EventReason.NOT_READY, message)


def _is_worse(last: Condition | None, condition: Condition) -> bool:
    """A server that starts has not stopped being ready."""
    return condition.status == "False" or (last is not None and last.status == "True")


# Versions.

_Rows = Mapping[tuple[str, int], VersionStatus]


def _versions(old: ModelServerStatus, new: ModelServerStatus) -> Iterator[EventNote]:
    before, after = _rows(old), _rows(new)
    # Rows beyond the status's limit come and go for other reasons.
    found = [] if old.versions_truncated else [key for key in after if key not in before]
    lost = [] if new.versions_truncated else [key for key in before if key not in after]
    yield from _listed(EventReason.VERSION_DISCOVERED, "Found {}.", found)
    available = _began(before, after, lambda row: row.state == AVAILABLE)
    yield from _listed(EventReason.VERSION_AVAILABLE, "{} is available.", available)
    yield from _failures(after, _began(before, after, _has_failed))
    unloaded = [key for key in lost if before[key].state in (AVAILABLE, UNLOADING)]
    yield from _listed(EventReason.VERSION_UNLOADED, "{} is unloaded.", unloaded)


def _rows(status: ModelServerStatus) -> _Rows:
    return {(model.name, row.version): row for model in status.models for row in model.versions}


def _began(
    before: _Rows, after: _Rows, is_so: Callable[[VersionStatus], bool]
) -> list[tuple[str, int]]:
    return [
        key
        for key, row in after.items()
        if is_so(row) and not (key in before and is_so(before[key]))
    ]


def _has_failed(row: VersionStatus) -> bool:
    return row.reason == Reason.LOAD_FAILED


def _listed(reason: EventReason, form: str, keys: Iterable[tuple[str, int]]) -> Iterator[EventNote]:
    """One event a model, however many versions."""
    for model, versions in _by_model(keys).items():
        word = "version" if len(versions) == 1 else "versions"
        listed = f"{model} {word} {names(map(str, versions), _MOST_VERSIONS)}"
        yield EventNote("Normal", reason, form.format(listed))


def _failures(after: _Rows, keys: Iterable[tuple[str, int]]) -> Iterator[EventNote]:
    for model, versions in _by_model(keys).items():
        for version in versions[:_MOST_FAILURES]:
            message = f"{model} version {version} failed to load: {after[model, version].message}"
            yield EventNote("Warning", EventReason.VERSION_FAILED, _cut(message))
        more = len(versions) - _MOST_FAILURES
        if more > 0:
            message = f"{model}: {more} more versions failed to load."
            yield EventNote("Warning", EventReason.VERSION_FAILED, message)


def _by_model(keys: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    models: dict[str, list[int]] = {}
    for model, version in keys:
        models.setdefault(model, []).append(version)
    return models


def _cut(message: str) -> str:
    too_long = len(message) > _LONGEST_MESSAGE
    return f"{message[: _LONGEST_MESSAGE - 1]}…" if too_long else message
