"""A numpy model on BentoML. Settings come from the environment; BENCH_MAX_BATCH_SIZE=1 means that
each request is run by itself.
"""

import os

import bentoml
import numpy as np
import numpy_model

_MAX_BATCH_SIZE = int(os.environ["BENCH_MAX_BATCH_SIZE"])


@bentoml.service(
    workers=1, traffic={"timeout": 60, "max_concurrency": 1000}, metrics={"enabled": False}
)
class NumpyModel:
    """Serves the file that BENCH_MODEL names."""

    def __init__(self) -> None:
        self._predict = numpy_model.load(os.environ["BENCH_MODEL"])

    @bentoml.api(
        batchable=_MAX_BATCH_SIZE > 1,
        batch_dim=0,
        max_batch_size=max(2, _MAX_BATCH_SIZE),
        max_latency_ms=10_000,
        route="/predict",
    )
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Rows in, rows out."""
        return self._predict(x.astype(np.float32))
