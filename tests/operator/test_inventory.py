"""What the comparison of a watch with a list concludes."""

import pytest

from modelserver_operator.cluster.resources import MODEL_SERVER, POD, SERVICE
from modelserver_operator.inventory import Inventory, Stream
from modelserver_operator.json_types import JsonObject
from modelserver_operator.work_queue import Key

OWNER = Key("ns", "mnist")


def metadata(name: str = "mnist", version: str = "1", **more: object) -> JsonObject:
    labels = {"modelserver.dev/name": "mnist"}
    identity = {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": version}
    return {**identity, "labels": labels, **more}


@pytest.fixture
def services() -> Inventory:
    return Inventory(Stream(SERVICE, None))


def list_all(inventory: Inventory, *listed: JsonObject, at: float = 100) -> set[Key]:
    return inventory.compare(inventory.before_listing(), listed, at)


def test_a_child_is_about_the_model_server_that_its_label_names(services: Inventory) -> None:
    assert services.delivered(metadata(), 0, deleted=False) == OWNER


def test_a_child_without_its_label_is_about_its_owner(services: Inventory) -> None:
    owners = [{"kind": "ModelServer", "name": "mnist"}]

    stripped = metadata(labels={}, ownerReferences=owners)

    assert services.delivered(stripped, 0, deleted=False) == OWNER


def test_a_child_that_lost_label_and_owner_is_about_whom_it_was_about(
    services: Inventory,
) -> None:
    services.delivered(metadata(), 0, deleted=False)

    assert services.delivered(metadata(version="2", labels=None), 1, deleted=False) == OWNER


def test_an_object_of_nobody_is_about_nobody(services: Inventory) -> None:
    assert services.delivered(metadata(labels={}), 0, deleted=False) is None
    assert list_all(services, metadata("other", labels={})) == set()


def test_a_model_server_is_about_itself() -> None:
    servers = Inventory(Stream(MODEL_SERVER, None))

    assert servers.delivered(metadata("mnist", labels={}), 0, deleted=False) == OWNER


def test_a_list_without_news_wakes_nobody(services: Inventory) -> None:
    services.delivered(metadata(), 0, deleted=False)

    assert list_all(services, metadata()) == set()


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param([metadata(version="2")], id="changed"),
        pytest.param([metadata(uid="another")], id="replaced"),
        pytest.param([], id="deleted"),
        pytest.param([metadata(), metadata("mnist-headless")], id="created"),
    ],
)
def test_a_list_notices_what_the_watch_swallowed(
    services: Inventory, listed: list[JsonObject]
) -> None:
    services.delivered(metadata(), 0, deleted=False)

    assert list_all(services, *listed) == {OWNER}
    assert list_all(services, *listed) == set(), "it is news twice"


def test_a_watch_that_is_ahead_of_the_list_is_right(services: Inventory) -> None:
    services.delivered(metadata(version="12"), 0, deleted=False)

    assert list_all(services, metadata(version="9")) == set()


def test_what_is_created_while_the_list_is_read_has_not_vanished(services: Inventory) -> None:
    before = services.before_listing()
    services.delivered(metadata(), 0, deleted=False)

    assert services.compare(before, [], 100) == set()
    assert len(services) == 1


def test_what_is_deleted_while_the_list_is_read_is_no_news_twice(services: Inventory) -> None:
    services.delivered(metadata(), 0, deleted=False)
    before = services.before_listing()
    services.delivered(metadata(), 1, deleted=True)

    assert services.compare(before, [], 100) == set()


def test_a_deleted_object_is_forgotten(services: Inventory) -> None:
    services.delivered(metadata(), 0, deleted=False)

    assert services.delivered(metadata(version="2"), 1, deleted=True) == OWNER
    assert len(services) == 0


def test_a_change_that_the_watch_delivers_late_was_not_swallowed(services: Inventory) -> None:
    list_all(services, metadata(), at=100)
    services.delivered(metadata(), 101, deleted=False)

    assert services.swallowed(200) == 0
    assert services.deaf_since is None


def test_a_change_that_the_watch_never_delivers_was_swallowed_once(services: Inventory) -> None:
    list_all(services, metadata(), at=100)

    assert services.swallowed(104) == 0
    assert services.swallowed(106) == 1
    assert services.swallowed(107) == 0


def test_a_watch_that_swallows_is_deaf_until_it_delivers_something(services: Inventory) -> None:
    list_all(services, metadata(), at=100)
    services.swallowed(110)
    list_all(services, metadata(version="2"), at=120)
    services.swallowed(130)
    assert services.deaf_since == 110

    services.delivered(metadata("mnist-headless"), 140, deleted=False)

    assert services.deaf_since is None


def test_it_knows_whose_objects_there_are() -> None:
    pods = Inventory(Stream(POD, None))
    for name in ("a", "b"):
        pods.delivered(metadata(name, labels={"modelserver.dev/name": name}), 0, deleted=False)

    assert pods.owners == {Key("ns", "a"), Key("ns", "b")}


def test_a_list_that_is_older_than_a_deletion_revives_nothing(services: Inventory) -> None:
    services.delivered(metadata(), 0, deleted=False)
    before = services.before_listing()
    services.delivered(metadata(), 1, deleted=True)

    assert services.compare(before, [metadata()], 1) == set()
    assert services.swallowed(100) == 0
    assert len(services) == 0
