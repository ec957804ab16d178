"""Reads what the API server says about pods and claims into the snapshots that decisions use.

Pure, and tolerant: every field of an object may be missing, as it is while the object is young.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ClaimSnapshot, LastExit, PodSnapshot

CONTAINER = "modelserver"
CONFIG_HASH_ANNOTATION = "modelserver.dev/config-hash"

# What a container waits for in the ordinary course of a start; a reason of its init containers
# tells more.
_ORDINARY_WAITS = frozenset({"", "PodInitializing", "ContainerCreating"})


def pod_snapshot(pod: JsonObject) -> PodSnapshot:
    """Read a Pod object. Raises KeyError when it has no name or uid: then it is not an object that
    an API server sent.
    """
    metadata, status = pod["metadata"], pod.get("status") or {}
    container = _troubled_container(status)
    waiting = (container.get("state") or {}).get("waiting") or {}
    scheduled = _condition(status, "PodScheduled")
    gated = scheduled.get("reason") == "SchedulingGated"
    return PodSnapshot(
        name=metadata["name"],
        uid=metadata["uid"],
        ip=status.get("podIP") or "",
        phase=status.get("phase") or "Pending",
        ready=_condition(status, "Ready").get("status") == "True",
        deleting=bool(metadata.get("deletionTimestamp")),
        config_hash=(metadata.get("annotations") or {}).get(CONFIG_HASH_ANNOTATION, ""),
        waiting_reason="SchedulingGated" if gated else waiting.get("reason") or "",
        waiting_message=(scheduled if gated else waiting).get("message") or "",
        restart_count=container.get("restartCount") or 0,
        last_exit=_last_exit(container),
        unschedulable_message=_unschedulable_message(scheduled),
        claims=_claims((pod.get("spec") or {}).get("volumes") or ()),
    )


def claim_snapshot(claim: JsonObject) -> ClaimSnapshot:
    """Read a PersistentVolumeClaim object."""
    modes = (claim.get("spec") or {}).get("accessModes") or ()
    return ClaimSnapshot(tuple(modes), (claim.get("status") or {}).get("phase") or "")


def _troubled_container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The server's container, or the init container that keeps it from starting."""
    statuses = status.get("containerStatuses") or ()
    server: Mapping[str, Any] = next((c for c in statuses if c.get("name") == CONTAINER), {})
    if _waiting_reason(server) not in _ORDINARY_WAITS or _is_running(server):
        return server
    inits = status.get("initContainerStatuses") or ()
    return next((init for init in inits if _waiting_reason(init) not in _ORDINARY_WAITS), server)


def _waiting_reason(container: Mapping[str, Any]) -> str:
    waiting = (container.get("state") or {}).get("waiting") or {}
    return waiting.get("reason") or ""


def _is_running(container: Mapping[str, Any]) -> bool:
    return bool((container.get("state") or {}).get("running"))


def _claims(volumes: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    mounted = (volume.get("persistentVolumeClaim") for volume in volumes)
    return tuple(sorted(claim["claimName"] for claim in mounted if claim))


def _last_exit(container: Mapping[str, Any]) -> LastExit | None:
    """How it ended just now, or the time before."""
    ends = (container.get(key) or {} for key in ("state", "lastState"))
    end = next((end["terminated"] for end in ends if end.get("terminated")), None)
    if end is None:
        return None
    return LastExit(end.get("reason") or "", end.get("exitCode") or 0, end.get("message") or "")


def _unschedulable_message(scheduled: Mapping[str, Any]) -> str:
    if scheduled.get("status") != "False" or scheduled.get("reason") != "Unschedulable":
        return ""
    return scheduled.get("message") or "no node is suitable"


def _condition(status: Mapping[str, Any], condition_type: str) -> Mapping[str, Any]:
    conditions = status.get("conditions") or ()
    return next((c for c in conditions if c.get("type") == condition_type), {})
