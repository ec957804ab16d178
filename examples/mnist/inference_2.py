"""mnist_inference_2: serve the newest version of the MNIST model, many calls in one run.

A manager keeps the newest version loaded, a batch scheduler merges calls, a transport carries them.
"""

import logging
import queue
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
from google.protobuf.message import DecodeError

from mnist.command_line import CommandLine, run, whole_number
from mnist.data import NUM_PIXELS
from mnist.mnist_pb2 import MnistRequest, MnistResponse
from modelserver import simple_servers
from modelserver.batching import BasicBatchScheduler, Batch, BatchOptions, BatchTask
from modelserver.core import Manager, ServableRequest
from modelserver.errors import InvalidArgumentError, NotFoundError, ServingError
from modelserver.rpc.status import error_answer
from modelserver.rpc.transport.base import Transport
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.saved_model import SavedModelBundle

PROG = "mnist_inference_2"
_METHODS = ["/tensorflow.serving.MnistService/Classify"]
_GRACE_SECONDS = 10.0
_log = logging.getLogger(PROG)


class Task(BatchTask):
    """One Classify call on its way through a batch, with its image of shape (784,)."""

    def __init__(
        self, transport: Transport, call_id: int, image: np.ndarray, deadline: float | None
    ) -> None:
        super().__init__(deadline=deadline)
        self._transport = transport
        self.call_id = call_id
        self.image = image

    def fail(self, error: ServingError) -> None:
        """Answer the call with `error`."""
        self._transport.reply_many([self.call_id], [error_answer(error)])


class MnistService:
    """Classifies images with the newest version that the manager has loaded."""

    def __init__(self, manager: Manager, transport: Transport) -> None:
        self._manager = manager
        self._transport = transport
        self._tasks = WeakValueDictionary[int, Task]()  # by call; a task goes when it is done
        # A very large queue, so that no call is refused; behind a load balancer, refuse earlier.
        self._batch_scheduler = BasicBatchScheduler(
            BatchOptions(max_batch_size=32, batch_timeout_micros=10_000, max_enqueued_batches=1000),
            self.do_classify_in_batch,
            thread_pool_name="mnist_service_batch_threads",
        )

    def serve(self) -> None:
        """Take calls until the transport has stopped, and see every task through."""
        with self._batch_scheduler:
            while (calls := self._transport.next_calls(None)) is not None:
                for call_id in calls.cancelled:
                    if (task := self._tasks.get(call_id)) is not None:
                        self._batch_scheduler.cancel(task)
                deadlines = calls.deadlines or [None] * len(calls.ids)
                for call_id, body, deadline in zip(calls.ids, calls.bodies, deadlines, strict=True):
                    self.classify(call_id, body, deadline)

    def classify(self, call_id: int, body: bytes, deadline: float | None) -> None:
        """Queue one call. It is answered when its batch has run, or when its deadline passes."""
        try:
            task = Task(self._transport, call_id, _decode_image(body), deadline)
            self._tasks[call_id] = task
            self._batch_scheduler.schedule(task)
        except ServingError as error:
            self._transport.reply_many([call_id], [error_answer(error)])

    def do_classify_in_batch(self, batch: Batch[Task]) -> None:
        """Merge the tasks into one tensor, run the model once, and answer each call."""
        images = np.stack([task.image for task in batch])  # (len(batch), 784)
        latest = ServableRequest.latest(simple_servers.SERVABLE_NAME)
        with self._manager.get_servable_handle(latest) as handle:
            bundle: SavedModelBundle = handle.servable
            scores = bundle.predict("predict_images", {"images": images}, ["scores"])["scores"]
        answers = [MnistResponse(value=row).SerializeToString() for row in scores]
        self._transport.reply_many([task.call_id for task in batch], answers)


def _decode_image(body: bytes) -> np.ndarray:
    try:
        image = np.array(MnistRequest.FromString(body).image_data, np.float32)
    except DecodeError as error:
        raise InvalidArgumentError(f"expected a MnistRequest: {error}") from error
    if len(image) != NUM_PIXELS:
        raise InvalidArgumentError(f"expected image_data of size {NUM_PIXELS}, got {len(image)}")
    return image


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server on `argv`, None being the process's own; return its exit status."""
    parser = CommandLine(
        PROG,
        "Serve the newest version of the MNIST model that is in a directory.",
        f"  {PROG} --port=9000 /tmp/monitored\n\nOn SIGTERM or Ctrl-C it drains, then stops.",
    )
    port = whole_number(0, 65535)
    parser.add_argument("--port", type=port, required=True, help="at 127.0.0.1; 0: any free one")
    parser.add_argument("monitored", type=Path, metavar="DIR", help="looked at every second")
    flags = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("modelserver.sources").setLevel(logging.DEBUG)  # each poll, not only news
    return run(PROG, lambda: _serve(flags))


def _serve(flags: Namespace) -> int:
    if not flags.monitored.is_dir():
        raise NotFoundError(f"{flags.monitored} is not a directory")
    stop: queue.SimpleQueue[int] = queue.SimpleQueue()  # signal handlers may put into this one
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stop.put(received))
    manager = simple_servers.create_single_tf_model_manager_from_base_path(str(flags.monitored))
    with manager:
        while not manager.list_available_servable_ids() and stop.empty():
            _log.info("Waiting for models to be loaded...")
            time.sleep(1)
        transport = GrpcAioTransport(f"127.0.0.1:{flags.port}", _METHODS)
        _log.info("Serving at 127.0.0.1:%d", transport.start())
        threading.Thread(target=_drain_when_told, args=(transport, stop), daemon=True).start()
        MnistService(manager, transport).serve()
    return 0


def _drain_when_told(transport: Transport, stop: queue.SimpleQueue[int]) -> None:
    stop.get()
    transport.stop(_GRACE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
