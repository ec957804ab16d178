"""Following a file: only what can be understood is applied, and what is wrong is told."""

import queue

import pytest

from modelserver.config import ModelConfig, ModelList, ModelListFile
from modelserver.config_watch import ConfigStatus, ConfigWatch, hash_of
from modelserver.errors import InvalidArgumentError
from modelserver.testing.clock import ManualClock

PATIENCE_SECONDS = 20


def parse(content):
    """A file of names, one a line."""
    names = content.decode().split()
    if "wrong" in names:
        raise InvalidArgumentError("line 1: wrong")
    return ModelList(tuple(ModelConfig(name, f"/{name}") for name in names))


class Scene:
    def __init__(self, path):
        self.path = path
        self.clock = ManualClock()
        self.applied = queue.Queue()
        self.failure = None
        file = ModelListFile(path, parse, poll_seconds=0.5)
        self.watch = ConfigWatch(file, self.apply, self.clock)

    def apply(self, models):
        if self.failure is not None:
            raise self.failure
        self.applied.put([model.name for model in models.models])

    def poll(self, content):
        self.path.write_bytes(content)
        self.watch.poll()
        return [self.applied.get() for _ in range(self.applied.qsize())]


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path / "models")


def test_new_content_is_applied_once(scene):
    assert scene.poll(b"a") == [["a"]]
    assert scene.poll(b"a") == []
    assert scene.poll(b"a b") == [["a", "b"]]
    assert scene.watch.status == ConfigStatus(hash_of(b"a b"))


def test_the_hash_is_that_of_the_exact_bytes():
    assert hash_of(b"abc") == "ba7816bf8f01cfea"


def test_before_the_first_content_nothing_is_in_force_and_the_status_says_why(scene):
    scene.watch.poll()

    assert not scene.watch.has_applied
    message = f"Cannot read {scene.path}: No such file or directory"
    assert scene.watch.status == ConfigStatus("", "", message)


def test_content_that_is_wrong_changes_nothing_and_is_told(scene):
    scene.poll(b"a")

    assert scene.poll(b"wrong") == []
    assert scene.watch.status == ConfigStatus(hash_of(b"a"), hash_of(b"wrong"), "line 1: wrong")
    assert scene.watch.has_applied


def test_content_that_cannot_be_applied_counts_as_refused_and_is_not_tried_again(scene):
    scene.poll(b"a")
    scene.failure = RuntimeError("a bug")

    scene.poll(b"b")
    scene.failure = None

    assert scene.poll(b"b") == []
    assert scene.watch.status == ConfigStatus(hash_of(b"a"), hash_of(b"b"), "a bug")


def test_a_file_that_vanishes_changes_nothing_and_all_is_well_when_it_is_back(scene):
    scene.poll(b"a")
    scene.path.unlink()
    scene.watch.poll()
    assert scene.watch.status.hash == hash_of(b"a")
    assert "Cannot read" in scene.watch.status.error

    assert scene.poll(b"a") == []
    assert scene.watch.status == ConfigStatus(hash_of(b"a"))


def test_going_back_to_what_is_in_force_is_well_and_applies_nothing(scene):
    scene.poll(b"a")
    scene.poll(b"wrong")

    assert scene.poll(b"a") == []
    assert scene.watch.status.error == ""


def test_content_that_was_refused_is_looked_at_again_after_something_else(scene):
    scene.poll(b"a")
    scene.failure = RuntimeError("for a while")
    scene.poll(b"b")
    scene.failure = None
    scene.poll(b"a")

    assert scene.poll(b"b") == [["b"]]


def test_a_started_watch_looks_at_every_interval_until_it_is_stopped(scene):
    scene.path.write_bytes(b"a")
    scene.watch.start()
    assert scene.applied.get(timeout=PATIENCE_SECONDS) == ["a"]

    scene.path.write_bytes(b"b")
    scene.clock.advance(0.5)
    assert scene.applied.get(timeout=PATIENCE_SECONDS) == ["b"]

    assert scene.watch.stop(PATIENCE_SECONDS)


def test_a_mounted_config_map_that_is_swapped_by_links_is_seen(scene, tmp_path):
    for name, content in (("..1", b"a"), ("..2", b"b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "models").write_bytes(content)
    (tmp_path / "..data").symlink_to("..1")
    scene.path.symlink_to("..data/models")
    scene.watch.poll()

    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    scene.watch.poll()

    assert [scene.applied.get(), scene.applied.get()] == [["a"], ["b"]]


def test_a_failure_without_words_is_told_all_the_same(scene):
    scene.failure = AssertionError()

    scene.poll(b"a")

    assert scene.watch.status == ConfigStatus("", hash_of(b"a"), "AssertionError()")
