"""The server's image serves a model, started the way TensorFlow Serving's image is."""

import re
import signal
import socket
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with version 1 of the model `double`."""
    import tensorflow as tf

    class Double(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def __call__(self, x):
            return {"y": 2 * x}

    folder = tmp_path_factory.mktemp("models")
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    module = Double()
    tf.saved_model.save(module, str(folder / "double" / "1"), {"serving_default": module.__call__})
    return folder


@pytest.fixture
def serve(server_image, models, tmp_path):
    """Start the image on the models; returns its gRPC and admin ports once it is live."""
    started = []

    def start(*arguments, **options):
        port, admin_port = free_port(), free_port()
        mount = {
            "destination": "/models",
            "type": "none",
            "source": str(models),
            "options": ["rbind", "ro"],
        }
        flags = [f"--port={port}", f"--admin_port={admin_port}", *arguments]
        process = server_image.start(tmp_path, *flags, mounts=[mount], **options)
        started.append(process)
        return process, port, admin_port

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def wait_for_answer(process, port, path, seconds=180):
    """Until the admin port answers 200."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, f"{path} does not answer with 200"
            time.sleep(0.2)


def predict(port, values, model):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array(values, np.float32)))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return list(tf.make_ndarray(stub.Predict(request, timeout=30).outputs["y"]))


def test_it_serves_the_model_that_the_environment_names_and_stops_as_asked(serve):
    process, port, admin_port = serve(env={"MODEL_NAME": "double"})

    assert wait_for_answer(process, admin_port, "/livez") == 200
    assert wait_for_answer(process, admin_port, "/readyz") == 200
    assert predict(port, [1, 2], "double") == [2, 4]

    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text


def test_the_references_command_starts_it_with_the_references_flags(serve):
    flags = ["--model_name=twice", "--model_base_path=/models/double"]

    process, port, admin_port = serve(*flags, command=["tensorflow_model_server"])

    wait_for_answer(process, admin_port, "/readyz")
    assert predict(port, [3], "twice") == [6]


def test_a_model_that_is_not_there_is_said_in_one_line(serve):
    process, _, _ = serve()

    text, _ = process.communicate(timeout=180)

    assert process.returncode == 1
    assert re.search(r"^modelserver: .*/models/model.*make the directory first", text, re.MULTILINE)
