"""ModelServer: the composition root. Builds every part from a `ServerConfig`, starts them in order,
stops them in reverse.
"""

import logging
import socket
import threading
import time

from modelserver.admin import AdminServer
from modelserver.clock import SystemClock
from modelserver.config import ModelList, ServerConfig
from modelserver.config_watch import ConfigWatch
from modelserver.errors import UnavailableError
from modelserver.rpc.descriptors import descriptor_set
from modelserver.rpc.health import HealthPublisher
from modelserver.rpc.model import ModelService
from modelserver.rpc.prediction import PredictionService
from modelserver.rpc.server import RpcServer
from modelserver.rpc.service import Service, method_names
from modelserver.rpc.transport.base import Transport
from modelserver.rpc.transport.choice import Choice, choose_here, make_transport
from modelserver.rpc.transport.connections import count_connections
from modelserver.rpc.transport.options import GrpcOptions
from modelserver.served_models import ServedModels
from modelserver.server_view import Phase, ServerView
from modelserver.start_up import StartUp

_log = logging.getLogger(__name__)

_AGE_JITTER = 1.1
"""By how much gRPC varies the maximum age of connections, at most."""

_MOVE_SECONDS = 1.0
"""How long a client may take to close a connection that it has been asked to leave."""

_LOOK_SECONDS = 0.1
"""How often it is looked whether connections are left."""


class ModelServer:
    """One server for the models of one configuration. For one thread: `run` starts it, serves, and
    stops it.

    The admin port opens at once. The gRPC port opens when every model has an AVAILABLE version or
    has failed for good, so that whoever can connect gets answers. `has_stopped` is False after
    `run` when threads are left behind that hang in a load or a run: they keep the interpreter from
    ending.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.has_stopped = False
        self._config = config
        self._models = ServedModels(config)
        manager = self._models.manager
        services: list[Service] = [
            PredictionService(manager, encodes_as_content=config.serialize_as_tensor_content),
            ModelService(manager.monitor),
        ]
        methods = method_names(services)
        self._choice, self._transport = _make_transport(config, methods)
        self._rpc = RpcServer(self._transport, services)
        self._health = HealthPublisher(self._transport, manager.monitor)
        file = config.model_list_file
        self._watch = ConfigWatch(file, self._apply) if file else None
        certificates = config.tls_file
        self._tls_watch = (
            ConfigWatch(certificates, self._transport.set_tls) if certificates else None
        )
        self._view = ServerView(
            self._models, self._watch, self._transport, methods, config.pod, SystemClock()
        )
        self._admin = AdminServer(config.admin_port, self._view.pages())

    def run(self, stop: threading.Event) -> None:
        """Load, serve until `stop` is set, then drain and unload.

        Raises:
            UnavailableError: a port is in use.
            FailedPreconditionError: models failed to load, and the configuration does not accept
                that.

        """
        try:
            _check_port_is_free(self._config)
            _log.info("%s", self._choice)
            self._open_admin_port()
            self._start_loading()
            if self._start_up().wait(stop):
                self._serve(stop)
        finally:
            self.has_stopped = self._stop()

    def _open_admin_port(self) -> None:
        if self._config.admin_port:
            self._admin.start()
            _log.info("Admin port at http://0.0.0.0:%d/", self._config.admin_port)

    def _start_loading(self) -> None:
        """Apply first: what is known at the start is polled as its interval says (below 0: never),
        what comes later at once.
        """
        if self._watch is None:
            self._apply(ModelList(self._config.models))
        else:
            self._watch.poll()
        self._models.start()
        for watch in (self._watch, self._tls_watch):
            if watch is not None:
                watch.start()

    def _start_up(self) -> StartUp:
        return StartUp(
            self._models,
            lambda: self._view.is_configured,
            serve_partial=self._config.serve_partial,
        )

    def _apply(self, wanted: ModelList) -> None:
        self._models.apply(wanted)
        self._health.set_models(model.name for model in wanted.models)

    def _serve(self, stop: threading.Event) -> None:
        self._health.start()
        self._rpc.start()
        self._view.phase = Phase.SERVING
        _log.info("Running gRPC ModelServer at %s", self._config.address)
        stop.wait()
        self._drain()

    def _drain(self) -> None:
        _log.info("Stopping: accepted calls have %g s to finish", self._config.drain_seconds)
        self._view.phase = Phase.DRAINING
        self._health.stop()
        self._wait_for_clients_to_move()
        if not self._rpc.stop(self._config.drain_seconds):
            _log.warning("Some calls were not answered in time; they got UNAVAILABLE")

    def _wait_for_clients_to_move(self) -> None:
        """Serve on until no connection is left, for as long as one may live.

        grpcio's server, once it stops, drops calls that it has received and not handed over yet:
        their clients see CANCELLED. Where connections have a maximum age, each is asked to move on
        before that, in good order; only a port without connections has nothing to drop.
        """
        age_seconds = self._config.max_connection_age_seconds
        if not age_seconds or self._transport.drains:
            return
        deadline = time.monotonic() + _AGE_JITTER * age_seconds + _MOVE_SECONDS
        while time.monotonic() < deadline and count_connections(self._config.port) != 0:
            time.sleep(_LOOK_SECONDS)

    def _stop(self) -> bool:
        """Stop every part. Returns whether all its threads have ended."""
        self._view.phase = Phase.DRAINING
        for watch in (self._watch, self._tls_watch):
            if watch is not None:
                watch.stop()
        self._rpc.stop(0)
        has_stopped = self._models.stop()
        self._admin.stop()
        return has_stopped


def _make_transport(config: ServerConfig, methods: list[str]) -> tuple[Choice, Transport]:
    arguments = dict(config.grpc_channel_arguments)
    if config.max_connection_age_seconds:
        age_millis = max(1, round(config.max_connection_age_seconds * 1000))
        arguments.setdefault("grpc.max_connection_age_ms", age_millis)
    certificates = config.tls_file
    options = GrpcOptions(
        descriptor_set=descriptor_set(),
        channel_arguments=tuple(arguments.items()),
        socket_path=config.grpc_socket_path if config.port else "",
        tls=None if certificates is None else certificates.read(),
    )
    choice = choose_here(config.transport, options)
    return choice, make_transport(config.address, methods, options, choice.kind)


def _check_port_is_free(config: ServerConfig) -> None:
    """Fail now, not after the models have loaded, when the port is taken."""
    is_shared = bool(config.grpc_channel_arguments.get("grpc.so_reuseport", 0))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, is_shared)
        try:
            probe.bind(("0.0.0.0", config.port))
        except OSError as error:
            raise UnavailableError(
                f"Cannot listen on 0.0.0.0:{config.port}: {error.strerror}"
            ) from error
