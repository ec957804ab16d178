"""A server on a bucket in which things go wrong. Whatever it is: what serves, serves on, the report
says what is the matter, and the new version is served once it is over.
"""

import io
from dataclasses import dataclass

import numpy as np
import pytest

from testcluster.faults import (
    BlackHole,
    Corrupt,
    Hidden,
    Reordered,
    ReplaceObject,
    Reset,
    Slow,
    Stall,
    Status,
    Truncate,
    WrongChecksum,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

OBJECT = "tables/2/table.npz"


def table(value):
    content = io.BytesIO()
    np.savez(content, keys=np.array([b"a"]), values=np.array([value]))
    return content.getvalue()


class Shop:
    """A server that serves version 1 of a model in a bucket, and the bucket."""

    def __init__(self, pod, emulator, bucket, faults, model):
        self.pod = pod
        self.faults = faults
        self.base_path = f"gs://{bucket}/tables"
        self._model = model
        self._emulator = emulator
        self._bucket = bucket

    def upload(self, version, value=None, name="table.npz"):
        content = table(version if value is None else value)
        self._emulator.put(self._bucket, f"tables/{version}/{name}", content)

    def put(self, name, content):
        self._emulator.put(self._bucket, name, content)

    def delete(self, name):
        self._emulator.delete(self._bucket, name)

    def row(self, version):
        rows = self.pod.model("tables")["versions"]
        return next((row for row in rows if row["version"] == version), {})

    def source(self):
        return self.pod.model("tables")["source"]

    def polls(self):
        return sum(r.kind == "list" and r.name == "tables/" for r in self.faults.requests())

    def serve(self, **members):
        self.pod.write(self._model("tables", self.base_path, **members))

    def ask_for_a_look_at_everything(self):
        """The files of a version that serves are listed every five minutes otherwise."""
        self.pod.write(self._model("tables", self.base_path), pollRequest="now")

    def wait_for_polls(self, more):
        target = self.polls() + more
        self.pod.eventually(lambda: self.polls() >= target)


@pytest.fixture
def start_shop(gcs_emulator, bucket, gcs_faults, make_pod, model, monkeypatch, tmp_path):
    def start(**members):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_faults.url)
        pod = make_pod(f"--cache_dir={tmp_path}/cache")
        shop = Shop(pod, gcs_emulator, bucket, gcs_faults, model)
        shop.upload(1)
        shop.put("tables/1/_SUCCESS", b"")
        shop.serve(**members)
        pod.start().wait_until_ready()
        pod.wait_for_versions("tables", 1)
        return shop

    return start


@pytest.fixture
def shop(start_shop):
    return start_shop()


@dataclass(frozen=True)
class Trouble:
    """A fault, and how the report is to tell of it: in the source's part, or in version 2's row."""

    fault: object
    kind: str
    reason: str
    message: str = ""

    def is_told(self, shop):
        found = shop.source() if self.kind == "list" else shop.row(2)
        return found.get("reason") == self.reason and self.message in found["message"]


TROUBLES = [
    Trouble(Status(401), "list", "CredentialsMissing", "workload identity"),
    Trouble(Status(403), "list", "Forbidden", "may not read bucket gs://test-"),
    Trouble(Status(404), "list", "NotFound", "not found"),
    Trouble(Status(408), "list", "Unavailable", "answered 408"),
    Trouble(Status(429), "list", "Unavailable", "answered 429"),
    Trouble(Status(500), "list", "Unavailable", "answered 500"),
    Trouble(Status(503), "list", "Unavailable", "answered 503"),
    Trouble(Reset(0), "list", "Unavailable", "no answer"),
    Trouble(Status(403), "read", "LoadFailed", "may not read bucket gs://test-"),
    Trouble(Status(404), "read", "LoadFailed", "not found"),
    Trouble(Status(408), "read", "LoadFailed", "answered 408"),
    Trouble(Status(429), "read", "LoadFailed", "answered 429"),
    Trouble(Status(500), "read", "LoadFailed", "answered 500"),
    Trouble(Status(503), "read", "LoadFailed", "answered 503"),
    Trouble(Reset(0), "read", "LoadFailed", "no answer"),
    Trouble(Corrupt(300), "read", "LoadFailed", "does not match its checksum"),
    Trouble(Slow(30), "read", "Downloading"),
    Trouble(Stall(10), "read", "Downloading"),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda t: f"{t.kind}-{t.fault}")
def test_trouble_costs_nothing_is_told_and_passes(shop, trouble):
    # A platform looks at an object's end before it is fetched: that is not what is tested here.
    with shop.pod.client() as client, client.looking_up("tables") as (answers, failures):
        shop.faults.inject(trouble.fault, kind=trouble.kind, under="tables/", when=is_download)
        shop.upload(2)
        shop.pod.eventually(lambda: trouble.is_told(shop))
        shop.pod.eventually(lambda: (1, 1) in answers)
        seen_meanwhile = set(answers)
        shop.faults.heal()
        shop.pod.wait_for_versions("tables", 2)
        shop.pod.eventually(lambda: (2, 2) in answers)

    assert seen_meanwhile == {(1, 1)}
    assert failures == []


def is_download(request):
    """Whether a request is no look at a file's end: a fetch begins with the first byte."""
    return request.kind != "read" or request.byte_range[0] == 0


PASSING = [
    Reordered(),
    Truncate(100),
    Reset(100),
    WrongChecksum(OBJECT),
    Status(503),
]


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_passes_is_overcome_without_help(shop, fault):
    shop.faults.inject(fault, times=2)
    shop.upload(2)

    shop.pod.wait_for_versions("tables", 2)

    with shop.pod.client() as client:
        assert client.look_up("tables") == (2, 2)


def test_a_service_that_never_answers_is_told_and_what_serves_serves_on(shop):
    shop.faults.inject(BlackHole(), kind="list")
    shop.upload(2)

    shop.pod.eventually(lambda: shop.source()["reason"] == "Unavailable")
    with shop.pod.client() as client:
        assert client.look_up("tables") == (1, 1)
    shop.faults.heal()

    shop.pod.wait_for_versions("tables", 2)


def test_a_listing_that_loses_a_version_once_unloads_nothing(start_shop):
    shop = start_shop(versionPolicy={"latest": {"count": 1}})
    shop.upload(2)
    shop.pod.wait_for_versions("tables", 2)

    with shop.pod.client() as client, client.looking_up("tables") as (answers, failures):
        lost = shop.faults.inject(Hidden("tables/2/"), kind="list", times=1)
        shop.pod.eventually(lambda: lost.met == 1)
        shop.wait_for_polls(3)

    assert answers == {(2, 2)}
    assert failures == []


def test_a_version_that_is_deleted_gives_way_to_the_one_before(shop):
    shop.upload(2)
    shop.pod.wait_for_versions("tables", 2)

    shop.delete(OBJECT)

    shop.pod.wait_for_versions("tables", 1)


def test_an_object_replaced_during_its_download_is_fetched_as_it_is_now(shop):
    shop.faults.inject(ReplaceObject(table(22), after=100), kind="read", when=is_download, times=1)
    shop.upload(2)

    shop.pod.wait_for_versions("tables", 2)

    with shop.pod.client() as client:
        assert client.look_up("tables") == (2, 22)


def test_a_bucket_that_has_vanished_does_not_take_away_what_serves(shop):
    shop.delete("tables/1/table.npz")
    shop.delete("tables/1/_SUCCESS")

    shop.pod.eventually(lambda: shop.source()["reason"] == "NotFound")

    with shop.pod.client() as client:
        assert client.look_up("tables") == (1, 1)


def test_a_version_overwritten_in_place_is_told_and_serves_as_it_was_loaded(shop):
    shop.upload(1, value=11)
    shop.ask_for_a_look_at_everything()

    shop.pod.eventually(lambda: shop.row(1)["reason"] == "Mutated")

    with shop.pod.client() as client:
        assert client.look_up("tables") == (1, 1)


def test_a_broken_version_is_told_and_serves_once_it_is_repaired(shop):
    content = io.BytesIO()
    np.savez(content, something=np.array([1]))
    shop.put(OBJECT, content.getvalue())
    shop.pod.eventually(lambda: shop.row(2).get("reason") == "LoadFailed")

    shop.upload(2)

    shop.pod.wait_for_versions("tables", 2)


def test_an_upload_in_the_wrong_order_is_waited_for(start_shop):
    shop = start_shop(readyMarker="_SUCCESS", versionPolicy={"all": {}})
    shop.upload(2)
    shop.pod.eventually(lambda: shop.row(2).get("reason") == "Incomplete")

    assert shop.row(2)["message"] == "waiting for upload: _SUCCESS (ready marker)"
    shop.put("tables/2/_SUCCESS", b"")
    shop.pod.wait_for_versions("tables", 1, 2)


def test_a_restart_finds_its_versions_in_the_cache(shop):
    shop.pod.kill()
    shop.faults.clear()

    shop.pod.start().wait_until_ready()

    shop.pod.wait_for_versions("tables", 1)
    reads = [request for request in shop.faults.requests() if is_fetch(request)]
    assert reads == []


def is_fetch(request):
    return request.kind == "read" and is_download(request)


def test_an_idle_model_costs_one_listing_a_poll(start_shop):
    shop = start_shop(pollSeconds=0.2)
    shop.wait_for_polls(2)
    shop.faults.clear()

    shop.wait_for_polls(5)

    kinds = {(request.kind, request.name) for request in shop.faults.requests()}
    assert kinds == {("list", "tables/")}
