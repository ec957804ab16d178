"""The operator from its chart and image on a cluster with a node, and models for it to serve.

The models are lookup tables whose only value is the number of their version: they load in
milliseconds, and every answer says which version gave it.
"""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest

from modelserver.rpc import messages

ROOT = Path(__file__).parents[3]
OPERATOR_NAMESPACE = "modelserver-system"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
PATIENCE_SECONDS = 120.0
_INT64, _FLOAT = 9, 1


def eventually(read, accept, what, seconds=PATIENCE_SECONDS):
    """Read until the value is acceptable, and return it; fail with the last value otherwise."""
    end = time.monotonic() + seconds
    while not accept(value := read()):
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:g} s: {what}; the last was {value}")
        time.sleep(0.2)
    return value


@pytest.fixture(name="eventually")
def _eventually():
    """The function of that name, for tests."""
    return eventually


class Release:
    """The operator as helm installs it."""

    def __init__(self, cluster, values):
        self._cluster = cluster
        self._values = values

    def install(self, *more):
        """Install or upgrade, and wait until it is ready."""
        self._cluster.helm(
            *(
                "upgrade",
                "--install",
                "modelserver-operator",
                str(ROOT / "charts/modelserver-operator"),
            ),
            *(
                "--namespace",
                OPERATOR_NAMESPACE,
                "--create-namespace",
                "--wait",
                "--take-ownership",
                "--timeout=180s",
            ),
            *self._values,
            *more,
        )

    def scale(self, replicas):
        """Change how many operators run, and wait until so many do."""
        self.kubectl("scale", "deployment/modelserver-operator", f"--replicas={replicas}")
        eventually(
            self.pods, lambda pods: len(pods) == replicas and all(map(is_ready, pods)), "operators"
        )

    def pods(self):
        return json.loads(self.kubectl("get", "pods", "-o", "json"))["items"]

    def leader(self):
        """The name of the pod that holds the Lease."""
        lease = json.loads(self.kubectl("get", "lease", "modelserver-operator", "-o", "json"))
        return lease["spec"]["holderIdentity"].partition("_")[0]

    def kubectl(self, *arguments):
        return self._cluster.kubectl("-n", OPERATOR_NAMESPACE, *arguments)


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class Workspace:
    """A namespace that enforces the restricted profile, with a volume to put versions into."""

    def __init__(self, cluster, namespace, directory):
        self.cluster = cluster
        self.namespace = namespace
        self.directory = directory
        cluster.kubectl(
            *("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        )
        self.apply(*volume(namespace, directory))

    def apply(self, *objects):
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(document))

    def kubectl(self, *arguments, input=None):
        return self.cluster.kubectl("-n", self.namespace, *arguments, input=input)

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def serve(self, name="tables", model="tables", **spec):
        """Apply a ModelServer for the tables below `model`, and return it."""
        models = [{"name": model, "uri": f"pvc://models/{model}", "platform": "lookup"}]
        served = Served(self, name, model)
        served.apply({"models": models, "resources": {"requests": {"cpu": "10m"}}} | spec)
        return served

    def add_version(self, version, model="tables"):
        """Write a version whose table maps the key 1 to its number."""
        directory = self.directory / model / str(version)
        directory.mkdir(parents=True)
        values = np.array([[version]], np.float32)
        np.savez(directory / "table.npz", keys=np.array([1], np.int64), values=values)

    def add_broken_version(self, version, model="tables"):
        """Write a version that looks complete and cannot be loaded."""
        directory = self.directory / model / str(version)
        directory.mkdir(parents=True)
        np.savez(directory / "table.npz", something=np.array([1]))


class Served:
    """One ModelServer and what it says of itself."""

    def __init__(self, workspace, name, model):
        self.workspace = workspace
        self.name = name
        self.model = model

    def apply(self, spec):
        self.spec = spec
        self.workspace.apply(
            {
                "apiVersion": "modelserver.dev/v1alpha1",
                "kind": "ModelServer",
                "metadata": {"name": self.name},
                "spec": spec,
            }
        )

    def update(self, **fields):
        """Change fields of the spec and apply all of it."""
        self.apply(self.spec | fields)

    def status(self):
        return self.workspace.get(f"msrv/{self.name}").get("status", {})

    def condition(self, type):
        conditions = {c["type"]: c for c in self.status().get("conditions", [])}
        return conditions.get(type, {"status": "", "reason": "", "message": ""})

    def wait_for(self, type, status="True", reason="", seconds=PATIENCE_SECONDS):
        return eventually(
            lambda: self.condition(type),
            lambda c: c["status"] == status and reason in ("", c["reason"]),
            f"{type}={status} {reason} of {self.name}",
            seconds,
        )

    def wait_until_serving(self, versions, seconds=PATIENCE_SECONDS):
        return eventually(
            lambda: self.status().get("servingVersions", ""),
            lambda serving: serving == versions,
            f"{self.name} serving {versions}",
            seconds,
        )

    def row(self, version, model=None):
        models = {m["name"]: m for m in self.status().get("models", [])}
        rows = models.get(model or self.model, {}).get("versions", [])
        return next((row for row in rows if row["version"] == version), {})

    def pods(self):
        pods = self.workspace.get("pods", "-l", f"modelserver.dev/name={self.name}")["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def endings(self):
        """Why the servers' containers have ended, as far as Kubernetes remembers."""
        states = [s for pod in self.container_statuses() for s in (pod["state"], pod["lastState"])]
        return [state["terminated"]["reason"] for state in states if "terminated" in state]

    def waits(self):
        """What the servers' containers wait for."""
        states = [status["state"] for status in self.container_statuses()]
        return [state["waiting"]["reason"] for state in states if "waiting" in state]

    def container_statuses(self):
        pods = self.pods()
        return [s for pod in pods for s in pod["status"].get("containerStatuses", [])]

    def pod_uids(self):
        return {pod["metadata"]["uid"] for pod in self.pods()}

    def wait_for_pods(self, count):
        return eventually(
            self.pods,
            lambda pods: len(pods) == count and all(map(is_ready, pods)),
            f"{count} ready pods of {self.name}",
        )

    @property
    def address(self):
        service = self.workspace.get(f"service/{self.name}")
        return f"{service['spec']['clusterIP']}:8500"

    def predict(self):
        """The number of the version that answers one call."""
        with grpc.insecure_channel(self.address) as channel:
            return predict(channel, self.model)

    def stub(self, channel):
        """A function of no arguments that makes one call over the channel."""
        return lambda: predict(channel, self.model)

    def answered_by_pod(self):
        """How many Predict calls each pod has answered, by its own metrics."""
        counts = {}
        for pod in self.pods():
            url = f"http://{pod['status']['podIP']}:8502/metrics"
            with urllib.request.urlopen(url, timeout=10) as response:
                text = response.read().decode()
            counts[pod["metadata"]["name"]] = sum(
                float(line.rpartition(" ")[2])
                for line in text.splitlines()
                if line.startswith("modelserver_rpc_calls_total") and "Predict" in line
            )
        return counts

    def load(self, threads=4):
        return Load(self.address, self.model, threads)


class Load:
    """Calls without a pause, from threads with a connection each, while the block runs."""

    def __init__(self, address, model, threads):
        self.answers = Counter()
        self.failures = []
        self._model = model
        self._channels = [
            grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
            for _ in range(threads)
        ]
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(channel,)) for channel in self._channels
        ]

    def __enter__(self):
        for channel in self._channels:
            grpc.channel_ready_future(channel).result(PATIENCE_SECONDS)
        for thread in self._threads:
            thread.start()
        self.wait_for_answers(20)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for channel in self._channels:
            channel.close()

    def wait_for_answers(self, more):
        target = self.answers.total() + more
        eventually(self.answers.total, lambda n: n >= target or self.failures, "answers")

    def _call(self, channel):
        while not self._stop.is_set():
            try:
                self.answers[predict(channel, self._model)] += 1
            except grpc.RpcError as error:
                self.failures.append(f"{error.code().name}: {error.details()}")


def predict(channel, model, timeout=20.0):
    """Return the number of the version that answered."""
    request = messages.PredictRequest()
    request.model_spec.name = model
    tensor = request.inputs["keys"]
    tensor.dtype = _INT64
    tensor.tensor_shape.dim.add().size = 1
    tensor.int64_val.append(1)
    call = channel.unary_unary(
        PREDICT,
        request_serializer=messages.PredictRequest.SerializeToString,
        response_deserializer=messages.PredictResponse.FromString,
    )
    return int(call(request, timeout=timeout).outputs["values"].float_val[0])


def volume(namespace, directory):
    """A volume over a directory of the node, and the claim `models` that is bound to it."""
    capacity = {"storage": "1Gi"}
    modes = ["ReadOnlyMany", "ReadWriteMany"]
    return (
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": namespace},
            "spec": {
                "capacity": capacity,
                "accessModes": modes,
                "storageClassName": "",
                "hostPath": {"path": str(directory), "type": "Directory"},
                "claimRef": {"namespace": namespace, "name": "models"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "volumeName": namespace,
                "resources": {"requests": capacity},
            },
        },
    )


@pytest.fixture(scope="session")
def release(node):
    """The operator, installed once for the session, and the images on the node."""
    build = [sys.executable, str(ROOT / "tests/images/build_images.py"), "server", "operator"]
    tars = subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    for tar in tars:
        node.load_image(Path(tar))
    release = Release(node, ("--set", "log.level=debug"))
    release.install()
    return release


@pytest.fixture
def workspace(node, release, namespace, tmp_path_factory):
    directory = tmp_path_factory.mktemp(namespace)
    for path in (directory, directory.parent, directory.parent.parent):
        os.chmod(path, 0o755)
    yield Workspace(node, namespace, directory)
    node.kubectl("delete", "pv", namespace, "--ignore-not-found", "--wait=false")
