"""The Go programs of the cluster: which there are, and how each is built."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testcluster.cache import cache_directory, cached, content_hash
from testcluster.errors import CannotRunError, ClusterError
from testcluster.progress import Say, say_on_stderr, step

GO_SOURCES = Path(__file__).resolve().parents[2] / "go"
KUBERNETES_VERSION = "1.34.4"
HELM_VERSION = "3.22.0"

_VERSION_PACKAGE = "k8s.io/component-base/version"
_FLAGS = "-s -w"


@dataclass(frozen=True)
class GoBinary:
    """A program built from the Go module `go/MODULE`, statically linked, versions from its go.sum.

    `takes` is the time of a first build on two processors, for the progress line.
    """

    name: str
    module: str
    takes: str
    package: str = "."
    flags: str = _FLAGS

    @property
    def path(self) -> Path:
        """Where the program is once it is built. Changes with its sources, pins and flags."""
        source = GO_SOURCES / self.module
        files = [file for file in source.rglob("*") if file.is_file()]
        key = content_hash(files, source, self.package, self.flags, os.uname().machine)
        return cache_directory() / "bin" / f"{self.name}-{key}" / self.name

    def build(self, say: Say = say_on_stderr) -> Path:
        """Return `path`, having built the program if need be. Safe between processes."""
        path = self.path
        with step(f"Building {self.name} (about {self.takes}, once)", say):
            cached(path.parent, self._compile)
        return path

    def _compile(self, folder: Path) -> None:
        target = str(folder / self.name)
        done = subprocess.run(
            [_go(), "build", "-mod=readonly", f"-ldflags={self.flags}", "-o", target, self.package],
            cwd=GO_SOURCES / self.module,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"Building {self.name} in go/{self.module} failed:\n{done.stderr}")


def _go() -> str:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if not found:
        raise CannotRunError(
            "the test cluster is built with Go: install Go 1.26 or newer (go.dev/dl)"
        )
    return found


COMPONENTS = GoBinary(
    "testcluster",
    "components",
    "5 minutes",
    flags=f"{_FLAGS} -X {_VERSION_PACKAGE}.gitVersion=v{KUBERNETES_VERSION}"
    f" -X {_VERSION_PACKAGE}.gitMajor=1 -X {_VERSION_PACKAGE}.gitMinor=34",
)
COREDNS = GoBinary("coredns", "coredns", "2 minutes")
PAUSE = GoBinary("pause", "images", "10 seconds", package="./pause")
WEBAPP = GoBinary("webapp", "images", "10 seconds", package="./webapp")
HELM = GoBinary(
    "helm",
    "helm",
    "3 minutes",
    package="helm.sh/helm/v3/cmd/helm",
    flags=f"{_FLAGS} -X helm.sh/helm/v3/internal/version.version=v{HELM_VERSION}",
)
FAKE_GCS_SERVER = GoBinary(
    "fake-gcs-server", "fake-gcs-server", "2 minutes", package="github.com/fsouza/fake-gcs-server"
)

FOR_CONTROL_PLANE = (COMPONENTS, HELM)
FOR_NODES = (*FOR_CONTROL_PLANE, COREDNS, PAUSE, WEBAPP)
ALL = (*FOR_NODES, FAKE_GCS_SERVER)


def command_folder() -> Path:
    """A folder for a PATH, with kubectl and helm. They must have been built."""
    links = {"kubectl": COMPONENTS.path, "helm": HELM.path}
    key = "-".join(path.parent.name for path in links.values())

    def link(folder: Path) -> None:
        for name, program in links.items():
            (folder / name).symlink_to(program)

    return cached(cache_directory() / "bin" / f"commands-{key}", link)
