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
from itertools import compress
from pathlib import Path

import numpy as np

from mnist.command_line import CommandLine, run, whole_number
from mnist.data import NUM_PIXELS
from mnist.layout import REQUEST_HEADER, RESPONSE_HEADER, checked
from modelserver import simple_servers
from modelserver.batching import BasicBatchScheduler, Batch, BatchOptions, DivisibleTask
from modelserver.core import Manager, ServableRequest
from modelserver.errors import InvalidArgumentError, NotFoundError, ServingError
from modelserver.rpc.status import error_answer
from modelserver.rpc.transport.base import Calls, Transport
from modelserver.rpc.transport.choice import make_transport
from modelserver.saved_model import SavedModelBundle

PROG = "mnist_inference_2"
_METHODS = ["/tensorflow.serving.MnistService/Classify"]
_GRACE_SECONDS = 10.0
_log = logging.getLogger(PROG)


class Task(DivisibleTask):
    """Classify calls that arrived together, with their requests, on their way through batches."""

    def __init__(self, transport: Transport, ids: list[int], requests: list[bytes]) -> None:
        super().__init__(size=len(ids), unit=1)
        self._transport = transport
        self.ids = ids
        self.requests = requests

    def take_first(self, size: int) -> "Task":
        """Divide the calls, where they do not fit into one batch."""
        first = Task(self._transport, self.ids[:size], self.requests[:size])
        self.ids, self.requests = self.ids[size:], self.requests[size:]
        self.size -= size
        return first

    def fail(self, error: ServingError) -> None:
        """Answer the calls with `error`."""
        self._transport.reply_many(self.ids, [error_answer(error)] * len(self.ids))


class MnistService:
    """Classifies images with the newest version that the manager has loaded."""

    def __init__(self, manager: Manager, transport: Transport) -> None:
        self._manager = manager
        self._transport = transport
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
                self.classify(calls)

    def classify(self, calls: Calls) -> None:
        """Queue the calls that have arrived. They are answered when their batches have run, or when
        their deadlines pass.
        """
        task = Task(self._transport, [], [])
        for call_id, body in zip(calls.ids, calls.bodies, strict=True):
            try:
                task.requests.append(checked(body))
                task.ids.append(call_id)
            except InvalidArgumentError as error:
                self._transport.reply_many([call_id], [error_answer(error)])
        task.size = len(task.ids)
        if task.size:
            self._batch_scheduler.schedule_parts(task)

    def do_classify_in_batch(self, batch: Batch[Task]) -> None:
        """Merge the tasks into one tensor, run the model once, and answer each call."""
        ids = [call_id for task in batch for call_id in task.ids]
        alive = self._transport.alive(ids)  # not cancelled, and within their deadlines
        requests = list(compress((r for task in batch for r in task.requests), alive))
        ids = list(compress(ids, alive))
        if not ids:
            return
        images = np.empty((len(ids), NUM_PIXELS), np.float32)
        self._transport.gather(images, requests, len(REQUEST_HEADER), images[0].nbytes)
        latest = ServableRequest.latest(simple_servers.SERVABLE_NAME)
        with self._manager.get_servable_handle(latest) as handle:
            bundle: SavedModelBundle = handle.servable
            scores = bundle.predict("predict_images", {"images": images}, ["scores"])["scores"]
        self._transport.reply_split(ids, np.ascontiguousarray(scores), RESPONSE_HEADER, b"")


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
        transport = make_transport(f"127.0.0.1:{flags.port}", _METHODS)
        _log.info("Serving at 127.0.0.1:%d", transport.start())
        threading.Thread(target=_drain_when_told, args=(transport, stop), daemon=True).start()
        MnistService(manager, transport).serve()
    return 0


def _drain_when_told(transport: Transport, stop: queue.SimpleQueue[int]) -> None:
    stop.get()
    transport.stop(_GRACE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
