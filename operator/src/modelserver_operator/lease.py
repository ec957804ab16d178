"""The Lease that the operator's replicas compete for: what it says, and how it is read and written.

Who may lead is decided in `leader`; nothing here decides anything.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from modelserver_operator.errors import NotFoundError
from modelserver_operator.json_types import JsonObject


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What a Lease says. The default says that there is none.

    Times are what the holder's wall clock showed. They are for people to read: no decision may rest
    on them.
    """

    holder: str = ""
    """Identity of who leads; "" when it was given up."""
    duration_seconds: int = 0
    """How long an unchanged record must be honoured, by the reader's own clock."""
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    transitions: int = 0
    """How often the holder has changed."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The object's metadata as the API server sent it, sent back unchanged: labels that somebody
    put there survive, and `resourceVersion` makes every update conditional. Empty: not stored.
    """

    @property
    def exists(self) -> bool:
        """Whether the API server has this Lease."""
        return bool(self.metadata)

    def claimed(self, identity: str, duration_seconds: int, now: datetime) -> "LeaseRecord":
        """The record by which `identity` takes the Lease, or keeps it."""
        is_new = self.holder != identity
        return replace(
            self,
            holder=identity,
            duration_seconds=duration_seconds,
            acquire_time=now if is_new else self.acquire_time,
            renew_time=now,
            transitions=self.transitions + (is_new and self.exists),
        )

    def released(self, now: datetime) -> "LeaseRecord":
        """The record that lets anybody take over at once. One second is the least that the API
        server stores.
        """
        return replace(self, holder="", duration_seconds=1, renew_time=now)


class LeaseClient(Protocol):
    """Reads and writes one Lease. Called on the event loop by `LeaderElector`, which bounds every
    call's time by cancelling it; a call cancelled or failed may have had its effect all the same.

    Every method may raise `ClusterError`, `OSError` or `TimeoutError` when the API server cannot
    be asked or refuses.
    """

    async def get(self) -> LeaseRecord | None:
        """The Lease as it is now, never from a cache; None when there is none."""
        ...

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Store the first record and return it as stored.

        Raises `ConflictError` when the Lease exists.
        """
        ...

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace the Lease that `record.metadata` came from, and return it as stored.

        Raises `ConflictError` when it has been written since, and that or `NotFoundError` when it
        has been deleted.
        """
        ...


ApiCall = Callable[[str, str, JsonObject | None], Awaitable[JsonObject]]
"""One request to the API server: (method, path, body) to its JSON. Raises `ClusterError`."""


class ApiLeaseClient:
    """The `LeaseClient` of a real API server."""

    def __init__(self, call: ApiCall, namespace: str, name: str) -> None:
        self._call = call
        self._namespace = namespace
        self._name = name
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def get(self) -> LeaseRecord | None:
        """See `LeaseClient`."""
        try:
            return parse_lease(await self._call("GET", f"{self._collection}/{self._name}", None))
        except NotFoundError:
            return None

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """See `LeaseClient`."""
        metadata = {"name": self._name, "namespace": self._namespace}
        body = lease_manifest(replace(record, metadata=metadata))
        return parse_lease(await self._call("POST", self._collection, body))

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """See `LeaseClient`."""
        path = f"{self._collection}/{self._name}"
        return parse_lease(await self._call("PUT", path, lease_manifest(record)))


def lease_manifest(record: LeaseRecord) -> JsonObject:
    """The Lease object that says what `record` says."""
    spec = {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.duration_seconds,
        "acquireTime": _micro_time(record.acquire_time),
        "renewTime": _micro_time(record.renew_time),
        "leaseTransitions": record.transitions,
    }
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": dict(record.metadata),
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def parse_lease(manifest: JsonObject) -> LeaseRecord:
    """What a Lease object says; every field of its spec may be missing."""
    spec = manifest.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        duration_seconds=spec.get("leaseDurationSeconds") or 0,
        acquire_time=_parse_time(spec.get("acquireTime")),
        renew_time=_parse_time(spec.get("renewTime")),
        transitions=spec.get("leaseTransitions") or 0,
        metadata=manifest["metadata"],
    )


def _micro_time(time: datetime | None) -> str | None:
    # Kubernetes' MicroTime: exactly six digits, and a Z.
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _parse_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
