"""Resync: the regular list that notices what a watch has swallowed, and what the cluster can do."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from modelserver_operator.cluster.base import Cluster
from modelserver_operator.cluster.resources import (
    CHILDREN,
    MODEL_SERVER,
    POD,
    POD_MONITOR,
    Resource,
)
from modelserver_operator.desired.labels import NAME_LABEL
from modelserver_operator.errors import ClusterError
from modelserver_operator.inventory import Inventory, Stream
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Capabilities
from modelserver_operator.work_queue import Key, WorkQueue

logger = logging.getLogger(__name__)

WATCHED = (MODEL_SERVER, *CHILDREN, POD)
_CAPABILITIES_SECONDS = 60.0
# A change of a child rarely comes alone: the operator's own writes come back, and the Deployment's
# status moves with its pods.
_ECHO_SECONDS = 0.2


def selector_of(resource: Resource) -> str:
    """The label selector under which a kind is watched and listed."""
    return "" if resource == MODEL_SERVER else NAME_LABEL


class Resync:
    """Keeps an inventory for each watch, compares it with a metadata-only list every
    `resync_seconds`, and queues the ModelServers about which either has news.

    `swallowed` is told how many changes of a kind no watch delivered. Belongs to the event loop.
    """

    def __init__(
        self,
        cluster: Cluster,
        queue: WorkQueue[Key],
        swallowed: Callable[[str, int], None],
        namespaces: Sequence[str],
        resync_seconds: float,
    ) -> None:
        self._cluster = cluster
        self._queue = queue
        self._swallowed = swallowed
        self._resync_seconds = resync_seconds
        self._inventories = {
            stream: Inventory(stream)
            for resource in WATCHED
            for stream in streams(resource, namespaces)
        }
        # Watching a kind that need not exist would end kopf.
        self._unwatched = [Inventory(stream) for stream in streams(POD_MONITOR, namespaces)]
        self._is_clusterwide = not namespaces
        self.capabilities = Capabilities()
        self.beat_at = 0.0

    @property
    def inventories(self) -> Mapping[Stream, Inventory]:
        """What is known, by watch."""
        return self._inventories

    def ages(self) -> dict[str, float]:
        """Seconds since a kind was last confirmed by its watch or a list, the oldest stream of it,
        by kind; without those of which nothing has been heard yet.
        """
        now = self._now()
        ages: dict[str, float] = {}
        for stream, known in self._inventories.items():
            moments = [at for at in (known.heard_at, known.listed_at) if at is not None]
            if moments:
                kind = stream.resource.kind
                ages[kind] = max(ages.get(kind, 0.0), now - max(moments))
        return ages

    def noticed(self, resource: Resource, metadata: JsonObject, *, deleted: bool) -> None:
        """Take what a watch delivered."""
        namespace = None if self._is_clusterwide else metadata["namespace"]
        inventory = self._inventories[Stream(resource, namespace)]
        owner = inventory.delivered(metadata, self._now(), deleted=deleted)
        if owner is not None:
            self._queue.add(owner, 0 if resource == MODEL_SERVER else _ECHO_SECONDS)

    async def run(self) -> None:
        """List regularly until cancelled. An API server that does not answer is asked again."""
        asked = -_CAPABILITIES_SECONDS
        while True:
            if self._now() - asked >= _CAPABILITIES_SECONDS:
                asked = self._now()
                await self._survive(self._look_for_capabilities())
            await asyncio.sleep(self._resync_seconds * (0.9 + 0.1 * random.random()))
            for inventory in self._inventories.values():
                await self._survive(self._list(inventory))
            if self.capabilities.pod_monitor:
                for inventory in self._unwatched:
                    await self._survive(self._list(inventory))

    async def look(self) -> None:
        """List everything once. Raises `ClusterError`."""
        for inventory in self._inventories.values():
            await self._list(inventory)

    async def _survive(self, action: Awaitable[None]) -> None:
        self.beat_at = self._now()
        try:
            await action
        except ClusterError as error:
            logger.warning("the regular look at the cluster failed: %s", error)

    async def _list(self, inventory: Inventory) -> None:
        resource, namespace = inventory.stream
        before = inventory.before_listing()
        listing = self._cluster.list_metadata(resource, namespace, selector_of(resource))
        listed = [_essence(metadata) async for metadata in listing]
        for owner in inventory.compare(before, listed, self._now()):
            self._queue.add(owner)
        missed = inventory.swallowed(self._now())
        if missed and inventory.stream in self._inventories:
            self._swallowed(resource.kind, missed)
            logger.warning("the watch of %s has swallowed %d changes", resource.plural, missed)

    async def _look_for_capabilities(self) -> None:
        found = Capabilities(pod_monitor=await self._cluster.serves(POD_MONITOR))
        if found != self.capabilities:
            self.capabilities = found
            for owner in {key for known in self._inventories.values() for key in known.owners}:
                self._queue.add(owner)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def streams(resource: Resource, namespaces: Sequence[str]) -> list[Stream]:
    """The watches of a kind: one, or one for each namespace where those are named."""
    return [Stream(resource, namespace) for namespace in namespaces] or [Stream(resource, None)]


def _essence(metadata: JsonObject) -> JsonObject:
    """What the inventory reads, so that a long list is not kept in memory."""
    kept = ("namespace", "name", "uid", "resourceVersion", "labels", "ownerReferences")
    return {name: metadata[name] for name in kept if name in metadata}
