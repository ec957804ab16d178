"""Versions that appear file by file under a server that polls and is asked all the time. In
whatever order tools write them: a version is loaded when it is whole, and never before.
"""

import http.client
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from modelserver.rpc.messages import ModelSpec, PredictRequest, PredictResponse
from modelserver.rpc.tensors import decode, encode
from modelserver.sources.cache.checksum import extend
from modelserver.sources.cache.download import WORKERS
from modelserver.sources.cache.parts import PART_BYTES
from modelserver.upload_manifest import MANIFEST, StatedFile, render_manifest
from testcluster.faults import Stall
from testcluster.gcs_emulator import running_gcs_emulator
from testcluster.gcs_faults import FaultProxy

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

PATIENCE_SECONDS = 60.0
GRAPH, INDEX, SHARD = "saved_model.pb", "variables/variables.index", "variables/variables.data-"
FINGERPRINT = "fingerprint.pb"  # TensorFlow writes it last, and needs it nowhere
LAST_SHARD = f"{SHARD}00003-of-00004"

WATCHED_UPLOAD = Path(__file__).with_name("watched_upload.py")
NUM_LARGE_SHARDS, LARGE_SHARD_BYTES = 12, 256 * 2**20
MEMORY_LIMIT = 64 * 2**20

NUM_PARTS, NUM_PARTS_HERE = WORKERS + 4, 4
MEGABYTE = 2**20


class Server:
    """A `modelserver` process that serves the newest version of the model m, y = version · x."""

    def __init__(self, base_path, directory, environment=(), **policy):
        self.ports = [unused_port(), unused_port()]
        self.log = directory / "log"
        document = directory / "config.json"
        model = {"name": "m", "basePath": str(base_path), "pollSeconds": 0.2, **policy}
        document.write_text(json.dumps({"schemaVersion": 1, "models": [model]}))
        self._command = [
            *(sys.executable, "-m", "modelserver", f"--config_document={document}"),
            *(f"--port={self.ports[0]}", f"--admin_port={self.ports[1]}"),
            *(f"--cache_dir={directory}/cache", "--max_num_load_retries=0"),
        ]
        self._environment = {**os.environ, **dict(environment)}
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
        report = json.loads(self._get("/status")[1])
        rows = report["models"][0]["versions"]
        return next((row for row in rows if row["version"] == version), {})

    def wait_until_serving(self, version):
        self.eventually(lambda: self.row(version).get("state") == "Available")

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

    def _predict(self, call):
        request = PredictRequest(model_spec=ModelSpec(name="m"))
        request.inputs["x"].CopyFrom(encode(np.array([[3]], np.float32)))
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


class Scene:
    """A server that serves version 1, and the place where versions with other numbers appear."""

    def __init__(self, server, export):
        self.server = server
        self.serving = self.newest = 1
        self._export = export

    def new_version(self):
        """The number of the next version, and its files' contents by name."""
        self.newest += 1
        return self.newest, contents(self._export(self.newest))

    def wait_until_serving(self, version):
        self.server.wait_until_serving(version)
        self.serving = version


class BucketScene(Scene):
    """The place is a bucket behind a proxy, which has recorded what was asked for."""

    def __init__(self, server, export, emulator, faults, bucket):
        super().__init__(server, export)
        self.faults = faults
        self._emulator = emulator
        self._bucket = bucket

    def put(self, version, name, content):
        self._emulator.put(self._bucket, f"m/{version}/{name}", content)

    def wait_for_polls(self):
        """Wait until two polls are over that have begun after this call."""
        target = self._polls() + 3
        self.server.eventually(lambda: self._polls() >= target)

    def reads(self, version):
        """The requests so far for contents of a version's files."""
        under = f"m/{version}/"
        requests = self.faults.requests()
        return [r for r in requests if r.kind == "read" and r.name.startswith(under)]

    def _polls(self):
        return sum(r.kind == "list" and r.name == "m/" for r in self.faults.requests())


class DiskScene(Scene):
    """The place is a directory."""

    def __init__(self, server, export, base_path):
        super().__init__(server, export)
        self.base_path = base_path
        self._signs = 1_000_000

    def put(self, version, name, content):
        write(self.base_path / str(version) / name, content)

    def wait_for_polls(self):
        """Wait until two polls are over that have begun after this call: each has seen an empty
        directory.
        """
        for _ in range(3):
            self._signs += 1
            sign = self.base_path / str(self._signs)
            sign.mkdir()
            self.server.eventually(lambda: self.server.row(self._signs))
            sign.rmdir()


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
        assert (directory / LAST_SHARD).exists()
        return directory

    return save


@contextmanager
def running_on_a_bucket(export, emulator, directory, **policy):
    bucket = f"uploads-{secrets.token_hex(4)}"
    emulator.create_bucket(bucket)
    with FaultProxy(emulator) as faults:
        environment = {"STORAGE_EMULATOR_HOST": faults.url}
        server = Server(f"gs://{bucket}/m", directory, environment, **policy)
        scene = BucketScene(server, export, emulator, faults, bucket)
        for name, content in contents(export(1)).items():
            scene.put(1, name, content)
        server.start()
        try:
            server.wait_until_ready()
            yield scene
        finally:
            server.kill()


@pytest.fixture(scope="module")
def on_bucket(export, gcs_emulator, tmp_path_factory):
    directory = tmp_path_factory.mktemp("server")
    with running_on_a_bucket(export, gcs_emulator, directory) as scene:
        yield scene


@pytest.fixture(scope="module")
def on_disk(export, tmp_path_factory):
    directory = tmp_path_factory.mktemp("server")
    base_path = directory / "models"
    shutil.copytree(export(1), base_path / "1")
    server = Server(base_path, directory).start()
    try:
        yield DiskScene(server.wait_until_ready(), export, base_path)
    finally:
        server.kill()


# Object by object, file by file…


def by(*kinds):
    """The order of what begins with the first of `kinds`, then the second, …; the rest before."""

    def rank(name):
        return next((n for n, kind in enumerate(kinds) if name.startswith(kind)), -1), name

    return lambda names: sorted(names, key=rank)


ORDERS = {
    "graph-index-shards": by(GRAPH, INDEX, SHARD),  # gsutil, seen from its threads' side
    "alphabetical": sorted,  # gsutil in one thread, kubectl cp, rsync
    "reverse": lambda names: sorted(names, reverse=True),
    "shards-last": by(INDEX, GRAPH, SHARD),
    "index-last": by(SHARD, GRAPH, INDEX),
    "graph-last": by(SHARD, INDEX, GRAPH),  # TensorFlow
}
each_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())


@each_order
def test_an_upload_to_a_bucket_is_loaded_once_its_last_object_is_there(on_bucket, order):
    version, files = on_bucket.new_version()
    names = order(files)
    last = last_needed(names)

    with watched(on_bucket, version):
        put_all_before(on_bucket, version, files, names[:last])
        assert [r.name for r in on_bucket.reads(version) if SHARD in r.name] == []
        on_bucket.put(version, names[last], files[names[last]])
        check_is_taken_at_once(on_bucket, version)

    put_all(on_bucket, version, {name: files[name] for name in names[last + 1 :]})


@each_order
def test_a_copy_into_a_directory_is_loaded_once_its_last_file_is_there(on_disk, order):
    version, files = on_disk.new_version()
    names = order(files)
    last = last_needed(names)

    with watched(on_disk, version):
        put_all_before(on_disk, version, files, names[:last])
        on_disk.put(version, names[last], files[names[last]])
        check_is_taken_at_once(on_disk, version)

    put_all(on_disk, version, {name: files[name] for name in names[last + 1 :]})


def last_needed(names):
    return max(n for n, name in enumerate(names) if name != FINGERPRINT)


@contextmanager
def watched(scene, version):
    """What is asked while the block runs is answered: by the version that serves until the block
    calls `check_is_taken_at_once`, and then by it or the new one.
    """
    before = (scene.serving, 3.0 * scene.serving)
    with scene.server.asked() as (answers, failures):
        scene.answers = answers
        scene.server.eventually(lambda: answers)
        yield
        scene.wait_until_serving(version)
        scene.server.eventually(lambda: (version, 3.0 * version) in answers)
    assert failures == []
    assert answers == {before, (version, 3.0 * version)}


def put_all_before(scene, version, files, names):
    """Upload these files one by one; after each, two polls find the version incomplete."""
    missing = set(files)
    for name in names:
        scene.put(version, name, files[name])
        missing.remove(name)
        check_is_waited_for(scene, version, missing)


def put_all(scene, version, files):
    for name, content in files.items():
        scene.put(version, name, content)


def check_is_waited_for(scene, version, missing):
    """Two polls find the version incomplete, and name files that are really missing."""
    scene.wait_for_polls()
    row = scene.server.row(version)
    assert (row["state"], row["reason"]) == ("Start", "Incomplete"), row
    start, _, names = row["message"].partition("waiting for upload: ")
    assert start == ""
    named = {name.split()[0] for name in names.split(" and ")[0].split(", ")}
    assert named <= missing, row
    assert scene.answers == {(scene.serving, 3.0 * scene.serving)}


def check_is_taken_at_once(scene, version):
    """The next poll has found the version complete."""
    scene.wait_for_polls()
    assert scene.server.row(version)["reason"] != "Incomplete"
