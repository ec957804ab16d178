"""A server that polls and is asked all the time, and versions that appear file by file under it."""

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import grpc
import numpy as np
import pytest

from modelserver.rpc.messages import ModelSpec, PredictRequest, PredictResponse
from modelserver.rpc.tensors import decode, encode
from testcluster.gcs_emulator import running_gcs_emulator
from testcluster.gcs_faults import FaultProxy

PATIENCE_SECONDS = 40.0
X = 3.0


class Server:
    """A `modelserver` process that serves the newest version of the model m, y = version · x."""

    def __init__(self, base_path, directory, environment=os.environ, **members):
        self.ports = [unused_port(), unused_port()]
        self.log = directory / "log"
        self.cache = directory / "cache"
        document = directory / "config.json"
        model = {"name": "m", "basePath": str(base_path), "pollSeconds": 0.2, **members}
        document.write_text(json.dumps({"schemaVersion": 1, "models": [model]}))
        self._command = [
            *(sys.executable, "-m", "modelserver", f"--config_document={document}"),
            *(f"--port={self.ports[0]}", f"--admin_port={self.ports[1]}"),
            *(f"--cache_dir={self.cache}", "--max_num_load_retries=0"),
        ]
        self._environment = environment
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log, env=self._environment)
        return self

    def wait_until_ready(self):
        eventually(lambda: self._get("/readyz")[0] == 200, self.log.read_text)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def row(self, version):
        """What the report says of a version; {} while it has not been seen."""
        return next((row for row in self._rows() if row["version"] == version), {})

    def available(self):
        """The versions that are available, by the report."""
        return {row["version"] for row in self._rows() if row["state"] == "Available"}

    def eventually(self, condition):
        eventually(condition, lambda: f"{self._get('/status')[1]}\n{self.log.read_text()}")

    @contextmanager
    def asked(self):
        """Ask without a pause while the block runs; yields (answers, failures)."""
        answers, failures, is_over = set(), [], threading.Event()

        def ask(call):
            while not is_over.is_set():
                try:
                    answers.add(self._predict(call))
                except grpc.RpcError as error:
                    failures.append(error)

        with grpc.insecure_channel(f"127.0.0.1:{self.ports[0]}") as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            thread = threading.Thread(target=ask, args=(call,))
            thread.start()
            try:
                yield answers, failures
            finally:
                is_over.set()
                thread.join()

    def _rows(self):
        return json.loads(self._get("/status")[1])["models"][0]["versions"]

    def _predict(self, call):
        request = PredictRequest(model_spec=ModelSpec(name="m"))
        request.inputs["x"].CopyFrom(encode(np.array([[X]], np.float32)))
        body = call(request.SerializeToString(), timeout=30, wait_for_ready=True)
        response = PredictResponse.FromString(body)
        y = decode(response.outputs["y"], "y")
        return response.model_spec.version.value, float(y.flat[0])

    def _get(self, path):
        """GET from the admin port: (status, body); status 0 while nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[1], timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except ConnectionError:
            assert self.process.poll() is None, self.log.read_text()
            return 0, b""
        finally:
            connection.close()


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition, describe):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"never came: {describe()}")
        time.sleep(0.05)


class Bucket:
    """A bucket behind a proxy, which has recorded what was asked for. The versions are below m."""

    def __init__(self, emulator, faults):
        self.faults = faults
        self._emulator = emulator
        self._name = f"uploads-{secrets.token_hex(4)}"
        self.base_path = f"gs://{self._name}/m"
        self.environment = {**os.environ, "STORAGE_EMULATOR_HOST": faults.url}
        emulator.create_bucket(self._name)

    def put(self, version, name, content):
        self._emulator.put(self._name, f"m/{version}/{name}", content)

    def reads(self, version):
        """The requests so far for contents of a version's files."""
        under = f"m/{version}/"
        requests = self.faults.requests()
        return [r for r in requests if r.kind == "read" and r.name.startswith(under)]

    def wait_for_polls(self):
        """Wait until two polls are over that have begun after this call."""
        target = self._polls() + 3
        eventually(lambda: self._polls() >= target, lambda: f"poll {target} of {self.base_path}")

    def _polls(self):
        return sum(r.kind == "list" and r.name == "m/" for r in self.faults.requests())


class Directory:
    """A base path on the disk of a server."""

    def __init__(self, path, server):
        self.path = path
        self._server = server
        self._sign = 1_000_000

    def put(self, version, name, content):
        write(self.path / str(version) / name, content)

    def wait_for_polls(self):
        """Wait until two polls are over that have begun after this call: a poll reports an empty
        directory, and the one after it another one.
        """
        for _ in range(3):
            self._sign += 1
            sign = self.path / str(self._sign)
            sign.mkdir()
            self._server.eventually(lambda: self._server.row(self._sign))
            sign.rmdir()


class Scene:
    """A server, and the place where versions appear for it."""

    def __init__(self, server, place, export):
        self.server = server
        self.place = place
        self._export = export
        self._newest = 1

    def contents(self, version):
        """The content of each file of an export."""
        return contents(self._export(version))

    @contextmanager
    def uploading(self):
        """Yields the `Upload` of the next version, which is served after the block. All that is
        asked meanwhile is answered, by it or the one before.
        """
        self._newest += 1
        version, before = self._newest, answer_of(max(self.server.available()))
        with self.server.asked() as (answers, failures):
            self.server.eventually(lambda: answers)
            yield Upload(self, version, self.contents(version), answers)
            self.server.eventually(lambda: version in self.server.available())
            self.server.eventually(lambda: answer_of(version) in answers)
        assert failures == []
        assert answers == {before, answer_of(version)}

    def cached(self, version):
        """The contents of the version's files in the server's cache, by name."""
        manifests = self.server.cache.glob("versions/*/manifest.json")
        uri = f"{self.place.base_path}/{version}"
        [folder] = [m.parent for m in manifests if json.loads(m.read_text())["uri"] == uri]
        return contents(folder / "files")


class Upload:
    """A version on its way: the content of its `files`, and which of them are `missing`."""

    def __init__(self, scene, version, files, answers):
        self.version = version
        self.files = files
        self.missing = set(files)
        self._place = scene.place
        self._server = scene.server
        self._answers = answers

    def add(self, files):
        """Let the version consist of these files, too."""
        self.files |= files
        self.missing |= files.keys()

    def put(self, name):
        self._place.put(self.version, name, self.files[name])
        self.missing.discard(name)

    def put_and_check(self, names):
        """Upload these files one by one; after each, two polls find the version incomplete."""
        for name in names:
            self.put(name)
            self.check_is_waited_for()

    def check_is_waited_for(self):
        """Two polls find the version incomplete, and name files that are really missing."""
        start, _, names = self.message_after_polls().partition("waiting for upload: ")
        assert start == ""
        named = {name.split()[0] for name in names.split(" and ")[0].split(", ")}
        assert named <= self.missing

    def message_after_polls(self):
        """What the version waits for after two polls. It does not serve."""
        self._place.wait_for_polls()
        row = self._server.row(self.version)
        assert (row["state"], row["reason"]) == ("Start", "Incomplete"), row
        assert answer_of(self.version) not in self._answers
        return row["message"]

    def check_is_taken(self):
        """The next polls find the version complete."""
        self._place.wait_for_polls()
        assert self._server.row(self.version)["reason"] != "Incomplete"


def answer_of(version):
    """What a version answers: its number, and y for X."""
    return version, X * version


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def contents(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """`export(version)` is a directory with the SavedModel of y = version · x: four shards."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    class Scale(tf.Module):
        def __init__(self, factor):
            quarters = tf.fill([256], factor / 1024)
            self.quarters = [tf.Variable(quarters, name=f"quarter{n}") for n in range(4)]

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
        def scale(self, x):
            return {"y": x * tf.reduce_sum(tf.concat(self.quarters, axis=0))}

    def save(version, directory=None):
        directory = directory or tmp_path_factory.mktemp("exports") / str(version)
        module = Scale(float(version))
        sharding = tf.train.experimental.MaxShardSizePolicy(max_shard_size=1024)
        options = tf.saved_model.SaveOptions(experimental_sharding_callback=sharding)
        tf.saved_model.save(module, str(directory), signatures=module.scale, options=options)
        return directory

    return save


@contextmanager
def running(server, place, export):
    """A server that serves version 1, as a scene."""
    for name, content in contents(export(1)).items():
        place.put(1, name, content)
    server.start()
    try:
        yield Scene(server.wait_until_ready(), place, export)
    finally:
        server.kill()


@pytest.fixture(scope="module")
def on_bucket(export, gcs_emulator, tmp_path_factory):
    """A scene whose place is a `Bucket`."""
    with FaultProxy(gcs_emulator) as faults:
        bucket = Bucket(gcs_emulator, faults)
        directory = tmp_path_factory.mktemp("server")
        server = Server(bucket.base_path, directory, bucket.environment)
        with running(server, bucket, export) as scene:
            yield scene


@pytest.fixture(scope="module")
def on_disk(export, tmp_path_factory):
    """A scene whose place is a `Directory`."""
    path = tmp_path_factory.mktemp("models")
    server = Server(path, tmp_path_factory.mktemp("server"))
    with running(server, Directory(path, server), export) as scene:
        yield scene


@pytest.fixture
def large_bucket(gcs_emulator, tmp_path):
    """A `Bucket` for gigabytes, on the disk until the test is over."""
    del gcs_emulator  # it tells whether there can be one
    folder = tmp_path / "emulator"
    folder.mkdir()
    with running_gcs_emulator(folder=folder) as emulator, FaultProxy(emulator) as faults:
        yield Bucket(emulator, faults)
    shutil.rmtree(folder)


@pytest.fixture
def cache(tmp_path):
    """A directory for gigabytes, gone when the test is over."""
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


@pytest.fixture
def start_scene(export, large_bucket, tmp_path, cache):
    """Start a server, with what its model has beside the base path, on `large_bucket`; a scene."""
    del cache  # which the server fills
    with ExitStack() as stack:

        def start(**members):
            server = Server(large_bucket.base_path, tmp_path, large_bucket.environment, **members)
            return stack.enter_context(running(server, large_bucket, export))

        yield start
