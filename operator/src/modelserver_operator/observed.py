"""Observed: everything that one reconcile knows, gathered before it decides anything.

All of it is values: deciding on a snapshot needs no cluster, and can be tested without one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from modelserver_operator.api import ModelServer
from modelserver_operator.json_types import JsonObject
from modelserver_operator.reports import PodReport


class ChildKey(NamedTuple):
    """Names a child among those of one ModelServer, whose namespace they share."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class LastExit:
    """How a container ended the last time."""

    reason: str
    code: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class PodSnapshot:
    """One pod, as Kubernetes sees it.

    `ready` is its Ready condition. `waiting_reason` and `waiting_message` are why its server
    container has not started, empty when it runs. `config_hash` is the annotation on the pod, not
    what the server reports. `unschedulable_message` is the scheduler's, empty when it has a node.
    `claims` are the PersistentVolumeClaims that it mounts; None where that is not known.
    """

    name: str
    uid: str
    ip: str = ""
    phase: str = "Pending"
    ready: bool = False
    deleting: bool = False
    config_hash: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    restart_count: int = 0
    last_exit: LastExit | None = None
    unschedulable_message: str = ""
    claims: tuple[str, ...] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it will never run again, as an evicted pod that nobody has deleted yet."""
        return self.phase in ("Failed", "Succeeded")

    @property
    def is_live(self) -> bool:
        """Whether it is neither ending nor ended."""
        return not (self.deleting or self.has_ended)


@dataclass(frozen=True, slots=True)
class ClaimSnapshot:
    """A PersistentVolumeClaim that the spec names."""

    access_modes: tuple[str, ...] = ()
    phase: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the cluster has beyond Kubernetes itself."""

    pod_monitor: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """One ModelServer and everything around it, at one moment.

    `children` are the live objects under the names that we use and those that carry our label,
    whoever owns them. `reports` and `unreachable` (why) are by pod uid; `claims` by name, None
    where there is no such claim, and without an entry where it could not be read.
    """

    server: ModelServer
    children: Mapping[ChildKey, JsonObject] = field(default_factory=dict)
    pods: tuple[PodSnapshot, ...] = ()
    reports: Mapping[str, PodReport] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, ClaimSnapshot | None] = field(default_factory=dict)
    capabilities: Capabilities = Capabilities()
