"""Servers as pods run them, on tables: without TensorFlow."""

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import grpc
import numpy as np
import pytest

from modelserver.rpc.messages import ModelSpec, PredictRequest, PredictResponse
from modelserver.rpc.tensors import decode, encode

PATIENCE_SECONDS = 40.0


class Pod:
    """A server with an admin port, and the document that tells it what to serve."""

    def __init__(self, directory, ports, *flags):
        self.port, self.admin_port = ports
        self.document = directory / "config.json"
        self.log = directory / f"log-{self.port}"
        self._flags = flags
        self.process = None

    def write(self, *models, **members):
        """Put a document in place as a mounted ConfigMap is: at once. Return its hash."""
        content = json.dumps({"schemaVersion": 1, "models": models, **members}).encode()
        return self.write_bytes(content)

    def write_bytes(self, content):
        partial = self.document.with_suffix(".new")
        partial.write_bytes(content)
        partial.rename(self.document)
        return hashlib.sha256(content).hexdigest()[:16]

    def start(self):
        command = [sys.executable, "-m", "modelserver", f"--port={self.port}"]
        command += [f"--admin_port={self.admin_port}", f"--config_document={self.document}"]
        command += ["--serve_partial", "--max_num_load_retries=0", *self._flags]
        environment = {**os.environ, "POD_NAME": "mnist-0", "POD_UID": "uid-0"}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stderr=log, env=environment)
        eventually(lambda: self.get("/livez")[0] == 200, self.log.read_text)
        return self

    def get(self, path, **headers):
        """GET from the admin port: (status, headers, body); status 0 while nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except ConnectionError:
            assert self.process.poll() is None, self.log.read_text()
            return 0, {}, b""
        finally:
            connection.close()

    def eventually(self, condition):
        """Wait until `condition()` holds; it may change what the server's report says."""
        eventually(condition, lambda: self.get("/status")[2])

    def report(self):
        return json.loads(self.get("/status")[2])

    def metric(self, start):
        """The value of the metric whose line begins so; 0 if there is none."""
        lines = self.get("/metrics")[2].decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(start)), 0.0)

    def is_ready(self):
        return self.get("/readyz")[0] == 200

    def wait_until_ready(self):
        eventually(self.is_ready, lambda: self.get("/readyz")[2])
        return self

    def wait_for_config(self, config_hash):
        """Wait until that document is in force; return the report."""
        self.eventually(lambda: self.report()["configHash"] == config_hash)
        return self.report()

    def model(self, name):
        return next(model for model in self.report()["models"] if model["name"] == name)

    def available(self, name):
        """The versions of a model that are available, by the report."""
        versions = self.model(name)["versions"]
        return {row["version"] for row in versions if row["state"] == "Available"}

    def wait_for_versions(self, name, *versions):
        self.eventually(
            lambda: (
                name in {model["name"] for model in self.report()["models"]}
                and self.available(name) == set(versions)
            )
        )

    @contextmanager
    def client(self, port=None):
        """A client with a connection of its own, to the pod or to another port."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        target = f"127.0.0.1:{port or self.port}"
        with grpc.insecure_channel(target, options=options) as channel:
            yield Client(channel)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Client:
    """Asks tables for the value of the key `a`."""

    def __init__(self, channel):
        self._call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    def look_up(self, name, label=None):
        """Return (the version that answered, the value)."""
        spec = ModelSpec(name=name, version_label=label) if label else ModelSpec(name=name)
        request = PredictRequest(model_spec=spec)
        request.inputs["keys"].CopyFrom(encode(np.array([b"a"], object)))
        body = self._call(request.SerializeToString(), timeout=20, wait_for_ready=True)
        response = PredictResponse.FromString(body)
        value = decode(response.outputs["values"], "values")
        return response.model_spec.version.value, int(value.flat[0])

    @contextmanager
    def looking_up(self, name, threads=2):
        """Look up without a pause while the block runs; yields (answers, failures)."""
        answers, failures, is_over = set(), [], threading.Event()

        def call():
            while not is_over.is_set():
                try:
                    answers.add(self.look_up(name))
                except grpc.RpcError as error:
                    failures.append(error)

        callers = [threading.Thread(target=call) for _ in range(threads)]
        for caller in callers:
            caller.start()
        try:
            yield answers, failures
        finally:
            is_over.set()
            for caller in callers:
                caller.join()


def eventually(condition, describe):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"never came: {describe()}")
        time.sleep(0.05)


@pytest.fixture
def table(tmp_path):
    """Write a version of a table in which `a` has a value; return the base path."""

    def write(name, version, value, **more_files):
        directory = tmp_path / "models" / name / str(version)
        directory.mkdir(parents=True)
        np.savez(directory / "table.npz", keys=np.array([b"a"]), values=np.array([value]))
        for file, content in more_files.items():
            (directory / file).write_text(content)
        return str(directory.parent)

    return write


@pytest.fixture
def make_pod(tmp_path, unused_ports):
    made = []

    def make(*flags):
        made.append(Pod(tmp_path, (unused_ports(), unused_ports()), *flags))
        return made[-1]

    yield make
    for pod in made:
        pod.kill()


@pytest.fixture
def unused_ports():
    def find():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@pytest.fixture
def model():
    """Make an entry of a document."""

    def make(name, base_path, **members):
        defaults = {"name": name, "basePath": base_path, "platform": "lookup", "pollSeconds": 0.2}
        return defaults | members

    return make
