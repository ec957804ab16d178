"""Real server processes on real sockets, and SavedModels to give them."""

import importlib
import os
import signal
import socket
import subprocess
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_SECONDS = 60.0


class _Apis:
    """TensorFlow Serving's stubs, imported when first used: they bring TensorFlow along."""

    def __getattr__(self, name):
        return importlib.import_module(f"tensorflow_serving.apis.{name}")


apis = _Apis()


class ServerProcess:
    """A `modelserver` process with the clients that its tests talk through."""

    def __init__(self, log_path, *flags, port=None):
        self.port = port or free_port()
        self.log_path = log_path
        self._log = open(log_path, "a")  # noqa: SIM115  # closed with the process
        command = [sys.executable, "-m", "modelserver", f"--port={self.port}", *flags]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self.channel = None
        self.connect_anew()

    def connect_anew(self):
        if self.channel:
            self.channel.close()
        own = [("grpc.use_local_subchannel_pool", 1)]  # no connection of another channel
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", own)
        self.predictions = apis.prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = apis.model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def wait_until_serving(self):
        try:
            grpc.channel_ready_future(self.channel).result(START_SECONDS)
        except grpc.FutureTimeoutError:
            pytest.fail(f"the server did not start:\n{self.log()}")
        return self

    def predict(self, x, version=None, timeout=10.0, model="m"):
        """Send one Predict of a row and return (the version that answered, the answer)."""
        request = apis.predict_pb2.PredictRequest()
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        tensor = request.inputs["x"]
        tensor.dtype = 1
        tensor.tensor_shape.dim.add(size=1)
        tensor.tensor_shape.dim.add(size=1)
        tensor.float_val.append(x)
        response = self.predictions.Predict(request, timeout=timeout)
        return response.model_spec.version.value, response.outputs["y"].float_val[0]

    def states(self, model="m"):
        """{version: (state name, error message)}; {} while nothing is known of the model."""
        request = apis.get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        try:
            response = self.models.GetModelStatus(request, timeout=10.0)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return {}
            raise
        names = apis.get_model_status_pb2.ModelVersionStatus.State.Name
        return {
            status.version: (names(status.state), status.status.error_message)
            for status in response.model_version_status
        }

    def wait_for_state(self, version, state, model="m"):
        """Wait until `version` is in `state`; return its error message."""

        def reached():
            name, message = self.states(model).get(version, ("", ""))
            return (name == state, message)

        return eventually(reached, lambda: f"{version} never reached {state}: {self.states(model)}")

    def is_serving(self, service=""):
        response = self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10.0)
        return response.status == health_pb2.HealthCheckResponse.SERVING

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """Stop as an orchestrator does; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def close(self):
        self.channel.close()
        if self.process.poll() is None:
            self.kill()
        self._log.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition, describe, seconds=60.0):
    """Ask `condition()` -> (done, result) until done; fail with `describe()` after a long time."""
    deadline = time.monotonic() + seconds
    while True:
        is_done, result = condition()
        if is_done:
            return result
        if time.monotonic() > deadline:
            pytest.fail(describe())
        time.sleep(0.05)


@pytest.fixture
def start_server(tmp_path):
    """Start `modelserver` with flags; what was started is ended with the test."""
    started = []

    def start(*flags, port=None):
        server = ServerProcess(tmp_path / f"server-{len(started)}.log", *flags, port=port)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory):
    """`saved_models(factor)` is the directory of a SavedModel of y = factor · x."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    class Scale(tf.Module):
        def __init__(self, factor):
            self.factor = tf.Variable(tf.fill([1, 1], float(factor)))

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
        def scale(self, x):
            return {"y": x @ self.factor}

    directory = tmp_path_factory.mktemp("saved_models")
    made = {}

    def make(factor):
        if factor not in made:
            made[factor] = directory / str(factor)
            module = Scale(factor)
            tf.saved_model.save(module, str(made[factor]), signatures=module.scale)
        return made[factor]

    return make
