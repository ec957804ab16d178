"""Which models a starting pod waits for before it calls itself ready.

All of them at first: a new server is not to answer before it can. Once one model can answer, those
that cannot be loaded are let go. Once a pod has been ready, only those count that work: a typo in
one model, or a bucket that is gone, does not keep pods from serving the others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from modelserver_operator.reports import ModelReport, PodReport

# What a version that cannot be loaded as it is says. One that is Downloading is on its way.
_BROKEN = frozenset({"LoadFailed", "Incomplete"})


class ModelPath(NamedTuple):
    """A model, and where its versions are: with another path it has yet to prove itself."""

    name: str
    base_path: str


@dataclass(frozen=True, slots=True)
class Awaiting:
    """Which models are awaited. `has_served` is whether any pod has ever been ready."""

    has_served: bool = False
    models: Mapping[ModelPath, bool] = field(default_factory=dict)


def awaiting(
    models: Iterable[ModelPath], reports: Iterable[PodReport], previous: Awaiting
) -> Awaiting:
    """Decide it anew from what the pods report now and from what was decided before.

    Without evidence for or against a model the previous decision stands, so that neither a pod that
    restarts nor an operator that has not heard from the pods yet changes anything. Never none: a
    pod that awaits nothing would be ready with nothing to serve.
    """
    models, reports = tuple(models), tuple(reports)
    if not (previous.has_served or any(_serves(report) for report in reports)):
        return Awaiting(has_served=False, models=_awaited_at_first(models, reports))
    chosen = {model for model in models if _is_awaited(model, reports, previous)}
    able = {model for model in models if not _is_broken(model, reports)}
    serving = {model for model in models if any(map(_is_available, _rows(model, reports)))}
    awaited = chosen or able or serving or set(models)
    return Awaiting(has_served=True, models={model: model in awaited for model in models})


def _awaited_at_first(
    models: tuple[ModelPath, ...], reports: tuple[PodReport, ...]
) -> dict[ModelPath, bool]:
    """All of them, until one can answer: from then on those that cannot be loaded are not."""
    rows = (row for model in models for row in _rows(model, reports))
    able = {model for model in models if not _is_broken(model, reports)}
    awaited = able if able and any(map(_is_available, rows)) else set(models)
    return {model: model in awaited for model in models}


def _is_awaited(model: ModelPath, reports: Iterable[PodReport], previous: Awaiting) -> bool:
    was_awaited = previous.models.get(model, False)
    ready = (report for report in reports if report.ready)
    if any(_proves_itself(row, was_awaited) for row in _rows(model, ready)):
        return True
    return was_awaited and not _is_broken(model, reports)


def _is_broken(model: ModelPath, reports: Iterable[PodReport]) -> bool:
    """Whether some pod finds that it cannot be loaded."""
    return any(_is_lost(row) and not _is_available(row) for row in _rows(model, reports))


def _rows(model: ModelPath, reports: Iterable[PodReport]) -> Iterable[ModelReport]:
    """What is said about exactly this model."""
    rows = (row for report in reports for row in report.models)
    return (row for row in rows if ModelPath(row.name, row.base_path) == model)


def _proves_itself(row: ModelReport, was_awaited: bool) -> bool:
    # A version that serves on though its source is gone keeps its mark and does not earn one.
    return _is_available(row) and (was_awaited or row.source.accessible is not False)


def _is_lost(row: ModelReport) -> bool:
    return row.source.accessible is False or any(
        version.reason in _BROKEN for version in row.versions
    )


def _is_available(row: ModelReport) -> bool:
    return any(version.state == "Available" for version in row.versions)


def _serves(report: PodReport) -> bool:
    return report.ready and any(_is_available(row) for row in report.models)
