"""How the watch lives in the operator's process; what it does with the API server's faults is in
test_watch_faults.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from modelserver_operator.cluster.kubernetes_client import KubernetesCluster, connect
from modelserver_operator.cluster.resources import MODEL_SERVER, POD, Resource
from modelserver_operator.resync import selector_of
from modelserver_operator.testing.api_faults import ErrorEvent
from modelserver_operator.testing.fake_api_server import FakeApiServer
from modelserver_operator.watch import Watch, WatchDiedError

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        yield server


@pytest_asyncio.fixture
async def client(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[KubernetesCluster]:
    async with connect(server.write_kubeconfig(tmp_path)) as client:
        yield client


def a_watch(client: KubernetesCluster, *resources: Resource) -> Watch:
    return Watch(client, resources or [MODEL_SERVER], selector_of, (), lambda *_, **__: None)


async def until_it_watches(server: FakeApiServer) -> None:
    await server.until(lambda: server.open_watches(MODEL_SERVER) > 0)


async def test_the_processes_signals_are_given_back(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def take_back() -> None:
        loop.add_signal_handler(signal.SIGTERM, told.set)

    watching = asyncio.create_task(a_watch(client).run("test", take_back))
    try:
        await until_it_watches(server)
        signal.raise_signal(signal.SIGTERM)
        await told.wait()
        assert not watching.done()
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)


async def test_its_end_leaves_every_other_task_alone(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    watching = asyncio.create_task(a_watch(client).run("test", lambda: None))
    await until_it_watches(server)
    neighbour = asyncio.create_task(asyncio.Event().wait())

    watching.cancel()
    await asyncio.wait([watching])

    assert watching.cancelled()
    assert not neighbour.done()
    neighbour.cancel()
    await asyncio.wait([neighbour])


async def test_nothing_of_it_is_left_behind_when_it_is_told_to_stop(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    before = asyncio.all_tasks()
    watching = asyncio.create_task(a_watch(client).run("test", lambda: None))
    await until_it_watches(server)

    watching.cancel()
    await asyncio.wait([watching])

    assert left_behind(before) == set()


async def test_nothing_of_it_is_left_behind_when_one_of_its_watches_dies(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    before = asyncio.all_tasks()
    watching = asyncio.create_task(a_watch(client, MODEL_SERVER, POD).run("test", lambda: None))
    await server.until(lambda: all(map(server.open_watches, (MODEL_SERVER, POD))))

    server.disturb(MODEL_SERVER, ErrorEvent(500))
    with pytest.raises(WatchDiedError):
        await watching

    assert left_behind(before) == set()


def left_behind(before: set[asyncio.Task[object]]) -> set[str]:
    """The names of kopf's tasks that were not there before."""
    new = asyncio.all_tasks() - before
    coroutines = {task.get_name(): task.get_coro() for task in new}
    files = {name: run.cr_code.co_filename for name, run in coroutines.items() if run}
    return {name for name, file in files.items() if "/kopf/" in file}
