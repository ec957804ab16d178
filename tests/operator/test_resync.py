"""The regular list, in virtual time, over a cluster in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps

from modelserver_operator.cluster.resources import (
    DEPLOYMENT,
    MODEL_SERVER,
    POD,
    POD_MONITOR,
    SERVICE,
)
from modelserver_operator.errors import UnavailableError
from modelserver_operator.inventory import Stream
from modelserver_operator.json_types import JsonObject
from modelserver_operator.resync import Resync, selector_of
from modelserver_operator.testing.fake_cluster import FakeCluster
from modelserver_operator.testing.virtual_time import run_in_virtual_time
from modelserver_operator.work_queue import Key, WorkQueue

OWNER = Key("ns", "mnist")
LABEL = "modelserver.dev/name"


class Scene:
    def __init__(self, *namespaces: str, pod_monitors: bool = False) -> None:
        self.cluster = FakeCluster(serves_pod_monitors=pod_monitors)
        self.queue: WorkQueue[Key] = WorkQueue()
        self.swallowed: list[tuple[str, int]] = []
        self.resync = Resync(
            self.cluster,
            self.queue,
            lambda kind, count: self.swallowed.append((kind, count)),
            namespaces,
            resync_seconds=8,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.resync.run())
            yield
            running.cancel()

    def watch_delivers(self, manifest: JsonObject, *, deleted: bool = False) -> None:
        resource = SERVICE if manifest["kind"] == "Service" else MODEL_SERVER
        self.resync.noticed(resource, manifest["metadata"], deleted=deleted)

    async def settle(self) -> list[Key]:
        """What is due, taken from the queue."""
        keys = []
        while self.queue.statistics.depth:
            keys.append(await self.queue.take())
            self.queue.done(keys[-1])
        return keys


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        run_in_virtual_time(test())  # type: ignore[arg-type]

    return run


def a_server(namespace: str = "ns") -> JsonObject:
    metadata = {"name": "mnist", "namespace": namespace}
    return {"apiVersion": MODEL_SERVER.api_version, "kind": "ModelServer", "metadata": metadata}


def a_service(**labels: str) -> JsonObject:
    metadata = {"name": "mnist", "namespace": "ns", "labels": {LABEL: "mnist", **labels}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata}


def test_children_are_selected_by_their_label_and_model_servers_are_not() -> None:
    assert [selector_of(kind) for kind in (MODEL_SERVER, DEPLOYMENT, POD)] == ["", LABEL, LABEL]


@in_virtual_time
async def test_a_model_server_that_the_watch_delivers_is_due_at_once() -> None:
    scene = Scene()

    scene.watch_delivers(scene.cluster.put(a_server()))

    assert await scene.settle() == [OWNER]


@in_virtual_time
async def test_changes_of_children_that_come_together_are_one_piece_of_work() -> None:
    scene = Scene()
    for version in range(5):
        scene.watch_delivers(scene.cluster.put(a_service(version=str(version))))
    assert await scene.settle() == []

    await asyncio.sleep(0.5)

    assert await scene.settle() == [OWNER]


@in_virtual_time
async def test_what_no_watch_delivers_is_due_within_ten_seconds() -> None:
    scene = Scene()
    async with scene.running():
        await asyncio.sleep(20)
        scene.cluster.put(a_service())

        await asyncio.sleep(10)

    assert await scene.settle() == [OWNER]


@in_virtual_time
async def test_a_deletion_that_no_watch_delivers_is_due_within_ten_seconds() -> None:
    scene = Scene()
    scene.watch_delivers(scene.cluster.put(a_service()))
    async with scene.running():
        await asyncio.sleep(20)
        await scene.settle()
        scene.cluster.remove(SERVICE, "ns", "mnist")

        await asyncio.sleep(10)

        assert await scene.settle() == [OWNER]


@in_virtual_time
async def test_nothing_new_wakes_nobody() -> None:
    scene = Scene()
    scene.watch_delivers(scene.cluster.put(a_server()))
    await scene.settle()
    async with scene.running():
        await asyncio.sleep(600)

    assert await scene.settle() == []
    assert scene.cluster.writes == []


@in_virtual_time
async def test_the_list_asks_for_no_bodies() -> None:
    scene = Scene()
    async with scene.running():
        await asyncio.sleep(30)

    assert {call.verb for call in scene.cluster.calls} == {"list_metadata", "serves"}


@in_virtual_time
async def test_swallowed_changes_are_counted() -> None:
    scene = Scene()
    async with scene.running():
        scene.cluster.put(a_service())
        await asyncio.sleep(60)

    assert scene.swallowed == [("Service", 1)]


@in_virtual_time
async def test_an_outage_is_survived() -> None:
    scene = Scene()
    async with scene.running():
        scene.cluster.refuse(UnavailableError("no answer"), lambda call: True)
        await asyncio.sleep(120)
        beat = scene.resync.beat_at
        scene.cluster.put(a_service())
        scene.cluster.relent()
        await asyncio.sleep(10)

        assert await scene.settle() == [OWNER]
        assert asyncio.get_running_loop().time() - beat < 30


@in_virtual_time
async def test_an_object_is_not_taken_for_deleted_when_its_list_fails() -> None:
    scene = Scene()
    scene.watch_delivers(scene.cluster.put(a_service()))
    async with scene.running():
        await asyncio.sleep(20)
        await scene.settle()
        scene.cluster.refuse(UnavailableError("no answer"), lambda call: call.kind == "Service")
        await asyncio.sleep(120)

        assert await scene.settle() == []


@in_virtual_time
async def test_only_the_named_namespaces_are_listed() -> None:
    scene = Scene("a", "b")
    async with scene.running():
        await asyncio.sleep(20)

    listed = {call.namespace for call in scene.cluster.calls if call.verb == "list_metadata"}
    assert listed == {"a", "b"}
    assert Stream(POD, "a") in scene.resync.inventories


@in_virtual_time
async def test_a_crd_that_arrives_later_makes_everything_due() -> None:
    scene = Scene()
    scene.watch_delivers(scene.cluster.put(a_server()))
    async with scene.running():
        await asyncio.sleep(20)
        await scene.settle()
        assert not scene.resync.capabilities.pod_monitor

        scene.cluster.serves_pod_monitors = True
        await asyncio.sleep(80)

        assert scene.resync.capabilities.pod_monitor
        assert await scene.settle() == [OWNER]


@in_virtual_time
async def test_the_age_of_a_kind_is_that_of_its_oldest_stream() -> None:
    scene = Scene()
    async with scene.running():
        await asyncio.sleep(30)
        fresh = scene.resync.ages()
        scene.cluster.refuse(UnavailableError("no answer"), lambda call: call.kind == "Pod")
        await asyncio.sleep(100)
        old = scene.resync.ages()

    assert max(fresh.values()) < 10
    assert old["Pod"] > 90
    assert old["Service"] < 10


@in_virtual_time
async def test_a_pod_monitor_that_is_deleted_is_noticed_though_no_watch_has_it() -> None:
    scene = Scene(pod_monitors=True)
    monitor = a_service() | {"apiVersion": POD_MONITOR.api_version, "kind": "PodMonitor"}
    scene.cluster.put(monitor)
    async with scene.running():
        await asyncio.sleep(20)
        await scene.settle()
        assert await scene.settle() == []

        scene.cluster.remove(POD_MONITOR, "ns", "mnist")
        await asyncio.sleep(10)

        assert await scene.settle() == [OWNER]
        await asyncio.sleep(60)
        assert scene.swallowed == []
