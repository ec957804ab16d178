"""Servers as processes: started in a session of their own, ended with all their children."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from peers.environment import reason_of

_STOP_SECONDS = 15
_TICKS = os.sysconf("SC_CLK_TCK")
_SLOW_KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Set on some machines to work around an old OpenBLAS; they slow a current one down."""


class ServerEndedError(Exception):
    """A server has ended by itself; says what it wrote last."""


@contextmanager
def running(
    arguments: Sequence[str], variables: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, its output in `log`, until the block ends, however it does."""
    inherited = {key: value for key, value in os.environ.items() if key not in _SLOW_KERNELS}
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**inherited, **variables},
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def check_runs(process: subprocess.Popen[bytes], log: Path) -> None:
    """Raise `ServerEndedError` if it does not."""
    code = process.poll()
    if code is not None:
        said = reason_of(log.read_text(errors="replace"))
        raise ServerEndedError(f"ended with {code}: {said}")


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = tuple(int(probe.getsockname()[1]) for probe in sockets)
    for probe in sockets:
        probe.close()
    return ports


def process_tree(root: int) -> list[int]:
    """A process and all its descendants, as far as they run."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """Processor time that a process and its descendants have used so far."""
    ticks = 0
    for pid in process_tree(root):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; what is left of its tree after a while is killed."""
    tree = process_tree(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and any(_is_alive(pid) for pid in tree):
        time.sleep(0.05)
    for pid in filter(_is_alive, tree):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _is_alive(pid: int) -> bool:
    """A process whose parent has not waited for it yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
