"""A store with versions, a cache on the disk, time that keeps nobody waiting, small disks."""

import ctypes
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from modelserver.core.storage_path import StoragePath
from modelserver.sources.cache.address import address_of
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.download import Download
from modelserver.sources.cache.fetches import Fetches
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.testing.clock import ManualClock
from modelserver.testing.object_store import Generated, MemoryObjectStore

PATIENCE_SECONDS = 20
_CLONE_NEWNS, _MS_RDONLY, _MS_REC, _MS_PRIVATE = 0x20000, 1, 0x4000, 0x40000


class HastyClock(ManualClock):
    """A clock on which the time that somebody waits for has come. `waits` has the seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.on_wait: Callable[[], None] = lambda: None
        """Called, with the condition held, before the time has come."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        if timeout is None:
            super().wait(condition, timeout)
        else:
            self.waits.append(timeout)
            self.on_wait()
            with self._lock:
                self._now += timeout


class Told:
    """An `on_change`: what it is told is handed to the test's thread."""

    def __init__(self) -> None:
        self._calls: queue.Queue[None] = queue.Queue()

    def __call__(self) -> None:
        self._calls.put(None)

    def wait(self) -> None:
        """Wait until it is told once more."""
        self._calls.get(timeout=PATIENCE_SECONDS)

    @property
    def has_more(self) -> bool:
        return not self._calls.empty()


class Place:
    """A store, a cache, and the versions of one in the other."""

    def __init__(self, root: Path) -> None:
        self.store = MemoryObjectStore()
        self.cache = VersionCache(root)
        self.clock = HastyClock()

    def version(
        self, files: Mapping[str, bytes | Generated], uri: str = "mem://bucket/m/1"
    ) -> StoragePath:
        """Write the files below `uri`, and list what is there."""
        for name, content in files.items():
            self.store.write(f"{uri}/{name}", content)
        return self.listed(uri)

    def listed(self, uri: str = "mem://bucket/m/1") -> StoragePath:
        files = self.store.list_files(uri)
        return StoragePath(self.cache.path_of(address_of(uri, files)), files, uri)

    def download(
        self,
        version: StoragePath,
        folder: Path,
        *,
        workers: int = 1,
        part_bytes: int = 1 << 20,
        cancellation: Cancellation | None = None,
    ) -> Download:
        (folder / "files").mkdir(parents=True, exist_ok=True)
        cancellation = cancellation or Cancellation(self.clock)
        return Download(self.store, version, folder, cancellation, workers, part_bytes)

    def is_kept(self, version: StoragePath) -> bool:
        """Whether somebody keeps the version from leaving the cache."""
        claim = VersionCache(self.cache.root).claim(address_of(version.place, version.files))
        if claim is not None:
            claim.release()
        return claim is None

    def is_here(self, version: StoragePath) -> bool:
        return self.cache.has(address_of(version.place, version.files))


class Disks:
    """File systems of their own, seen by nobody else, and gone when the test is."""

    def __init__(self, mount_point: Path) -> None:
        self._mount_point = mount_point

    def on(
        self, act: Callable[[Path], None], *, size: int = 1 << 20, is_read_only: bool = False
    ) -> None:
        """Do something with an empty disk of that size, on a thread that alone sees it, and those
        that it starts. With `is_read_only` the folder that the test has filled is the disk.
        """
        outcomes: list[BaseException | None] = []

        def run() -> None:
            try:
                self._mount(size, is_read_only)
                act(self._mount_point)
                outcomes.append(None)
            except BaseException as error:
                outcomes.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        (error,) = outcomes
        if isinstance(error, PermissionError):
            pytest.skip("needs the right to mount a file system: run it as root")
        if error is not None:
            raise error

    def _mount(self, size: int, is_read_only: bool) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        point = os.fsencode(self._mount_point)
        calls = [
            lambda: libc.unshare(_CLONE_NEWNS),
            lambda: libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None),
        ]
        if is_read_only:
            bind = 0x1000
            calls.append(lambda: libc.mount(point, point, None, bind, None))
            flags = bind | 0x20 | _MS_RDONLY  # MS_REMOUNT
            calls.append(lambda: libc.mount(b"none", point, None, flags, None))
        else:
            calls.append(lambda: libc.mount(b"tmpfs", point, b"tmpfs", 0, b"size=%d" % size))
        for call in calls:
            if call() != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "cache")
    yield place
    place.store.heal()  # a thread that hangs would keep the process from ending


@pytest.fixture
def make_fetches(place: Place) -> Iterator[Callable[..., Fetches]]:
    """Makes `Fetches` on the place's store and cache, or another cache; they end with the test."""
    made: list[Fetches] = []

    def make(cache: VersionCache | None = None, clock: ManualClock | None = None) -> Fetches:
        fetches = Fetches(place.store, cache or place.cache, clock or place.clock)
        made.append(fetches)
        return fetches

    yield make
    place.store.heal()
    for fetches in made:
        fetches.stop()
    join_fetches()


@pytest.fixture
def fetches(make_fetches: Callable[..., Fetches]) -> Fetches:
    return make_fetches()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def other_told() -> Told:
    return Told()


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    point = tmp_path / "disk"
    point.mkdir()
    return Disks(point)


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()


def join_fetches() -> None:
    """Wait until no fetch is under way."""
    for thread in threading.enumerate():
        if thread.name.startswith("fetch-"):
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a fetch does not end"


@pytest.fixture
def all_ended() -> Callable[[], None]:
    """Waits until no fetch is under way."""
    return join_fetches
