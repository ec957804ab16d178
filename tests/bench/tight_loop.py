"""Rows a second of a model called in a tight loop: full batches, one thread, no server.

As a program: tight_loop.py MODEL SECONDS, prints the rate. Run in a process of its own, because the
benchmark's must not import TensorFlow.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import serving_load
from exchange import Target
from model_store import MODELS, SAMPLES, Model
from modelserver.core import ServableId, StoragePath
from modelserver.inference import DEFAULT_SIGNATURE, Platform
from modelserver.platforms import make_platforms
from peers.base import SERVERS
from serving_load import WARM_UP_SECONDS, Load

NAME = "loop"
"""What it is called among the peers."""

_BESIDE_SHARE, _BESIDE_LIMIT = 0.7, 30_000
"""The load beside: as many requests as this share of the rows that the model does alone."""


def alone(model: Model, seconds: float) -> float:
    """With the machine to itself."""
    settings = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(SERVERS),
    }
    slow = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    inherited = {key: value for key, value in os.environ.items() if key not in slow}
    command = [sys.executable, __file__, model.name, str(seconds)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=inherited | settings
    )
    return float(done.stdout)


def beside(model: Model, seconds: float, target: Target, alone_rate: float) -> float:
    """While the transport answers about as many requests on the other processor."""
    load = Load("beside", 4, 32, rate=min(_BESIDE_LIMIT, _BESIDE_SHARE * alone_rate))
    with ThreadPoolExecutor(1) as executor:
        # Starting TensorFlow takes a few seconds; the load goes on until the loop is done.
        lasting = seconds + WARM_UP_SECONDS + 8
        busy = executor.submit(serving_load.run, target, load, load.rate, lasting)
        rate = alone(model, seconds)
        busy.result()
    return rate


def _main(model: Model, seconds: float) -> None:
    loader = _platform(model.platform).make_loader(
        ServableId(model.name, 1), StoragePath(str(model.base_path / "1"))
    )
    loader.load()
    servable = loader.servable()
    rows = np.resize(np.arange(SAMPLES), model.max_batch_size)
    batch = {model.input: np.ascontiguousarray(model.samples[0][rows])}
    _run(lambda: servable.predict(DEFAULT_SIGNATURE, batch, [model.output]), WARM_UP_SECONDS / 2)
    print(
        _run(lambda: servable.predict(DEFAULT_SIGNATURE, batch, [model.output]), seconds)
        * len(rows)
    )


def _platform(name: str) -> Platform:
    if name != "numpy":
        return make_platforms([name], {"intra_op_parallelism": 1})[name]
    from modelserver_numpy import platform

    return platform({})


def _run(call: Callable[[], object], seconds: float) -> float:
    """Calls a second."""
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - begin)


if __name__ == "__main__":
    _main(MODELS[sys.argv[1]], float(sys.argv[2]))
