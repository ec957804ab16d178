"""Start and stop clusters, and clear away those that were killed."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress

from testcluster import binaries, cgroups, dns
from testcluster.cache import locked
from testcluster.cluster import EmbeddedCluster
from testcluster.errors import ClusterError
from testcluster.images import OF_EVERY_NODE
from testcluster.process_identity import ProcessIdentity
from testcluster.progress import Say, say_on_stderr, step
from testcluster.requirements import install_packages, require_node
from testcluster.state import Record, StateDirectory, clusters_directory
from testcluster.waiting import wait_until

_STOP_SECONDS = 180.0  # gigabytes of images take their time to be removed


def start_owned(say: Say = say_on_stderr) -> EmbeddedCluster:
    """A new cluster without nodes; it ends with `stop` or with this process, however that ends."""
    owner = ProcessIdentity.of(os.getpid())
    return _start(f"{owner.pid}-{secrets.token_hex(3)}", ["--owner", str(owner)], say)


def start_detached(name: str, say: Say = say_on_stderr) -> EmbeddedCluster:
    """The cluster of that name, started if it does not run; it goes on until `stop`."""
    return running(name) or _start(name, [], say)


def running(name: str) -> EmbeddedCluster | None:
    """The cluster of that name if it runs."""
    state = StateDirectory(clusters_directory() / name)
    supervisor = _supervisor(state)
    return EmbeddedCluster(state) if supervisor and supervisor.is_alive() else None


def all_running() -> list[EmbeddedCluster]:
    """The clusters that run now, of all owners with this cache."""
    found = (running(state.name) for state in _all())
    return [cluster for cluster in found if cluster]


def stop(cluster: EmbeddedCluster, say: Say = say_on_stderr) -> None:
    """End the cluster and all it made; return when that is done."""
    supervisor = _supervisor(cluster.state)
    with step(f"Stopping the cluster {cluster.state.name}", say):
        if supervisor and not supervisor.end(signal.SIGTERM, _STOP_SECONDS):
            raise ClusterError(f"The supervisor {supervisor} of {cluster.state.path} does not stop")
        if cluster.supervisor:
            cluster.supervisor.wait()
        clear_leftovers()


def clear_leftovers() -> None:
    """Clear away all clusters whose supervisor was killed. Touches nothing that runs."""
    with _exclusively():
        for state in _all():
            supervisor = _supervisor(state)
            if not (supervisor and supervisor.is_alive()):
                _clear(state)


def add_node(cluster: EmbeddedCluster, say: Say = say_on_stderr) -> None:
    """Add a node; return when it is Ready, and with the first one, when the cluster's DNS answers.

    Raises CannotRunError where this machine cannot run a node.
    """
    install_packages(say)
    require_node()
    images = [image.archive() for image in OF_EVERY_NODE]
    with step("Starting a node (about 5 seconds)", say):
        cluster.ask("add-node", *map(str, images))
        if len(cluster.nodes) == 1:
            service = cluster.addresses.dns_service
            cluster.kubectl("apply", "-f", "-", input=dns.manifests(service))
            wait_until(lambda: dns.answers(service), "the cluster's DNS")


def _start(name: str, arguments: Sequence[str], say: Say) -> EmbeddedCluster:
    for binary in binaries.FOR_CONTROL_PLANE:
        binary.build(say)
    clear_leftovers()
    with step("Starting the control plane (about 5 seconds)", say):
        cluster = _spawn(StateDirectory(clusters_directory() / name), arguments)
        try:
            wait_until(
                cluster.state.control_socket.exists, "the supervisor", check=lambda: _check(cluster)
            )
            cluster.ask("control-plane")
        except BaseException:
            stop(cluster, say)
            raise
    return cluster


def _spawn(state: StateDirectory, arguments: Sequence[str]) -> EmbeddedCluster:
    # The lock keeps a folder from being taken for a leftover before it names its supervisor.
    with _exclusively():
        state.path.mkdir(mode=0o700)
        state.logs.mkdir()
        with state.log("supervisor").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "testcluster.supervisor", str(state.path), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        Record(ProcessIdentity.of(process.pid)).write(state.record)
    return EmbeddedCluster(state, process)


def _clear(state: StateDirectory) -> None:
    with suppress(FileNotFoundError, ValueError):
        for cgroup in Record.read(state.record).cgroups:
            cgroups.remove(cgroup)
    shutil.rmtree(state.path, ignore_errors=True)


def _check(cluster: EmbeddedCluster) -> None:
    if cluster.supervisor and cluster.supervisor.poll() is not None:
        log = cluster.state.log("supervisor")
        said = log.read_text() if log.exists() else "(its log is gone)"
        raise ClusterError(f"The supervisor ended with {cluster.supervisor.returncode}:\n{said}")


def _supervisor(state: StateDirectory) -> ProcessIdentity | None:
    with suppress(FileNotFoundError, ValueError):
        return Record.read(state.record).supervisor
    return None


def _all() -> Iterator[StateDirectory]:
    if clusters_directory().is_dir():
        yield from (
            StateDirectory(path) for path in sorted(clusters_directory().iterdir()) if path.is_dir()
        )


def _exclusively() -> AbstractContextManager[None]:
    clusters_directory().mkdir(parents=True, exist_ok=True)
    return locked(clusters_directory() / ".lock")
