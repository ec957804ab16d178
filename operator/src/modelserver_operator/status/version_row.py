"""One row of the status: a version of a model, summed up over the pods."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelserver_operator.api import VersionStatus
from modelserver_operator.observed import PodSnapshot
from modelserver_operator.reports import VersionReport
from modelserver_operator.status.reasons import Reason
from modelserver_operator.status.wording import differ_in_numbers_only

AVAILABLE, UNLOADING, END = "Available", "Unloading", "End"
MUTATED = "Mutated"
"""The reason of an available version whose files were overwritten after it was loaded."""

# Of several pods' states, the row shows the one that is furthest up here.
_RANK = {AVAILABLE: 5, "Loading": 4, "Start": 3, UNLOADING: 2, END: 1}
# Of several pods' reasons likewise: those that somebody has to act on, before those that pass by
# themselves.
_REASON_RANK: dict[str, int] = {Reason.LOAD_FAILED: 3, MUTATED: 2, Reason.INCOMPLETE: 1}
_BEFORE_AVAILABLE = ("Start", "Loading")
_LONGEST_WORD = 63
_LONGEST_MESSAGE = 256
_MOST_LABELS = 32


@dataclass(frozen=True, slots=True)
class Sighting:
    """A version in one pod."""

    pod: PodSnapshot
    version: VersionReport

    @property
    def is_available(self) -> bool:
        """Whether it answers calls there, if the pod is ready."""
        return self.version.state == AVAILABLE

    @property
    def is_mutated(self) -> bool:
        """Whether it answers calls as it was before its files were overwritten."""
        return self.is_available and self.version.reason == MUTATED

    @property
    def is_gone(self) -> bool:
        """Whether the pod has unloaded it and is done with it."""
        return self.version.state == END and self.version.reason in ("", "Unloaded")


@dataclass(frozen=True, slots=True)
class Row:
    """One row, in how many ready pods the version answers calls, and whether a pod has it available
    as it was before its files were overwritten.
    """

    model: str
    status: VersionStatus
    serving: int = 0
    is_mutated: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether a pod could not fetch or load it, and nothing is known to have changed since."""
        return self.status.reason == Reason.LOAD_FAILED

    @property
    def name(self) -> str:
        """What messages call it: `mnist version 2`."""
        return f"{self.model} version {self.status.version}"


def merge_row(
    model: str, sightings: Sequence[Sighting], last: VersionStatus | None, silent: int
) -> Row | None:
    """Sum up what the reporting pods say about a version; None when it is in no pod.

    `last` is the row of the present status, and `silent` counts the ready pods that did not say
    anything: of them it is assumed that what was Available there still is, and Mutated if it was.
    """
    present = [sighting for sighting in sightings if not sighting.is_gone]
    reported = sum(sighting.is_available for sighting in present)
    assumed = max(0, min(last.available_replicas - reported, silent)) if last else 0
    if not present:
        return last_row(model, last, silent) if last and assumed else None
    merged = _steady(_merged(present, available=reported + assumed), present, last)
    ready = sum(sighting.is_available and sighting.pod.ready for sighting in present)
    mutated = any(sighting.is_mutated for sighting in present) or (
        assumed > 0 and merged.reason == MUTATED
    )
    return Row(model, _with_times(merged, present, last), ready + assumed, mutated)


def last_row(model: str, last: VersionStatus, silent: int) -> Row:
    """The row as it was, Available in no more pods than may still have it."""
    assumed = min(last.available_replicas, silent)
    mutated = assumed > 0 and last.reason == MUTATED
    return Row(model, last.model_copy(update={"available_replicas": assumed}), assumed, mutated)


# Putting pods together.


def _merged(present: Sequence[Sighting], available: int) -> VersionStatus:
    teller = max(present, key=_telling)
    state = max((sighting.version.state for sighting in present), key=lambda s: _RANK.get(s, 0))
    labels = {label[:_LONGEST_WORD] for sighting in present for label in sighting.version.labels}
    return VersionStatus(
        version=teller.version.version,
        state=AVAILABLE if available else _settled(state, teller)[:_LONGEST_WORD],
        reason=teller.version.reason[:_LONGEST_WORD],
        message=_message(teller, present),
        labels=tuple(sorted(labels)[:_MOST_LABELS]),
        available_replicas=available,
    )


def _telling(sighting: Sighting) -> tuple[int, bool, bool]:
    """How much a pod has to tell; of equals the first in order of names is taken."""
    version = sighting.version
    return _REASON_RANK.get(version.reason, 0), bool(version.reason), bool(version.message)


def _settled(state: str, teller: Sighting) -> str:
    """A failed load shows End also while a pod tries again: a retry is no news, its outcome is."""
    failed = teller.version.reason == Reason.LOAD_FAILED
    return END if failed and state in _BEFORE_AVAILABLE else state


def _message(teller: Sighting, present: Sequence[Sighting]) -> str:
    """The teller's words, with its name when other pods do not say the same."""
    version = teller.version
    agree = all(sighting.version.message == version.message for sighting in present)
    named = version.message and not agree
    return _cut(f"pod {teller.pod.name}: {version.message}" if named else version.message)


def _cut(message: str) -> str:
    too_long = len(message) > _LONGEST_MESSAGE
    return f"{message[: _LONGEST_MESSAGE - 1]}…" if too_long else message


# Keeping still: what repeats or ticks must not become a write to the API server.


def _steady(
    row: VersionStatus, present: Sequence[Sighting], last: VersionStatus | None
) -> VersionStatus:
    if last is None:
        return row
    if last.reason == Reason.LOAD_FAILED and _is_retry(row, present):
        kept = {"reason": last.reason, "message": last.message}
        state = AVAILABLE if row.state == AVAILABLE else END
        return row.model_copy(update={**kept, "state": state})
    if last.reason == MUTATED and _may_still_be_mutated(row, present):
        return row.model_copy(update={"reason": last.reason, "message": last.message})
    if row.reason == last.reason and _same_matter(row.message, last.message):
        return row.model_copy(update={"message": last.message})
    return row


def _is_retry(row: VersionStatus, present: Sequence[Sighting]) -> bool:
    is_under_way = row.reason in ("", Reason.DOWNLOADING)
    return is_under_way and any(s.version.state in _BEFORE_AVAILABLE for s in present)


def _may_still_be_mutated(row: VersionStatus, present: Sequence[Sighting]) -> bool:
    """Whether pods that say nothing may have it, and those that speak have less to tell."""
    reported = sum(sighting.is_available for sighting in present)
    outranked = _REASON_RANK.get(row.reason, 0) < _REASON_RANK[MUTATED]
    return outranked and row.available_replicas > reported


def _same_matter(message: str, last: str) -> bool:
    """Whether only numbers changed: bytes that have arrived, seconds. Pods' names count in full."""
    return _speaker(message) == _speaker(last) and differ_in_numbers_only(message, last)


def _speaker(message: str) -> str:
    return message.partition(": ")[0] if message.startswith("pod ") else ""


# Times: each is that of a transition.


def _with_times(
    row: VersionStatus, present: Sequence[Sighting], last: VersionStatus | None
) -> VersionStatus:
    seen = [s.version.first_seen_time for s in present]
    available = [s.version.available_time for s in present if s.is_available]
    if last is not None:
        seen.append(last.first_seen_time)
        available.append(last.available_time if last.state == AVAILABLE else None)
    return row.model_copy(
        update={
            "first_seen_time": _earliest(seen),
            "available_time": _earliest(available) if row.state == AVAILABLE else None,
            "next_retry_time": _next_retry(row, present, last),
        }
    )


def _next_retry(
    row: VersionStatus, present: Sequence[Sighting], last: VersionStatus | None
) -> datetime | None:
    """When the first retry is due. Later ones are left out, as each would be a write: they come
    with growing pauses, and the pods' own status tells when.
    """
    if row.reason != Reason.LOAD_FAILED:
        return None
    due = _earliest([s.version.next_retry_time for s in present])
    if last is None or last.reason != Reason.LOAD_FAILED:
        return due
    return due if due == last.next_retry_time else None


def _earliest(moments: Sequence[datetime | None]) -> datetime | None:
    """The first of them in whole seconds, as the API keeps them."""
    known = [moment for moment in moments if moment is not None]
    return min(known).astimezone(UTC).replace(microsecond=0) if known else None
