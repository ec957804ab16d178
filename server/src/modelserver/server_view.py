"""ServerView: what the admin port shows, gathered from the parts of a running server."""

import enum
from collections.abc import Sequence

from modelserver import __version__
from modelserver.admin import (
    AdminPages,
    ConfigError,
    ConfigSnapshot,
    Echo,
    Readiness,
    Report,
    ServerSnapshot,
    build_report,
    describe_wedged,
)
from modelserver.clock import Clock
from modelserver.config import ModelList, PodIdentity
from modelserver.config_document import ACCEPTED_SCHEMAS
from modelserver.config_watch import ConfigWatch
from modelserver.rpc.transport.base import Transport
from modelserver.served_models import ServedModels
from modelserver.telemetry import METRICS_TYPE, Metrics, MetricsSnapshot


class Phase(enum.Enum):
    """Where a server is between its start and its end."""

    STARTING = "starting"
    """Its port is not open yet."""
    SERVING = "serving"
    DRAINING = "draining"
    """It has been asked to stop; what it has accepted, it still answers."""


class ServerView:
    """Reads the parts, changes none, and waits for none. Thread-safe, but for `why_not_live`.

    The server sets `phase` as it moves on.
    """

    def __init__(
        self,
        models: ServedModels,
        watch: ConfigWatch[ModelList] | None,
        transport: Transport,
        methods: Sequence[str],
        pod: PodIdentity,
        clock: Clock,
    ) -> None:
        self.phase = Phase.STARTING
        self._models = models
        self._watch = watch
        self._transport = transport
        self._methods = methods
        self._pod = pod
        self._clock = clock
        self._started_at = clock.monotonic()
        self._readiness = Readiness()
        self._transport_echo = Echo(transport.ping, clock)

    @property
    def is_configured(self) -> bool:
        """Whether it is known what to serve."""
        return self._watch is None or self._watch.has_applied

    def snapshot(self) -> ServerSnapshot:
        """Everything, as it is now."""
        now = self._clock.monotonic()
        return ServerSnapshot(
            server_version=__version__,
            accepted_config_schemas=ACCEPTED_SCHEMAS,
            pod_name=self._pod.name,
            pod_uid=self._pod.uid,
            config=self._config(),
            is_configured=self.is_configured,
            is_accepting=self.phase is not Phase.STARTING,
            is_draining=self.phase is Phase.DRAINING,
            models=self._models.snapshots(),
            calls_in_flight=self._transport.stats().in_flight,
            uptime_seconds=now - self._started_at,
            storage=self._models.storage_totals(),
            now=now,
        )

    def report(self) -> Report:
        """Build the document at `/status`."""
        snapshot = self.snapshot()
        return build_report(snapshot, is_ready=not self._readiness.why_not(snapshot))

    def why_not_ready(self) -> str:
        """Say what keeps traffic away, in one line; empty if nothing does."""
        return self._readiness.why_not(self.snapshot())

    def why_not_live(self) -> str:
        """Say what only a restart can mend, in one line; empty if nothing is."""
        return describe_wedged(
            {
                "the thread that loads and unloads": self._models.manager.busy_seconds(),
                "the gRPC transport": self._transport_echo.unanswered_seconds(),
                "the thread that serves calls": self._transport.stats().oldest_waiting_seconds,
            }
        )

    def pages(self) -> AdminPages:
        """The pages of an `AdminServer`."""
        metrics = Metrics(self.metrics)
        return AdminPages(
            self.why_not_live, self.why_not_ready, self.report, metrics.exposition, METRICS_TYPE
        )

    def metrics(self) -> MetricsSnapshot:
        """Everything that is measured, as it is now."""
        snapshot = self.snapshot()
        transport = self._transport.stats()
        batching = self._models.batching.stats() if self._models.batching else None
        return MetricsSnapshot(
            version=__version__,
            config_hash=snapshot.config.hash,
            is_config_refused=snapshot.config.error is not None,
            is_ready=not self._readiness.why_not(snapshot),
            is_draining=snapshot.is_draining,
            calls={(self._methods[m], code.name): n for (m, code), n in transport.codes.items()},
            call_seconds={self._methods[m]: seen for m, seen in transport.seconds.items()},
            calls_in_flight=transport.in_flight,
            batch_rows=batching.rows if batching else None,
            queue_seconds=batching.queue_seconds if batching else None,
            queued_tasks=batching.num_enqueued_tasks if batching else 0,
            states={model.name: model.states for model in snapshot.models},
            is_source_accessible={m.name: m.source.is_accessible for m in snapshot.models},
            stored={model.name: model.stored for model in snapshot.models},
            mutated={model.name: model.mutated for model in snapshot.models},
            storage=snapshot.storage,
        )

    def _config(self) -> ConfigSnapshot:
        if self._watch is None:
            return ConfigSnapshot()
        status = self._watch.status
        error = ConfigError(status.refused_hash, status.error) if status.error else None
        return ConfigSnapshot(status.hash, error)
