"""Reconciler: brings one ModelServer's world to what it asks for, and says how far that got.

Observe, decide, act, tell; every time anew, whatever the occasion. Nothing is kept between two
rounds but what can be read again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from modelserver_operator.api import Metadata, ModelServer, ModelServerStatus
from modelserver_operator.carry_out import FIELD_MANAGER, carry_out
from modelserver_operator.cluster.base import Cluster
from modelserver_operator.cluster.resources import MODEL_SERVER
from modelserver_operator.desired import Defaults, Desired, Refusal, desired
from modelserver_operator.errors import (
    ClusterError,
    ForbiddenError,
    InvalidError,
    InvalidSpecError,
    NotFoundError,
)
from modelserver_operator.events import EventNote, transitions
from modelserver_operator.gather import Gatherer
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Capabilities, Observed
from modelserver_operator.plan import NameConflict, lags, plan
from modelserver_operator.status import invalid_spec_status, is_same, status
from modelserver_operator.work_queue import Key

_SOON_SECONDS = 3.0
_UNWATCHED_SECONDS = 10.0
_EVENTUALLY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one reconciliation: `status` is None when there is no ModelServer to keep, and
    `again_seconds` is when to look again though nothing may have happened.
    """

    status: ModelServerStatus | None
    again_seconds: float = 0.0


GONE = Round(status=None)


class Recorder(Protocol):
    """Where events go: an `EventRecorder`."""

    def record(self, about: Metadata, notes: Iterable[EventNote]) -> None:
        """Have these events about an object written, without waiting for it."""


class Reconciler:
    """Reconciles one key at a time; two keys may be reconciled at once. `clock` gives aware times
    in UTC.
    """

    def __init__(
        self,
        cluster: Cluster,
        gatherer: Gatherer,
        defaults: Defaults,
        recorder: Recorder,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._gatherer = gatherer
        self._defaults = defaults
        self._recorder = recorder
        self._clock = clock

    async def reconcile(self, key: Key, capabilities: Capabilities) -> Round:
        """Do one round for `key`.

        Raises:
            ClusterError: something could not be read or written, and should be tried again; what is
                known has been written to the status all the same.

        """
        try:
            manifest = await self._cluster.get(MODEL_SERVER, key.namespace, key.name)
        except NotFoundError:
            return GONE
        if manifest["metadata"].get("deletionTimestamp"):
            return GONE
        try:
            server = ModelServer.parse(manifest)
        except InvalidSpecError as error:
            return await self._tell_invalid(manifest, str(error))
        return await self._reconcile(await self._gatherer.gather(server, capabilities))

    async def _reconcile(self, observed: Observed) -> Round:
        server, now = observed.server, self._clock()
        wanted = desired(server, self._defaults, observed)
        todo = plan(wanted, observed, now)
        failure: ClusterError | None = None
        try:
            await carry_out(self._cluster, server.metadata.namespace, todo)
        except ClusterError as error:
            failure = error
            wanted = _with_failure(wanted, error)
        after = status(server, observed, wanted, todo.conflicts, now)
        await self._tell(server.metadata, server.status, after)
        if failure is not None:
            raise failure
        return Round(after, _again(observed, wanted, todo.conflicts))

    async def _tell_invalid(self, manifest: JsonObject, message: str) -> Round:
        metadata = Metadata.parse(manifest["metadata"])
        before = _status_of(manifest)
        after = invalid_spec_status(metadata, before, message, self._clock())
        await self._tell(metadata, before, after)
        return Round(after, _EVENTUALLY_SECONDS)

    async def _tell(
        self, metadata: Metadata, before: ModelServerStatus, after: ModelServerStatus
    ) -> None:
        if is_same(before, after):
            return
        manifest = _status_manifest(metadata, after)
        await self._cluster.apply(manifest, manager=FIELD_MANAGER, force=True, subresource="status")
        self._recorder.record(metadata, transitions(before, after))


def _with_failure(wanted: Desired, error: ClusterError) -> Desired:
    """What the API server finds invalid was asked for by the resource, whose author should know;
    and what it forbids, as a quota or an admission policy does, keeps the author waiting.
    """
    if isinstance(error, ForbiddenError):
        return replace(wanted, forbidden=str(error))
    if not isinstance(error, InvalidError):
        return wanted
    return replace(wanted, refusals=(*wanted.refusals, Refusal("InvalidSpec", str(error))))


def _again(observed: Observed, wanted: Desired, conflicts: Sequence[NameConflict]) -> float:
    """Claims, and objects of others that are in the way, are not watched; neither is time."""
    lagging = any(lags(pod, wanted.config_hash, observed) for pod in observed.pods)
    if lagging and not observed.server.is_paused:
        return _SOON_SECONDS
    claims = observed.claims.values()
    if conflicts or any(claim is None or claim.phase != "Bound" for claim in claims):
        return _UNWATCHED_SECONDS
    return _EVENTUALLY_SECONDS


def _status_of(manifest: JsonObject) -> ModelServerStatus:
    try:
        return ModelServerStatus.parse(manifest.get("status", {}))
    except InvalidSpecError:
        return ModelServerStatus()


def _status_manifest(metadata: Metadata, status: ModelServerStatus) -> JsonObject:
    identity = {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}
    return {
        "apiVersion": MODEL_SERVER.api_version,
        "kind": MODEL_SERVER.kind,
        "metadata": identity,
        "status": status.to_json(),
    }
