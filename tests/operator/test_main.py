"""The operator's whole process: against a fake API server, and against a real one."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from modelserver_operator.cluster.resources import (
    CHILDREN,
    CONFIG_MAP,
    DEPLOYMENT,
    LEASE,
    MODEL_SERVER,
    SERVICE,
)
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.api_faults import ErrorEvent
from modelserver_operator.testing.fake_api_server import FakeApiServer

pytestmark = [pytest.mark.asyncio, pytest.mark.process, pytest.mark.timeout(300)]

KEY = (MODEL_SERVER, "default", "mnist")
MANIFEST: JsonObject = {
    "apiVersion": "modelserver.dev/v1alpha1",
    "kind": "ModelServer",
    "metadata": {"name": "mnist", "namespace": "default"},
    "spec": {"models": [{"name": "mnist", "uri": "gs://models/mnist"}], "replicas": 1},
}


class Process:
    """An operator process, with its log as read so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.log: list[str] = []

    async def until_it_says(self, pattern: str) -> re.Match[str]:
        """Read its log up to a line in which this is found."""
        assert self._process.stderr is not None
        while line := (await self._process.stderr.readline()).decode():
            self.log.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"it never said {pattern!r}:\n{''.join(self.log)}")

    async def port(self) -> int:
        return int((await self.until_it_says(r"on port (\d+)")).group(1))

    async def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self) -> int:
        _, rest = await self._process.communicate()
        self.log.append(rest.decode())
        return await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


Start = Callable[..., Awaitable[Process]]


@asynccontextmanager
async def starter(kubeconfig: Path) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def start(*flags: str) -> Process:
        command = (sys.executable, "-m", "modelserver_operator", f"--kubeconfig={kubeconfig}")
        process = await asyncio.create_subprocess_exec(
            *command, "--health-host=127.0.0.1", "--health-port=0", *flags, stderr=-1
        )
        started.append(Process(process))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            await process.exit_code()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        yield server


@pytest_asyncio.fixture
async def start(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[Start]:
    async with starter(server.write_kubeconfig(tmp_path)) as start:
        yield start


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - it is another process that makes it true
        await asyncio.sleep(0.05)


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def until_it_answers(port: int, path: str, text: str) -> None:
    while text not in (await get(port, path))[1]:  # noqa: ASYNC110 - as in `until`
        await asyncio.sleep(0.05)


def has_status(server: FakeApiServer) -> bool:
    return bool(server.cluster.peek(*KEY).get("status"))


async def test_a_model_server_gets_its_children_and_a_status(
    server: FakeApiServer, start: Start
) -> None:
    server.cluster.put(MANIFEST)

    await start("--no-leader-elect")
    await until(lambda: has_status(server))

    assert server.cluster.names(DEPLOYMENT) == ["mnist"]
    assert server.cluster.names(SERVICE) == ["mnist", "mnist-headless"]


async def test_a_child_that_is_deleted_comes_back(server: FakeApiServer, start: Start) -> None:
    server.cluster.put(MANIFEST)
    await start("--no-leader-elect")
    await until(lambda: has_status(server))

    server.cluster.remove(SERVICE, "default", "mnist")

    await until(lambda: "mnist" in server.cluster.names(SERVICE))


async def test_a_deletion_that_no_watch_delivers_is_noticed_too(
    server: FakeApiServer, start: Start
) -> None:
    server.cluster.put(MANIFEST)
    await start("--no-leader-elect", "--resync-seconds=1")
    await until(lambda: has_status(server))

    server.vanish(CONFIG_MAP, "default", "mnist-config")

    await until(lambda: "mnist-config" in server.cluster.names(CONFIG_MAP))


async def test_it_stops_when_told_and_gives_the_lease_up(
    server: FakeApiServer, start: Start
) -> None:
    process = await start()
    await process.until_it_says("leads now")
    await server.until(lambda: server.open_watches(MODEL_SERVER) > 0)

    assert await process.stop() == 0

    lease = server.cluster.peek(LEASE, "default", "modelserver-operator")
    assert not lease["spec"].get("holderIdentity")
    assert "Traceback" not in "".join(process.log)
    assert "kopf" not in "".join(process.log)


async def test_a_second_replica_answers_probes_and_does_nothing_else_until_it_leads(
    server: FakeApiServer, start: Start
) -> None:
    leader = await start()
    await leader.until_it_says("leads now")
    follower = await start()
    port = await follower.port()
    await until_it_answers(port, "/readyz", "following")

    assert await get(port, "/livez") == (200, "following\n")
    assert "modelserver_operator_leader 0.0" in (await get(port, "/metrics"))[1]

    await leader.stop()
    await follower.until_it_says("leads now")
    server.cluster.put(MANIFEST)
    await until(lambda: has_status(server))
    assert "modelserver_operator_leader 1.0" in (await get(port, "/metrics"))[1]


async def test_a_watch_that_dies_ends_the_process(server: FakeApiServer, start: Start) -> None:
    process = await start("--no-leader-elect")
    await server.until(lambda: server.open_watches(MODEL_SERVER) > 0)

    server.disturb(MODEL_SERVER, ErrorEvent(500))

    assert await process.exit_code() == 1
    assert "kopf has ended" in process.log[-1]


async def test_a_leader_whose_lease_is_taken_away_ends(server: FakeApiServer, start: Start) -> None:
    process = await start()
    await process.until_it_says("leads now")

    def rob(lease: JsonObject) -> None:
        lease["spec"]["holderIdentity"] = "a robber"

    server.cluster.edit(LEASE, "default", "modelserver-operator", rob)

    assert await process.exit_code() == 1
    assert "the Lease is now held by a robber" in process.log[-1]


async def test_a_port_that_is_taken_is_said_in_one_line(
    server: FakeApiServer, start: Start
) -> None:
    first = await start("--no-leader-elect")
    port = await first.port()

    second = await start("--no-leader-elect", f"--health-port={port}")

    assert await second.exit_code() == 1
    (line,) = "".join(second.log).splitlines()
    assert str(port) in line


async def test_logs_are_json_when_asked_for(start: Start) -> None:
    process = await start("--no-leader-elect", "--log-format=json")
    await process.port()

    assert json.loads(process.log[-1])["level"] == "info"


async def test_idle_it_writes_nothing(server: FakeApiServer, start: Start) -> None:
    server.cluster.put(MANIFEST)
    await start("--no-leader-elect", "--resync-seconds=1")
    await until(lambda: has_status(server))
    lists = len(server.asked("list", DEPLOYMENT))
    writes = len(server.cluster.writes)

    # What the first round started is over when the list has come round again.
    await server.until(lambda: len(server.asked("list", DEPLOYMENT)) > lists + 2)
    settled = len(server.cluster.writes)
    await server.until(lambda: len(server.asked("list", DEPLOYMENT)) > lists + 6)

    assert settled - writes < 5
    assert server.cluster.writes[settled:] == []


# On a real API server…


@pytest.mark.cluster
async def test_on_a_real_cluster_children_come_and_come_back(
    control_plane: object, namespace: str
) -> None:
    kubectl: Callable[..., str] = control_plane.kubectl  # type: ignore[attr-defined]
    crd = Path(__file__).parents[2] / "crds" / "modelserver.dev_modelservers.yaml"
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crd))
    established = "jsonpath={.status.conditions[?(@.type=='Established')].status}"
    await until(lambda: "True" in kubectl("get", "-f", str(crd), "-o", established))

    def names(kind: str) -> list[str]:
        selector = "modelserver.dev/name=mnist"
        found = kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "name")
        return sorted(line.rpartition("/")[2] for line in found.splitlines())

    def field(kind: str, name: str, path: str) -> str:
        return kubectl("get", kind, name, "-n", namespace, "-o", f"jsonpath={{{path}}}")

    async with starter(control_plane.kubeconfig) as start:  # type: ignore[attr-defined]
        await start("--no-leader-elect", f"--namespaces={namespace}", "--resync-seconds=2")
        kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(_without_namespace()))
        await until(lambda: bool(field("msrv", "mnist", ".status.conditions[0].reason")))
        await until(lambda: len(names("controllerrevision")) == 1)
        everything = {child.plural: names(child.plural) for child in CHILDREN}
        assert everything["services"] == ["mnist", "mnist-headless"]

        # Deleted…
        for child, found in everything.items():
            for name in found:
                kubectl("delete", child, name, "-n", namespace)
        await until(lambda: {kind: names(kind) for kind in everything} == everything)

        # Changed, also where a changed key makes another item of a list…
        port = '[{"op": "replace", "path": "/spec/ports/0/port", "value": 1}]'
        kubectl("patch", "service", "mnist", "-n", namespace, "--type=json", "-p", port)
        kubectl("scale", "deployment", "mnist", "-n", namespace, "--replicas=5")
        await until(lambda: field("service", "mnist", ".spec.ports[*].port") == "8500")
        await until(lambda: field("deployment", "mnist", ".spec.replicas") == "1")

        # And kopf has left no trace.
        assert field("msrv", "mnist", ".metadata.finalizers") == ""
        assert "kopf" not in field("msrv", "mnist", ".metadata")


def _without_namespace() -> JsonObject:
    return {**MANIFEST, "metadata": {"name": "mnist"}}
