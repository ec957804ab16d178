"""ModelServer: the composition root. Builds every part from a `ServerConfig`, starts them in order,
stops them in reverse.
"""

import logging
import os
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from modelserver.batching import SharedBatchScheduler
from modelserver.clock import SystemClock
from modelserver.config import ModelConfig, ServerConfig
from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.loader import Loader
from modelserver.core.servable import ServableId, ServableRequest
from modelserver.core.source import SourceAdapter, connect
from modelserver.core.state import ManagerState, ServableState
from modelserver.core.storage_path import StoragePath
from modelserver.errors import FailedPreconditionError, UnavailableError
from modelserver.inference import BatchedPredictor, DirectPredictor, Predictor
from modelserver.inference.loader import AsyncPredictorLoader, ClosableAsyncPredictor
from modelserver.platforms import make_platforms
from modelserver.rpc.descriptors import descriptor_set
from modelserver.rpc.health import publish_serving, serving_by_service
from modelserver.rpc.model import ModelService
from modelserver.rpc.prediction import PredictionService
from modelserver.rpc.server import RpcServer
from modelserver.rpc.service import Service, method_names
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport, GrpcOptions
from modelserver.sources import MonitoredServable, StoragePathSource
from modelserver.sources.storage.file_system import FileSystemStorage

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
"""How often a start-up that waits for models looks whether it has been asked to stop."""

_REMIND_SECONDS = 10.0
"""How often it says what it is still waiting for."""

_FIRST_POLL_SECONDS = 10.0
"""How long --serve_partial waits for a model of which nothing has been heard."""

_UNLOAD_SECONDS = 10.0
"""How long a stop waits for models to unload, and again for their runs to end."""


class ModelServer:
    """One server for the models of one configuration. For one thread: `run` starts it, serves, and
    stops it.

    The gRPC port opens when every model has an AVAILABLE version or has failed for good, so that
    whoever can connect gets answers. `has_stopped` is False after `run` when threads are left
    behind that hang in a load or a run: they keep the interpreter from ending.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.has_stopped = False
        self._config = config
        self._manager = AspiredVersionsManager(options=config.manager)
        self._batching = _make_scheduler(config)
        self._direct = ThreadPoolExecutor(4 * (os.cpu_count() or 1), "predict")
        names = (model.platform for model in config.models)
        platforms = make_platforms(names, config.platform_options)
        self._platform_of = {model.name: platforms[model.platform] for model in config.models}
        self._source = self._make_source()
        services: list[Service] = [
            PredictionService(self._manager, encodes_as_content=config.serialize_as_tensor_content),
            ModelService(self._manager.monitor),
        ]
        self._transport = _make_transport(config, method_names(services))
        self._rpc = RpcServer(self._transport, services)
        self._health = _Health(self._transport, [m.name for m in config.models], self._manager)

    def run(self, stop: threading.Event) -> None:
        """Load, serve until `stop` is set, then drain and unload.

        Raises:
            UnavailableError: the port is in use.
            FailedPreconditionError: models failed to load, and the configuration does not accept
                that.

        """
        try:
            _check_port_is_free(self._config.port)
            self._start_loading()
            if self._wait_for_models(stop):
                self._serve(stop)
        finally:
            self.has_stopped = self._stop()

    def _start_loading(self) -> None:
        self._manager.start()
        for model in self._config.models:
            self._manager.set_version_labels(model.name, model.version_labels)
        adapter = SourceAdapter(self._make_loader)
        connect(adapter, self._manager.set_aspired_versions)
        connect(self._source, adapter)

    def _wait_for_models(self, stop: threading.Event) -> bool:
        """Wait until no model keeps the port closed any more. Returns False if asked to stop
        meanwhile.
        """
        pending = frozenset(ServableRequest.latest(model.name) for model in self._config.models)
        failed: dict[ServableRequest, ServableState] = {}
        waited_seconds = 0.0
        while not stop.is_set():
            result = self._manager.monitor.wait_until_reached(pending, timeout=_LOOK_SECONDS)
            failed |= result.failed
            pending = self._still_awaited(result.pending, waited_seconds)
            if not pending:
                self._check_failures(failed)
                return True
            waited_seconds += _LOOK_SECONDS
            if waited_seconds % _REMIND_SECONDS == 0:
                _log.info("Still waiting for %s", self._describe_pending(pending))
        return False

    def _still_awaited(
        self, pending: frozenset[ServableRequest], waited_seconds: float
    ) -> frozenset[ServableRequest]:
        """Those of the models that are not there yet that keep the port closed."""
        if not self._config.serve_partial:
            return pending
        monitor = self._manager.monitor
        may_be_found = waited_seconds < _FIRST_POLL_SECONDS
        return frozenset(
            request
            for request in pending
            if is_on_its_way(monitor.get_version_states(request.name), may_be_found=may_be_found)
        )

    def _check_failures(self, failed: Mapping[ServableRequest, ServableState]) -> None:
        """Refuse to serve, or say so, for models that failed and have not recovered since."""
        recovered = self._manager.monitor.wait_until_reached(failed.keys(), timeout=0).reached
        failures = [state for request, state in failed.items() if request not in recovered]
        if not failures:
            return
        message = describe_failures(failures)
        if not self._config.serve_partial:
            raise FailedPreconditionError(message)
        _log.error("%s. Serving the others, as --serve_partial says", message)

    def _describe_pending(self, pending: Iterable[ServableRequest]) -> str:
        errors = self._source.errors()
        return "; ".join(
            describe_pending(name, self._manager.monitor.get_version_states(name), errors.get(name))
            for name in sorted(request.name for request in pending)
        )

    def _serve(self, stop: threading.Event) -> None:
        self._health.start()
        self._rpc.start()
        _log.info("Running gRPC ModelServer at %s", self._config.address)
        stop.wait()
        _log.info("Stopping: accepted calls have %g s to finish", self._config.drain_seconds)
        self._health.stop()
        if not self._rpc.stop(self._config.drain_seconds):
            _log.warning("Some calls were not answered in time; they got UNAVAILABLE")

    def _stop(self) -> bool:
        """Stop every part. Returns whether all its threads have ended."""
        self._rpc.stop(0)
        self._source.stop()
        has_unloaded = self._manager.stop(_UNLOAD_SECONDS)
        self._direct.shutdown(wait=has_unloaded, cancel_futures=True)
        has_batched = self._batching is None or self._batching.stop(_UNLOAD_SECONDS)
        if not (has_unloaded and has_batched):
            _log.warning("Some loads or runs did not end within %g s", _UNLOAD_SECONDS)
        return has_unloaded and has_batched

    # What the parts are made of…

    def _make_source(self) -> StoragePathSource:
        return StoragePathSource(
            FileSystemStorage(),
            [self._monitored(model) for model in self._config.models],
            report_held_back=self._manager.monitor.report_held_back,
            servable_versions_always_present=self._config.servable_versions_always_present,
        )

    def _monitored(self, model: ModelConfig) -> MonitoredServable:
        platform = self._platform_of[model.name]
        return MonitoredServable(
            model.name,
            model.base_path,
            platform.missing_files,
            model.version_policy,
            self._config.poll_wait_seconds,
            platform.must_settle,
        )

    def _make_loader(self, servable_id: ServableId, path: StoragePath) -> Loader:
        loader = self._platform_of[servable_id.name].make_loader(servable_id, path)
        return AsyncPredictorLoader(loader, self._make_async)

    def _make_async(self, predictor: Predictor) -> ClosableAsyncPredictor:
        if self._batching is None or self._config.batching is None:
            return DirectPredictor(predictor, self._direct, SystemClock())
        return BatchedPredictor(predictor, self._batching, self._config.batching)


class _Health:
    """Keeps the transport's health in step with the states that the monitor publishes."""

    def __init__(
        self, transport: GrpcAioTransport, names: list[str], manager: AspiredVersionsManager
    ) -> None:
        self._transport = transport
        self._names = names
        self._monitor = manager.monitor
        self._lock = threading.Lock()
        self._is_accepting = False
        self._published: Mapping[str, bool] = {}

    def start(self) -> None:
        self._is_accepting = True
        self._monitor.subscribe(lambda _: self._publish())
        self._publish()

    def stop(self) -> None:
        self._is_accepting = False
        self._publish()

    def _publish(self) -> None:
        with self._lock:
            states = {name: self._monitor.get_version_states(name).values() for name in self._names}
            serving = serving_by_service(states, is_accepting=self._is_accepting)
            publish_serving(self._transport, self._published, serving)
            self._published = serving


def is_on_its_way(states: Mapping[int, ServableState], *, may_be_found: bool) -> bool:
    """Whether a model without an available version is worth waiting for: one of its versions is
    loading, or about to, and has not failed yet; or none is known and `may_be_found`.
    """
    if not states:
        return may_be_found
    return any(
        state.manager_state in (ManagerState.START, ManagerState.LOADING)
        and state.health is None
        and not state.message  # it would say what an incomplete version waits for
        for state in states.values()
    )


def describe_failures(states: Sequence[ServableState]) -> str:
    """Say which models ended without an available version, in the reference's words."""
    failures = "".join(f"{{{state.id} due to error: {state.health}}}, " for state in states)
    return f"{len(states)} servable(s) did not become available: {{{failures}}}"


def describe_pending(
    name: str, states: Mapping[int, ServableState], poll_error: Exception | None
) -> str:
    """Say what a model that is not available yet is waiting for."""
    if poll_error is not None:
        return f"{name}: {poll_error}"
    if not states:
        return f"{name}: no version found yet"
    versions = (
        f"version {version} {state.manager_state.name}"
        + "".join(f" ({text})" for text in (state.message, state.health) if text)
        for version, state in states.items()
    )
    return f"{name}: {', '.join(versions)}"


def _make_scheduler(config: ServerConfig) -> SharedBatchScheduler | None:
    if config.batching is None:
        return None
    batching = config.batching
    return SharedBatchScheduler(
        batching.num_batch_threads, thread_pool_name=batching.thread_pool_name
    )


def _make_transport(config: ServerConfig, methods: list[str]) -> GrpcAioTransport:
    options = GrpcOptions(
        descriptor_set=descriptor_set(),
        channel_arguments=tuple(config.grpc_channel_arguments.items()),
        socket_path=config.grpc_socket_path if config.port else "",
    )
    return GrpcAioTransport(config.address, methods, options)


def _check_port_is_free(port: int) -> None:
    """Fail now, not after the models have loaded, when the port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            raise UnavailableError(f"Cannot listen on 0.0.0.0:{port}: {error.strerror}") from error
