"""Where the versions are of which a source knows the files."""

from collections.abc import Iterator

import pytest

from modelserver.core.source import connect
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.sources import All, MonitoredServable, StoragePathSource
from modelserver.testing.clock import ManualClock
from modelserver.testing.storage import MemoryStorage

PATIENCE_SECONDS = 20


def servable(name: str = "m", poll_wait_seconds: float = 1.0) -> MonitoredServable:
    return MonitoredServable(
        name,
        f"/{name}",
        lambda path: [] if "model" in path.files else ["model"],
        All(),
        poll_wait_seconds,
    )


class Scene:
    """A source of the servable `m`, on a storage in memory."""

    def __init__(self, ear) -> None:
        self.storage = MemoryStorage()
        self.storage.make_directory("/m")
        self.clock = ManualClock()
        self.source = StoragePathSource(
            self.storage, [servable()], report_held_back=ear.report_held_back, clock=self.clock
        )
        self._ear = ear

    def poll(self) -> dict[int, StoragePath]:
        """Poll once more, and return what is known then."""
        if self.storage.list_calls:
            self.clock.advance(1.0)
        else:
            connect(self.source, self._ear.receive)
        self._ear.next_held_back("m")
        return dict(self.source.versions().get("m", {}))


@pytest.fixture
def scene(ear) -> Iterator[Scene]:
    scene = Scene(ear)
    yield scene
    assert scene.source.stop(PATIENCE_SECONDS)


def sizes(versions: dict[int, StoragePath]) -> dict[int, int]:
    return {v: sum(info.size for info in path.files.values()) for v, path in versions.items()}


def test_a_version_that_is_aspired_is_known_and_one_that_is_not_whole_is_not(scene: Scene) -> None:
    scene.storage.write("/m/1/model", size=7)
    scene.storage.write("/m/2/part", size=9)

    assert sizes(scene.poll()) == {1: 7}


def test_a_version_is_known_while_it_is_fetched(scene: Scene) -> None:
    scene.storage.write("/m/1/model", size=7)
    scene.storage.write("/m/0002/model", size=9)
    scene.storage.keep_away("/m/0002", HeldBack("downloading", is_coming=True))

    assert sizes(scene.poll()) == {1: 7, 2: 9}


def test_a_version_that_is_gone_is_not_known_any_more(scene: Scene) -> None:
    scene.storage.write("/m/1/model", size=7)
    scene.storage.write("/m/2/model", size=9)
    found = [sizes(scene.poll())]

    scene.storage.remove("/m/2")
    scene.poll()
    found.append(sizes(scene.poll()))

    assert found == [{1: 7, 2: 9}, {1: 7}]
