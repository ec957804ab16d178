"""A server whose model runs elsewhere: every batch takes the same time and no processor, as on a
device or on cores that this machine does not have. Others may serve on the same port. Says that it
is ready with a line on stdout. Usage: device_server.py PORT THREADS MILLIS BATCH.
"""

import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from modelserver.batching import SharedBatchScheduler
from modelserver.core import AspiredVersionsManager, ServableData, ServableId, ServableRequest
from modelserver.inference import (
    DEFAULT_SIGNATURE,
    BatchedPredictor,
    BatchingOptions,
    Signature,
    TensorSpec,
)
from modelserver.rpc.prediction import PredictionService
from modelserver.rpc.server import RpcServer
from modelserver.rpc.service import Service, method_names
from modelserver.rpc.transport.choice import make_transport
from modelserver.rpc.transport.options import GrpcOptions
from modelserver.testing.loader import FakeLoader

_SINGLE = np.dtype(np.float32)
_SIGNATURE = Signature(
    DEFAULT_SIGNATURE,
    inputs={"x": TensorSpec("x", _SINGLE, (None, 784))},
    outputs={"y": TensorSpec("y", _SINGLE, (None, 10))},
)


class Device:
    """A `Predictor` that answers the first ten numbers of each row, after a while."""

    signatures: Mapping[str, Signature] = {DEFAULT_SIGNATURE: _SIGNATURE}

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def predict(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Wait, without the interpreter's lock."""
        time.sleep(self._seconds)
        return {"y": np.ascontiguousarray(inputs["x"][:, :10])}


def main(port: str, threads: str, millis: str, batch: str) -> None:
    """Serve until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sys.setswitchinterval(0.0002)
    options = BatchingOptions(max_batch_size=int(batch), max_enqueued_batches=10_000)
    scheduler = SharedBatchScheduler(int(threads))
    predictor = BatchedPredictor(Device(float(millis) / 1000), scheduler, options)
    with AspiredVersionsManager() as manager:
        loader = FakeLoader(predictor)
        manager.set_aspired_versions("m00", [ServableData(ServableId("m00", 1), loader)])
        manager.monitor.wait_until_reached([ServableRequest.latest("m00")])
        services: list[Service] = [PredictionService(manager, encodes_as_content=True)]
        shared = GrpcOptions(channel_arguments=[("grpc.so_reuseport", 1)])
        transport = make_transport(f"127.0.0.1:{port}", method_names(services), shared)
        server = RpcServer(transport, services)
        server.start()
        _name_threads()
        print("ready", flush=True)
        while not stop.wait(0.2):
            pass
        server.stop(1)
    scheduler.stop(1)


def _name_threads() -> None:
    """Tell Linux the threads' names, which Python keeps to itself before 3.14."""
    for thread in threading.enumerate():
        with suppress(OSError):  # one that loaded the model may have ended meanwhile
            Path(f"/proc/self/task/{thread.native_id}/comm").write_text(thread.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
