"""What a source says of versions that must be fetched, and of those that were overwritten."""

from dataclasses import replace

import pytest

from modelserver.core.servable import ServableId
from modelserver.core.source import connect
from modelserver.core.state import HeldBack
from modelserver.errors import UnavailableError
from modelserver.sources import Latest, MonitoredServable, Specific, StoragePathSource
from modelserver.testing.clock import ManualClock
from modelserver.testing.storage import MemoryStorage

PATIENCE_SECONDS = 20
COMING = HeldBack("downloading", is_coming=True)


def servable(name):
    """It is polled once, and then when something has arrived."""
    return MonitoredServable(name, f"/{name}", lambda path: [], Latest(), poll_wait_seconds=0)


class Scene:
    """A source on a storage in which version 1 of `a` and of `b` is still away."""

    def __init__(self, ear):
        self.ear = ear
        self.storage = MemoryStorage()
        self.loaded = {}
        for name in ("a", "b"):
            self.storage.write(f"/{name}/1/model")
            self.storage.keep_away(f"/{name}/1", COMING)
        self.source = StoragePathSource(
            self.storage,
            [],
            report_held_back=ear.report_held_back,
            loaded_revision=lambda id: self.loaded.get(id),
            clock=ManualClock(),
        )
        connect(self.source, ear.receive)

    def watch(self, *servables):
        self.source.update_servables(servables)


@pytest.fixture
def scene(ear):
    scene = Scene(ear)
    yield scene
    assert scene.source.stop(PATIENCE_SECONDS)


def test_a_version_is_emitted_as_soon_as_it_has_arrived(scene):
    scene.watch(servable("a"))
    first = scene.ear.next_held_back("a")

    scene.storage.arrive("/a/1")

    assert first == {1: COMING}
    assert scene.ear.next_aspired("a") == [1]


def test_what_has_failed_to_arrive_is_told_at_once(scene):
    scene.watch(servable("a"))
    scene.ear.next_held_back("a")
    failed = replace(COMING, error=UnavailableError("no route"), retry_time=9.0)

    scene.storage.keep_away("/a/1", failed)

    assert scene.ear.next_held_back("a") == {1: failed}


def test_only_what_has_arrived_is_emitted(scene):
    scene.watch(servable("a"), servable("b"))
    for name in ("a", "b"):
        scene.ear.next_held_back(name)

    scene.storage.arrive("/b/1")

    assert scene.ear.next_aspired("b") == [1]
    assert scene.ear.next_held_back("a") == {1: COMING}  # it was polled too
    assert not scene.ear.has_heard_more("a")


def test_nothing_is_fetched_any_more_for_a_servable_left_out(scene):
    scene.watch(servable("a"))
    scene.ear.next_held_back("a")
    before = dict(scene.storage.wanted)

    scene.watch()

    assert before == {"a": ["/a/1"]}
    assert scene.storage.wanted == {"a": []}


def test_what_arrives_after_its_servable_was_left_out_is_not_emitted(scene):
    scene.watch(servable("a"))
    scene.ear.next_held_back("a")
    scene.watch()
    assert scene.ear.next_aspired("a") == []

    scene.storage.arrive("/a/1")

    assert scene.source.stop(PATIENCE_SECONDS)
    assert not scene.ear.has_heard_more("a")


def test_what_arrives_after_the_stop_is_not_looked_at_and_what_is_here_may_stay(scene):
    scene.watch(servable("a"))
    scene.ear.next_held_back("a")
    scene.source.stop(PATIENCE_SECONDS)

    scene.storage.arrive("/a/1")

    assert scene.storage.list_calls == {"/a": 1, "/a/1": 1}
    assert scene.storage.wanted == {"a": ["/a/1"]}


def test_what_stands_stays_until_what_another_policy_wants_has_arrived(scene):
    scene.storage.write("/a/2/model")
    scene.watch(servable("a"))
    heard = [scene.ear.next_aspired("a")]

    scene.watch(replace(servable("a"), version_policy=Specific(frozenset({1}))))
    heard.append(scene.ear.next_aspired("a"))
    scene.storage.arrive("/a/1")
    heard.append(scene.ear.next_aspired("a"))

    assert heard == [[2], [2], [1]]


def test_other_content_than_is_loaded_is_told_in_the_status(scene):
    scene.storage.arrive("/a/1")
    scene.watch(servable("a"))
    scene.ear.next_held_back("a")
    scene.loaded[ServableId("a", 1)] = frozenset({("what was there once", 1, "")})

    scene.source.poll_now("a")
    scene.ear.next_held_back("a")

    assert scene.source.statuses()["a"].mutated == {1}
