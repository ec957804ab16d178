"""Mirror: the objects of one kind as a watch shows them, for whoever waits for them to change."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection

import aiohttp

from modelserver_operator.cluster.kubernetes_client import KubernetesCluster
from modelserver_operator.cluster.resources import Resource
from modelserver_operator.errors import UnavailableError
from modelserver_operator.json_types import JsonObject

_LONGEST_OBJECT_BYTES = 1 << 20
_RETRY_SECONDS = 1.0


class Mirror:
    """The objects of a kind in a namespace, by name. `run` keeps them up to date; everything
    belongs to the event loop.
    """

    def __init__(self, cluster: KubernetesCluster, resource: Resource, namespace: str) -> None:
        self._cluster = cluster
        self._resource = resource
        self._path = resource.path(namespace)
        self._listeners: set[asyncio.Queue[str]] = set()
        self.objects: dict[str, JsonObject] = {}

    async def run(self) -> None:
        """List, then watch, until cancelled; anew whenever the API server ends the watch."""
        async with self._cluster.open_session() as session:
            while True:
                try:
                    await self._follow(session)
                except UnavailableError:
                    # A kind whose CRD has just been installed cannot be listed yet.
                    await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, session: aiohttp.ClientSession) -> None:
        listed = await self._cluster.call("GET", self._path)
        for item in listed["items"]:
            self._take("ADDED", item)
        version = listed["metadata"]["resourceVersion"]
        async for kind, item in self._events(session, version):
            self._take(kind, item)

    async def _events(
        self, session: aiohttp.ClientSession, version: str
    ) -> AsyncIterator[tuple[str, JsonObject]]:
        parameters = {"watch": "true", "resourceVersion": version}
        url = self._cluster.server + self._path
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.get(
            url, params=parameters, timeout=timeout, read_bufsize=_LONGEST_OBJECT_BYTES
        ) as response:
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]

    def _take(self, kind: str, item: JsonObject) -> None:
        name = item["metadata"]["name"]
        if kind == "DELETED":
            self.objects.pop(name, None)
        else:
            self.objects[name] = item
        for listener in self._listeners:
            listener.put_nowait(name)

    async def changes(self) -> AsyncIterator[str]:
        """The name of every object that there is, then of each that changes."""
        listener: asyncio.Queue[str] = asyncio.Queue()
        for name in self.objects:
            listener.put_nowait(name)
        self._listeners.add(listener)
        try:
            while True:
                yield await listener.get()
        finally:
            self._listeners.discard(listener)

    async def until_all(
        self,
        names: Collection[str],
        hold: Callable[[JsonObject], bool],
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Wait until `hold` is true of each object named; `progress` is told of how many it is."""
        fine: set[str] = set()
        wanted = set(names)
        async for name in self.changes():
            if name in wanted:
                item = self.objects.get(name)
                (fine.add if item is not None and hold(item) else fine.discard)(name)
                progress(len(fine))
            if fine == wanted:
                return
