"""A numpy model on Ray Serve. Usage: ray_server.py PORT FILE MAX_BATCH_SIZE FOLDER."""

import logging
import signal
import sys

import numpy as np
import numpy_model
import ray
from ray import serve

PORT, FILE, MAX_BATCH_SIZE, FOLDER = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=1000,
    logging_config={"enable_access_log": False},
)
class NumpyModel:
    """Serves one file, requests merged by serve.batch."""

    def __init__(self):
        self._predict = numpy_model.load(FILE)

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=0.001)
    async def merged(self, inputs):
        sizes = [len(rows) for rows in inputs]
        return np.split(self._predict(np.concatenate(inputs)), np.cumsum(sizes)[:-1])

    async def __call__(self, request):
        content = await request.json()
        values = await self.merged(np.asarray(content["x"], np.float32))
        return {"y": values.tolist()}


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=2**28,
        logging_level=logging.WARNING,
        _node_ip_address="127.0.0.1",
        _temp_dir=FOLDER,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": PORT}, proxy_location="HeadOnly")
    serve.run(NumpyModel.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()
