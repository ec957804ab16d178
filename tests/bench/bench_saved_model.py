"""Rows a second of a SavedModel through the batcher, beside the same model in a tight loop. Goal: ≥
0.9.

The clients keep two batches' worth of requests outstanding, as a loaded server has them; the tight
loop calls the model with full batches and does nothing else. Both run in turn in this process.
"""

import os
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from measure import Figure, interleaved
from modelserver.batching import SharedBatchScheduler
from modelserver.core import ServableId, StoragePath
from modelserver.inference import DEFAULT_SIGNATURE, BatchedPredictor, BatchingOptions, Prediction
from modelserver.saved_model import SavedModelBundle, platform

FEATURES, BATCH = 784, 128
OUTSTANDING = 2 * BATCH


def export_softmax(directory: Path) -> Path:
    """Softmax regression, 784 → 10: the tutorial's model; light, so overhead shows."""
    return _export(directory / "softmax", widths=())


def export_mlp(directory: Path) -> Path:
    """784 → 1024 → 1024 → 1024 → 10: heavy, so the model's own time rules."""
    return _export(directory / "mlp", widths=(1024, 1024, 1024))


def _export(directory: Path, widths: tuple[int, ...]) -> Path:
    import tensorflow as tf

    sizes = [FEATURES, *widths, 10]
    source = np.random.default_rng(1)
    weights = [
        tf.Variable(source.normal(0, 0.05, (a, b)).astype(np.float32)) for a, b in pairwise(sizes)
    ]

    @tf.function(input_signature=[tf.TensorSpec([None, FEATURES], tf.float32, name="x")])
    def predict(x):
        for weight in weights[:-1]:
            x = tf.nn.relu(x @ weight)
        return {"y": tf.nn.softmax(x @ weights[-1])}

    module = tf.Module()
    module.weights, module.predict = weights, predict
    tf.saved_model.save(module, str(directory), signatures=predict)
    return directory


def tight_loop(bundle: SavedModelBundle, seconds: float) -> float:
    """Full batches, one after the other, on one thread."""
    batch = {"x": np.random.default_rng(2).random((BATCH, FEATURES), np.float32)}
    rows, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        bundle.predict(DEFAULT_SIGNATURE, batch, ["y"])
        rows += BATCH
    return rows / (time.perf_counter() - begin)


def through_the_batcher(bundle: SavedModelBundle, rows_each: int, seconds: float) -> float:
    """Requests of `rows_each` rows, sent again as soon as they are answered, merged into batches on
    one thread.
    """
    options = BatchingOptions(
        max_batch_size=BATCH, max_enqueued_batches=1000, batch_timeout_micros=2000
    )
    scheduler = SharedBatchScheduler(1)
    batched = BatchedPredictor(bundle, scheduler, options)
    signature = bundle.signatures[DEFAULT_SIGNATURE]
    inputs = {"x": np.random.default_rng(2).random((rows_each, FEATURES), np.float32)}
    prediction = Prediction(signature, inputs, ["y"])
    answered: SimpleQueue[object] = SimpleQueue()
    outstanding = OUTSTANDING // rows_each
    for _ in range(outstanding):
        batched.submit(prediction, answered.put)
    rows, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        answered.get()
        rows += rows_each
        batched.submit(prediction, answered.put)
    elapsed = time.perf_counter() - begin
    batched.close()
    scheduler.stop()
    return rows / elapsed


def run(rounds: int, seconds: float) -> list[Figure]:
    """Measure both models, the loop and the batcher in turn, and the ratio round by round."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as directory:
        for name, export in (("softmax", export_softmax), ("MLP 3×1024", export_mlp)):
            figures += _compare(name, export(Path(directory)), rounds, seconds)
    return figures


def _compare(name: str, export: Path, rounds: int, seconds: float) -> list[Figure]:
    options = {"intra_op_parallelism": 1, "warmup_batch_sizes": (BATCH,)}
    loader = platform(options).make_loader(ServableId(name, 1), StoragePath(str(export)))
    loader.load()
    bundle = loader.servable()
    assert isinstance(bundle, SavedModelBundle)
    loop = f"{name}, tight loop, batches of {BATCH}"
    variants: dict[str, Callable[[], float]] = {loop: lambda: tight_loop(bundle, seconds)}
    for rows_each in (1, 8, 32):
        variants[f"{name}, through the batcher, {rows_each} row(s) each"] = (
            lambda rows_each=rows_each: through_the_batcher(bundle, rows_each, seconds)
        )
    values = interleaved(variants, rounds)
    loader.unload()
    figures = [Figure.of(variant, "rows/s", rates) for variant, rates in values.items()]
    ratios = [
        Figure.of(f"{variant}: of the loop", "×", _ratios(rates, values[loop]))
        for variant, rates in values.items()
        if variant != loop
    ]
    return figures + ratios


def _ratios(rates: list[float], of: list[float]) -> list[float]:
    return [rate / reference for rate, reference in zip(rates, of, strict=True)]
