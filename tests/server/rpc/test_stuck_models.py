"""A light model that hangs takes neither the other models' calls nor both serve threads with it."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from modelserver.batching import SharedBatchScheduler
from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.inference import BatchedPredictor, BatchingOptions
from modelserver.inference.predictor import Tensors
from modelserver.rpc.messages import PredictRequest
from modelserver.rpc.prediction import PredictionService
from modelserver.rpc.server import RpcServer
from modelserver.rpc.service import method_names
from modelserver.rpc.tensors import encode
from modelserver.rpc.transport.base import Calls
from modelserver.testing.loader import FakeLoader
from modelserver.testing.predictor import FakePredictor
from modelserver.testing.transport import MemoryCall, MemoryTransport

PREDICT = "/tensorflow.serving.PredictionService/Predict"
FAR_SECONDS = 30.0


class Hanging:
    """Computes, and hangs while it is told to."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.hangs = threading.Semaphore(0)

    def __call__(self, inputs: Tensors) -> dict[str, np.ndarray]:
        if not self.may_go_on.is_set():
            self.hangs.release()
            self.may_go_on.wait()
        return {"y": inputs["x"] + np.float32(1)}


class Together(MemoryTransport):
    """Hands calls over once there are `at_least` so many."""

    at_least = 1

    def next_calls(self, timeout: float | None) -> Calls | None:
        calls = super().next_calls(timeout)
        while calls and calls.ids and len(calls.ids) < self.at_least:
            more = super().next_calls(timeout)
            assert more is not None
            for own, new in zip(calls[:3], more[:3], strict=True):
                own.extend(new)  # type: ignore[arg-type]  # ids, methods and bodies, each
        return calls


class Server:
    """Two light models, `a`, which may hang, and `b`."""

    def __init__(self, manager: AspiredVersionsManager, scheduler: SharedBatchScheduler) -> None:
        self.hanging = Hanging()
        for name, compute in (("a", self.hanging), ("b", Hanging())):
            model = BatchedPredictor(FakePredictor(compute), scheduler, BatchingOptions())
            loader = FakeLoader(model)
            manager.set_aspired_versions(name, [ServableData(ServableId(name, 1), loader)])
        manager.monitor.wait_until_reached([ServableRequest.latest(name) for name in "ab"])
        service = PredictionService(manager)
        self.transport = Together(method_names([service]))
        self.rpc = RpcServer(self.transport, [service])

    def begin(self, name: str) -> MemoryCall:
        request = PredictRequest(inputs={"x": encode(np.float32([1, 2, 3, 4]))})
        request.model_spec.name = name
        return self.transport.begin(PREDICT, request.SerializeToString())

    def begin_together(self, names: str) -> list[MemoryCall]:
        """Calls that are handed over as one list, in this order."""
        self.transport.at_least = len(names)
        calls = [self.begin(name) for name in names]
        self.transport.at_least = 1
        return calls

    def answer(self, name: str) -> object:
        """The answer to a call, None if there is none for long."""
        return answer_of(self.begin(name))


def answer_of(call: MemoryCall) -> object:
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(call.answer()), daemon=True)
    waiting.start()
    waiting.join(FAR_SECONDS)
    return found[0] if found else None


@pytest.fixture
def server() -> Iterator[Server]:
    with SharedBatchScheduler(2) as scheduler, AspiredVersionsManager() as manager:
        server = Server(manager, scheduler)
        server.rpc.start()
        for name in "abab":  # known by their templates, and as light
            assert isinstance(server.answer(name), bytes)
        yield server
        server.hanging.may_go_on.set()
        server.rpc.stop(FAR_SECONDS)


def test_a_model_that_hangs_leaves_a_thread_that_serves_however_often_it_is_called(
    server: Server,
) -> None:
    server.hanging.may_go_on.clear()
    stuck = [server.begin("a")]
    server.hanging.hangs.acquire(timeout=FAR_SECONDS)

    stuck += [server.begin("a") for _ in range(3)]
    answers = [server.answer("b") for _ in range(3)]
    server.hanging.may_go_on.set()

    assert all(isinstance(answer, bytes) for answer in answers)
    assert all(isinstance(answer_of(call), bytes) for call in stuck)


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_calls_that_came_together_with_the_one_that_hangs_are_answered(
    server: Server, names: str
) -> None:
    server.hanging.may_go_on.clear()
    calls = dict(zip(names, server.begin_together(names), strict=True))
    server.hanging.hangs.acquire(timeout=FAR_SECONDS)

    answer = answer_of(calls["b"])
    server.hanging.may_go_on.set()

    assert isinstance(answer, bytes)
    assert isinstance(answer_of(calls["a"]), bytes)
