"""Telemetry: what the operator measures of itself, in Prometheus' format."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelserver_operator.api import ModelServerStatus
from modelserver_operator.work_queue import Key

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Telemetry:
    """The operator's metrics, in a registry of their own. Thread-safe as prometheus_client is."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.versions = VersionGauge()
        self._registry.register(self.versions)
        self._reconciles = Counter(
            "modelserver_operator_reconcile",
            "Reconciliations by what came of them.",
            ("result",),
            registry=self._registry,
        )
        self._durations = Histogram(
            "modelserver_operator_reconcile_duration_seconds",
            "How long reconciliations took.",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._swallowed = Counter(
            "modelserver_operator_watch_swallowed",
            "Changes that no watch delivered and that the regular list noticed.",
            ("kind",),
            registry=self._registry,
        )

    def reconciled(self, result: str, seconds: float) -> None:
        """Count one reconciliation."""
        self._reconciles.labels(result).inc()
        self._durations.observe(seconds)

    def swallowed(self, kind: str, count: int) -> None:
        """Count changes of a kind that its watch did not deliver."""
        self._swallowed.labels(kind).inc(count)

    def gauge(
        self, name: str, description: str, read: Callable[[], float | dict[str, float]]
    ) -> None:
        """Show a value that is read whenever somebody asks: a number, or one for each kind."""
        self._registry.register(_ReadGauge(name, description, read))

    def render(self) -> bytes:
        """Everything in the text format, version 0.0.4."""
        return generate_latest(self._registry)


class VersionGauge(Collector):
    """`modelserver_version_state`: one series, always 1, for each version of each model that a
    status lists, with its state as a label. The series of a deleted ModelServer vanish.
    """

    def __init__(self) -> None:
        self._rows: dict[Key, tuple[tuple[str, str, str], ...]] = {}

    def show(self, key: Key, status: ModelServerStatus) -> None:
        """Show what this status says."""
        self._rows[key] = tuple(
            (model.name, str(row.version), row.state)
            for model in status.models
            for row in model.versions
        )

    def forget(self, key: Key) -> None:
        """Show nothing of it any more."""
        self._rows.pop(key, None)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        gauge = GaugeMetricFamily(
            "modelserver_version_state",
            "1 for each version of a model, in the state that most of its pods are in.",
            labels=("namespace", "modelserver", "model", "version", "state"),
        )
        for key, rows in list(self._rows.items()):
            for row in rows:
                gauge.add_metric((*key, *row), 1)
        yield gauge


class _ReadGauge(Collector):
    def __init__(
        self, name: str, description: str, read: Callable[[], float | dict[str, float]]
    ) -> None:
        self._name = name
        self._description = description
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """For the registry, which would call `collect` otherwise, before there is anything."""
        return [GaugeMetricFamily(self._name, self._description)]

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        value = self._read()
        if isinstance(value, dict):
            gauge = GaugeMetricFamily(self._name, self._description, labels=("kind",))
            for kind, number in value.items():
                gauge.add_metric((kind,), number)
        else:
            gauge = GaugeMetricFamily(self._name, self._description, value=value)
        yield gauge
