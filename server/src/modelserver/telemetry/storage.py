"""The metrics of what is stored, copied and kept in the cache. Pure."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from modelserver.core.storage_totals import StorageTotals
from modelserver.core.stored_version import StoredVersion, Transfer
from modelserver.telemetry.snapshot import MetricsSnapshot

_Figure: TypeAlias = tuple[str, str, Callable[[StoredVersion, Transfer], float]]

_VERSION = ("model", "version")

_DOWNLOAD_FIGURES: tuple[_Figure, ...] = (
    (
        "bytes",
        "Bytes that are here of each version that is being downloaded.",
        lambda stored, download: download.size_here,
    ),
    (
        "size_bytes",
        "Size of each version that is being downloaded.",
        lambda stored, download: stored.size,
    ),
    (
        "bytes_per_second",
        "How fast each download is, on average over the present try.",
        lambda stored, download: download.bytes_per_second,
    ),
    (
        "failures",
        "How often each download that is not over has failed.",
        lambda stored, download: download.failures,
    ),
)


def storage_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    """Every metric of what is stored and of how it gets here."""
    yield from _version_families(snapshot)
    yield _mutated(snapshot)
    yield from _download_families(snapshot)
    yield from _total_families(snapshot.storage)
    yield from _cache_families(snapshot.storage)


def _version_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    sizes = GaugeMetricFamily(
        "modelserver_model_version_bytes", "Size of each version's files.", labels=_VERSION
    )
    files = GaugeMetricFamily(
        "modelserver_model_version_files", "How many files each version has.", labels=_VERSION
    )
    for labels, stored in _all_stored(snapshot):
        sizes.add_metric(labels, stored.size)
        files.add_metric(labels, stored.files)
    yield sizes
    yield files


def _mutated(snapshot: MetricsSnapshot) -> Metric:
    family = GaugeMetricFamily(
        "modelserver_model_version_mutated",
        "1 for each available version that was overwritten after it was loaded, else 0.",
        labels=_VERSION,
    )
    for name, states in sorted(snapshot.states.items()):
        mutated = snapshot.mutated.get(name, frozenset())
        for version, state in states.items():
            if state.is_available:
                family.add_metric((name, str(version)), int(version in mutated))
    return family


def _download_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    for name, text, figure in _DOWNLOAD_FIGURES:
        family = GaugeMetricFamily(f"modelserver_download_{name}", text, labels=_VERSION)
        for labels, stored in _all_stored(snapshot):
            if (download := stored.download) is not None:
                family.add_metric(labels, figure(stored, download))
        yield family


def _total_families(totals: StorageTotals) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "modelserver_storage_calls",
        "Calls to object stores, by operation and outcome (an HTTP status, or a word).",
        labels=("operation", "outcome"),
    )
    for labels, count in sorted(totals.calls.items()):
        calls.add_metric(labels, count)
    yield calls
    for name, text, value in (
        ("storage_received_bytes", "Bytes of versions that were downloaded.", totals.size_received),
        ("cache_hits", "Versions that were in the cache when needed.", totals.cache_hits),
        ("cache_misses", "Versions that had to be downloaded.", totals.cache_misses),
    ):
        yield CounterMetricFamily(f"modelserver_{name}", text, value=value)


def _cache_families(totals: StorageTotals) -> Iterator[Metric]:
    cache = totals.cache
    size, versions, limit = (
        (None,) * 3 if cache is None else (cache.size, cache.versions, cache.limit)
    )
    for name, text, value in (
        ("bytes", "How full the cache is.", size),
        ("versions", "How many whole versions are in the cache.", versions),
        ("limit_bytes", "How full the cache may get, where that is set.", limit),
    ):
        yield GaugeMetricFamily(f"modelserver_cache_{name}", text, value=value)


def _all_stored(snapshot: MetricsSnapshot) -> Iterator[tuple[tuple[str, str], StoredVersion]]:
    for name, versions in sorted(snapshot.stored.items()):
        for version, stored in sorted(versions.items(), reverse=True):
            yield (name, str(version)), stored
