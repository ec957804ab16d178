"""Which version is where: the pods' reports, merged into the rows of `status.models`.

Rows are what is there: a version that every pod has unloaded is left out. What silent pods hold is
taken from the last rows, and when no pod reports at all the last rows stay. Models that the spec
no longer has are shown for as long as a pod still has them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from modelserver_operator.api import ModelServerStatus, ModelStatus, VersionStatus
from modelserver_operator.status.pods import PodView
from modelserver_operator.status.version_row import AVAILABLE, Row, Sighting, last_row, merge_row

MOST_ROWS = 200
MOST_MODELS = 64

_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows, by model in the order of `models`, and of each model the newest version first.

    `models` are those of the spec, and behind them those that pods still have.
    """

    models: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()

    def of(self, model: str) -> tuple[Row, ...]:
        """The rows of one model."""
        return tuple(row for row in self.rows if row.model == model)

    def find(self, model: str, version: int) -> Row | None:
        """The row of one version."""
        return next((row for row in self.of(model) if row.status.version == version), None)

    def telling(self, reason: str) -> tuple[Row, ...]:
        """The rows that have this reason."""
        return tuple(row for row in self.rows if row.status.reason == reason)

    def serves(self, model: str) -> bool:
        """Whether a ready pod has a version of the model Available."""
        return any(row.serving for row in self.of(model))


def merge_rows(view: PodView, spec_models: Sequence[str], last: ModelServerStatus) -> Rows:
    """Merge what the pods say, `last` being the present status."""
    last_rows = {(model.name, row.version): row for model in last.models for row in model.versions}
    silent = len(view.silent)
    if not view.reporting:
        kept = (last_row(model, row, silent) for (model, _), row in last_rows.items())
        return _in_order((row for row in kept if row.model in spec_models), spec_models)
    sightings = _sightings(view)
    merged = (
        merge_row(key[0], sightings.get(key, ()), last_rows.get(key), silent)
        for key in sightings.keys() | last_rows.keys()
    )
    return _in_order((row for row in merged if row is not None), spec_models)


def to_status(rows: Rows) -> tuple[tuple[ModelStatus, ...], bool]:
    """`status.models`, and whether versions were left out."""
    models = rows.models[:MOST_MODELS]
    kept = set(_most_important([rows.of(model) for model in models]))
    listed = tuple(
        ModelStatus(
            name=model,
            versions=tuple(
                row.status for row in rows.of(model) if (model, row.status.version) in kept
            ),
        )
        for model in models
    )
    return listed, len(kept) < len(rows.rows)


def _sightings(view: PodView) -> Mapping[_Key, list[Sighting]]:
    sightings: dict[_Key, list[Sighting]] = {}
    for pod, report in view.reporting:
        for model in report.models:
            for version in model.versions:
                key = (model.name, version.version)
                sightings.setdefault(key, []).append(Sighting(pod, version))
    return sightings


def _in_order(rows: Iterable[Row], spec_models: Sequence[str]) -> Rows:
    found = tuple(rows)
    others = sorted({row.model for row in found} - set(spec_models))
    models = (*spec_models, *others)
    place = {model: index for index, model in enumerate(models)}
    ordered = sorted(found, key=lambda row: (place[row.model], -row.status.version))
    return Rows(models, tuple(ordered))


def _most_important(by_model: Sequence[Sequence[Row]]) -> list[_Key]:
    """Available and failed versions first, then the newest; models take turns."""
    ranked = [
        (not _matters(row.status), turn, place, (row.model, row.status.version))
        for place, rows in enumerate(by_model)
        for turn, row in enumerate(sorted(rows, key=lambda row: not _matters(row.status)))
    ]
    return [key for _, _, _, key in sorted(ranked)[:MOST_ROWS]]


def _matters(row: VersionStatus) -> bool:
    return row.state == AVAILABLE or bool(row.reason)
