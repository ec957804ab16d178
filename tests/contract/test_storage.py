"""What every Storage promises: the suite runs on each of them and on the fake."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from modelserver.errors import FailedPreconditionError, NotFoundError, UnavailableError
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.storage.base import Storage
from modelserver.sources.storage.cached import CachedStorage
from modelserver.sources.storage.file_system import FileSystemStorage
from modelserver.sources.storage.gcs import GcsStore
from modelserver.testing.storage import MemoryStorage
from testcluster.faults import Status

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """A storage with an empty base path, and the means to put something there."""

    storage: Storage
    base: str
    write: Callable[[str, int], None]
    make_directory: Callable[[str], None]
    remove: Callable[[str], None]
    deny: Callable[[str], None]
    """Let nobody list that path from here on."""
    disconnect: Callable[[str], None]
    """Let the storage behind that path be out of reach from here on."""
    denied: str = "; Permission denied$"
    disconnected: str = "; Stale file handle$"
    """What the errors say after the path."""


def memory_place(request: pytest.FixtureRequest) -> Place:
    del request
    storage = MemoryStorage()
    storage.make_directory("/models/m")

    def deny(path: str) -> None:
        storage.fail(path, FailedPreconditionError(f"{path}; Permission denied"))

    def disconnect(path: str) -> None:
        storage.fail(path, UnavailableError(f"{path}; Stale file handle"))

    return Place(
        storage,
        "/models/m",
        storage.write,
        storage.make_directory,
        storage.remove,
        deny,
        disconnect,
    )


def file_system_place(request: pytest.FixtureRequest) -> Place:
    folder: Path = request.getfixturevalue("tmp_path")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    writes = 0
    scan = os.scandir
    refusals: dict[str, int] = {}

    def scan_or_refuse(path: str) -> Iterator[os.DirEntry[str]]:
        # Not by the file's mode: who runs the tests may be allowed everything.
        if path in refusals:
            raise OSError(refusals[path], os.strerror(refusals[path]), path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_or_refuse)

    def write(path: str, size: int) -> None:
        nonlocal writes
        writes += 1
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
        os.utime(file, (writes, writes))

    def remove(path: str) -> None:
        target = Path(path)
        for file in sorted(target.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        target.rmdir() if target.is_dir() else target.unlink()

    def make_directory(path: str) -> None:
        Path(path).mkdir(parents=True)

    return Place(
        FileSystemStorage(),
        str(folder),
        write,
        make_directory,
        remove,
        lambda path: refusals.update({path: errno.EACCES}),
        lambda path: refusals.update({path: errno.ESTALE}),
    )


class Objects:
    """A bucket that is written to as if it were a file system."""

    def __init__(self, scheme: str, bucket: str, put: Callable, delete: Callable) -> None:
        self._root = f"{scheme}://{bucket}/"
        self._put = put
        self._delete = delete
        self._names: set[str] = set()

    def write(self, path: str, size: int) -> None:
        self._write(path.removeprefix(self._root), b"x" * size)

    def make_directory(self, path: str) -> None:
        self._write(f"{path.removeprefix(self._root)}/", b"")

    def remove(self, path: str) -> None:
        name = path.removeprefix(self._root)
        for found in [n for n in self._names if n == name or n.startswith(f"{name}/")]:
            self._delete(found)
            self._names.discard(found)

    def _write(self, name: str, content: bytes) -> None:
        self._put(name, content)
        self._names.add(name)


def gcs_place(request: pytest.FixtureRequest) -> Place:
    emulator = request.getfixturevalue("gcs_emulator")
    bucket = request.getfixturevalue("bucket")
    faults = request.getfixturevalue("gcs_faults")
    request.getfixturevalue("monkeypatch").setenv("STORAGE_EMULATOR_HOST", faults.url)
    objects = Objects("gs", bucket, partial(emulator.put, bucket), partial(emulator.delete, bucket))
    cache = VersionCache(request.getfixturevalue("tmp_path"))
    storage = CachedStorage(GcsStore(patience_seconds=0.1), cache)
    request.addfinalizer(storage.stop)
    base = f"gs://{bucket}/models/m"
    objects.make_directory(base)

    def inject(status: int, path: str) -> None:
        faults.inject(Status(status), kind="list", under=path.removeprefix(f"gs://{bucket}/"))

    return Place(
        storage,
        base,
        objects.write,
        objects.make_directory,
        objects.remove,
        partial(inject, 403),
        partial(inject, 503),
        rf": .* may not read bucket gs://{bucket} ",
        ": the service answered 503 ",
    )


@pytest.fixture(
    params=[
        pytest.param(memory_place, id="memory"),
        pytest.param(file_system_place, id="file_system"),
        pytest.param(gcs_place, id="gcs", marks=pytest.mark.emulator),
    ]
)
def place(request: pytest.FixtureRequest) -> Place:
    return request.param(request)


@pytest.fixture(params=["versions", "files"])
def list_path(request: pytest.FixtureRequest, place: Place) -> Callable[[str], object]:
    """Either way to list a path."""
    storage = place.storage
    return storage.list_versions if request.param == "versions" else storage.list_files


def test_versions_are_the_directories_directly_under_the_base_path(place: Place) -> None:
    place.write(f"{place.base}/1/variables/data", 3)
    place.make_directory(f"{place.base}/2")
    place.make_directory(f"{place.base}/notes")

    names = place.storage.list_versions(place.base)

    assert sorted(names) == ["1", "2", "notes"]


def test_a_file_beside_the_versions_is_no_version(place: Place) -> None:
    place.write(f"{place.base}/7", 3)

    assert place.storage.list_versions(place.base) == []


def test_an_empty_base_path_has_no_versions(place: Place) -> None:
    assert place.storage.list_versions(place.base) == []


def test_a_missing_base_path_is_an_error_and_not_empty(place: Place) -> None:
    with pytest.raises(NotFoundError, match=f"^{place.base}/gone not found$"):
        place.storage.list_versions(f"{place.base}/gone")


def test_a_removed_version_is_no_longer_listed(place: Place) -> None:
    place.write(f"{place.base}/1/model", 3)
    place.write(f"{place.base}/2/model", 3)
    place.remove(f"{place.base}/1")

    assert place.storage.list_versions(place.base) == ["2"]


def test_files_are_listed_at_every_depth_with_their_sizes(place: Place) -> None:
    place.write(f"{place.base}/1/saved_model.pb", 5)
    place.write(f"{place.base}/1/assets/deep/vocab.txt", 0)

    files = place.storage.list_files(f"{place.base}/1")

    assert {name: info.size for name, info in files.items()} == {
        "saved_model.pb": 5,
        "assets/deep/vocab.txt": 0,
    }


def test_only_the_files_of_that_version_are_listed(place: Place) -> None:
    place.write(f"{place.base}/1/a", 1)
    place.write(f"{place.base}/10/b", 1)

    assert list(place.storage.list_files(f"{place.base}/1")) == ["a"]


def test_folders_are_not_listed_as_files(place: Place) -> None:
    place.make_directory(f"{place.base}/1/variables")

    assert place.storage.list_files(f"{place.base}/1") == {}


def test_a_missing_version_is_an_error_and_not_empty(place: Place) -> None:
    with pytest.raises(NotFoundError, match=f"^{place.base}/3 not found$"):
        place.storage.list_files(f"{place.base}/3")


def test_an_untouched_version_lists_the_same_twice(place: Place) -> None:
    place.write(f"{place.base}/1/model", 3)

    first = place.storage.list_files(f"{place.base}/1")

    assert place.storage.list_files(f"{place.base}/1") == first


def test_a_file_overwritten_with_the_same_size_has_another_tag(place: Place) -> None:
    place.write(f"{place.base}/1/model", 3)
    before = place.storage.list_files(f"{place.base}/1")["model"]
    place.write(f"{place.base}/1/model", 3)

    after = place.storage.list_files(f"{place.base}/1")["model"]

    assert after.size == before.size
    assert after.tag != before.tag


def test_a_version_is_located_at_a_path_that_carries_the_listing(place: Place) -> None:
    place.write(f"{place.base}/1/model", 3)
    files = place.storage.list_files(f"{place.base}/1")

    path = place.storage.locate(f"{place.base}/1", files)

    assert path.files == files
    assert path.place == f"{place.base}/1"
    assert os.path.isabs(path.path)
    assert place.storage.locate(f"{place.base}/1", files) == path


def test_what_is_fetched_arrives_and_is_no_longer_awaited(place: Place) -> None:
    place.write(f"{place.base}/1/model", 3)
    version = place.storage.locate(f"{place.base}/1", place.storage.list_files(f"{place.base}/1"))
    awaited, arrived = place.storage.awaited(version), threading.Event()

    place.storage.fetch("m", [version], arrived.set)

    assert awaited is None or (awaited.is_coming and arrived.wait(PATIENCE_SECONDS))
    assert place.storage.awaited(version) is None


def test_a_version_is_held_whether_or_not_it_has_been_fetched(place: Place) -> None:
    place.write(f"{place.base}/1/model", 3)
    version = place.storage.locate(f"{place.base}/1", place.storage.list_files(f"{place.base}/1"))

    release = place.storage.hold(version)

    assert place.storage.awaited(version) is None
    release()


def test_a_listing_during_writes_is_never_an_error(place: Place) -> None:
    place.make_directory(f"{place.base}/1")
    is_over = threading.Event()

    def churn() -> None:
        while not is_over.is_set():
            place.write(f"{place.base}/1/folder/file", 1)
            place.remove(f"{place.base}/1/folder")

    writer = threading.Thread(target=churn)
    writer.start()
    listings = [place.storage.list_files(f"{place.base}/1") for _ in range(200)]
    is_over.set()
    writer.join()

    assert all(set(files) <= {"folder/file"} for files in listings)


# What cannot be listed…


@pytest.mark.parametrize("path", ["file", "file/1"])
def test_a_path_that_is_or_goes_through_a_file_is_no_directory(
    place: Place, list_path: Callable[[str], object], path: str
) -> None:
    place.write(f"{place.base}/file", 3)

    with pytest.raises(FailedPreconditionError, match=f"^{place.base}/{path}; Not a directory$"):
        list_path(f"{place.base}/{path}")


def test_a_path_that_must_not_be_read_is_refused_with_its_name(
    place: Place, list_path: Callable[[str], object]
) -> None:
    place.write(f"{place.base}/1/model", 3)
    place.deny(f"{place.base}/1")

    with pytest.raises(FailedPreconditionError, match=f"^{place.base}/1{place.denied}"):
        list_path(f"{place.base}/1")


def test_a_storage_out_of_reach_is_unavailable_and_not_empty(
    place: Place, list_path: Callable[[str], object]
) -> None:
    place.write(f"{place.base}/1/model", 3)
    place.disconnect(f"{place.base}/1")

    with pytest.raises(UnavailableError, match=f"^{place.base}/1{place.disconnected}"):
        list_path(f"{place.base}/1")


def test_a_slash_at_the_end_of_a_path_means_nothing(place: Place) -> None:
    place.write(f"{place.base}/1/model", 3)

    versions = place.storage.list_versions(f"{place.base}/")
    files = place.storage.list_files(f"{place.base}/1/")

    assert versions == ["1"]
    assert list(files) == ["model"]


def test_a_missing_path_with_a_slash_at_its_end_is_named_as_it_was_asked_for(
    place: Place, list_path: Callable[[str], object]
) -> None:
    with pytest.raises(NotFoundError, match=f"^{place.base}/gone/ not found$"):
        list_path(f"{place.base}/gone/")


def test_links_to_directories_count_as_directories(tmp_path: Path) -> None:
    (tmp_path / "exports" / "a").mkdir(parents=True)
    (tmp_path / "exports" / "a" / "model").touch()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "1").symlink_to(tmp_path / "exports" / "a")
    storage = FileSystemStorage()

    assert storage.list_versions(f"{tmp_path}/base") == ["1"]
    assert list(storage.list_files(f"{tmp_path}/base/1")) == ["model"]
