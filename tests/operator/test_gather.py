"""What a reconciliation gets to see."""

import asyncio

import pytest

from modelserver_operator.api import ModelServer
from modelserver_operator.cluster.resources import CLAIM, DEPLOYMENT, SERVICE, Resource
from modelserver_operator.errors import ForbiddenError, UnavailableError
from modelserver_operator.gather import Gatherer
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Capabilities, ChildKey, Observed
from modelserver_operator.polling import PodPoller
from modelserver_operator.testing.fake_cluster import FakeCluster
from modelserver_operator.testing.fake_pods import FakePods
from modelserver_operator.work_queue import Key

pytestmark = pytest.mark.asyncio

NS = "team"
KEY = Key(NS, "mnist")
NO_EXTRAS = Capabilities()
LABELS = {"modelserver.dev/name": "mnist"}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


class SlowCluster(FakeCluster):
    """Takes a turn of the event loop for each read, and counts those under way."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self._under_way = 0

    async def get(self, resource: Resource, namespace: str, name: str) -> JsonObject:
        await self._read()
        return await super().get(resource, namespace, name)

    async def list_objects(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> list[JsonObject]:
        await self._read()
        return await super().list_objects(resource, namespace, selector)

    async def _read(self) -> None:
        self._under_way += 1
        self.reads.append(self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1


def a_server(**spec: object) -> ModelServer:
    models = [{"name": "mnist", "uri": "pvc://models/mnist"}]
    metadata = {"name": "mnist", "namespace": NS, "uid": "u"}
    return ModelServer.parse({"metadata": metadata, "spec": {"models": models, **spec}})


async def gather(
    cluster: FakeCluster, capabilities: Capabilities = NO_EXTRAS, **spec: object
) -> Observed:
    poller = PodPoller(FakePods(), lambda _: None, 4)
    return await Gatherer(cluster, poller).gather(a_server(**spec), capabilities)


def an_object(
    kind: str, name: str, labels: dict[str, str] | None = None, api_version: str = "v1"
) -> JsonObject:
    metadata = {"name": name, "namespace": NS, "labels": labels or {}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


async def test_an_empty_cluster_is_observed_as_empty(cluster: FakeCluster) -> None:
    observed = await gather(cluster)

    assert (observed.children, observed.pods) == ({}, ())
    assert observed.claims == {"models": None}


async def test_an_object_under_one_of_our_names_is_seen_whoever_made_it(
    cluster: FakeCluster,
) -> None:
    cluster.put(an_object("Service", "mnist-headless"))
    cluster.put(an_object("Service", "somebody-elses"))

    observed = await gather(cluster)

    assert observed.children.keys() == {ChildKey("Service", "mnist-headless")}


async def test_revisions_are_found_by_their_label(cluster: FakeCluster) -> None:
    cluster.put(an_object("ControllerRevision", "mnist-1", LABELS, "apps/v1"))
    cluster.put(an_object("ControllerRevision", "mnist-2", {}, "apps/v1"))

    observed = await gather(cluster)

    assert observed.children.keys() == {ChildKey("ControllerRevision", "mnist-1")}


async def test_pods_are_found_by_their_label(cluster: FakeCluster) -> None:
    cluster.put(an_object("Pod", "mnist-abc", LABELS))
    cluster.put(an_object("Pod", "other", {"modelserver.dev/name": "other"}))

    observed = await gather(cluster)

    assert [pod.name for pod in observed.pods] == ["mnist-abc"]


async def test_pod_monitors_are_asked_for_only_where_they_exist(cluster: FakeCluster) -> None:
    await gather(cluster)
    assert "PodMonitor" not in {call.kind for call in cluster.calls}

    await gather(cluster, Capabilities(pod_monitor=True))
    assert "PodMonitor" in {call.kind for call in cluster.calls}


async def test_the_caches_claim_is_looked_at_like_the_models(cluster: FakeCluster) -> None:
    cluster.put(an_object("PersistentVolumeClaim", "cache"))

    observed = await gather(cluster, cache={"claimName": "cache"})

    assert observed.claims["models"] is None
    assert observed.claims["cache"] is not None


async def test_a_claim_that_may_not_be_read_is_left_out(cluster: FakeCluster) -> None:
    cluster.refuse(ForbiddenError("no"), lambda call: call.kind == CLAIM.kind)

    assert (await gather(cluster)).claims == {}


@pytest.mark.parametrize("resource", [DEPLOYMENT, SERVICE], ids=lambda resource: resource.kind)
async def test_a_read_that_fails_fails_it_all_with_its_own_error(
    cluster: FakeCluster, resource: object
) -> None:
    refusal = UnavailableError("no answer", retry_after_seconds=7)
    cluster.refuse(refusal, lambda call: call.kind == getattr(resource, "kind", ""))

    with pytest.raises(UnavailableError) as failed:
        await gather(cluster)

    assert failed.value is refusal


async def test_rounds_of_many_together_read_no_more_at_once_than_they_may() -> None:
    cluster = SlowCluster()
    gatherer = Gatherer(cluster, PodPoller(FakePods(), lambda _: None, 4), reads_at_once=3)

    await asyncio.gather(*(gatherer.gather(a_server(), NO_EXTRAS) for _ in range(4)))

    assert max(cluster.reads) == 3
