"""Which addresses and ports a cluster uses, such that several clusters can run side by side."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from testcluster.errors import ClusterError

SLOTS = 16
_PORTS_BEGIN = 22000  # below the range from which the kernel takes ports for outgoing connections
_PORTS_EACH = 100


@dataclass(frozen=True)
class Addresses:
    """The addresses of the cluster in one slot (0 to 15). Pure: making one reserves nothing."""

    slot: int

    @property
    def cluster_network(self) -> str:
        """Nodes and pods of this cluster."""
        return f"10.88.{self.slot * 16}.0/20"

    @property
    def services(self) -> str:
        return f"10.96.{self.slot * 16}.0/20"

    @property
    def api_service(self) -> str:
        return f"10.96.{self.slot * 16}.1"

    @property
    def dns_service(self) -> str:
        return f"10.96.{self.slot * 16}.10"

    @property
    def host(self) -> str:
        """This machine, as the nodes see it."""
        return f"10.88.{self.slot * 16}.1"

    def node(self, number: int) -> str:
        return f"10.88.{self.slot * 16}.{100 + number}"

    def pods(self, number: int) -> str:
        """The pods of node `number` (1 to 15)."""
        return f"10.88.{self.slot * 16 + number}.0/24"

    @property
    def ports(self) -> range:
        first = _PORTS_BEGIN + self.slot * _PORTS_EACH
        return range(first, first + _PORTS_EACH)


@contextmanager
def reserved_slot() -> Iterator[Addresses]:
    """Hold a slot that no other cluster on this machine has, whoever runs it.

    A name in the abstract socket namespace is the lock: it needs no file and no rights, it is as
    wide as the interfaces and ports it stands for, and the kernel frees it with the process.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        yield Addresses(_take_slot(lock))


def _take_slot(lock: socket.socket) -> int:
    for slot in range(SLOTS):
        try:
            lock.bind(f"\0modelserver-testcluster-{slot}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return slot
    raise ClusterError(
        f"All {SLOTS} slots for test clusters are taken: stop some (python -m testcluster down)"
    )


def free_ports(candidates: range, count: int) -> list[int]:
    """The first `count` ports of the range on which nobody listens at 127.0.0.1."""
    free = [port for port in candidates if _is_free(port)]
    if len(free) < count:
        raise ClusterError(
            f"Too few free ports on 127.0.0.1 in {candidates.start}–{candidates.stop - 1}"
        )
    return free[:count]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
