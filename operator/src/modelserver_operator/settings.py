"""OperatorSettings: everything that can be set from outside, as values. `cli` makes them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """How one operator process runs.

    `kubeconfig` None means the pod's own ServiceAccount; no `namespaces` means all of them.
    `identity` tells this process from every other that may compete for the Lease.
    """

    server_image: str
    identity: str
    namespaces: tuple[str, ...] = ()
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    pod_namespace: str = ""
    leader_elect: bool = True
    lease_name: str = "modelserver-operator"
    lease_namespace: str = "default"
    health_host: str = ""
    health_port: int = 8080
    poll_seconds: float = 4.0
    resync_seconds: float = 8.0
    workers: int = 8
    log_level: str = "info"
    log_format: str = "text"
