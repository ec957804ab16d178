from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelserver.core.source import connect
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.errors import InvalidArgumentError, NotFoundError, UnavailableError
from modelserver.sources import All, Latest, MonitoredServable, StoragePathSource
from modelserver.sources.storage.base import Storage
from modelserver.sources.storage.file_system import FileSystemStorage
from modelserver.testing.clock import ManualClock
from modelserver.testing.storage import MemoryStorage

PATIENCE_SECONDS = 20


def missing_files(path: StoragePath) -> list[str]:
    return [] if "model" in path.files else ["model"]


def servable(name: str, poll_wait_seconds: float = 1.0) -> MonitoredServable:
    return MonitoredServable(name, f"/{name}", missing_files, Latest(), poll_wait_seconds)


class Scene:
    """A source on a storage in memory, with its own time."""

    def __init__(self, ear) -> None:
        self.storage = MemoryStorage()
        self.clock = ManualClock()
        self.ear = ear
        self.source: StoragePathSource | None = None

    def start(
        self,
        *servables: MonitoredServable,
        always_present: bool = True,
        storage: Storage | None = None,
    ) -> StoragePathSource:
        self.source = StoragePathSource(
            storage or self.storage,
            servables,
            report_held_back=self.ear.report_held_back,
            servable_versions_always_present=always_present,
            clock=self.clock,
        )
        connect(self.source, self.ear.receive)
        return self.source


@pytest.fixture
def scene(ear) -> Iterator[Scene]:
    scene = Scene(ear)
    yield scene
    if scene.source is not None:
        assert scene.source.stop(PATIENCE_SECONDS)


# Polling…


def test_it_polls_at_the_start_and_at_each_interval(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    scene.start(servable("a"))

    first = scene.ear.next_aspired("a")
    scene.storage.write("/a/2/model")
    scene.clock.advance(1.0)

    assert first == [1]
    assert scene.ear.next_aspired("a") == [2]


def test_a_poll_wait_of_zero_polls_once_at_the_start(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    source = scene.start(servable("a", poll_wait_seconds=0))
    first = scene.ear.next_aspired("a")

    scene.storage.write("/a/2/model")
    scene.clock.advance(1000.0)
    source.poll_now("a")

    assert first == [1]
    assert scene.ear.next_aspired("a") == [2]
    assert scene.storage.list_calls["/a"] == 2


def test_a_negative_poll_wait_polls_only_on_request(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    source = scene.start(servable("a", poll_wait_seconds=-1))
    scene.clock.advance(1000.0)

    source.poll_now("a")

    assert scene.ear.next_aspired("a") == [1]
    assert scene.storage.list_calls["/a"] == 1


def test_a_poll_of_a_name_that_is_not_watched_is_refused(scene: Scene) -> None:
    source = scene.start(servable("a", poll_wait_seconds=-1))

    with pytest.raises(NotFoundError, match="No servable named b is being polled"):
        source.poll_now("b")


def test_held_back_versions_are_reported_at_each_poll(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    scene.storage.write("/a/2/part")
    scene.start(servable("a"))

    first = scene.ear.next_held_back("a")
    scene.storage.write("/a/2/model")
    scene.clock.advance(1.0)

    second = scene.ear.next_held_back("a")
    scene.clock.advance(1.0)

    assert first == second == {2: HeldBack("waiting for upload: model")}
    assert scene.ear.next_held_back("a") == {}


def test_an_empty_base_path_unloads_everything_where_versions_need_not_be_present(
    scene: Scene,
) -> None:
    scene.storage.write("/a/1/model")
    scene.start(servable("a"), always_present=False)
    scene.ear.next_aspired("a")

    scene.storage.remove("/a/1")
    scene.clock.advance(1.0)
    lost = scene.ear.next_aspired("a")
    scene.clock.advance(1.0)

    assert lost == [1]
    assert scene.ear.next_aspired("a") == []


def test_a_storage_that_does_not_answer_is_asked_again_though_there_is_no_interval(
    scene: Scene,
) -> None:
    scene.storage.write("/a/1/model")
    scene.storage.fail("/a", UnavailableError("/a; Stale file handle"))
    first = scene.storage.hang("/a")
    scene.start(servable("a", poll_wait_seconds=0))
    assert first.entered.wait(PATIENCE_SECONDS)
    second = scene.storage.hang("/a")

    first.release.set()
    while not second.entered.wait(0.01):
        scene.clock.advance(1.0)
    scene.storage.fail("/a", None)
    second.release.set()

    assert scene.ear.next_aspired("a") == [1]


def test_it_says_when_each_servable_is_polled_next(scene: Scene) -> None:
    jittered = replace(servable("c", 100.0), poll_jitter=0.1)
    for name in ("a", "b", "c"):
        scene.storage.write(f"/{name}/1/model")
    source = scene.start(servable("a", 7.0), servable("b", 0), jittered)
    for name in ("a", "b", "c"):
        scene.ear.next_aspired(name)

    found = source.next_polls()

    now = scene.clock.monotonic()
    assert found.keys() == {"a", "c"}
    assert found["a"] == now + 7.0
    assert 89.9 < found["c"] - now < 110.1
    assert found["c"] != now + 100.0


# One servable never stalls another…


def test_a_missing_base_path_leaves_other_servables_alone(scene: Scene) -> None:
    scene.storage.write("/b/1/model")
    scene.start(servable("a"), servable("b"))

    first = scene.ear.next_aspired("b")
    scene.clock.advance(1.0)

    assert first == [1]
    assert scene.ear.next_aspired("b") == [1]


def test_a_hanging_base_path_leaves_other_servables_alone(scene: Scene) -> None:
    hang = scene.storage.hang("/a")
    scene.storage.write("/a/1/model")
    scene.storage.write("/b/1/model")
    scene.start(servable("a"), servable("b"))

    while_hanging = [scene.ear.next_aspired("b")]
    scene.clock.advance(1.0)
    while_hanging.append(scene.ear.next_aspired("b"))
    hang.release.set()

    assert while_hanging == [[1], [1]]
    assert scene.ear.next_aspired("a") == [1]


def test_errors_say_which_servable_could_not_be_polled_and_why(scene: Scene) -> None:
    scene.storage.write("/b/1/model")
    first = scene.storage.hang("/a")
    source = scene.start(servable("a", 0), servable("b", 0))
    scene.ear.next_aspired("b")
    assert first.entered.wait(PATIENCE_SECONDS)
    before = source.errors()

    second = scene.storage.hang("/a")
    source.poll_now("a")
    first.release.set()
    assert second.entered.wait(PATIENCE_SECONDS)
    after = source.errors()
    second.release.set()

    assert before == {}
    assert {name: str(error) for name, error in after.items()} == {
        "a": "Could not find base path /a for servable a with error NOT_FOUND: /a not found"
    }


# Changing what is watched…


def test_a_servable_left_out_gets_an_empty_list(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    scene.storage.write("/b/1/model")
    source = scene.start(servable("a", 0), servable("b", 0))
    scene.ear.next_aspired("a")
    scene.ear.next_held_back("a")

    source.update_servables([servable("b", 0)])

    assert scene.ear.next_aspired("a") == []
    assert scene.ear.next_held_back("a") == {}


@pytest.mark.parametrize("poll_wait_seconds", [1.0, 0, -1])
def test_a_new_servable_is_polled_at_once(scene: Scene, poll_wait_seconds: float) -> None:
    scene.storage.write("/b/1/model")
    source = scene.start(servable("a", poll_wait_seconds))

    source.update_servables([servable("a", poll_wait_seconds), servable("b", poll_wait_seconds)])

    assert scene.ear.next_aspired("b") == [1]


@pytest.mark.parametrize("poll_wait_seconds", [1.0, 0, -1])
def test_a_changed_servable_is_polled_at_once(scene: Scene, poll_wait_seconds: float) -> None:
    scene.storage.write("/a/1/model")
    scene.storage.write("/a/2/model")
    before = servable("a", poll_wait_seconds)
    source = scene.start(before)
    source.poll_now("a")
    scene.ear.next_aspired("a")

    source.update_servables([replace(before, version_policy=All())])

    while (aspired := scene.ear.next_aspired("a")) == [2]:
        pass
    assert aspired == [2, 1]


def test_an_unchanged_servable_is_not_disturbed(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    source = scene.start(servable("a", 0))
    scene.ear.next_aspired("a")

    source.update_servables([servable("a", 0)])
    source.stop(PATIENCE_SECONDS)

    assert scene.storage.list_calls["/a"] == 1


def test_a_changed_servable_keeps_what_was_complete(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    before = servable("a", 0)
    source = scene.start(before)
    scene.ear.next_aspired("a")
    scene.storage.remove("/a/1/model")

    source.update_servables([replace(before, version_policy=All())])

    assert scene.ear.next_aspired("a") == [1]


def test_a_moved_servable_is_judged_by_what_its_new_base_path_holds(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    scene.storage.write("/new/1/part")
    before = servable("a", 0)
    source = scene.start(before)
    scene.ear.next_aspired("a")
    scene.ear.next_held_back("a")

    source.update_servables([replace(before, base_path="/new")])

    assert scene.ear.next_held_back("a") == {}  # nothing of the old place is waited for
    assert scene.ear.next_held_back("a") == {1: HeldBack("waiting for upload: model")}
    assert not scene.ear.has_heard_more("a")


def test_a_servable_removed_while_its_storage_hangs_stays_removed(scene: Scene) -> None:
    hang = scene.storage.hang("/a")
    scene.storage.write("/a/1/model")
    source = scene.start(servable("a", 0))
    assert hang.entered.wait(PATIENCE_SECONDS)

    source.update_servables([])
    hang.release.set()

    assert scene.ear.next_aspired("a") == []
    assert source.stop(PATIENCE_SECONDS)
    assert not scene.ear.has_heard_more("a")


def test_a_servable_moved_off_a_hanging_storage_is_polled_at_once(scene: Scene) -> None:
    hang = scene.storage.hang("/a")
    scene.storage.write("/new/1/model")
    before = servable("a", 0)
    source = scene.start(before)
    assert hang.entered.wait(PATIENCE_SECONDS)

    source.update_servables([replace(before, base_path="/new")])

    assert scene.ear.next_aspired("a") == [1]
    hang.release.set()


def test_a_name_listed_twice_is_refused_and_nothing_changes(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    source = scene.start(servable("a", 0))
    scene.ear.next_aspired("a")

    with pytest.raises(InvalidArgumentError, match="servable b twice"):
        source.update_servables([servable("b"), servable("b")])

    source.poll_now("a")
    assert scene.ear.next_aspired("a") == [1]


def test_servables_changed_before_the_start_are_those_polled_at_the_start(scene: Scene) -> None:
    scene.storage.write("/b/1/model")
    source = StoragePathSource(scene.storage, [servable("a")], clock=scene.clock)
    scene.source = source

    source.update_servables([servable("b")])
    connect(source, scene.ear.receive)

    assert scene.ear.next_aspired("b") == [1]
    assert "/a" not in scene.storage.list_calls


def test_a_second_callback_is_ignored(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    source = scene.start(servable("a", -1))
    scene.storage.write("/a/1/model")

    connect(source, lambda name, versions: None)
    source.poll_now("a")

    assert scene.ear.next_aspired("a") == [1]
    assert "called multiple times" in caplog.text


# Stopping…


def test_after_stop_nothing_is_emitted_and_what_is_aspired_stays(scene: Scene) -> None:
    scene.storage.write("/a/1/model")
    source = scene.start(servable("a"))
    scene.ear.next_aspired("a")

    has_ended = source.stop(PATIENCE_SECONDS)
    scene.clock.advance(10.0)
    source.update_servables([servable("b")])

    assert has_ended
    assert not scene.ear.has_heard_more("a")
    assert scene.storage.list_calls == {"/a": 1, "/a/1": 1}


def test_stop_leaves_a_hanging_poll_behind(scene: Scene) -> None:
    hang = scene.storage.hang("/a")
    source = scene.start(servable("a"))
    assert hang.entered.wait(PATIENCE_SECONDS)

    has_ended = source.stop(timeout=0.0)
    hang.release.set()

    assert not has_ended


# On a real file system…


def test_it_follows_an_export_being_copied_into_a_folder(scene: Scene, tmp_path: Path) -> None:
    watched = MonitoredServable(
        "a", str(tmp_path), missing_files, must_settle=lambda name: name != "model"
    )
    (tmp_path / "00000001").mkdir()
    (tmp_path / "00000001" / "model").write_text("one")
    scene.start(watched, storage=FileSystemStorage())

    heard = [scene.ear.next_aspired("a")]
    (tmp_path / "2").mkdir()
    scene.clock.advance(1.0)
    heard.append(scene.ear.next_aspired("a"))
    (tmp_path / "2" / "model").write_text("two")
    scene.clock.advance(1.0)
    heard.append(scene.ear.next_aspired("a"))

    assert heard == [[1], [1], [2]]
