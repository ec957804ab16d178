"""While a device runs one batch, the next one is put together: two are outstanding at a time."""

import threading
import time
from collections.abc import Sequence

import numpy as np

from modelserver.batching import SharedBatchScheduler
from modelserver.inference import BatchedPredictor, BatchingOptions
from modelserver.inference.predictor import Tensors
from modelserver.inference.request_list import InputForm, RequestForm
from modelserver.inference.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

FLOAT = np.dtype(np.float32)
SIGNATURE = Signature(
    DEFAULT_SIGNATURE,
    inputs={"x": TensorSpec("x:0", FLOAT, (None, 4))},
    outputs={"y": TensorSpec("y:0", FLOAT, (None, 4))},
)
FORM = RequestForm(SIGNATURE, (InputForm("x", FLOAT, (1, 4)),), ["y"])
RUN_SECONDS = 0.005
FAR_SECONDS = 30.0


class FakeDevice:
    """Runs one batch at a time, for 5 ms and until one more than it has begun to run is ready."""

    def __init__(self) -> None:
        self.signatures = {DEFAULT_SIGNATURE: SIGNATURE}
        self.is_ready = threading.Semaphore(0)
        self.overlaps: list[bool] = []
        self._is_free = threading.Lock()

    def predict(self, name: str, inputs: Tensors, outputs: object) -> dict[str, np.ndarray]:
        with self._is_free:
            if not self.overlaps:
                self.is_ready.acquire()  # the first batch itself
            time.sleep(RUN_SECONDS)
            self.overlaps.append(self.is_ready.acquire(timeout=FAR_SECONDS))
            return {"y": inputs["x"]}


class Requests:
    """A list of one request, which says when it is put into a batch's memory, and answered."""

    form = FORM

    def __init__(self, written: threading.Semaphore, answered: threading.Semaphore) -> None:
        self._written = written
        self._answered = answered

    def __len__(self) -> int:
        return 1

    def wanted(self, which: range) -> range:
        return which

    def write(self, which: range, out: Sequence[np.ndarray]) -> None:
        out[0][:] = 1
        self._written.release()

    def answer(self, which: range, result: object) -> None:
        self._answered.release()


def test_the_next_batch_is_put_together_while_the_device_runs_one() -> None:
    device = FakeDevice()
    answered = threading.Semaphore(0)
    lists = [Requests(device.is_ready, answered) for _ in range(8)]
    with SharedBatchScheduler(2) as scheduler:
        predictor = BatchedPredictor(device, scheduler, BatchingOptions(max_batch_size=1))

        for requests in lists:
            predictor.submit_lists([requests])
        for _ in lists[1:]:  # in whatever order the device takes those that are ready
            assert answered.acquire(timeout=FAR_SECONDS)
        device.is_ready.release()  # there is none behind the last one

    assert device.overlaps == [True] * 8
