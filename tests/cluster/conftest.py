"""What several of the cluster's tests begin with."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from modelserver_operator.api.crd import CRD_NAME
from modelserver_operator.api.generate import CRD_FILE
from testcluster.cluster import Cluster
from testcluster.gcs_emulator import object_path

_REPOSITORY = Path(__file__).parents[2]
_CLIENT_SECONDS = 30


@pytest.fixture(scope="session")
def kubernetes(control_plane: Cluster) -> Cluster:
    """The control plane, which knows ModelServers now."""
    file = str(_REPOSITORY / CRD_FILE)
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", file)
    control_plane.kubectl("wait", "--for=condition=Established", f"crd/{CRD_NAME}")
    return control_plane


@dataclass(frozen=True)
class Got:
    """An answer, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class GcsClient:
    """A client of Cloud Storage without any cleverness. One connection serves all its requests, as
    long as the other side keeps it.
    """

    def __init__(self, server, bucket):
        self.bucket = bucket
        self.connection = http.client.HTTPConnection(
            urlsplit(server.url).netloc, timeout=_CLIENT_SECONDS
        )

    def begin(self, method, target, body=None, headers=()):
        self.connection.request(method, target, body, dict(headers))

    def ask(self, method, target, body=None, headers=()):
        self.begin(method, target, body, headers)
        return self.end()

    def end(self):
        answer = self.connection.getresponse()
        return Got(answer.status, answer.headers, answer.read())

    def read_target(self, name, **parameters):
        query = urlencode({"alt": "media", **parameters})
        return f"/download{object_path(self.bucket, name)}?{query}"

    def read(self, name, byte_range=None, **parameters):
        headers = {"Range": f"bytes={byte_range}"} if byte_range else {}
        return self.ask("GET", self.read_target(name, **parameters), headers=headers)

    def list(self, **parameters):
        return self.ask("GET", f"/storage/v1/b/{self.bucket}/o?{urlencode(parameters)}")

    def metadata(self, name, **parameters):
        return self.ask("GET", f"{object_path(self.bucket, name)}?{urlencode(parameters)}")

    def delete(self, name, **parameters):
        return self.ask("DELETE", f"{object_path(self.bucket, name)}?{urlencode(parameters)}")


@pytest.fixture
def connect(bucket):
    """Makes clients of a proxy or emulator that use `bucket`."""
    clients = []

    def make(server):
        clients.append(GcsClient(server, bucket))
        return clients[-1]

    yield make
    for each in clients:
        each.connection.close()


@pytest.fixture
def client(connect, gcs_faults):
    """A client of the proxy."""
    return connect(gcs_faults)


@pytest.fixture
def put(gcs_emulator, bucket):
    """Writes an object, past the proxy; gives its generation."""
    return lambda name, content: gcs_emulator.put(bucket, name, content)
