"""Health that follows the models: what grpc.health.v1 answers for each name."""

import threading
from collections.abc import Iterable, Mapping

from modelserver.core.monitor import ServableStateMonitor
from modelserver.core.state import ServableState
from modelserver.rpc.transport.base import Transport

_PREDICTION_NAMES = ("", "tensorflow.serving.PredictionService", "PredictionService")
_MODEL_STATUS_NAMES = ("tensorflow.serving.ModelService", "ModelService")


def serving_by_service(
    models: Mapping[str, Iterable[ServableState]], *, is_accepting: bool
) -> dict[str, bool]:
    """Which service names are SERVING.

    `models` has every configured model with the states of its versions, none if none is known.
    `is_accepting` is True from the end of start-up until draining begins; outside of it nothing is
    SERVING.

    A model's own name is SERVING while some version of it is AVAILABLE. The server ("") and
    PredictionService are SERVING while some model is, or none is configured: one bad model must
    not take the traffic of the good ones away. ModelService, which tells what is wrong, is SERVING
    throughout. Services answer to their full names and to the short ones that TensorFlow Serving
    registers; a model of such a name is told by its service.
    """
    serving = {
        name: is_accepting and any(state.is_available for state in states)
        for name, states in models.items()
    }
    can_predict = is_accepting and (not serving or any(serving.values()))
    serving.update(dict.fromkeys(_PREDICTION_NAMES, can_predict))
    serving.update(dict.fromkeys(_MODEL_STATUS_NAMES, is_accepting))
    return serving


def publish_serving(
    transport: Transport, before: Mapping[str, bool], after: Mapping[str, bool]
) -> None:
    """Tell the transport what has changed between two results of `serving_by_service`."""
    for name in before.keys() - after.keys():
        transport.set_serving(name, None)
    for name, serving in after.items():
        if before.get(name) is not serving:
            transport.set_serving(name, serving)


class HealthPublisher:
    """Keeps a transport's health in step with the states that `monitor` publishes. Thread-safe.

    Until `start`, and again from `stop` on, nothing is SERVING.
    """

    def __init__(self, transport: Transport, monitor: ServableStateMonitor) -> None:
        self._transport = transport
        self._monitor = monitor
        self._lock = threading.Lock()
        self._names: tuple[str, ...] = ()
        self._is_accepting = False
        self._published: Mapping[str, bool] = {}

    def set_models(self, names: Iterable[str]) -> None:
        """Answer for the models of these names, and for no others."""
        self._names = tuple(names)
        self._publish()

    def start(self) -> None:
        """Say of each model whether it serves, from now on."""
        self._is_accepting = True
        self._monitor.subscribe(lambda _: self._publish())
        self._publish()

    def stop(self) -> None:
        """Say NOT_SERVING for everything, and go on saying so."""
        self._is_accepting = False
        self._publish()

    def _publish(self) -> None:
        with self._lock:
            states = {name: self._monitor.get_version_states(name).values() for name in self._names}
            serving = serving_by_service(states, is_accepting=self._is_accepting)
            publish_serving(self._transport, self._published, serving)
            self._published = serving
