"""The composition root: makes the parts, connects them, and runs them until told to stop."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from modelserver_operator.admin_client import open_admin_client
from modelserver_operator.cluster.kubernetes_client import KubernetesCluster, connect
from modelserver_operator.cluster.resources import MODEL_SERVER
from modelserver_operator.desired import Defaults
from modelserver_operator.errors import ClusterError, OperatorError
from modelserver_operator.event_recorder import EventRecorder
from modelserver_operator.gather import Gatherer
from modelserver_operator.health import HealthLimits, troubles
from modelserver_operator.http_server import METRICS, Page, probe, serve
from modelserver_operator.leader import LeaderElector
from modelserver_operator.lease import ApiLeaseClient
from modelserver_operator.polling import PodPoller
from modelserver_operator.reconcile import Reconciler
from modelserver_operator.resync import WATCHED, Resync, selector_of
from modelserver_operator.settings import OperatorSettings
from modelserver_operator.telemetry import Telemetry
from modelserver_operator.watch import Watch, mute_kopf
from modelserver_operator.work_queue import Key, WorkQueue
from modelserver_operator.workers import Workers

logger = logging.getLogger(__name__)

_CRD_RETRY_SECONDS = 3.0


async def run(settings: OperatorSettings) -> int:
    """Run the operator until SIGTERM or SIGINT.

    Returns the exit code: 0 when it was told to stop, 1 when something broke that only a new
    process mends; what, is in the log.
    """
    stopping = asyncio.Event()
    take_signals = _signal_taker(stopping)
    take_signals()
    mute_kopf()
    try:
        async with AsyncExitStack() as resources:
            operator = await Operator.make(settings, take_signals, resources)
            return await _until(stopping, operator.run())
    except OperatorError as error:
        logger.error("%s", error)  # noqa: TRY400 - its words say it all
        return 1


class Operator:
    """One operator process: all its parts, made by `make` for `run`."""

    def __init__(
        self,
        settings: OperatorSettings,
        cluster: KubernetesCluster,
        poller_of: Callable[[Callable[[Key], None]], PodPoller],
        take_signals: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._take_signals = take_signals
        self._queue: WorkQueue[Key] = WorkQueue()
        self._telemetry = Telemetry()
        self._poller = poller_of(self._queue.add)
        self._recorder = EventRecorder(cluster, settings.identity)
        self._resync = Resync(
            cluster,
            self._queue,
            self._telemetry.swallowed,
            settings.namespaces,
            settings.resync_seconds,
        )
        self._elector = _elector(settings, cluster) if settings.leader_elect else None
        cluster.write_only_while(self._leads)

    @classmethod
    async def make(
        cls,
        settings: OperatorSettings,
        take_signals: Callable[[], None],
        resources: AsyncExitStack,
    ) -> "Operator":
        """Make all parts; `resources` closes what must be closed. Listens from then on."""
        cluster = await resources.enter_async_context(connect(settings.kubeconfig))
        admin = await resources.enter_async_context(open_admin_client())
        operator = cls(
            settings,
            cluster,
            lambda changed: PodPoller(admin, changed, settings.poll_seconds),
            take_signals,
        )
        pages = {
            "/livez": operator.livez,
            "/readyz": operator.readyz,
            "/metrics": operator.metrics,
        }
        listening = serve(settings.health_host, settings.health_port, pages)
        try:
            port = await resources.enter_async_context(listening)
        except OSError as error:
            raise OperatorError(f"no probes, see --health-port: {error}") from error
        logger.info("probes and metrics are on port %d", port)
        operator.measure()
        return operator

    # Working…

    async def run(self) -> None:
        """Wait for leadership, where there is any to wait for, and work until cancelled."""
        if self._elector is None:
            await self._lead()
        else:
            await self._elector.run(self._lead)

    async def _lead(self) -> None:
        await self._wait_for_crd()
        workers = self._workers()
        watch = Watch(
            self._cluster, WATCHED, selector_of, self._settings.namespaces, self._resync.noticed
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, work in (
                    ("watch", watch.run(self._settings.identity, self._take_signals)),
                    ("resync", self._resync.run()),
                    ("pod poller", self._poller.run()),
                    ("events", self._recorder.run()),
                    ("workers", workers.run(self._settings.workers)),
                ):
                    tasks.create_task(work, name=name)
        except ExceptionGroup as errors:
            raise _first(errors) from None

    def _workers(self) -> Workers:
        settings = self._settings
        defaults = Defaults(
            server_image=settings.server_image,
            image_pull_policy=settings.image_pull_policy,
            image_pull_secrets=settings.image_pull_secrets,
            operator_namespace=settings.pod_namespace,
        )
        gatherer = Gatherer(self._cluster, self._poller)
        reconciler = Reconciler(self._cluster, gatherer, defaults, self._recorder, _now)
        capabilities = self._resync
        return Workers(
            self._queue,
            reconciler.reconcile,
            self._poller,
            self._telemetry,
            lambda: capabilities.capabilities,
        )

    async def _wait_for_crd(self) -> None:
        is_told = False
        while not await _serves_crd(self._cluster):
            if not is_told:
                logger.warning("the cluster has no %s yet: install the CRD", MODEL_SERVER.plural)
                is_told = True
            await asyncio.sleep(_CRD_RETRY_SECONDS)

    def _leads(self) -> bool:
        return self._elector is None or self._elector.is_leader

    # Telling…

    def livez(self) -> Page:
        """Whether a restart would mend something."""
        if not self._leads() or not self._resync.beat_at:
            return probe([], "following")
        found = troubles(
            self._resync.inventories.values(),
            self._queue.statistics,
            self._resync.beat_at,
            asyncio.get_running_loop().time(),
            HealthLimits(),
        )
        return probe(found)

    def readyz(self) -> Page:
        """Whether this replica leads, or knows who does."""
        if self._leads():
            return probe([], "leading")
        is_informed = self._elector is not None and self._elector.holder
        return probe([] if is_informed else ["the Lease has not been read yet"], "following")

    def metrics(self) -> Page:
        """Everything measured."""
        return Page(self._telemetry.render(), content_type=METRICS)

    def measure(self) -> None:
        """Show what is read when somebody asks for it."""
        queue, poller, resync = self._queue, self._poller, self._resync
        for name, description, read in (
            ("leader", "1 in the replica that leads.", lambda: float(self._leads())),
            ("queue_depth", "ModelServers that wait for a worker.", lambda: queue.statistics.depth),
            (
                "queue_oldest_seconds",
                "How long the first of them has been waiting.",
                lambda: queue.statistics.oldest_seconds,
            ),
            ("pods_polled", "Pods that are asked for reports.", lambda: poller.statistics.pods),
            (
                "pods_unreachable",
                "Pods that did not answer the last time.",
                lambda: poller.statistics.unreachable,
            ),
            (
                "watch_age_seconds",
                "How long ago a watch or a list last confirmed what is known of a kind.",
                resync.ages,
            ),
        ):
            self._telemetry.gauge(f"modelserver_operator_{name}", description, read)


def _elector(settings: OperatorSettings, cluster: KubernetesCluster) -> LeaderElector:
    client = ApiLeaseClient(cluster.call, settings.lease_namespace, settings.lease_name)
    return LeaderElector(client, settings.identity)


async def _serves_crd(cluster: KubernetesCluster) -> bool:
    try:
        return await cluster.serves(MODEL_SERVER)
    except ClusterError as error:
        logger.warning("the API server cannot be asked: %s", error)
        return False


async def _until(stopping: asyncio.Event, work: Awaitable[None]) -> int:
    """Run `work` until it fails, or until `stopping` is set, which cancels it."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.create_task(stopping.wait(), name="signals")
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            logger.info("told to stop")
            working.cancel()
        await asyncio.wait({working})
    finally:
        waiting.cancel()
    if working.cancelled():
        return 0
    working.result()
    return 1


def _signal_taker(stopping: asyncio.Event) -> Callable[[], None]:
    loop = asyncio.get_running_loop()

    def take() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)

    return take


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _now() -> datetime:
    return datetime.now(UTC)
