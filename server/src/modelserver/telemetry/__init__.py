"""What Prometheus is told: counters that the parts keep anyway, read when somebody scrapes.

Nothing in a request's path calls into this package. It is the only importer of prometheus_client.
"""

from modelserver.telemetry.metrics import METRICS_TYPE, Metrics
from modelserver.telemetry.snapshot import MetricsSnapshot

__all__ = ["METRICS_TYPE", "Metrics", "MetricsSnapshot"]
