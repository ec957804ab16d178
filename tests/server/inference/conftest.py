"""A batched predictor to send requests to, on a thread that tests can keep busy."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from modelserver.batching import SharedBatchScheduler
from modelserver.errors import ServingError
from modelserver.inference import BatchedPredictor, BatchingOptions, Prediction
from modelserver.inference.predictor import Tensors
from modelserver.testing.clock import ManualClock
from modelserver.testing.predictor import HALF_PLUS_TWO, FakePredictor


class Answer:
    """What `done` got; a second call of it is an error that no test can miss."""

    def __init__(self) -> None:
        self._future: Future[dict[str, np.ndarray] | ServingError] = Future()

    def __call__(self, result: dict[str, np.ndarray] | ServingError) -> None:
        self._future.set_result(result)

    @property
    def is_there(self) -> bool:
        return self._future.done()

    def wait(self) -> dict[str, np.ndarray] | ServingError:
        return self._future.result(timeout=30)

    def outputs(self) -> dict[str, np.ndarray]:
        result = self.wait()
        assert isinstance(result, dict), result
        return result

    def names(self) -> list[str]:
        return list(self.outputs())

    def values(self, name: str = "y") -> Any:
        return self.outputs()[name].tolist()

    def error(self) -> ServingError:
        result = self.wait()
        assert isinstance(result, ServingError), result
        return result


class Server:
    """A batched predictor with one thread, which `occupy` keeps busy until `model.finish`."""

    def __init__(
        self, scheduler: SharedBatchScheduler, model: FakePredictor, options: BatchingOptions
    ) -> None:
        self.model = model
        self.predictor = BatchedPredictor(model, scheduler, options)
        self._blocker = FakePredictor(blocks=True)
        self._blocking = BatchedPredictor(self._blocker, scheduler, BatchingOptions())

    def occupy(self) -> None:
        prediction = Prediction(HALF_PLUS_TWO, {"x": np.zeros(1, np.float32)}, ["y"])
        self._blocking.submit(prediction, lambda _: None)
        self._blocker.wait_until_called()

    def let_go(self) -> None:
        self._blocker.finish()

    def submit(
        self,
        inputs: Tensors,
        *,
        signature: str = "serving_default",
        outputs: Sequence[str] = ("y",),
        deadline: float | None = None,
    ) -> Answer:
        return self.submit_cancellable(
            inputs, signature=signature, outputs=outputs, deadline=deadline
        )[0]

    def submit_cancellable(
        self,
        inputs: Tensors,
        *,
        signature: str = "serving_default",
        outputs: Sequence[str] = ("y",),
        deadline: float | None = None,
    ) -> tuple[Answer, Callable[[], bool]]:
        answer = Answer()
        prediction = Prediction(
            self.predictor.signatures[signature], inputs, list(outputs), deadline
        )
        return answer, self.predictor.submit(prediction, answer)

    def submit_together(
        self, *requests: Tensors, signature: str = "serving_default"
    ) -> list[Answer]:
        """Submit while the thread is busy, so that requests meet in the queue."""
        self.occupy()
        answers = [self.submit(inputs, signature=signature) for inputs in requests]
        self.let_go()
        return answers


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def serve(clock: ManualClock) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []
    with SharedBatchScheduler(1, clock=clock) as scheduler:

        def make(model: FakePredictor | None = None, **options: Any) -> Server:
            made.append(Server(scheduler, model or FakePredictor(), BatchingOptions(**options)))
            return made[-1]

        yield make
        for server in made:
            server.let_go()
            server.model.finish()
