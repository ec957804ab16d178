"""What the real client makes of answers that are none, and of credentials."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from modelserver_operator.cluster.failures import failure
from modelserver_operator.cluster.kubernetes_client import KubernetesCluster, connect
from modelserver_operator.cluster.resources import CONFIG_MAP, LEASE, MODEL_SERVER, SERVICE
from modelserver_operator.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.api_faults import Answer, Hang, HangUp
from modelserver_operator.testing.fake_api_server import FakeApiServer

A_CONFIG_MAP: JsonObject = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c", "namespace": "ns"},
}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer() as server:
        server.cluster.put(A_CONFIG_MAP)
        yield server


@pytest_asyncio.fixture
async def client(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[KubernetesCluster]:
    async with connect(server.write_kubeconfig(tmp_path)) as client:
        yield client


async def get(client: KubernetesCluster) -> JsonObject:
    return await client.get(CONFIG_MAP, "ns", "c")


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, InvalidError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, UnavailableError),
        (422, InvalidError),
        (429, UnavailableError),
        (500, UnavailableError),
        (503, UnavailableError),
    ],
)
def test_an_error_answer_is_told_in_the_operators_words(
    status: int, word: type[ClusterError]
) -> None:
    body = json.dumps({"kind": "Status", "message": "because"}).encode()

    error = failure("GET", "/api/v1/pods?limit=5", status, {}, body)

    assert type(error) is word
    assert str(error) == "GET /api/v1/pods: because"


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "HTTP 502"), (b"<html>bad gateway</html>", "bad gateway"), (b"[1]", "[1]")],
)
def test_an_answer_of_somebody_else_is_told_as_it_is(body: bytes, words: str) -> None:
    assert words in str(failure("GET", "/", 502, {}, body))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("soon", None), ("inf", 60.0), ("nan", None), ("86400", 60.0)],
)
def test_the_servers_wish_for_a_pause_is_kept(header: str, seconds: float | None) -> None:
    error = failure("GET", "/", 429, {"Retry-After": header}, b"")

    assert isinstance(error, UnavailableError)
    assert error.retry_after_seconds == seconds


@pytest.mark.asyncio
async def test_expired_credentials_are_read_anew(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    server.script("get", CONFIG_MAP, Answer(401))

    assert (await get(client))["metadata"]["name"] == "c"


@pytest.mark.asyncio
async def test_credentials_that_stay_bad_are_an_outage(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    server.script("get", CONFIG_MAP, Answer(401), Answer(401))

    with pytest.raises(UnavailableError):
        await get(client)


@pytest.mark.asyncio
async def test_a_connection_that_breaks_is_an_outage(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    # aiohttp repeats a read once by itself.
    server.script("get", CONFIG_MAP, HangUp(), HangUp())

    with pytest.raises(UnavailableError, match="configmaps/c"):
        await get(client)


@pytest.mark.asyncio
async def test_a_server_that_hangs_is_given_up(server: FakeApiServer, tmp_path: Path) -> None:
    server.script("get", CONFIG_MAP, Hang())

    async with connect(server.write_kubeconfig(tmp_path), timeout_seconds=0.2) as client:
        with pytest.raises(UnavailableError):
            await get(client)


@pytest.mark.asyncio
async def test_a_server_that_is_away_is_an_outage(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    async with server.refusing_connections():
        with pytest.raises(UnavailableError):
            await get(client)

    assert await get(client)


@pytest.mark.asyncio
async def test_a_replica_that_does_not_lead_reads_and_does_not_write(
    server: FakeApiServer, client: KubernetesCluster
) -> None:
    client.write_only_while(lambda: False)
    uid = server.cluster.peek(CONFIG_MAP, "ns", "c")["metadata"]["uid"]

    assert await get(client)
    for write in (
        client.apply(A_CONFIG_MAP, manager="m"),
        client.create(A_CONFIG_MAP),
        client.patch(CONFIG_MAP, "ns", "c", {}),
        client.delete(CONFIG_MAP, "ns", "c", uid),
    ):
        with pytest.raises(UnavailableError, match="does not lead"):
            await write
    assert server.cluster.writes == []


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["", "{}", "[", "clusters: 3"])
async def test_a_kubeconfig_that_is_none_is_told_by_its_name(text: str, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "my-config"
    kubeconfig.write_text(text)

    with pytest.raises(ClusterError, match="my-config"):
        async with connect(kubeconfig):
            raise AssertionError


@pytest.mark.asyncio
async def test_outside_a_pod_there_is_no_service_account() -> None:
    with pytest.raises(ClusterError, match="ServiceAccount"):
        async with connect(None):
            raise AssertionError


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (SERVICE.path("ns", "a"), "/api/v1/namespaces/ns/services/a"),
        (SERVICE.path(None), "/api/v1/services"),
        (
            MODEL_SERVER.path("ns", "a", "status"),
            "/apis/modelserver.dev/v1alpha1/namespaces/ns/modelservers/a/status",
        ),
        (LEASE.path("ns"), "/apis/coordination.k8s.io/v1/namespaces/ns/leases"),
    ],
)
def test_paths_are_the_api_servers(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.asyncio
async def test_a_page_in_place_of_an_answer_is_an_outage(tmp_path: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as proxy:
        kubeconfig = tmp_path / "config"
        kubeconfig.write_text(_kubeconfig(proxy.sockets[0].getsockname()[1]))
        async with connect(kubeconfig) as client:
            with pytest.raises(UnavailableError, match="html"):
                await get(client)


def _kubeconfig(port: int) -> str:
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {}}
    parts = {"clusters": [cluster], "contexts": [context], "users": [user]}
    return json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "c", **parts})
