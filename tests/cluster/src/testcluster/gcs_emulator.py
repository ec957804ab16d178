"""An emulator of Google Cloud Storage: its process, and a client that needs no package."""

import http.client
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from testcluster.binaries import FAKE_GCS_SERVER
from testcluster.child import Child
from testcluster.errors import CannotRunError, ClusterError
from testcluster.waiting import wait_until

_START_SECONDS = 30.0
_LISTENS = "0A"  # TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True)
class GcsEmulator:
    """What answers the JSON API of Cloud Storage at a URL. Each call is a connection of its own, so
    any number of threads may call. An answer that is no success is a ClusterError.
    """

    url: str

    def create_bucket(self, name: str) -> None:
        """Names have three characters or more, of a-z, 0-9, '.', '_' and '-'."""
        self._call("POST", "/storage/v1/b", json.dumps({"name": name}).encode())

    def put(self, bucket: str, name: str, content: bytes) -> int:
        """Write the object, whether or not there is one; return its generation."""
        query = urlencode({"uploadType": "media", "name": name})
        target = f"/upload/storage/v1/b/{quote(bucket, safe='')}/o?{query}"
        return int(json.loads(self._call("POST", target, content))["generation"])

    def delete(self, bucket: str, name: str) -> None:
        """Delete the object, which must be there."""
        self._call("DELETE", object_path(bucket, name))

    def metadata(self, bucket: str, name: str) -> Mapping[str, Any] | None:
        """The object's resource as the API describes it, `generation` and `size` being strings."""
        status, content = self._exchange("GET", object_path(bucket, name))
        if status == http.client.NOT_FOUND:
            return None
        found: Mapping[str, Any] = json.loads(_checked(status, content, "GET", bucket, name))
        return found

    def make_known(self) -> None:
        """Tell the emulator its URL, which it did not know when it started: it gives out links."""
        known = {"externalUrl": self.url, "publicHost": urlsplit(self.url).netloc}
        self._call("PUT", "/_internal/config", json.dumps(known).encode())

    def answers(self) -> bool:
        """Whether there is an emulator at the URL now."""
        with suppress(OSError, http.client.HTTPException):
            return self._exchange("GET", "/_internal/healthcheck")[0] == http.client.OK
        return False

    def _call(self, method: str, target: str, body: bytes | None = None) -> bytes:
        status, content = self._exchange(method, target, body)
        return _checked(status, content, method, target)

    def _exchange(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc)
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _checked(status: int, content: bytes, *asked: str) -> bytes:
    if status >= http.client.BAD_REQUEST:
        said = content.decode(errors="replace").strip()
        raise ClusterError(f"The GCS emulator answers {status} to {' '.join(asked)}: {said}")
    return content


def object_path(bucket: str, name: str) -> str:
    """Where the API has the resource of an object."""
    return f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"


def built_gcs_emulator() -> Path:
    """The emulator's program, built if need be. CannotRunError where it cannot be built or run."""
    if not shutil.which("setpriv"):
        raise CannotRunError("the GCS emulator needs setpriv: install the package util-linux")
    return FAKE_GCS_SERVER.build()


@contextmanager
def running_gcs_emulator(
    host: str = "127.0.0.1", folder: Path | None = None
) -> Iterator[GcsEmulator]:
    """An emulator on a free port of the IPv4 address `host`, until the body ends or, at the latest,
    this process, however that ends. Call it on the main thread (see Child).

    It keeps its objects in memory, or, if there are gigabytes of them, in `folder`. Pods reach it
    with `host=cluster.addresses.host`. Raises CannotRunError where `built_gcs_emulator` does.
    """
    program = built_gcs_emulator()
    with tempfile.TemporaryFile() as log:  # without a name, so that a killed owner leaves nothing
        backend = ["-backend", "filesystem", "-filesystem-root", str(folder)]
        command = [
            str(program),
            *(backend if folder else ["-backend", "memory"]),
            *("-scheme", "http", "-host", host, "-port", "0", "-log-level", "warn"),
        ]
        child = Child("fake-gcs-server", command, Path(f"/proc/self/fd/{log.fileno()}"))
        child.start()
        try:
            yield _answering(child, host)
        finally:
            child.kill()


def _answering(child: Child, host: str) -> GcsEmulator:
    wait_until(
        lambda: listening_port(child.pid) is not None,
        "the GCS emulator to listen",
        seconds=_START_SECONDS,
        check=child.check,
    )
    emulator = GcsEmulator(f"http://{host}:{listening_port(child.pid)}")
    wait_until(emulator.answers, "the GCS emulator", seconds=_START_SECONDS, check=child.check)
    emulator.make_known()
    return emulator


def listening_port(pid: int) -> int | None:
    """The first TCP port on which a process listens at an IPv4 address, if it does.

    The kernel chose it: to look for a free one would leave time for others to take it.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        sockets = set()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                sockets.add(os.readlink(descriptor))
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and f"socket:[{fields[9]}]" in sockets:
                return int(fields[1].rpartition(":")[2], 16)
    return None
