"""Which threads of a server use the processor, by the names that Linux knows them by."""

from collections import Counter
from contextlib import suppress
from pathlib import Path

from server_process import process_tree

KINDS = {"rpc-serve": "serve", "transport-io": "I/O", "batch_threads": "batch"}
"""What threads do, by how their names begin. "serve" and "batch" run Python, which one thread of a
process does at a time.
"""
REST = "rest"


def ticks_by_kind(root: int) -> Counter[str]:
    """Processor time that the threads of a process and its descendants have used so far, by what
    they do, in the kernel's ticks. Threads that have ended do not count.
    """
    ticks: Counter[str] = Counter()
    for pid in process_tree(root):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                name, _, rest = (thread / "stat").read_text().rpartition(")")
                fields = rest.split()
                ticks[_kind(name.partition("(")[2])] += int(fields[11]) + int(fields[12])
    return ticks


def _kind(name: str) -> str:
    return next((kind for begin, kind in KINDS.items() if name.startswith(begin)), REST)
