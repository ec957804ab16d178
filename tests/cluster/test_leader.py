"""Leader election against a real API server, in real time. What the Lease's client promises is in
tests/contract/test_lease_client.py, and every rule in tests/operator/test_leader*.py.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from modelserver_operator.cluster.kubernetes_client import KubernetesCluster, connect
from modelserver_operator.errors import UnavailableError
from modelserver_operator.json_types import JsonObject
from modelserver_operator.leader import LeaderElector
from modelserver_operator.lease import ApiLeaseClient
from modelserver_operator.testing.replica import LedTask, running
from testcluster.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio]


class Network:
    """The way of one replica to the API server."""

    def __init__(self, cluster: KubernetesCluster) -> None:
        self._cluster = cluster
        self.is_cut = False

    async def call(self, method: str, path: str, body: JsonObject | None) -> JsonObject:
        if self.is_cut:
            raise UnavailableError("the network is cut")
        return await self._cluster.call(method, path, body)


@pytest_asyncio.fixture
async def cluster(control_plane: Cluster) -> AsyncIterator[KubernetesCluster]:
    async with connect(control_plane.kubeconfig) as cluster:
        yield cluster


def replica(network: Network, namespace: str, identity: str) -> LeaderElector:
    return LeaderElector(ApiLeaseClient(network.call, namespace, "operator"), identity)


def lease(control_plane: Cluster, namespace: str) -> JsonObject:
    text = control_plane.kubectl("get", "lease", "operator", "-n", namespace, "-o", "json")
    found: JsonObject = json.loads(text)
    return found["spec"]


async def test_a_replica_told_to_stop_gives_the_lease_to_the_other(
    control_plane: Cluster, cluster: KubernetesCluster, namespace: str
) -> None:
    first, second = LedTask(), LedTask()
    async with running(replica(Network(cluster), namespace, "a"), first) as running_first:
        await first.started.wait()
        before = lease(control_plane, namespace)
        running_first.cancel()
        await asyncio.wait([running_first])
        given_up = lease(control_plane, namespace)
        async with running(replica(Network(cluster), namespace, "b"), second):
            await second.started.wait()
            after = lease(control_plane, namespace)

    assert (before["holderIdentity"], before["leaseDurationSeconds"]) == ("a", 10)
    assert before["leaseTransitions"] == 0
    assert not given_up.get("holderIdentity")
    assert (after["holderIdentity"], after["leaseTransitions"]) == ("b", 1)


async def test_a_replica_that_dies_is_replaced_and_only_once_its_lease_has_expired(
    control_plane: Cluster, cluster: KubernetesCluster, namespace: str
) -> None:
    first, second, network = LedTask(), LedTask(), Network(cluster)
    async with running(replica(network, namespace, "a"), first) as running_first:
        await first.started.wait()
        async with running(replica(Network(cluster), namespace, "b"), second):
            network.is_cut = True
            running_first.cancel()
            await second.started.wait()
            spec = lease(control_plane, namespace)

    assert first.ended.is_set()
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("b", 1)


async def test_a_replica_that_cannot_reach_the_api_server_stops_before_it_is_replaced(
    cluster: KubernetesCluster, namespace: str
) -> None:
    first, second, network = LedTask(), LedTask(), Network(cluster)
    async with running(replica(network, namespace, "a"), first):
        await first.started.wait()
        async with running(replica(Network(cluster), namespace, "b"), second):
            network.is_cut = True
            await second.started.wait()

            assert first.ended.is_set()
