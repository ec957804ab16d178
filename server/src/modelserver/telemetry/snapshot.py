"""MetricsSnapshot: everything that is measured, at one moment. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelserver.core.state import ServableState
from modelserver.core.storage_totals import StorageTotals
from modelserver.core.stored_version import StoredVersion
from modelserver.histogram import HistogramSnapshot


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """`calls` counts by full method name and code, `call_seconds` how long they took by method.

    `batch_rows` and `queue_seconds` are None without batching. `states` has the versions of each
    model, `is_source_accessible` each model's base path (None = not known yet), `stored` the files
    of those versions of which they are known, `mutated` those that were overwritten after they were
    loaded.
    """

    version: str = ""
    config_hash: str = ""
    is_config_refused: bool = False
    is_ready: bool = False
    is_draining: bool = False
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    call_seconds: Mapping[str, HistogramSnapshot] = field(default_factory=dict)
    calls_in_flight: int = 0
    batch_rows: HistogramSnapshot | None = None
    queue_seconds: HistogramSnapshot | None = None
    queued_tasks: int = 0
    states: Mapping[str, Mapping[int, ServableState]] = field(default_factory=dict)
    is_source_accessible: Mapping[str, bool | None] = field(default_factory=dict)
    stored: Mapping[str, Mapping[int, StoredVersion]] = field(default_factory=dict)
    mutated: Mapping[str, frozenset[int]] = field(default_factory=dict)
    storage: StorageTotals = field(default_factory=StorageTotals)
