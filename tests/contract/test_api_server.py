"""What lists and watches of an API server promise over HTTP: the fake server, and a real one."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from modelserver_operator.cluster.kubernetes_client import KubernetesCluster, connect
from modelserver_operator.cluster.resources import CONFIG_MAP
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.fake_api_server import FakeApiServer

pytestmark = pytest.mark.asyncio

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class Api:
    """A session to an API server, and a label that only this test's objects carry."""

    cluster: KubernetesCluster
    session: aiohttp.ClientSession
    mark: str

    @property
    def collection(self) -> str:
        return CONFIG_MAP.path("default")

    async def put(self, name: str, value: str, **labels: str) -> JsonObject:
        metadata = {
            "name": f"{self.mark}-{name}",
            "namespace": "default",
            "labels": {"mark": self.mark} | labels,
        }
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        return await self.cluster.apply(manifest | {"data": {"key": value}}, manager="test")

    async def remove(self, name: str) -> None:
        await self.cluster.call("DELETE", f"{self.collection}/{self.mark}-{name}")

    async def page(self, accept: str = "application/json", **query: str) -> JsonObject:
        query = {"labelSelector": f"mark={self.mark}"} | query
        url = f"{self.cluster.server}{self.collection}"
        async with self.session.get(url, params=query, headers={"Accept": accept}) as answer:
            page: JsonObject = await answer.json()
            return page

    async def watch(self, count: int, **query: str) -> list[JsonObject]:
        """The first events of a watch, or all where it ends before."""
        query = {"watch": "true", "labelSelector": f"mark={self.mark}"} | query
        events: list[JsonObject] = []
        url = f"{self.cluster.server}{self.collection}"
        async with self.session.get(url, params=query) as answer:
            while len(events) < count and (line := await answer.content.readline()):
                events.append(json.loads(line))
        return events

    def name(self, manifest: JsonObject) -> str:
        return str(manifest["metadata"]["name"]).removeprefix(f"{self.mark}-")

    def told(self, events: list[JsonObject]) -> list[tuple[str, str]]:
        return [(event["type"], self.name(event["object"])) for event in events]


async def _api(kubeconfig: Path) -> AsyncIterator[Api]:
    async with connect(kubeconfig) as cluster, cluster.open_session() as session:
        yield Api(cluster, session, f"contract-{uuid.uuid4().hex[:10]}")


@pytest_asyncio.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Api]:
    if request.param == "real":
        async for api in _api(request.getfixturevalue("control_plane").kubeconfig):
            yield api
        return
    async with FakeApiServer() as server:
        server.cluster.put(_any_object())  # a real one is never empty
        async for api in _api(server.write_kubeconfig(tmp_path)):
            yield api


def _any_object() -> JsonObject:
    metadata = {"name": "kube-root-ca.crt", "namespace": "default"}
    identity = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    return identity | {"data": {"ca.crt": ""}}


def version(page: JsonObject) -> str:
    return str(page["metadata"]["resourceVersion"])


async def test_a_list_has_what_its_selector_matches_without_saying_what_it_is(api: Api) -> None:
    await api.put("b", "1")
    await api.put("a", "1")

    page = await api.page()

    assert (page["apiVersion"], page["kind"]) == ("v1", "ConfigMapList")
    assert [api.name(item) for item in page["items"]] == ["a", "b"]
    assert not {"apiVersion", "kind"} & page["items"][0].keys()


async def test_a_list_comes_in_pages(api: Api) -> None:
    for name in "abc":
        await api.put(name, "1")

    first = await api.page(limit="2")
    second = await api.page(limit="2", **{"continue": first["metadata"]["continue"]})

    assert [api.name(item) for item in first["items"] + second["items"]] == ["a", "b", "c"]
    assert not second["metadata"].get("continue")


async def test_a_metadata_only_list_has_no_bodies(api: Api) -> None:
    await api.put("a", "1")

    page = await api.page(accept=METADATA_ONLY)

    assert (page["apiVersion"], page["kind"]) == ("meta.k8s.io/v1", "PartialObjectMetadataList")
    assert [api.name(item) for item in page["items"]] == ["a"]
    assert "data" not in page["items"][0]


async def test_a_watch_from_a_lists_version_tells_every_change_since(api: Api) -> None:
    await api.put("old", "1")
    since = version(await api.page())
    await api.put("new", "1")
    await api.put("new", "2")
    await api.remove("new")

    events = await api.watch(3, resourceVersion=since)

    assert api.told(events) == [("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "new")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert int(since) < versions[0] < versions[1] < versions[2]


async def test_a_watch_tells_what_happens_while_it_is_open(api: Api) -> None:
    since = version(await api.page())
    watching = asyncio.create_task(api.watch(2, resourceVersion=since))

    await api.put("a", "1")
    await api.put("a", "2")

    assert api.told(await watching) == [("ADDED", "a"), ("MODIFIED", "a")]


async def test_to_a_watch_an_object_that_leaves_its_selection_is_deleted(api: Api) -> None:
    await api.put("a", "1", color="red")
    since = version(await api.page())
    await api.put("a", "1", color="blue")
    await api.put("a", "1", color="red")
    selector = f"mark={api.mark},color=red"

    events = await api.watch(2, resourceVersion=since, labelSelector=selector)

    assert api.told(events) == [("DELETED", "a"), ("ADDED", "a")]


async def test_a_watch_from_no_version_begins_with_what_exists(api: Api) -> None:
    await api.put("a", "1")

    assert api.told(await api.watch(1)) == [("ADDED", "a")]


async def test_a_watch_with_initial_events_marks_their_end(api: Api) -> None:
    await api.put("a", "1")
    initial: dict[str, Any] = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }

    added, bookmark = await api.watch(2, **initial)

    assert added["type"] == "ADDED"
    assert bookmark["type"] == "BOOKMARK"
    annotations = bookmark["object"]["metadata"]["annotations"]
    assert annotations["k8s.io/initial-events-end"] == "true"


async def test_a_watch_ends_when_its_time_is_up(api: Api) -> None:
    since = version(await api.page())

    assert await api.watch(1, resourceVersion=since, timeoutSeconds="1") == []
