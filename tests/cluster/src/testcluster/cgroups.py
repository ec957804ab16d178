"""The cgroups of a node: a folder of its own in every hierarchy, cgroup v1 or v2."""

import time
from contextlib import suppress
from pathlib import Path

_REMOVE_SECONDS = 15.0
_PAUSE_SECONDS = 0.05


def hierarchies(mounts: str) -> list[Path]:
    """The mount points of cgroup hierarchies in the text of /proc/mounts."""
    fields = [line.split() for line in mounts.splitlines()]
    return [Path(mount[1]) for mount in fields if mount[2] in ("cgroup", "cgroup2")]


def make(name: str) -> None:
    """Make the cgroup `name` at the top of every hierarchy."""
    for hierarchy in _here():
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            # In v1 a new cpuset is empty, and nothing can run in it.
            if (folder / file).exists() and (hierarchy / file).exists():
                (folder / file).write_text((hierarchy / file).read_text())


def remove(name: str) -> None:
    """Remove the cgroups of that name and all below, waiting for their processes to end."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    for hierarchy in _here():
        # Beyond the deadline it stays, which disturbs nobody.
        while not _remove_tree(hierarchy / name) and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)


def _remove_tree(folder: Path) -> bool:
    """One try from the bottom up; true when nothing is left."""
    for inner in sorted(folder.rglob("*/"), reverse=True):
        with suppress(OSError):
            inner.rmdir()
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def _here() -> list[Path]:
    return hierarchies(Path("/proc/mounts").read_text())
