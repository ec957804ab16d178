"""The network of a cluster's nodes: a bridge in a network namespace of its own.

    this machine (10.88.S.1) ── bridge ┬─ node1 (10.88.S.101) ── its pods 10.88.S+1.0/24
                                       └─ node2 (10.88.S.102) ── its pods 10.88.S+2.0/24

This machine gets one interface, one address and routes. They hang on namespaces that live as long
as their processes, so they go with them; no forwarding, firewall rule or sysctl here is touched.
"""

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from testcluster.addresses import Addresses
from testcluster.child import Child
from testcluster.errors import ClusterError
from testcluster.waiting import wait_until


class Network:
    """Made by the supervisor before the first node. Not thread-safe."""

    def __init__(
        self, addresses: Addresses, binary: Path, api_port: int, log: Callable[[str], Path]
    ) -> None:
        self._addresses = addresses
        self._interface = f"mstc{addresses.slot}"
        hold = ["unshare", "--net", "--", "sleep", "infinity"]
        self._bridge = Child("bridge", hold, log("bridge"))
        ways = [f"{addresses.host}:{api_port}", f"127.0.0.1:{api_port}"]
        self._forward = Child("forward", [str(binary), "forward", *ways], log("forward"))
        self._nodes: dict[int, int] = {}

    def start(self) -> None:
        """Make the network, with a way to the API server."""
        # A cluster killed a moment ago may still have it; who holds the slot may remove it.
        self._remove_interface()
        self._bridge.start()
        wait_for_namespace(self._bridge)
        bridge = self._bridge.pid
        _ip("link add bridge type bridge", bridge)
        _ip("link set bridge up", bridge)
        _ip(f"link add {self._interface} type veth peer name host netns {bridge}")
        _ip("link set host master bridge up", bridge)
        _ip(f"address add {self._addresses.host}/24 dev {self._interface}")
        _ip(f"link set {self._interface} up")
        self._forward.start()

    def connect(self, number: int, pid: int) -> None:
        """Put the network namespace of process `pid`, which is node `number`, into the network."""
        bridge = self._bridge.pid
        _ip(f"link add node{number} type veth peer name eth0 netns {pid}", bridge)
        _ip(f"link set node{number} master bridge up", bridge)
        _ip("link set lo up", pid)
        _ip(f"address add {self._addresses.node(number)}/24 dev eth0", pid)
        _ip("link set eth0 up", pid)
        for other, other_pid in self._nodes.items():
            _ip(f"route replace {self._way_to_pods(other)}", pid)
            _ip(f"route replace {self._way_to_pods(number)}", other_pid)
        self._nodes[number] = pid
        _ip(f"route replace {self._way_to_pods(number)}")
        if number == 1:  # its kube-proxy is this machine's way to Services
            _ip(f"route replace {self._addresses.services} via {self._addresses.node(1)}")
        # Last: the node waits for it.
        _ip(f"route add default via {self._addresses.host}", pid)

    def disconnect(self, number: int) -> None:
        """Forget a node. Its number may come again."""
        self._nodes.pop(number, None)
        with suppress(ClusterError):  # it may have gone with the node's namespace
            _ip(f"link delete node{number}", self._bridge.pid)

    def check(self) -> None:
        """Raise ClusterError if a part has ended by itself."""
        self._bridge.check()
        self._forward.check()

    def stop(self) -> None:
        self._forward.kill()
        self._remove_interface()
        self._bridge.kill()

    def _way_to_pods(self, number: int) -> str:
        return f"{self._addresses.pods(number)} via {self._addresses.node(number)}"

    def _remove_interface(self) -> None:
        if Path("/sys/class/net", self._interface).exists():
            with suppress(ClusterError):  # the kernel may be removing it just now
                _ip(f"link delete {self._interface}")


def wait_for_namespace(child: Child) -> None:
    """Return when the child, started with unshare --net, is in its own network namespace."""
    ours, theirs = "/proc/self/ns/net", f"/proc/{child.pid}/ns/net"
    what = f"the namespace of {child.name}"
    wait_until(lambda: os.readlink(theirs) != os.readlink(ours), what, check=child.check)


def _ip(arguments: str, pid: int | None = None) -> None:
    """Run the command ip, in the network namespace of a process if one is given."""
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid else []
    command = [*inside, "ip", *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{' '.join(command)} failed: {done.stderr.strip()}")
