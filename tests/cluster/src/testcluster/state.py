"""The folder of one cluster, and the record in it by which leftovers are found."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testcluster.cache import cache_directory
from testcluster.process_identity import ProcessIdentity


def clusters_directory() -> Path:
    return cache_directory() / "clusters"


@dataclass(frozen=True)
class StateDirectory:
    """Where one cluster keeps its keys, data and logs. Removed with the cluster."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def keys(self) -> Path:
        return self.path / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.kubeconfig_of("admin")

    def kubeconfig_of(self, user: str) -> Path:
        return self.path / f"{user}.kubeconfig"

    @property
    def control_socket(self) -> Path:
        return self.path / "control.sock"

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def log(self, program: str) -> Path:
        return self.logs / f"{program}.log"

    def node(self, name: str) -> Path:
        return self.path / name


@dataclass
class Record:
    """What is left of a cluster whose supervisor was killed. Written before it is made.

    Processes, mounts, network interfaces and routes are not in it: the kernel ends them with the
    supervisor.
    """

    supervisor: ProcessIdentity
    slot: int = 0
    cgroups: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({**vars(self), "supervisor": str(self.supervisor)}, indent=1))
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """FileNotFoundError; ValueError where it is not a record. Another version's will do."""
        data: dict[str, Any] = json.loads(path.read_text())
        known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        return cls(**{**known, "supervisor": ProcessIdentity.parse(data["supervisor"])})
