"""A numpy model in Triton's python backend: all requests of a batch in one run. Triton finds this
as `model.py`, beside `numpy_model.py` and `model.npz`.
"""

import os
import sys

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, os.path.dirname(__file__))

import numpy_model


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args):
        self._predict = numpy_model.load(os.path.join(os.path.dirname(__file__), "model.npz"))

    def execute(self, requests):
        rows = [pb_utils.get_input_tensor_by_name(each, "x").as_numpy() for each in requests]
        values = self._predict(rows[0] if len(rows) == 1 else np.concatenate(rows))
        responses, begin = [], 0
        for each in rows:
            part = values[begin : begin + len(each)]
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", part)]))
            begin += len(each)
        return responses
