"""A numpy model on LitServe. Usage: litserve_server.py PORT FILE MAX_BATCH_SIZE."""

import sys

import litserve
import numpy as np
import numpy_model


class NumpyAPI(litserve.LitAPI):
    """Serves the file of the command line."""

    def setup(self, device):
        self._predict = numpy_model.load(sys.argv[2])

    def decode_request(self, request):
        return np.asarray(request["x"], np.float32)

    def batch(self, inputs):
        self._sizes = [len(rows) for rows in inputs]
        return np.concatenate(inputs)

    def unbatch(self, output):
        return np.split(output, np.cumsum(self._sizes)[:-1])

    def predict(self, rows):
        return self._predict(rows)

    def encode_response(self, output):
        return {"y": output.tolist()}


if __name__ == "__main__":
    api = NumpyAPI(max_batch_size=int(sys.argv[3]), batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, log_level="error")
