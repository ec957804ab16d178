"""A copy appears whole or not at all, and goes on where it was stopped."""

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from modelserver.clock import SystemClock
from modelserver.core.storage_path import StoragePath
from modelserver.errors import (
    DataLossError,
    FailedPreconditionError,
    NotFoundError,
    ResourceExhaustedError,
)
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.locks import try_lock
from modelserver.tools.local_copy import LocalCopy
from modelserver.tools.mounted_store import MountedStore

PATIENCE_SECONDS = 20

FILES = {"graph": b"g" * 30, "variables/data": b"d" * 2_500_000, "variables/empty": b""}


class Store(MountedStore):
    """Counts how often each file is read; reading the file `broken` fails, after all others."""

    def __init__(self) -> None:
        self.reads: Counter[str] = Counter()
        self.broken = ""
        self._others_are_read = threading.Semaphore(0)

    def read(self, version_path, name, info, start, stop):
        self.reads[name] += 1
        if name == self.broken:
            assert self._others_are_read.acquire(timeout=PATIENCE_SECONDS)
            raise NotFoundError(f"{name} was replaced since it was listed")
        yield from super().read(version_path, name, info, start, stop)
        self._others_are_read.release()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def source(tmp_path):
    """The directory of a version."""
    directory = tmp_path / "m" / "3"
    for name, content in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture
def target(tmp_path):
    return tmp_path / "copies" / "3"


@pytest.fixture
def copy(store, source, target) -> Callable[[], None]:
    def make(**checksums: int) -> None:
        LocalCopy(store, listed(source, **checksums), target).make(Cancellation(SystemClock()))

    return make


def listed(directory, **checksums):
    files = MountedStore().list_files(str(directory))
    for name, crc32c in checksums.items():
        files = {**files, name: replace(files[name], crc32c=crc32c)}
    return StoragePath(str(directory), files)


def content_of(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_all_files_are_copied_and_nothing_else_is_left(copy, target):
    copy()

    assert content_of(target) == FILES
    assert os.listdir(target.parent) == ["3"]


def test_what_is_stopped_appears_nowhere_and_goes_on_where_it_was(copy, store, target):
    store.broken = "graph"
    with pytest.raises(NotFoundError):
        copy()
    appeared, first_reads, store.broken = target.exists(), Counter(store.reads), ""

    copy()

    assert not appeared
    assert first_reads == {"variables/data": 1, "graph": 1}
    assert store.reads == {"variables/data": 1, "graph": 2}
    assert content_of(target) == FILES


def test_what_is_left_of_other_content_is_not_used(copy, store, source, target):
    store.broken = "graph"
    with pytest.raises(NotFoundError):
        copy()
    store.broken = ""
    (source / "variables" / "data").write_bytes(b"D" * 2_500_000)
    os.utime(source / "variables" / "data", (1, 1))

    copy()

    assert store.reads["variables/data"] == 2
    assert content_of(target) == FILES | {"variables/data": b"D" * 2_500_000}


def test_what_was_damaged_on_the_disk_meanwhile_is_fetched_again(copy, store, target):
    store.broken = "graph"
    with pytest.raises(NotFoundError):
        copy()
    store.broken = ""
    (target.parent / ".3.incoming" / "files" / "variables" / "data").write_bytes(b"x" * 2_500_000)

    copy()

    assert content_of(target) == FILES


def test_content_that_does_not_match_its_checksum_does_not_appear(copy, target):
    with pytest.raises(DataLossError, match="graph does not match its checksum"):
        copy(graph=0xDEADBEEF)

    assert not target.exists()


@pytest.mark.parametrize("existing", ["3", "00000003"])
def test_a_version_that_is_there_is_not_touched(copy, target, existing):
    (target.parent / existing).mkdir(parents=True)

    with pytest.raises(FailedPreconditionError, match=f"{target.parent / existing} exists already"):
        copy()

    assert os.listdir(target.parent) == [existing]
    assert os.listdir(target.parent / existing) == []


def test_a_second_process_does_not_join_in(copy, target):
    incoming = target.parent / ".3.incoming"
    incoming.mkdir(parents=True)
    lock = try_lock(str(incoming / "lock"), alone=True)

    with pytest.raises(FailedPreconditionError, match="is being copied by another process"):
        copy()
    lock.release()
    copy()

    assert content_of(target) == FILES


def test_a_disk_without_room_is_refused_before_anything_is_read(copy, store, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))

    with pytest.raises(ResourceExhaustedError, match=r"2\.5 MB are needed, 1\.0 MB are free"):
        copy()

    assert not store.reads
    assert not target.exists()


def test_a_file_that_is_replaced_after_it_was_listed_is_not_copied(store, source, target):
    version = listed(source)
    os.utime(source / "graph", (1, 1))

    with pytest.raises(NotFoundError, match="graph was replaced since it was listed"):
        LocalCopy(store, version, target).make(Cancellation(SystemClock()))

    assert not target.exists()


def test_a_file_that_must_not_be_read_is_refused_at_once(store, source, target, monkeypatch):
    version = listed(source)

    def refuse(path, *args):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    pieces = store.read(str(source), "graph", version.files["graph"], 0, 30)

    with pytest.raises(FailedPreconditionError, match=r"graph; Permission denied$"):
        next(pieces)
