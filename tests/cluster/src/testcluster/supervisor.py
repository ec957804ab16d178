"""The process that holds one cluster: all others are its children, and end with it.

It is started by `lifetime`, does what `control` asks of it, and takes everything down on
SIGTERM or when its owner, if it has one, has ended in whatever way.
"""

import argparse
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from testcluster import control
from testcluster.addresses import Addresses, reserved_slot
from testcluster.api import Api
from testcluster.binaries import COMPONENTS
from testcluster.control_plane import ControlPlane
from testcluster.errors import ClusterError
from testcluster.network import Network
from testcluster.node import Node
from testcluster.node_config import NodeLayout
from testcluster.process_identity import ProcessIdentity
from testcluster.requirements import cni_plugins, search_path
from testcluster.state import Record, StateDirectory
from testcluster.waiting import wait_until


class _StopRequest(BaseException):
    """Raised in the main thread, wherever it is, once."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    state = StateDirectory(arguments.state)
    os.environ["PATH"] = search_path()
    try:
        signal.signal(signal.SIGTERM, _request_stop)
        if arguments.owner:
            _stop_with(arguments.owner)
        # Written by who started this; what is written from here on is to stay.
        wait_until(state.record.exists, "the cluster's record")
        with reserved_slot() as addresses:
            _supervise(_Supervised(state, addresses), state)
    except _StopRequest:
        pass
    finally:
        shutil.rmtree(state.path, ignore_errors=True)
    return 0


class _Supervised:
    """One cluster with all its parts; control requests are its methods."""

    def __init__(self, state: StateDirectory, addresses: Addresses) -> None:
        self._state = state
        self._addresses = addresses
        self._record = Record(ProcessIdentity.of(os.getpid()), slot=addresses.slot)
        self._record.write(state.record)
        self._control_plane = ControlPlane(state, addresses, COMPONENTS.path)
        self._network: Network | None = None
        self._nodes: list[Node] = []

    def handlers(self) -> control.Handlers:
        return {
            "control-plane": self._control_plane.start,
            "restart-api-server": self._control_plane.restart_api_server,
            "add-node": self._add_node,
        }

    def stop(self) -> None:
        for node in self._nodes:
            node.stop()
        if self._network:
            self._network.stop()
        self._control_plane.stop()

    def _add_node(self, *images: str) -> None:
        if not self._network:
            self._network = self._start_network()
        layout = self._layout(len(self._nodes) + 1)
        kubeconfig = self._state.kubeconfig_of(layout.name)
        node = Node(layout, COMPONENTS.path, kubeconfig, list(map(Path, images)))
        self._record.cgroups.append(layout.cgroup)
        self._record.write(self._state.record)
        try:
            node.start(self._network, Api(self._state.kubeconfig))
        except BaseException:
            node.stop()
            self._network.disconnect(layout.number)
            raise
        self._nodes.append(node)
        self._record.nodes.append(layout.name)
        self._record.write(self._state.record)

    def _start_network(self) -> Network:
        port = self._control_plane.ports.api
        network = Network(self._addresses, COMPONENTS.path, port, self._state.log)
        try:
            network.start()
        except BaseException:
            network.stop()
            raise
        return network

    def _layout(self, number: int) -> NodeLayout:
        plugins = cni_plugins()
        if not plugins:
            raise ClusterError("There are no CNI plug-ins any more")
        folder, proxy = self._state.node(f"node{number}"), self._state.kubeconfig_of("proxy")
        return NodeLayout(number, folder, self._addresses, plugins, self._state.keys, proxy)


def _supervise(cluster: _Supervised, state: StateDirectory) -> None:
    try:
        with control.listen(state.control_socket) as listening:
            control.serve(listening, cluster.handlers())
    finally:
        cluster.stop()


def _request_stop(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise _StopRequest


def _stop_with(owner: ProcessIdentity) -> None:
    """Have this process stop when the owner has ended. A pidfd, unlike a pipe, is inherited by none
    of the owner's children, and unlike PR_SET_PDEATHSIG it does not depend on the owner's threads.
    """
    try:
        descriptor = owner.open()
    except ProcessLookupError:
        raise _StopRequest from None

    def watch() -> None:
        select.select([descriptor], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="owner", daemon=True).start()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path)
    parser.add_argument("--owner", type=ProcessIdentity.parse, metavar="PID:START_TIME")
    return parser


if __name__ == "__main__":
    sys.exit(main())
