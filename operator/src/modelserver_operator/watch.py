"""Watch: kopf as a source of events, and as nothing else.

Its handlers only say that something has changed. kopf writes nothing to any object: no finalizer,
no annotation, no Event; it scans for no namespaces or CRDs and knows no peers.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import aiohttp
import kopf

from modelserver_operator.cluster.resources import Resource
from modelserver_operator.errors import OperatorError
from modelserver_operator.json_types import JsonObject

_EXIT_SECONDS = 1.0


class WatchDiedError(OperatorError):
    """kopf has given up. The process should end: what it holds in memory grows stale."""


class Connection(Protocol):
    """How to reach the API server: a `KubernetesCluster`."""

    @property
    def server(self) -> str:
        """Its address."""

    def open_session(self) -> aiohttp.ClientSession:
        """A session that authorizes each request, which the caller closes."""

    async def reload_credentials(self) -> None:
        """Read the credentials anew."""


class Noticed(Protocol):
    """Who is told of every change."""

    def __call__(self, resource: Resource, metadata: JsonObject, *, deleted: bool) -> None:
        """An object is as its metadata says, or has been deleted. Called on the event loop."""


class Watch:
    """Watches kinds in some namespaces, or in all where none is named.

    `selector_of` gives a kind's label selector, which the API server applies. `took_signals` is
    called once kopf has taken the process's signal handlers for itself, to take them back.
    """

    def __init__(
        self,
        connection: Connection,
        resources: Collection[Resource],
        selector_of: Callable[[Resource], str],
        namespaces: Sequence[str],
        noticed: Noticed,
    ) -> None:
        self._connection = connection
        self._namespaces = namespaces
        self._settings = _settings(resources, selector_of)
        self._registry = kopf.OperatorRegistry()
        kopf.on.login(registry=self._registry, id="connection", retries=5, backoff=1)(self._login)
        for resource in resources:
            _register(self._registry, resource, noticed)

    async def run(self, identity: str, took_signals: Callable[[], None]) -> None:
        """Watch until cancelled.

        Raises:
            WatchDiedError: a watch has failed for good, or kopf has.

        """
        tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=self._settings,
            # kopf would ask the system for its user's name, which a container's user lacks.
            identity=identity,  # type: ignore[arg-type]
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
        )
        took_signals()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            raise WatchDiedError(f"kopf has ended: {_why(done)}")
        finally:
            # kopf stops its watchers when it is cancelled, not when one of them has failed; and
            # they need its credentials to end in peace.
            await _stop(_watchers())
            await _stop(tasks)

    async def _login(self, **_: object) -> kopf.AiohttpSession:
        await self._connection.reload_credentials()
        session = self._connection.open_session()
        return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=session)


def _register(registry: kopf.OperatorRegistry, resource: Resource, noticed: Noticed) -> None:
    @kopf.on.event(
        resource.group, resource.version, resource.plural, registry=registry, id="notice"
    )
    async def notice(event: kopf.RawEvent, **_: object) -> None:
        noticed(resource, dict(event["object"]["metadata"]), deleted=event["type"] == "DELETED")


def _settings(
    resources: Collection[Resource], selector_of: Callable[[Resource], str]
) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # Otherwise it needs the right to list namespaces and CRDs, and tries for ever without it.
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.process.ultimate_exiting_timeout = None
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.watching.connect_timeout = 5
    # A page holds whole objects, one page for each kind at the same time.
    settings.watching.chunk_size = 50
    # Each object gets a task while it has events: not for longer, and not all at the same time.
    settings.queueing.worker_limit = 50
    settings.queueing.idle_timeout = 0.1
    settings.queueing.exit_timeout = _EXIT_SECONDS
    for resource in resources:
        selector = selector_of(resource)
        if selector:
            key = (resource.group, resource.version, resource.plural)
            settings.watching.label_selectors[key] = selector
    return settings


def _watchers() -> set[asyncio.Task[None]]:
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for ")}


async def _stop(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def mute_kopf() -> None:
    """Keep kopf from logging a line for each event that it delivers, and for logging in."""
    for name in ("kopf.objects", "kopf.activities", "kopf._core.engines.activities"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _why(done: Collection[asyncio.Task[None]]) -> str:
    for task in done:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            return f"{task.get_name()}: {error!r}"
    return ", ".join(task.get_name() for task in done)
