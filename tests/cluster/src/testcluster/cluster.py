"""The handle that tests and people use: a cluster, wherever it comes from."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from testcluster import binaries, control
from testcluster.addresses import Addresses
from testcluster.errors import ClusterError
from testcluster.images import find_archive
from testcluster.node_config import containerd_socket
from testcluster.progress import step
from testcluster.state import Record, StateDirectory

_COMMAND_SECONDS = 300


class Cluster:
    """Any cluster to which a kubeconfig leads. Thread-safe: each call is a process of its own."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._more_env: dict[str, str] = {}

    @property
    def env(self) -> dict[str, str]:
        """This process's environment, with which kubectl, helm and clients come to this cluster."""
        path = os.pathsep.join([str(binaries.command_folder()), os.environ.get("PATH", os.defpath)])
        kubeconfig = str(self.kubeconfig)
        return {**os.environ, "KUBECONFIG": kubeconfig, "PATH": path, **self._more_env}

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """Run kubectl; return its output. ClusterError with its standard error if it fails."""
        return run([str(binaries.COMPONENTS.path), "kubectl", *arguments], self.env, input)

    def helm(self, *arguments: str, input: str | None = None) -> str:
        """Run helm 3, as `kubectl` runs kubectl."""
        return run([str(binaries.HELM.path), *arguments], self.env, input)

    def restart_apiserver(self) -> None:
        """Kill the API server and start it again; return when it is ready. Its data stays."""
        raise NotImplementedError

    def load_image(self, image: str | Path, node: str | None = None) -> None:
        """Import an image into one node, or all: the path of an archive (docker save, OCI layout),
        or the name of an image of ours (`images`). Pods name it as the archive does, with a pull
        policy other than Always.
        """
        raise NotImplementedError


class EmbeddedCluster(Cluster):
    """A cluster that a supervisor on this machine runs."""

    def __init__(
        self, state: StateDirectory, supervisor: subprocess.Popen[bytes] | None = None
    ) -> None:
        super().__init__(state.kubeconfig)
        self.state = state
        # Not in the home folder: they would outlive the cluster and meet the next on its port.
        folders = ("KUBECACHEDIR", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
        self._more_env = {name: str(state.path / "cache" / name) for name in folders}
        self._loaded: set[tuple[Path, float, str]] = set()
        self.supervisor = supervisor
        """Set in the process that started it, which has to wait for it."""

    def restart_apiserver(self) -> None:
        self.ask("restart-api-server")

    @property
    def nodes(self) -> list[str]:
        """Their names, in the order in which they came."""
        return self._record.nodes

    @property
    def addresses(self) -> Addresses:
        return Addresses(self._record.slot)

    def load_image(self, image: str | Path, node: str | None = None) -> None:
        archive = find_archive(image)
        for name in [node] if node else self.nodes:
            loaded = (archive, archive.stat().st_mtime, name)
            if loaded not in self._loaded:
                self._import(archive, name)
                self._loaded.add(loaded)

    def _import(self, archive: Path, node: str) -> None:
        socket = containerd_socket(self.state.node(node))
        containerd = ["ctr", "--address", str(socket), "--namespace", "k8s.io"]
        with step(f"Loading {archive.name} into {node} (about 10 seconds a gigabyte)"):
            run([*containerd, "images", "import", str(archive)], self.env)

    @property
    def _record(self) -> Record:
        return Record.read(self.state.record)

    def ask(self, *words: str) -> None:
        """Have the supervisor do something; return when it is done."""
        control.ask(self.state.control_socket, *words)


def run(command: list[str], env: Mapping[str, str], text: str | None = None) -> str:
    """The command's standard output. ClusterError with its standard error if it fails."""
    done = subprocess.run(
        command,
        env=env,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMMAND_SECONDS,
    )
    if done.returncode:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise ClusterError(
            f"{shown} failed with {done.returncode}:\n{done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout
