import numpy as np
import pytest

from modelserver.clock import SystemClock
from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from modelserver.inference.direct import DirectPredictor
from modelserver.inference.predictor import Tensors
from modelserver.rpc.messages import GetModelStatusRequest, GetModelStatusResponse, ModelSpec
from modelserver.testing.executor import InlineExecutor
from modelserver.testing.loader import FakeLoader
from modelserver.testing.predictor import FakePredictor
from modelserver.testing.serving import serve_in_memory

ONE = {"x": np.ones(1, np.float32)}


def test_a_model_answers_through_the_whole_server() -> None:
    with serve_in_memory({"half_plus_two": FakePredictor()}) as client:
        assert client.predict("half_plus_two", ONE)["y"].tolist() == [2.5]


def test_each_model_answers_under_its_name() -> None:
    double = FakePredictor(lambda inputs: {"y": inputs["x"] * 2})

    with serve_in_memory({"half": FakePredictor(), "double": double}) as client:
        answers = [client.predict(name, ONE)["y"].tolist() for name in ("half", "double")]

    assert answers == [[2.5], [2.0]]


def test_a_refused_request_raises_the_error_of_its_code() -> None:
    with serve_in_memory({"m": FakePredictor()}) as client:
        with pytest.raises(InvalidArgumentError, match="must be of type float32; was float64"):
            client.predict("m", {"x": np.ones(1)})
        with pytest.raises(NotFoundError, match=r"Latest\(other\)"):
            client.predict("other", ONE)


def test_an_error_of_the_model_is_raised() -> None:
    def fail(inputs: Tensors) -> dict[str, np.ndarray]:
        raise ResourceExhaustedError("no memory left")

    with (
        serve_in_memory({"m": FakePredictor(fail)}) as client,
        pytest.raises(ResourceExhaustedError, match="no memory left"),
    ):
        client.predict("m", ONE)


def test_the_transport_takes_every_other_call() -> None:
    request = GetModelStatusRequest(model_spec=ModelSpec(name="m"))

    with serve_in_memory({"m": FakePredictor()}) as client:
        answer = client.transport.call(
            "/tensorflow.serving.ModelService/GetModelStatus", request.SerializeToString()
        )

    assert isinstance(answer, bytes)
    (row,) = GetModelStatusResponse.FromString(answer).model_version_status
    assert (row.version, row.state) == (1, 30)


def test_a_manager_of_one_s_own_is_served_and_left_running() -> None:
    predictor = DirectPredictor(FakePredictor(), InlineExecutor(), SystemClock())
    version = ServableData(ServableId("m", 7), FakeLoader(predictor))
    latest = ServableRequest.latest("m")

    with AspiredVersionsManager() as manager:
        manager.set_aspired_versions("m", [version])
        manager.monitor.wait_until_reached([latest])
        with serve_in_memory(manager) as client:
            answer = client.predict("m", ONE)

        assert answer["y"].tolist() == [2.5]
        assert manager.list_available_servable_ids() == [version.id]


def test_no_models_at_all_can_be_served() -> None:
    with serve_in_memory({}) as client, pytest.raises(NotFoundError):
        client.predict("m", ONE)
