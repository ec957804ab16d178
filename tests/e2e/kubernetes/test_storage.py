"""Where versions come from: a bucket, with and without a cache that outlives pods; a volume."""

import json

import numpy as np
import pytest

from testcluster.faults import Status
from testcluster.gcs_emulator import running_gcs_emulator
from testcluster.gcs_faults import FaultProxy

pytestmark = [pytest.mark.timeout(600), pytest.mark.emulator]

POLL_SECONDS = 2
TAR = """#!/usr/bin/python3
import sys, tarfile
tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall(sys.argv[sys.argv.index("-C") + 1])
"""


class Bucket:
    """A bucket that pods can read, and what they have asked of it."""

    def __init__(self, faults, emulator, name):
        self.faults = faults
        self.name = name
        self._emulator = emulator

    def add_version(self, version, directory, value=None):
        """Write a version whose table maps the key 1 to its number, or to another value."""
        file = directory / f"{version}.npz"
        values = np.array([[version if value is None else value]], np.float32)
        np.savez(file, keys=np.array([1], np.int64), values=values)
        self._emulator.put(self.name, f"tables/{version}/table.npz", file.read_bytes())

    def reads(self):
        return [request for request in self.faults.requests() if request.kind == "read"]


@pytest.fixture(scope="module")
def emulator(node):
    with running_gcs_emulator(host=node.addresses.host) as emulator:
        yield emulator


@pytest.fixture
def bucket(node, emulator, namespace, tmp_path):
    emulator.create_bucket(namespace)
    with FaultProxy(emulator, host=node.addresses.host) as faults:
        bucket = Bucket(faults, emulator, namespace)
        bucket.add_version(1, tmp_path)
        yield bucket


@pytest.fixture
def serve(workspace, bucket):
    """Apply a ModelServer on the bucket."""

    def apply(**spec):
        model = {
            "name": "tables",
            "uri": f"gs://{bucket.name}/tables",
            "platform": "lookup",
            "pollSeconds": POLL_SECONDS,
        }
        environment = [{"name": "STORAGE_EMULATOR_HOST", "value": bucket.faults.url}]
        return workspace.serve(models=[model], env=environment, **spec)

    return apply


def test_a_new_version_in_a_bucket_is_served_under_load_without_a_failed_call(
    serve, bucket, tmp_path
):
    served = serve()
    served.wait_for("Ready")
    served.wait_until_serving("tables:1")

    with served.load() as load:
        bucket.add_version(2, tmp_path)
        served.wait_until_serving("tables:2")
        load.wait_for_answers(20)

    assert load.failures == []
    assert set(load.answers) == {1, 2}
    assert served.condition("SourceAccessible")["reason"] == "Accessible"


def test_a_refusal_is_told_with_bucket_and_principal_and_passes(serve, bucket, eventually):
    served = serve()
    served.wait_until_serving("tables:1")
    refused = "reader@project.iam.gserviceaccount.com does not have storage.objects.list access"

    bucket.faults.inject(Status(403, refused), kind="list")
    told = served.wait_for("SourceAccessible", "False", "Forbidden", seconds=10 + POLL_SECONDS)

    assert f"gs://{bucket.name}" in told["message"]
    assert "reader@project" in told["message"]
    assert served.predict() == 1
    events = json.loads(served.workspace.kubectl("get", "events", "-o", "json"))["items"]
    assert "SourceForbidden" in {event["reason"] for event in events}
    bucket.faults.heal()
    served.wait_for("SourceAccessible")


def test_a_pod_that_starts_anew_with_a_cache_in_a_claim_fetches_nothing(
    serve, bucket, workspace, cache_claim, eventually
):
    served = serve(cache={"claimName": cache_claim})
    served.wait_until_serving("tables:1")
    before = served.pod_uids()
    assert bucket.reads() != []
    bucket.faults.clear()

    workspace.kubectl("delete", "pod", "-l", f"modelserver.dev/name={served.name}", "--wait=false")
    eventually(lambda: served.pod_uids() - before and served.wait_for_pods(1), bool, "another pod")

    assert served.predict() == 1
    assert bucket.reads() == []


def test_a_version_overwritten_in_the_bucket_is_told(serve, bucket, tmp_path):
    served = serve()
    served.wait_until_serving("tables:1")

    bucket.add_version(1, tmp_path, value=11)
    # Without the request it is noticed within five minutes.
    served.workspace.kubectl("annotate", f"msrv/{served.name}", "modelserver.dev/poll-now=1")

    told = served.wait_for("VersionMutated", reason="FilesChanged", seconds=30)
    assert "tables" in told["message"]
    assert served.condition("Ready")["status"] == "True"
    assert served.predict() == 1


def test_a_version_copied_into_a_volume_by_kubectl_is_served(workspace, tmp_path):
    workspace.add_version(1)
    served = workspace.serve()
    served.wait_until_serving("tables:1")
    image = served.pods()[0]["spec"]["containers"][0]["image"]
    workspace.directory.chmod(0o777)
    (workspace.directory / "tables").chmod(0o777)
    workspace.apply(*writer(image))
    workspace.kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout=120s")
    version = tmp_path / "2"
    version.mkdir()
    np.savez(version / "table.npz", keys=np.array([1], np.int64), values=np.array([[2.0]], "f"))

    workspace.kubectl("cp", str(version), "writer:/models/tables/2")

    served.wait_until_serving("tables:2")
    assert served.predict() == 2


@pytest.fixture
def cache_claim(workspace, namespace, tmp_path_factory):
    """A claim that pods may write to."""
    directory = tmp_path_factory.mktemp("cache")
    directory.chmod(0o777)
    directory.parent.chmod(0o755)
    name = f"{namespace}-cache"
    capacity = {"storage": "1Gi"}
    workspace.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": capacity,
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "hostPath": {"path": str(directory), "type": "Directory"},
                "claimRef": {"namespace": namespace, "name": "cache"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "cache"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "volumeName": name,
                "resources": {"requests": capacity},
            },
        },
    )
    yield "cache"
    workspace.cluster.kubectl("delete", "pv", name, "--ignore-not-found", "--wait=false")


def writer(image):
    """A pod that has the volume and the one command that `kubectl cp` needs there."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return (
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "tar"},
            "data": {"tar": TAR},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "writer"},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "writer",
                        "image": image,
                        "command": ["python3", "-c", "import time; time.sleep(3600)"],
                        "securityContext": restricted,
                        "volumeMounts": [
                            {"name": "models", "mountPath": "/models"},
                            {"name": "tar", "mountPath": "/usr/bin/tar", "subPath": "tar"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
                    {"name": "tar", "configMap": {"name": "tar", "defaultMode": 0o555}},
                ],
            },
        },
    )
