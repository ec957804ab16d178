"""Gatherer: reads everything about one ModelServer into an `Observed`."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from modelserver_operator.api import ModelServer
from modelserver_operator.cluster.base import Cluster
from modelserver_operator.cluster.resources import (
    AUTOSCALER,
    CLAIM,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    POD,
    POD_MONITOR,
    SERVICE,
    Resource,
)
from modelserver_operator.desired.labels import NAME_LABEL, config_map_name, headless_name
from modelserver_operator.desired.model_uri import model_claims
from modelserver_operator.errors import ForbiddenError, NotFoundError
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import (
    Capabilities,
    ChildKey,
    ClaimSnapshot,
    Observed,
    PodSnapshot,
)
from modelserver_operator.observed_pods import claim_snapshot, pod_snapshot
from modelserver_operator.reports import PodReport
from modelserver_operator.work_queue import Key

T = TypeVar("T")

# Each connection over TLS costs asyncio 256 KiB, and one reconciliation reads a dozen objects.
_READS_AT_ONCE = 16


class Reports(Protocol):
    """Where the reports of pods are: a `PodPoller`."""

    def follow(self, owner: Key, pods: Iterable[PodSnapshot]) -> None:
        """Keep the reports of these pods of `owner`."""

    def reports(self, owner: Key) -> Mapping[str, PodReport]:
        """The last report of each pod that answers, by uid."""

    def unreachable(self, owner: Key) -> Mapping[str, str]:
        """Why the others do not, by uid."""


class Gatherer:
    """Asks the API server about children, pods and claims, and the poller about reports.

    Every name that a child could have is read by itself: an object of that name which is not ours
    carries no label of ours. Reads anew each time, at most `reads_at_once` objects or lists at the
    same time whoever asks; belongs to the event loop.
    """

    def __init__(
        self, cluster: Cluster, reports: Reports, reads_at_once: int = _READS_AT_ONCE
    ) -> None:
        self._cluster = cluster
        self._reports = reports
        self._slots = asyncio.Semaphore(reads_at_once)

    async def gather(self, server: ModelServer, capabilities: Capabilities) -> Observed:
        """Observe everything around `server`. Raises `ClusterError`."""
        key = Key(server.metadata.namespace, server.metadata.name)
        children, pods, claims = await _together(
            self._children(key, capabilities), self._pods(key), self._claims(server)
        )
        self._reports.follow(key, pods)
        return Observed(
            server=server,
            children=children,
            pods=pods,
            reports=self._reports.reports(key),
            unreachable=self._reports.unreachable(key),
            claims=claims,
            capabilities=capabilities,
        )

    async def _children(
        self, key: Key, capabilities: Capabilities
    ) -> Mapping[ChildKey, JsonObject]:
        named = (
            self._named(resource, key.namespace, name)
            for resource, name in _child_names(key.name, capabilities)
        )
        revisions, *found = await _together(self._labelled(CONTROLLER_REVISION, key), *named)
        children = [*revisions, *(child for child in found if child is not None)]
        return {ChildKey(child["kind"], child["metadata"]["name"]): child for child in children}

    async def _pods(self, key: Key) -> tuple[PodSnapshot, ...]:
        return tuple(pod_snapshot(pod) for pod in await self._labelled(POD, key))

    async def _claims(self, server: ModelServer) -> Mapping[str, ClaimSnapshot | None]:
        names = _claim_names(server)
        found = await _together(*(self._claim(server.metadata.namespace, name) for name in names))
        return {name: claim for claims in found for name, claim in claims.items()}

    async def _claim(self, namespace: str, name: str) -> Mapping[str, ClaimSnapshot | None]:
        try:
            claim = await self._named(CLAIM, namespace, name)
        except ForbiddenError:
            return {}
        return {name: claim_snapshot(claim) if claim is not None else None}

    async def _named(self, resource: Resource, namespace: str, name: str) -> JsonObject | None:
        try:
            async with self._slots:
                return await self._cluster.get(resource, namespace, name)
        except NotFoundError:
            return None

    async def _labelled(self, resource: Resource, key: Key) -> list[JsonObject]:
        selector = f"{NAME_LABEL}={key.name}"
        async with self._slots:
            return await self._cluster.list_objects(resource, key.namespace, selector)


def _child_names(name: str, capabilities: Capabilities) -> Iterable[tuple[Resource, str]]:
    yield DEPLOYMENT, name
    yield SERVICE, name
    yield SERVICE, headless_name(name)
    yield CONFIG_MAP, config_map_name(name)
    yield DISRUPTION_BUDGET, name
    yield AUTOSCALER, name
    yield NETWORK_POLICY, name
    if capabilities.pod_monitor:
        yield POD_MONITOR, name


def _claim_names(server: ModelServer) -> tuple[str, ...]:
    cache = server.spec.cache
    own = (cache.claim_name,) if cache is not None and cache.claim_name else ()
    return tuple(dict.fromkeys((*model_claims(server), *own)))


async def _together(*reads: Coroutine[Any, Any, Any]) -> list[Any]:
    """Await all at once; the first failure cancels the others and comes through by itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(read) for read in reads]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in started]
