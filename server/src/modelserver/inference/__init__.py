"""Tensors in, tensors out, without knowing a framework or a protocol: numpy only.

A platform implements `Predictor`; an edge (gRPC, REST) talks to an `AsyncPredictor`. No I/O and no
wire format here.
"""

from modelserver.inference.batched import BatchedPredictor
from modelserver.inference.batching_options import BatchingOptions
from modelserver.inference.direct import DirectPredictor, Executor
from modelserver.inference.loader import AsyncPredictorLoader, ClosableAsyncPredictor
from modelserver.inference.platform import Listing, Platform
from modelserver.inference.predictor import AsyncPredictor, Completion, Prediction, Predictor
from modelserver.inference.signature import DEFAULT_SIGNATURE, Signature, TensorSpec

__all__ = [
    "DEFAULT_SIGNATURE",
    "AsyncPredictor",
    "AsyncPredictorLoader",
    "BatchedPredictor",
    "BatchingOptions",
    "ClosableAsyncPredictor",
    "Completion",
    "DirectPredictor",
    "Executor",
    "Listing",
    "Platform",
    "Prediction",
    "Predictor",
    "Signature",
    "TensorSpec",
]
