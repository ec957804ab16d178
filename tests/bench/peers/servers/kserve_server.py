"""A numpy model on KServe's Python SDK. Usage: kserve_server.py NAME GRPC_PORT HTTP_PORT FILE."""

import sys

import numpy_model
from kserve import InferOutput, InferResponse, Model, ModelServer


class NumpyModel(Model):
    """Serves one file."""

    def __init__(self, name, file):
        super().__init__(name)
        self._predict = numpy_model.load(file)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        values = self._predict(payload.inputs[0].as_numpy())
        output = InferOutput("y", list(values.shape), "FP32")
        output.set_data_from_numpy(values, binary_data=True)
        return InferResponse(payload.id, self.name, [output])


if __name__ == "__main__":
    name, grpc_port, http_port, file = sys.argv[1:]
    server = ModelServer(
        http_port=int(http_port), grpc_port=int(grpc_port), access_log_format=None, workers=1
    )
    server.start([NumpyModel(name, file)])
