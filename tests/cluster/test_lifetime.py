"""A cluster ends with its owner, in whatever way that ends, and leaves nothing."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testcluster import binaries, cgroups, lifetime
from testcluster.fixtures import skipped_where_impossible
from testcluster.process_identity import ProcessIdentity
from testcluster.requirements import require_node
from testcluster.state import Record, StateDirectory, clusters_directory
from testcluster.waiting import wait_until

OWNER = """
import signal
from testcluster import lifetime

cluster = lifetime.start_owned()
if {nodes}:
    lifetime.add_node(cluster)
print(cluster.state.path, flush=True)
signal.pause()
"""
MACHINE = (
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "net/netfilter/nf_conntrack_max",
)
OUTSIDE = ("/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")


def machine():
    """What of this machine a cluster might change for good."""
    settings = {name: Path("/proc/sys", name) for name in MACHINE}
    values = {name: file.read_text() for name, file in settings.items() if file.exists()}
    return values, [folder for folder in OUTSIDE if Path(folder).exists()]


def parents():
    """Each process's parent, by pid."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return found


def family(root):
    """The process and all that came from it, and are running."""
    parent_of = parents()
    pids = {root}
    while more := {pid for pid, parent in parent_of.items() if parent in pids} - pids:
        pids |= more
    identities = set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            identities.add(ProcessIdentity.of(pid))
    return identities


class Traces:
    """What one running cluster has on this machine."""

    def __init__(self, state):
        self.state = state
        record = Record.read(state.record)
        self.processes = family(record.supervisor.pid)
        self.interface = Path(f"/sys/class/net/mstc{record.slot}")
        hierarchies = cgroups.hierarchies(Path("/proc/mounts").read_text())
        self.cgroups = [top / name for top in hierarchies for name in record.cgroups]

    def left(self):
        alive = [str(process) for process in self.processes if process.is_alive()]
        folders = (self.interface, *self.cgroups, self.state.path)
        lines = Path("/proc/mounts").read_text().splitlines()
        folders = [folder for folder in folders if folder.exists()]
        mounts = [line for line in lines if str(self.state.path) in line]
        return [*alive, *folders, *mounts]


KINDS = [
    pytest.param(0, id="control_plane"),
    pytest.param(1, id="node", marks=pytest.mark.node),
]


@pytest.fixture(scope="module")
def possible():
    with skipped_where_impossible():
        for program in binaries.FOR_CONTROL_PLANE:
            program.build()


@pytest.fixture(scope="module")
def node_possible(possible):
    with skipped_where_impossible():
        require_node()


@pytest.fixture(params=KINDS)
def owner(request, possible):
    """A process with a cluster, and the cluster's traces."""
    if request.param:
        request.getfixturevalue("node_possible")
    command = [sys.executable, "-c", OWNER.format(nodes=request.param)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process, Traces(StateDirectory(Path(process.stdout.readline().strip())))
        process.kill()


@pytest.mark.cluster
def test_nothing_is_left_when_the_owner_is_killed(owner):
    process, traces = owner
    assert len(traces.processes) > 4
    assert all(path.exists() for path in traces.cgroups)

    process.kill()

    wait_until(lambda: not traces.left(), "the cluster to end")


@pytest.mark.cluster
def test_nothing_is_left_when_the_supervisor_is_killed_and_leftovers_are_cleared(owner):
    _, traces = owner
    Record.read(traces.state.record).supervisor.end(signal.SIGKILL, seconds=10)

    # What the kernel ends, it ends without us.
    wait_until(lambda: not any(process.is_alive() for process in traces.processes), "the processes")
    wait_until(lambda: not traces.interface.exists(), "the interface")
    lifetime.clear_leftovers()

    assert traces.left() == []


@pytest.mark.cluster
@pytest.mark.node
def test_a_stopped_cluster_leaves_the_machine_as_it_was(node_possible):
    before = machine()
    cluster = lifetime.start_owned()
    lifetime.add_node(cluster)
    traces = Traces(cluster.state)
    during = machine()

    lifetime.stop(cluster)

    assert traces.left() == []
    assert during == before
    assert machine() == before


@pytest.mark.cluster
def test_clusters_run_side_by_side_and_one_ends_without_the_other(possible):
    one, other = lifetime.start_owned(), lifetime.start_owned()
    try:
        assert one.addresses.slot != other.addresses.slot

        lifetime.stop(one)

        assert "default" in other.kubectl("get", "namespaces")
    finally:
        lifetime.stop(other)


def test_a_leftover_is_cleared_and_the_process_that_got_its_pid_lives(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELSERVER_CACHE", str(tmp_path))
    state = StateDirectory(clusters_directory() / "killed")
    state.path.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as foreign:
        actual = ProcessIdentity.of(foreign.pid)
        Record(ProcessIdentity(actual.pid, actual.start_time - 1)).write(state.record)

        lifetime.clear_leftovers()

        assert not state.path.exists()
        assert actual.is_alive()
        foreign.kill()


def test_a_running_cluster_is_no_leftover(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELSERVER_CACHE", str(tmp_path))
    state = StateDirectory(clusters_directory() / "runs")
    state.path.mkdir(parents=True)
    Record(ProcessIdentity.of(os.getpid())).write(state.record)

    lifetime.clear_leftovers()

    assert state.path.exists()
    assert [cluster.state.name for cluster in lifetime.all_running()] == ["runs"]
