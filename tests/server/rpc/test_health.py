import pytest

from modelserver.core.monitor import ServableStateMonitor
from modelserver.core.servable import ServableId
from modelserver.core.state import ManagerState, ServableState
from modelserver.rpc.health import HealthPublisher, publish_serving, serving_by_service
from modelserver.testing.transport import MemoryTransport

SERVER_NAMES = ["", "tensorflow.serving.PredictionService", "PredictionService"]
MODEL_SERVICE_NAMES = ["tensorflow.serving.ModelService", "ModelService"]


def state(where: ManagerState) -> ServableState:
    return ServableState(ServableId("m", 1), where)


AVAILABLE = state(ManagerState.AVAILABLE)
LOADING = state(ManagerState.LOADING)
END = state(ManagerState.END)


def test_a_model_is_serving_while_some_version_is_available() -> None:
    models = {"good": [LOADING, AVAILABLE], "loading": [LOADING], "gone": [END], "unknown": []}

    serving = serving_by_service(models, is_accepting=True)

    assert {name: serving[name] for name in models} == {
        "good": True,
        "loading": False,
        "gone": False,
        "unknown": False,
    }


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_the_server_is_serving_while_some_model_is(name: str) -> None:
    some = serving_by_service({"good": [AVAILABLE], "bad": [END]}, is_accepting=True)
    none = serving_by_service({"bad": [END]}, is_accepting=True)

    assert (some[name], none[name]) == (True, False)


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_the_server_is_serving_when_no_model_is_configured(name: str) -> None:
    assert serving_by_service({}, is_accepting=True)[name]


@pytest.mark.parametrize("name", MODEL_SERVICE_NAMES)
def test_the_model_service_is_serving_though_no_model_is(name: str) -> None:
    assert serving_by_service({"bad": [END]}, is_accepting=True)[name]


def test_nothing_is_serving_before_start_up_ends_and_once_draining_begins() -> None:
    serving = serving_by_service({"good": [AVAILABLE]}, is_accepting=False)

    assert set(serving.values()) == {False}


def test_a_model_named_like_a_service_does_not_speak_for_it() -> None:
    models = {"ModelService": [END], "good": [AVAILABLE]}

    assert serving_by_service(models, is_accepting=True)["ModelService"]


def test_publishing_tells_the_transport_what_changed_and_forgets_what_went() -> None:
    transport = MemoryTransport([])
    publish_serving(transport, {}, {"a": True, "b": True, "c": True})
    transport.serving["c"] = False  # would be overwritten if it were told again

    publish_serving(transport, {"a": True, "b": True, "c": True}, {"b": False, "c": True})

    assert transport.serving == {"": True, "b": False, "c": False}


class Publishing:
    """A publisher with a monitor that the test writes to."""

    def __init__(self) -> None:
        self.transport = MemoryTransport([])
        self.monitor = ServableStateMonitor()
        self.publisher = HealthPublisher(self.transport, self.monitor)
        self.publisher.set_models(["m"])


def test_health_follows_the_states_from_start_to_stop() -> None:
    scene = Publishing()
    scene.monitor.publish(AVAILABLE)
    assert scene.transport.serving["m"] is False

    scene.publisher.start()
    assert scene.transport.serving["m"] is True
    scene.monitor.publish(END)
    assert scene.transport.serving["m"] is False
    scene.monitor.publish(AVAILABLE)
    assert scene.transport.serving["m"] is True

    scene.publisher.stop()
    scene.monitor.publish(AVAILABLE)
    assert set(scene.transport.serving.values()) == {False}


def test_models_that_come_are_answered_for_and_those_that_go_are_unknown() -> None:
    scene = Publishing()
    scene.publisher.start()

    scene.publisher.set_models(["other"])

    assert "m" not in scene.transport.serving
    assert scene.transport.serving["other"] is False
