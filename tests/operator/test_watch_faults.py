"""What the watch does when the API server misbehaves, through the real client, on real connections.

Some of it is what kopf does and what the operator is built around: those tests tell when a new kopf
behaves differently.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from modelserver_operator.cluster.kubernetes_client import KubernetesCluster, connect
from modelserver_operator.cluster.resources import DEPLOYMENT, MODEL_SERVER, POD, Resource
from modelserver_operator.json_types import JsonObject
from modelserver_operator.resync import Resync, selector_of
from modelserver_operator.testing.api_faults import (
    Answer,
    Bookmark,
    End,
    ErrorEvent,
    Fault,
    HalfLine,
    HangUp,
    StreamFault,
    Swallow,
)
from modelserver_operator.testing.fake_api_server import FakeApiServer
from modelserver_operator.watch import Noticed, Watch, WatchDiedError
from modelserver_operator.work_queue import Key, WorkQueue

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        yield server


@pytest_asyncio.fixture
async def client(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[KubernetesCluster]:
    async with connect(server.write_kubeconfig(tmp_path)) as client:
        yield client


class Notices:
    """What was noticed, in order: names, with a "-" where the object was deleted."""

    def __init__(self, also: Noticed | None = None) -> None:
        self.names: list[str] = []
        self._also = also
        self._woken = asyncio.Event()

    def __call__(self, resource: Resource, metadata: JsonObject, *, deleted: bool) -> None:
        self.names.append(("-" if deleted else "") + metadata["name"])
        if self._also is not None:
            self._also(resource, metadata, deleted=deleted)
        self._woken.set()

    async def until(self, condition: Callable[[list[str]], bool]) -> None:
        while not condition(self.names):
            self._woken.clear()
            await self._woken.wait()


def watch(
    client: KubernetesCluster,
    noticed: Noticed,
    resources: Collection[Resource] = (MODEL_SERVER,),
    namespaces: Collection[str] = (),
) -> Watch:
    return Watch(client, resources, selector_of, list(namespaces), noticed)


@asynccontextmanager
async def watching(
    client: KubernetesCluster, noticed: Noticed | None = None, **options: Collection[str]
) -> AsyncIterator[Notices]:
    """Watch ModelServers during the block, which fails if the watch dies; tell `noticed` too."""
    notices = Notices(noticed)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch(client, notices, **options).run("test", lambda: None))
        yield notices
        running.cancel()


def manifest(name: str, namespace: str = "default", **spec: object) -> JsonObject:
    identity = {"apiVersion": MODEL_SERVER.api_version, "kind": MODEL_SERVER.kind}
    return identity | {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


async def watched(server: FakeApiServer, times: int = 1) -> None:
    """Wait until the kind was watched for the nth time, and is."""
    await server.until(
        lambda: (
            len(server.asked("watch", MODEL_SERVER)) >= times
            and server.open_watches(MODEL_SERVER) > 0
        )
    )


# When all is well…


async def test_what_exists_is_noticed_and_then_every_change(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    server.cluster.put(manifest("one"))

    async with watching(client) as notices:
        await watched(server)
        server.cluster.put(manifest("two"))
        await notices.until(lambda names: names == ["one", "two"])
        server.cluster.put(manifest("two", replicas=3))
        await notices.until(lambda names: names == ["one", "two", "two"])
        server.cluster.remove(MODEL_SERVER, "default", "one")
        await notices.until(lambda names: names == ["one", "two", "two", "-one"])


async def test_a_long_list_is_read_in_pages(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    for number in range(250):
        server.cluster.put(manifest(f"m{number}"))

    async with watching(client) as notices:
        await notices.until(lambda names: len(names) == 250)

    assert len(set(notices.names)) == 250
    first, *more = ["continue" in request.query for request in server.asked("list", MODEL_SERVER)]
    assert not first
    assert more
    assert all(more)


async def test_the_api_server_selects_what_is_ours(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(
            watch(client, Notices(), (POD, DEPLOYMENT)).run("test", lambda: None)
        )
        for resource in (POD, DEPLOYMENT):
            await server.until(lambda resource=resource: server.open_watches(resource) == 1)
        running.cancel()

    for verb in ("list", "watch"):
        for resource in (POD, DEPLOYMENT):
            [request] = server.asked(verb, resource)
            assert request.query["labelSelector"] == "modelserver.dev/name"


async def test_only_the_named_namespaces_are_watched(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    server.cluster.put(manifest("ours", "a"))
    server.cluster.put(manifest("theirs", "c"))

    async with watching(client, namespaces=["a", "b"]) as notices:
        await server.until(lambda: server.open_watches(MODEL_SERVER) == 2)
        await notices.until(lambda names: names == ["ours"])

    namespaces = {request.namespace for request in server.requests}
    assert namespaces == {"a", "b"}


async def test_kopf_only_reads_and_reads_only_what_it_was_told(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    server.cluster.put(manifest("one"))

    async with watching(client) as notices:
        await watched(server)
        server.cluster.put(manifest("one", replicas=3))
        await notices.until(lambda names: len(names) == 2)

    assert {request.verb for request in server.requests} == {"list", "watch"}
    assert {request.resource for request in server.requests} == {MODEL_SERVER}
    assert not [path for path in server.other_paths if path.endswith(("namespaces", "definitions"))]
    metadata = server.cluster.peek(MODEL_SERVER, "default", "one")["metadata"]
    assert not {"annotations", "finalizers"} & metadata.keys()


# When a watch breaks off, nothing is lost…


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(End(), id="it ends"),
        pytest.param(HangUp(), id="the connection breaks"),
        pytest.param(ErrorEvent(410), id="it is too old"),
    ],
)
async def test_a_broken_watch_is_taken_up_again(
    server: FakeApiServer, client: KubernetesCluster, fault: StreamFault
) -> None:
    async with watching(client) as notices:
        await watched(server)
        server.cluster.put(manifest("before"))
        server.disturb(MODEL_SERVER, fault)
        server.cluster.put(manifest("meanwhile"))
        await watched(server, times=2)
        server.cluster.put(manifest("after"))
        await notices.until(lambda names: {"before", "meanwhile", "after"} <= set(names))


async def test_what_was_deleted_while_a_watch_was_broken_is_noticed(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    server.cluster.put(manifest("one"))

    async with watching(client) as notices:
        await watched(server)
        server.disturb(MODEL_SERVER, HangUp())
        server.cluster.remove(MODEL_SERVER, "default", "one")
        await notices.until(lambda names: names == ["one", "-one"])


@pytest.mark.parametrize(
    ("verb", "fault"),
    [
        pytest.param("list", Answer(500), id="list 500"),
        pytest.param("list", Answer(429, retry_after_seconds=1), id="list 429"),
        pytest.param("list", HangUp(), id="list breaks off"),
        pytest.param("watch", Answer(500), id="watch 500"),
        pytest.param("watch", Answer(429, retry_after_seconds=1), id="watch 429"),
        pytest.param("watch", Answer(403), id="watch 403, as during an upgrade"),
        pytest.param("watch", HangUp(), id="watch breaks off"),
        pytest.param("watch", ErrorEvent(410), id="watch 410"),
    ],
)
async def test_a_refused_request_is_only_repeated(
    server: FakeApiServer, client: KubernetesCluster, verb: str, fault: Fault
) -> None:
    server.script(verb, MODEL_SERVER, fault)

    async with watching(client) as notices:
        await server.until(lambda: len(server.asked(verb, MODEL_SERVER)) >= 2)
        server.cluster.put(manifest("one"))
        await notices.until(lambda names: "one" in names)


async def test_an_api_server_that_is_away_for_a_while_is_found_again(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    async with watching(client) as notices:
        await watched(server)
        async with server.refusing_connections():
            server.cluster.put(manifest("one"))
            await server.until(lambda: server.open_watches(MODEL_SERVER) == 0)
        await notices.until(lambda names: "one" in names)


# When a watch is lost for good, the process ends…


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(ErrorEvent(500), id="error 500"),
        pytest.param(ErrorEvent(504), id="error 504"),
        pytest.param(HalfLine(), id="half a line"),
    ],
)
async def test_a_watch_that_kopf_gives_up_ends_the_run(
    server: FakeApiServer, client: KubernetesCluster, fault: StreamFault
) -> None:
    running = asyncio.create_task(watch(client, Notices()).run("test", lambda: None))
    await watched(server)

    server.disturb(MODEL_SERVER, fault)

    with pytest.raises(WatchDiedError):
        await running


async def test_a_kind_that_is_no_longer_served_ends_the_run(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    server.script("list", MODEL_SERVER, Answer(404))

    with pytest.raises(WatchDiedError):
        await watch(client, Notices()).run("test", lambda: None)


@pytest.mark.parametrize("fault", [Swallow(), HangUp()])
async def test_the_run_ends_when_told_whatever_the_watch_is_doing(
    server: FakeApiServer, client: KubernetesCluster, fault: StreamFault
) -> None:
    async with watching(client):
        await watched(server)
        server.disturb(MODEL_SERVER, fault)

    assert server.open_watches(MODEL_SERVER) == 0


# What kopf does not deliver, the regular list shows…


def resync(client: KubernetesCluster, queue: WorkQueue[Key]) -> Resync:
    return Resync(client, queue, lambda kind, count: None, (), resync_seconds=10)


async def drain(queue: WorkQueue[Key]) -> None:
    while queue.statistics.depth:
        queue.done(await queue.take())


async def test_kopf_does_not_say_what_was_deleted_between_two_lists_and_the_regular_list_does(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    queue: WorkQueue[Key] = WorkQueue()
    known = resync(client, queue)
    server.cluster.put(manifest("gone"))
    server.cluster.put(manifest("stays"))

    async with watching(client, known.noticed) as notices:
        await watched(server)
        server.vanish(MODEL_SERVER, "default", "gone")
        server.forget()
        server.disturb(MODEL_SERVER, ErrorEvent(410))
        await watched(server, times=2)
        await notices.until(lambda names: sorted(names) == ["gone", "stays", "stays"])
        await drain(queue)

        await known.look()

    assert await queue.take() == Key("default", "gone")
    assert queue.statistics.depth == 0


async def test_changes_that_a_deaf_watch_swallows_are_shown_by_the_regular_list(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    queue: WorkQueue[Key] = WorkQueue()
    known = resync(client, queue)
    server.cluster.put(manifest("old"))

    async with watching(client, known.noticed) as notices:
        await watched(server)
        await notices.until(lambda names: names == ["old"])
        server.disturb(MODEL_SERVER, Swallow())
        server.cluster.put(manifest("old", replicas=3))
        server.cluster.put(manifest("new"))
        server.disturb(MODEL_SERVER, Bookmark())
        await drain(queue)

        await known.look()

    assert {await queue.take(), await queue.take()} == {
        Key("default", "old"),
        Key("default", "new"),
    }
    assert queue.statistics.depth == 0


async def test_the_regular_list_asks_for_metadata_only(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    await resync(client, WorkQueue()).look()

    assert server.requests
    assert all(request.verb == "list" for request in server.requests)
    assert all(request.is_metadata_only for request in server.requests)


async def test_a_regular_list_that_fails_is_repeated(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    queue: WorkQueue[Key] = WorkQueue()
    known = Resync(client, queue, lambda kind, count: None, (), resync_seconds=0.01)
    server.script("list", MODEL_SERVER, Answer(500), Answer(429, retry_after_seconds=30))
    server.cluster.put(manifest("one"))

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(known.run())
        assert await queue.take() == Key("default", "one")
        running.cancel()

    assert len(server.asked("list", MODEL_SERVER)) >= 3
