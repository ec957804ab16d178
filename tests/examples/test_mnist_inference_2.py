"""The tutorial's service: what it answers, and that calls share runs. No network, no TensorFlow."""

import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from mnist.inference_2 import MnistService
from mnist.mnist_pb2 import MnistRequest, MnistResponse
from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.servable import ServableData, ServableId
from modelserver.errors import InternalError
from modelserver.inference.predictor import Tensors
from modelserver.rpc.transport.base import Answer, StatusCode
from modelserver.testing.executor import InlineExecutor
from modelserver.testing.loader import FakeLoader
from modelserver.testing.predictor import FakePredictor
from modelserver.testing.transport import MemoryTransport

CLASSIFY = "/tensorflow.serving.MnistService/Classify"


def first_ten_pixels(inputs: Tensors) -> dict[str, np.ndarray]:
    return {"scores": inputs["images"][:, :10]}


def request(pixel: float, size: int = 784) -> bytes:
    return MnistRequest(image_data=np.full(size, pixel)).SerializeToString()


def scores(answer: Answer) -> list[float]:
    assert isinstance(answer, bytes), answer
    return list(MnistResponse.FromString(answer).value)


class Server:
    """A service on a transport in memory, with a manager that loads what it is given."""

    def __init__(self) -> None:
        self.transport = MemoryTransport([CLASSIFY])
        self.manager = AspiredVersionsManager(executors=(InlineExecutor(), InlineExecutor()))
        self.service = MnistService(self.manager, self.transport)
        self.thread = threading.Thread(target=self.service.serve)
        self.transport.start()

    def load(self, version: int, model: FakePredictor) -> None:
        data = ServableData(ServableId("default", version), FakeLoader(model))
        self.manager.set_aspired_versions("default", [data])
        while self.manager.step():
            pass

    def call(self, body: bytes) -> Answer:
        return self.transport.call(CLASSIFY, body)

    def wait_until_served(self) -> None:
        """Return once the service has seen all that happened before."""
        self.call(b"no request")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    if not server.thread.ident:
        server.thread.start()
    server.transport.stop(grace=30)
    server.thread.join()


def test_a_call_is_answered_with_the_scores_of_its_image(server: Server) -> None:
    model = FakePredictor(first_ten_pixels)
    server.load(1, model)
    server.thread.start()

    answer = server.call(request(0.5))

    assert scores(answer) == [0.5] * 10
    assert model.calls[0].signature_name == "predict_images"
    assert model.calls[0].inputs["images"].dtype == np.float32
    assert model.calls[0].inputs["images"].shape == (1, 784)


def test_calls_that_arrive_together_share_a_run_and_get_their_own_answers(server: Server) -> None:
    model = FakePredictor(first_ten_pixels)
    server.load(1, model)
    calls = [server.transport.begin(CLASSIFY, request(pixel)) for pixel in range(64)]

    server.thread.start()
    answers = [scores(call.answer()) for call in calls]

    assert answers == [[float(pixel)] * 10 for pixel in range(64)]
    assert sum(model.batch_sizes) == 64
    assert max(model.batch_sizes) <= 32
    assert len(model.batch_sizes) < 64


def test_the_newest_version_answers_from_the_next_batch_on(server: Server) -> None:
    server.load(1, FakePredictor(lambda inputs: {"scores": np.full((1, 10), 1, np.float32)}))
    server.thread.start()
    before = server.call(request(0))

    server.load(2, FakePredictor(lambda inputs: {"scores": np.full((1, 10), 2, np.float32)}))
    after = server.call(request(0))

    assert (scores(before), scores(after)) == ([1.0] * 10, [2.0] * 10)


@pytest.mark.parametrize("size", [0, 783, 785])
def test_an_image_of_another_size_is_refused_with_the_size_that_is_expected(
    server: Server, size: int
) -> None:
    server.thread.start()

    answer = server.call(request(0, size))

    assert answer == (
        StatusCode.INVALID_ARGUMENT,
        f"expected image_data of size 784, got {size}",
    )


def test_bytes_that_are_no_request_are_refused(server: Server) -> None:
    server.thread.start()

    answer = server.call(b"\xff\xff\xff")

    assert isinstance(answer, tuple)
    assert answer[0] is StatusCode.INVALID_ARGUMENT
    assert answer[1].startswith("expected a MnistRequest")


def test_without_a_loaded_version_calls_are_told_so(server: Server) -> None:
    server.thread.start()

    answer = server.call(request(0))

    assert answer == (
        StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(default)",
    )


def test_an_error_of_the_model_answers_every_call_of_the_batch(server: Server) -> None:
    def fail(inputs: Tensors) -> dict[str, np.ndarray]:
        raise InternalError("out of order")

    server.load(1, FakePredictor(fail))
    calls = [server.transport.begin(CLASSIFY, request(0)) for _ in range(3)]

    server.thread.start()

    assert {call.answer() for call in calls} == {(StatusCode.INTERNAL, "out of order")}


def test_a_call_whose_deadline_has_passed_is_not_run(server: Server) -> None:
    model = FakePredictor(first_ten_pixels)
    server.load(1, model)
    late = server.transport.begin(CLASSIFY, request(0.5), deadline=time.monotonic())
    server.thread.start()

    server.call(request(0.25))

    assert [call.inputs["images"][:, 0].tolist() for call in model.calls] == [[0.25]]
    answer = late.answer()
    assert isinstance(answer, tuple)
    assert answer[0] is StatusCode.DEADLINE_EXCEEDED


def test_a_call_that_is_cancelled_while_it_waits_is_not_run(server: Server) -> None:
    model = FakePredictor(first_ten_pixels, blocks=True)
    server.load(1, model)
    server.thread.start()
    for _ in range(os.cpu_count() or 1):  # keep every batch thread busy
        server.transport.begin(CLASSIFY, request(0.25))
        model.wait_until_called()
    waiting = server.transport.begin(CLASSIFY, request(0.5))
    server.wait_until_served()

    waiting.cancel()
    server.wait_until_served()
    model.finish()
    server.transport.stop(grace=30)
    server.thread.join()  # what still waits has run by then

    assert {call.inputs["images"][0, 0] for call in model.calls} == {0.25}


def test_calls_that_wait_when_the_server_stops_are_answered(server: Server) -> None:
    model = FakePredictor(first_ten_pixels, blocks=True)
    server.load(1, model)
    call = server.transport.begin(CLASSIFY, request(0.25))
    server.thread.start()
    model.wait_until_called()
    stopping = threading.Thread(target=server.transport.stop, args=(30.0,))

    stopping.start()
    model.finish()
    stopping.join()

    assert scores(call.answer()) == [0.25] * 10
