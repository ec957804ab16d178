"""What every `LeaseClient` promises: the fake, and the real one with an API server behind it."""

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from modelserver_operator.cluster.kubernetes_client import KubernetesCluster, connect
from modelserver_operator.errors import ConflictError, NotFoundError
from modelserver_operator.lease import ApiLeaseClient, LeaseClient, LeaseRecord
from modelserver_operator.testing.fake_api_server import FakeApiServer
from modelserver_operator.testing.fake_lease import FakeLease, FakeLeaseClient

pytestmark = pytest.mark.asyncio

NOW = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
LATER = datetime(2030, 1, 2, 3, 4, 15, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """A Lease that does not exist yet."""

    client: LeaseClient
    delete: Callable[[], Awaitable[object]]


def _api_place(cluster: KubernetesCluster) -> Place:
    name = f"contract-{uuid.uuid4().hex[:10]}"
    path = f"/apis/coordination.k8s.io/v1/namespaces/default/leases/{name}"
    client = ApiLeaseClient(cluster.call, "default", name)
    return Place(client, lambda: cluster.call("DELETE", path))


def _fake_place() -> Place:
    lease = FakeLease()

    async def delete() -> None:
        lease.delete()

    return Place(FakeLeaseClient(lease), delete)


@pytest_asyncio.fixture(
    params=["fake", "fake server", pytest.param("real server", marks=pytest.mark.cluster)]
)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "fake":
        yield _fake_place()
    elif request.param == "fake server":
        async with (
            FakeApiServer() as server,
            connect(server.write_kubeconfig(tmp_path)) as cluster,
        ):
            yield _api_place(cluster)
    else:
        async with connect(request.getfixturevalue("control_plane").kubeconfig) as cluster:
            yield _api_place(cluster)


def said(record: LeaseRecord | None) -> LeaseRecord:
    """The record without what the API server adds."""
    assert record is not None
    return dataclasses.replace(record, metadata={})


async def test_a_lease_that_does_not_exist_reads_as_none(place: Place) -> None:
    assert await place.client.get() is None


async def test_a_created_lease_reads_as_it_was_written(place: Place) -> None:
    claim = LeaseRecord().claimed("a", 10, NOW)

    created = await place.client.create(claim)

    assert said(created) == claim == LeaseRecord("a", 10, NOW, NOW, transitions=0)
    assert created.exists
    assert await place.client.get() == created


async def test_a_lease_is_created_once(place: Place) -> None:
    await place.client.create(LeaseRecord().claimed("a", 10, NOW))

    with pytest.raises(ConflictError):
        await place.client.create(LeaseRecord().claimed("b", 10, NOW))

    assert said(await place.client.get()).holder == "a"


async def test_an_update_of_what_was_read_is_stored(place: Place) -> None:
    created = await place.client.create(LeaseRecord().claimed("a", 10, NOW))

    updated = await place.client.update(created.claimed("b", 15, LATER))

    assert said(updated) == LeaseRecord("b", 15, LATER, LATER, transitions=1)
    assert await place.client.get() == updated


async def test_every_update_makes_a_new_record_even_when_it_says_the_same(place: Place) -> None:
    created = await place.client.create(LeaseRecord().claimed("a", 10, NOW))

    renewed = await place.client.update(created.claimed("a", 10, LATER))

    assert renewed != created


async def test_an_update_of_what_has_changed_since_is_a_conflict(place: Place) -> None:
    created = await place.client.create(LeaseRecord().claimed("a", 10, NOW))
    await place.client.update(created.claimed("b", 10, LATER))

    with pytest.raises(ConflictError):
        await place.client.update(created.claimed("c", 10, LATER))

    assert said(await place.client.get()).holder == "b"


async def test_of_two_updates_at_once_one_is_stored(place: Place) -> None:
    created = await place.client.create(LeaseRecord().claimed("a", 10, NOW))

    outcomes = await asyncio.gather(
        *(place.client.update(created.claimed(name, 10, LATER)) for name in ("b", "c")),
        return_exceptions=True,
    )

    assert sorted(type(outcome) is ConflictError for outcome in outcomes) == [False, True]


async def test_a_deleted_lease_cannot_be_updated(place: Place) -> None:
    created = await place.client.create(LeaseRecord().claimed("a", 10, NOW))
    await place.delete()

    with pytest.raises((ConflictError, NotFoundError)):
        await place.client.update(created.claimed("a", 10, LATER))

    assert await place.client.get() is None


async def test_a_lease_given_up_can_be_taken(place: Place) -> None:
    created = await place.client.create(LeaseRecord().claimed("a", 10, NOW))

    released = await place.client.update(created.released(LATER))
    taken = await place.client.update(released.claimed("b", 10, LATER))

    assert said(released) == LeaseRecord("", 1, NOW, LATER, transitions=0)
    assert said(taken) == LeaseRecord("b", 10, LATER, LATER, transitions=1)
