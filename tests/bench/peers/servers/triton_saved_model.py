"""A SavedModel in Triton's python backend, called as TensorFlow's guide does. Triton finds this as
`model.py`, beside `saved_model`.
"""

import os

import numpy as np
import triton_python_backend_utils as pb_utils

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args):
        directory = os.path.join(os.path.dirname(__file__), "saved_model")
        self._loaded = tf.saved_model.load(directory)
        self._predict = self._loaded.signatures["serving_default"]

    def execute(self, requests):
        rows = [pb_utils.get_input_tensor_by_name(each, "x").as_numpy() for each in requests]
        values = self._predict(x=tf.constant(np.concatenate(rows)))["y"].numpy()
        responses, begin = [], 0
        for each in rows:
            part = values[begin : begin + len(each)]
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", part)]))
            begin += len(each)
        return responses
