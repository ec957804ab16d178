"""FakeApiServer: a `FakeCluster` behind HTTP, with everything that goes wrong there on demand.

For tests of what talks to the API server itself: kopf, the real client, the operator's process.
It speaks the JSON API: discovery, get, chunked lists, watches with bookmarks and initial events,
metadata-only answers, create, replace, merge patch, server-side apply, delete, `/status`. It knows
the kinds of `api_requests.SERVED`, and of namespaces and CRDs only that there are such kinds. It
checks no rights, no schema and no credentials, and speaks plain HTTP on 127.0.0.1.
"""

import asyncio
import contextlib
import itertools
import json
import socket
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self

from aiohttp import web

from modelserver_operator.cluster.resources import POD_MONITOR, Resource
from modelserver_operator.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.api_faults import (
    Answer,
    ErrorEvent,
    Fault,
    Hang,
    HangUp,
    StreamFault,
)
from modelserver_operator.testing.api_requests import SERVED, ApiRequest, discovery, understand
from modelserver_operator.testing.api_watch import ApiWatch, HungUpError, Scope
from modelserver_operator.testing.fake_cluster import Change, FakeCluster

_STATUS_OF: dict[type[ClusterError], int] = {
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    InvalidError: 422,
}


class FakeApiServer:
    """An API server for one test: `async with FakeApiServer() as server`.

    `cluster` holds the objects: what a test puts, edits and removes there, watches deliver.
    `requests` are all that were about objects, `other_paths` what else was asked for. Belongs to
    the event loop on which it was entered; what it serves may run there too, or in another thread
    or process.
    """

    def __init__(self, cluster: FakeCluster | None = None) -> None:
        self.cluster = cluster or FakeCluster()
        self.requests: list[ApiRequest] = []
        self.other_paths: list[str] = []
        self._script: dict[tuple[str, Resource], deque[Fault]] = defaultdict(deque)
        self._changes: list[Change] = []
        self._forgotten = self.cluster.version
        self._watches: set[ApiWatch] = set()
        self._pages: dict[str, list[JsonObject]] = {}
        self._numbers = itertools.count(1)
        self._is_silent = False
        self._news = asyncio.Condition()
        self._port = 0
        self._site: web.SockSite | None = None
        self._runner = _runner(self._handle)
        self.cluster.subscribe(self._changed)

    @property
    def url(self) -> str:
        """Its address, the same as long as it lives."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cut_connections()
        await self._runner.cleanup()

    # What tests do and see…

    def write_kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig that leads here."""
        path = folder / "kubeconfig"
        context = {"name": "fake", "context": {"cluster": "fake", "user": "fake"}}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [context],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {}}],
        }
        path.write_text(json.dumps(config))
        return path

    def script(self, verb: str, resource: Resource, *faults: Fault) -> None:
        """Let the next requests of this verb for this kind go wrong, one fault each, in order."""
        self._script[verb, resource].extend(faults)

    def disturb(self, resource: Resource, fault: StreamFault) -> None:
        """Let this happen to every open watch of a kind, after what it was to deliver before."""
        for watch in self._watches_of(resource):
            watch.disturb(fault)

    def vanish(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object so that no watch ever tells: only a list shows that it is gone."""
        self._is_silent = True
        self.cluster.remove(resource, namespace, name)
        self._is_silent = False

    def forget(self) -> None:
        """Forget all changes so far: who wants to watch from before now gets a 410, as after the
        API server's restart or a compaction of its store.
        """
        self._changes.clear()
        self._forgotten = self.cluster.version

    @contextlib.asynccontextmanager
    async def refusing_connections(self) -> AsyncIterator[None]:
        """Cut every connection, and refuse new ones until the end of the block."""
        assert self._site is not None
        await self._site.stop()
        held = self._bind()
        self._cut_connections()
        try:
            yield
        finally:
            held.close()
            await self._listen()

    def asked(self, verb: str, resource: Resource) -> list[ApiRequest]:
        """The requests of this verb for this kind so far."""
        return [
            request
            for request in self.requests
            if (request.verb, request.resource) == (verb, resource)
        ]

    def open_watches(self, resource: Resource) -> int:
        """How many watches of a kind are open."""
        return len(self._watches_of(resource))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds about `requests` or watches. Waits for ever if it never does:
        tests have a timeout.
        """
        async with self._news:
            await self._news.wait_for(condition)

    # Listening…

    def _bind(self) -> socket.socket:
        # Bound but not listening, a socket keeps the port and refuses connections.
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self._port))
        self._port = bound.getsockname()[1]
        return bound

    async def _listen(self) -> None:
        self._site = web.SockSite(self._runner, self._bind())
        await self._site.start()

    def _cut_connections(self) -> None:
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    # Answering…

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = understand(request.method, request.path, request.query, request.headers)
        if asked is None:
            return await self._discover(request.path)
        self.requests.append(asked)
        await self._notify()
        faults = self._script[asked.verb, asked.resource]
        fault = faults.popleft() if faults else None
        match fault:
            case Answer():
                return _failure(fault.status, "scripted", fault.retry_after_seconds)
            case Hang():
                await asyncio.Event().wait()
            case HangUp() if asked.verb != "watch":
                return _hang_up(request)
        if asked.verb == "watch":
            return await self._watch(request, asked, fault)
        try:
            return await self._answer(asked, await request.read())
        except ClusterError as error:
            return _failure(_STATUS_OF.get(type(error), 503), str(error))

    async def _discover(self, path: str) -> web.Response:
        self.other_paths.append(path)
        has_monitors = await self.cluster.serves(POD_MONITOR)
        served = [kind for kind in SERVED if kind != POD_MONITOR or has_monitors]
        answer = discovery(served).get(path)
        if answer is None:
            return _failure(404, f"the server could not find {path}")
        return web.json_response(answer)

    async def _answer(self, asked: ApiRequest, body: bytes) -> web.Response:
        if asked.verb == "list":
            return web.json_response(self._list(asked))
        cluster, (resource, namespace, name) = self.cluster, _place(asked)
        if asked.verb == "get":
            live = await cluster.get(resource, namespace, name)
            return web.json_response(_scope(asked).show(live))
        manifest: JsonObject = json.loads(body) if body else {}
        if asked.verb == "patch":
            return web.json_response(await cluster.patch(resource, namespace, name, manifest))
        if asked.verb == "delete":
            return web.json_response(await self._delete(asked, manifest))
        return await self._write(asked, manifest)

    async def _write(self, asked: ApiRequest, manifest: JsonObject) -> web.Response:
        resource, namespace, name = _place(asked)
        manifest |= {"apiVersion": resource.api_version, "kind": resource.kind}
        manifest["metadata"] |= {"namespace": namespace}
        if asked.verb == "create":
            generated = f"{manifest['metadata'].get('generateName', '')}{next(self._numbers)}"
            manifest["metadata"].setdefault("name", generated)
            return web.json_response(await self.cluster.create(manifest), status=201)
        manifest["metadata"]["name"] = name
        if asked.verb == "update":
            return web.json_response(self._replace(asked, manifest))
        applied = await self.cluster.apply(
            manifest,
            manager=asked.query["fieldManager"],
            force=asked.query.get("force") == "true",
            subresource=asked.subresource,
        )
        return web.json_response(applied)

    def _replace(self, asked: ApiRequest, manifest: JsonObject) -> JsonObject:
        try:
            live = self.cluster.peek(*_place(asked))
        except KeyError:
            raise NotFoundError(f"{asked.name} not found") from None
        wanted = manifest["metadata"].get("resourceVersion")
        if wanted not in (None, live["metadata"]["resourceVersion"]):
            raise ConflictError(f"{asked.name} has been modified")
        if asked.subresource:
            manifest = live | {asked.subresource: manifest.get(asked.subresource)}
        elif "status" in live:
            manifest["status"] = live["status"]
        return self.cluster.put(manifest)

    async def _delete(self, asked: ApiRequest, options: JsonObject) -> JsonObject:
        live = await self.cluster.get(*_place(asked))
        uid = options.get("preconditions", {}).get("uid", live["metadata"]["uid"])
        await self.cluster.delete(*_place(asked), uid=uid)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    # Listing…

    def _list(self, asked: ApiRequest) -> JsonObject:
        scope = _scope(asked)
        token = asked.query.get("continue")
        remaining = self._pages.pop(token) if token else self._matching(scope)
        limit = int(asked.query.get("limit") or 0) or len(remaining)
        metadata: JsonObject = {"resourceVersion": str(self.cluster.version)}
        if remaining[limit:]:
            metadata["continue"] = f"page-{next(self._numbers)}"
            self._pages[metadata["continue"]] = remaining[limit:]
        items = [scope.show(manifest) for manifest in remaining[:limit]]
        kind = {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList"}
        if not scope.is_metadata_only:
            kind = {"apiVersion": asked.resource.api_version, "kind": f"{asked.resource.kind}List"}
            items = [_without_kind(item) for item in items]
        return kind | {"metadata": metadata, "items": items}

    def _matching(self, scope: Scope) -> list[JsonObject]:
        return sorted(
            self.cluster.matching(scope.resource, scope.namespace, scope.selector),
            key=lambda manifest: (manifest["metadata"]["namespace"], manifest["metadata"]["name"]),
        )

    # Watching…

    async def _watch(
        self, request: web.Request, asked: ApiRequest, fault: Fault | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        watch = ApiWatch(_scope(asked), lambda: self.cluster.version)
        self._begin(watch, asked)
        if fault is not None and not isinstance(fault, Answer | Hang):
            watch.disturb(fault)
        self._watches.add(watch)
        await self._notify()
        seconds = asked.query.get("timeoutSeconds")
        try:
            async with asyncio.timeout(float(seconds) if seconds else None):
                async for line in watch.lines():
                    await response.write(line)
        except HungUpError:
            return _hang_up(request)
        except TimeoutError:
            pass
        finally:
            self._watches.discard(watch)
            await self._notify()
        return response

    def _begin(self, watch: ApiWatch, asked: ApiRequest) -> None:
        since = int(asked.query.get("resourceVersion") or 0)
        wants_all = asked.query.get("sendInitialEvents") == "true"
        if wants_all or since == 0:
            watch.begin(self._matching(watch.scope), with_end=wants_all)
        elif since < self._forgotten:
            watch.disturb(ErrorEvent(410))
        else:
            for change in self._changes:
                if change.version > since:
                    watch.offer(change)

    def _changed(self, change: Change) -> None:
        if self._is_silent:
            return
        self._changes.append(change)
        for watch in self._watches:
            watch.offer(change)

    def _watches_of(self, resource: Resource) -> list[ApiWatch]:
        return [watch for watch in self._watches if watch.scope.resource == resource]

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()


def _runner(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.AppRunner:
    application = web.Application(client_max_size=16 * 2**20)
    application.router.add_route("*", "/{path:.*}", handle)
    return web.AppRunner(
        application, handler_cancellation=True, shutdown_timeout=0.1, access_log=None
    )


def _place(asked: ApiRequest) -> tuple[Resource, str, str]:
    return asked.resource, asked.namespace or "", asked.name


def _scope(asked: ApiRequest) -> Scope:
    selector = asked.query.get("labelSelector", "")
    return Scope(asked.resource, asked.namespace, selector, asked.is_metadata_only)


def _without_kind(manifest: JsonObject) -> JsonObject:
    # The items of a list do not say what they are.
    return {key: manifest[key] for key in manifest if key not in ("apiVersion", "kind")}


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _failure(status: int, message: str, retry_after_seconds: int | None = None) -> web.Response:
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
    return web.json_response(body | {"message": message}, status=status, headers=headers)
