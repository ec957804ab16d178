"""Metrics: a `MetricsSnapshot` in Prometheus' text format."""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from modelserver.core.state import ManagerState, ServableState
from modelserver.histogram import HistogramSnapshot
from modelserver.telemetry.snapshot import MetricsSnapshot
from modelserver.telemetry.storage import storage_families

METRICS_TYPE = CONTENT_TYPE_LATEST
"""The MIME type of `Metrics.exposition`."""


class Metrics:
    """What `read` returns, and the process's own metrics. Thread-safe, if `read` is."""

    def __init__(self, read: Callable[[], MetricsSnapshot]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_SnapshotCollector(read))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def exposition(self) -> bytes:
        """Write out everything as it is now."""
        return generate_latest(self._registry)


class _SnapshotCollector(Collector):
    def __init__(self, read: Callable[[], MetricsSnapshot]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        yield from metric_families(self._read())

    def describe(self) -> Iterable[Metric]:
        """Nothing: so that registering does not read."""
        return []


def metric_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    """Every metric of a server. Pure."""
    yield from _server_families(snapshot)
    yield from _call_families(snapshot)
    yield from _batch_families(snapshot)
    yield from _model_families(snapshot)
    yield from storage_families(snapshot)


def _server_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "modelserver_info",
        "1, with the server's version and the hash of the configuration in force.",
        labels=("version", "config_hash"),
    )
    info.add_metric((snapshot.version, snapshot.config_hash), 1)
    yield info
    for name, text, value in (
        ("config_refused", "1 while a newer configuration is refused.", snapshot.is_config_refused),
        ("ready", "1 while traffic may come.", snapshot.is_ready),
        ("draining", "1 once the server is stopping.", snapshot.is_draining),
    ):
        yield GaugeMetricFamily(f"modelserver_{name}", text, value=int(value))


def _call_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "modelserver_rpc_calls",
        "gRPC calls that have ended, by method and status code.",
        labels=("method", "code"),
    )
    for labels, count in sorted(snapshot.calls.items()):
        calls.add_metric(labels, count)
    yield calls
    seconds = HistogramMetricFamily(
        "modelserver_rpc_seconds",
        "How long gRPC calls took in the server, from their arrival to their answer.",
        labels=("method",),
    )
    for method, histogram in sorted(snapshot.call_seconds.items()):
        seconds.add_metric((method,), _buckets(histogram), histogram.total)
    yield seconds
    yield GaugeMetricFamily(
        "modelserver_rpc_in_flight",
        "gRPC calls that have arrived and are not answered yet.",
        value=snapshot.calls_in_flight,
    )


def _batch_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    if snapshot.batch_rows is None or snapshot.queue_seconds is None:
        return
    for name, text, histogram in (
        ("batch_rows", "Rows in the batches that were run.", snapshot.batch_rows),
        (
            "batch_queue_seconds",
            "How long the first request of a batch waited for its run.",
            snapshot.queue_seconds,
        ),
    ):
        yield HistogramMetricFamily(
            f"modelserver_{name}", text, buckets=_buckets(histogram), sum_value=histogram.total
        )
    yield GaugeMetricFamily(
        "modelserver_batch_queued_tasks",
        "Requests that wait for a batch to be run.",
        value=snapshot.queued_tasks,
    )


def _model_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "modelserver_model_version_state",
        "1 for the state that each version is in.",
        labels=("model", "version", "state"),
    )
    seconds = GaugeMetricFamily(
        "modelserver_model_version_load_seconds",
        "How long the last load of each available version took.",
        labels=("model", "version"),
    )
    available_seconds = GaugeMetricFamily(
        "modelserver_model_version_available_seconds",
        "How long it took from the first sight of each version until it was available.",
        labels=("model", "version"),
    )
    for state in _all_states(snapshot):
        name, version = state.id.name, str(state.id.version)
        states.add_metric((name, version, _state_name(state)), 1)
        if state.available_time is not None and state.loading_time is not None:
            took = max(0.0, state.available_time - state.loading_time)
            seconds.add_metric((name, version), took)
        if state.seconds_to_available is not None:
            available_seconds.add_metric((name, version), state.seconds_to_available)
    yield states
    yield seconds
    yield available_seconds
    accessible = GaugeMetricFamily(
        "modelserver_model_source_accessible",
        "1 where a model's base path can be looked at, 0 where it cannot.",
        labels=("model",),
    )
    for name, is_accessible in sorted(snapshot.is_source_accessible.items()):
        if is_accessible is not None:
            accessible.add_metric((name,), int(is_accessible))
    yield accessible


def _all_states(snapshot: MetricsSnapshot) -> Iterator[ServableState]:
    for _, versions in sorted(snapshot.states.items()):
        yield from versions.values()


def _state_name(state: ServableState) -> str:
    if state.manager_state is ManagerState.END and state.health is not None:
        return "failed"
    return state.manager_state.name.lower()


def _buckets(histogram: HistogramSnapshot) -> list[tuple[str, float]]:
    """The counts at or below each bound, as Prometheus has them."""
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))
