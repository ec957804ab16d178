"""What a server tells of versions that it copies, from a store in memory into a real cache."""

import io
import threading
import time
from collections import Counter

import numpy as np
import pytest

from modelserver.admin import ServerSnapshot, build_report
from modelserver.config import ModelConfig, ModelList, ServerConfig
from modelserver.core.storage_path import FileInfo
from modelserver.errors import NotFoundError
from modelserver.served_models import ServedModels
from modelserver.sources.cache.fetches import Fetches
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.storage.base import CallKind
from modelserver.sources.storage.cached import CachedStorage

PATIENCE_SECONDS = 30
BASE_PATH = "memory://bucket/m"
NOTES = b"not needed to tell that the table is whole"


def table():
    content = io.BytesIO()
    np.savez(content, keys=np.array([b"a"]), values=np.array([1]))
    return content.getvalue()


class Bucket:
    """An `ObjectStore` of one model's versions; its notes come to an end once `gate` is open."""

    def __init__(self, *versions):
        self.files = {"table.npz": table(), "notes": NOTES}
        self.versions = list(versions)
        self.gate = threading.Event()
        self._counts = Counter()

    @property
    def size(self):
        return sum(map(len, self.files.values()))

    def list_versions(self, base_path):
        self._counts[CallKind("list", "200")] += 1
        return [str(version) for version in self.versions]

    def list_files(self, version_path):
        if int(version_path.rpartition("/")[2]) not in self.versions:
            raise NotFoundError(f"{version_path} not found")
        return {name: FileInfo(len(data), version_path) for name, data in self.files.items()}

    def read(self, version_path, name, info, start, stop):
        yield self.files[name][start : start + 1]
        if name == "notes":
            assert self.gate.wait(PATIENCE_SECONDS)
        yield self.files[name][start + 1 : stop]

    def counts(self):
        return dict(self._counts)


class Scene:
    """A server whose cache is in `directory`, and a bucket with version 1."""

    def __init__(self, directory):
        self.directory = directory
        self.bucket = Bucket(1)
        self.served = None

    def start(self):
        """Start a server, in the place of the one before."""
        if self.served is not None:
            self.stop()
        self.served = ServedModels(ServerConfig(cache_directory=self.directory))
        self.served.storage._make_store = lambda scheme: self.bucket
        self.served.start()
        self.serve()

    def stop(self):
        self.bucket.gate.set()
        assert self.served is None or self.served.stop()

    def serve(self, *, has_model=True):
        models = (ModelConfig("m", BASE_PATH, "lookup"),) if has_model else ()
        self.served.apply(ModelList(models))

    def report(self):
        models, totals = self.served.snapshots(), self.served.storage_totals()
        return build_report(ServerSnapshot(models=models, storage=totals), is_ready=True)

    def version(self):
        versions = self.report().document["models"][0]["versions"]
        return versions[0] if versions else {"state": "", "reason": "", "storage": {}}

    def downloads(self):
        return self.report().document["progress"]["downloads"]

    def wait_until_available(self):
        eventually(lambda: self.version()["state"] == "Available")


def eventually(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    scene.stop()


def test_a_download_is_told_from_its_first_byte_to_the_version_that_serves(scene):
    scene.start()
    all_but_notes = scene.bucket.size - len(NOTES) + 1
    eventually(lambda: scene.version()["reason"] == "Downloading")
    eventually(lambda: [d["bytesDone"] for d in scene.downloads()] == [all_but_notes])

    (download,) = scene.downloads()
    under_way = scene.version()
    scene.bucket.gate.set()
    scene.wait_until_available()
    available = scene.version()

    assert (download["uri"], download["bytesTotal"]) == (f"{BASE_PATH}/1", scene.bucket.size)
    known = {"uri": f"{BASE_PATH}/1", "bytes": scene.bucket.size, "files": 2}
    assert under_way["storage"] == known | {"cacheHit": None, "secondsToAvailable": None}
    seconds = available["storage"].pop("secondsToAvailable")
    assert seconds >= 0.0
    assert available["storage"] == known | {"cacheHit": False}
    assert scene.downloads() == []


def test_the_tag_of_a_report_stays_while_bytes_arrive_and_changes_when_all_have(scene):
    scene.start()
    eventually(lambda: scene.version()["reason"] == "Downloading")
    tags = {scene.report().etag}
    eventually(lambda: scene.downloads()[0]["bytesDone"] > len(NOTES))
    tags.add(scene.report().etag)

    scene.bucket.gate.set()
    scene.wait_until_available()

    assert len(tags) == 1
    assert scene.report().etag not in tags


def test_another_server_finds_the_version_in_the_cache_and_says_so(scene):
    scene.bucket.gate.set()
    scene.start()
    scene.wait_until_available()
    first = scene.served.storage_totals()

    scene.start()
    scene.wait_until_available()
    second = scene.served.storage_totals()

    assert (first.size_received, first.cache_hits, first.cache_misses) == (scene.bucket.size, 0, 1)
    assert (second.size_received, second.cache_hits, second.cache_misses) == (0, 1, 0)
    assert scene.version()["storage"]["cacheHit"] is True
    assert (second.cache.versions, second.cache.limit) == (1, None)
    assert second.cache.size >= scene.bucket.size


def test_what_was_counted_stays_counted_when_its_version_leaves(scene):
    scene.bucket.gate.set()
    scene.start()
    scene.wait_until_available()
    before = scene.served.storage_totals()

    scene.serve(has_model=False)
    eventually(lambda: not scene.served.manager.list_available_servable_ids())

    assert scene.served.storage.progress() == ()
    assert scene.served.storage_totals() == before


def test_calls_to_the_store_are_counted(scene):
    scene.start()

    eventually(lambda: scene.served.storage_totals().calls.get(("list", "200")) == 1)


def test_a_version_that_has_left_the_cache_before_its_load_is_another_miss(tmp_path):
    bucket = Bucket(1)
    bucket.gate.set()
    cache = VersionCache(tmp_path)
    path = f"{BASE_PATH}/1"
    version = CachedStorage(bucket, cache).locate(path, bucket.list_files(path))
    fetches = Fetches(bucket, cache)

    releases = [fetches.hold(version) for _ in range(2)]
    counts = fetches.arrivals
    for release in releases:
        release()

    assert (counts.size_received, counts.hits, counts.misses) == (bucket.size, 0, 1)


def test_reading_what_there_is_asks_the_store_for_nothing(scene):
    scene.bucket.gate.set()
    scene.start()
    scene.wait_until_available()
    calls = scene.bucket.counts()

    scene.report()

    assert scene.bucket.counts() == calls
