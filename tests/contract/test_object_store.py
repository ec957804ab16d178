"""What every ObjectStore promises: the suite runs on each of them and on the fake."""

import base64
import hashlib
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import google_crc32c
import pytest

from modelserver.core.storage_path import FileInfo
from modelserver.errors import FailedPreconditionError, NotFoundError, UnavailableError
from modelserver.sources.storage.base import ObjectStore
from modelserver.sources.storage.gcs import GcsStore
from modelserver.testing.object_store import MemoryObjectStore
from testcluster.faults import Truncate

MEGABYTE = 1 << 20
NAMES = [
    "variables/variables.data-00000-of-00001",
    "with space and, comma",
    "100%",
    "%20%2F",
    "größe/模型",
    "a#b",
    "a?b=c&d",
    "a+b",
    "'quoted\" (x)",
    ".hidden",
]


@dataclass(frozen=True)
class Place:
    """A store with a version that is empty, and the means to put something there."""

    store: ObjectStore
    version: str
    put: Callable[[str, bytes], object]
    """Create or replace the file of that name in the version."""
    remove: Callable[[str], object]
    cut_short: Callable[[str, int], object]
    """Let reads of that file end after so many bytes from here on."""

    def write(self, name: str, content: bytes) -> FileInfo:
        self.put(name, content)
        return self.store.list_files(self.version)[name]

    def read(self, name: str, info: FileInfo, start: int, stop: int) -> bytes:
        with closing(self.store.read(self.version, name, info, start, stop)) as pieces:
            return b"".join(pieces)


def memory_place(request: pytest.FixtureRequest) -> Place:
    del request
    store = MemoryObjectStore()
    version = "mem://bucket/models/m/1"
    return Place(
        store,
        version,
        lambda name, content: store.write(f"{version}/{name}", content),
        lambda name: store.remove(f"{version}/{name}"),
        lambda name, after: store.cut_short(f"{version}/{name}", after=after, times=None),
    )


def gcs_place(request: pytest.FixtureRequest) -> Place:
    emulator = request.getfixturevalue("gcs_emulator")
    bucket = request.getfixturevalue("bucket")
    faults = request.getfixturevalue("gcs_faults")
    request.getfixturevalue("monkeypatch").setenv("STORAGE_EMULATOR_HOST", faults.url)
    prefix = "models/m/1"
    return Place(
        GcsStore(patience_seconds=0.1),
        f"gs://{bucket}/{prefix}",
        lambda name, content: emulator.put(bucket, f"{prefix}/{name}", content),
        lambda name: emulator.delete(bucket, f"{prefix}/{name}"),
        lambda name, after: faults.inject(Truncate(after), kind="read", under=f"{prefix}/{name}"),
    )


@pytest.fixture(
    params=[
        pytest.param(memory_place, id="memory"),
        pytest.param(gcs_place, id="gcs", marks=pytest.mark.emulator),
    ]
)
def place(request: pytest.FixtureRequest) -> Place:
    return request.param(request)


def content(size: int) -> bytes:
    """Bytes that are different from place to place."""
    return b"".join(hashlib.sha256(b"%d" % block).digest() for block in range(size // 32 + 1))[
        :size
    ]


# Listing…


def test_versions_are_the_folders_directly_under_the_base_path(place: Place) -> None:
    place.put("saved_model.pb", b"x")
    place.put("variables/index", b"x")

    assert place.store.list_versions(place.version.rpartition("/")[0]) == ["1"]


def test_a_listing_states_sizes_and_checksums_of_the_content(place: Place) -> None:
    info = place.write("model", content(1000))

    assert info.size == 1000
    assert info.crc32c == google_crc32c.value(content(1000))
    assert info.digest == base64.b64encode(hashlib.md5(content(1000)).digest()).decode()
    assert info.modified is None


def test_the_digest_is_of_the_content_and_the_tag_of_the_write(place: Place) -> None:
    first = place.write("a", b"content")
    again = place.write("a", b"content")
    other = place.write("b", b"content")

    assert first.digest == again.digest == other.digest
    assert first.tag != again.tag


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_listed_by_it(place: Place, name: str) -> None:
    place.put(name, b"x")

    assert list(place.store.list_files(place.version)) == [name]


def test_what_is_not_there_is_an_error_and_not_empty(place: Place) -> None:
    with pytest.raises(NotFoundError, match=f"^{place.version} not found$"):
        place.store.list_files(place.version)


def test_a_file_is_no_folder(place: Place) -> None:
    place.put("model", b"x")

    with pytest.raises(FailedPreconditionError, match=f"^{place.version}/model; Not a directory$"):
        place.store.list_files(f"{place.version}/model")


# Reading…


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 100), (0, 1), (99, 100), (40, 60)], ids=lambda value: str(value)
)
def test_a_range_is_read_from_its_first_byte_to_before_its_last(
    place: Place, start: int, stop: int
) -> None:
    info = place.write("model", content(100))

    assert place.read("model", info, start, stop) == content(100)[start:stop]


@pytest.mark.parametrize(("size", "at"), [(100, 0), (100, 50), (100, 100), (0, 0)])
def test_an_empty_range_is_read_as_nothing(place: Place, size: int, at: int) -> None:
    info = place.write("model", content(size))

    assert list(place.store.read(place.version, "model", info, at, at)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_read(place: Place, name: str) -> None:
    info = place.write(name, name.encode())

    assert place.read(name, info, 0, info.size) == name.encode()


def test_a_slash_at_the_end_of_the_versions_path_means_nothing(place: Place) -> None:
    info = place.write("model", b"abc")

    pieces = place.store.read(f"{place.version}/", "model", info, 0, 3)

    assert b"".join(pieces) == b"abc"


def test_pieces_are_a_megabyte_at_most_and_none_is_empty(place: Place) -> None:
    info = place.write("model", content(3 * MEGABYTE + 5))

    pieces = list(place.store.read(place.version, "model", info, 3, info.size))

    assert all(0 < len(piece) <= MEGABYTE for piece in pieces)
    assert b"".join(pieces) == content(3 * MEGABYTE + 5)[3:]


def test_a_read_that_is_closed_early_ends_there_and_the_store_serves_on(place: Place) -> None:
    info = place.write("model", content(3 * MEGABYTE))
    pieces = place.store.read(place.version, "model", info, 0, info.size)
    first = next(pieces)

    pieces.close()

    assert list(pieces) == []
    assert content(3 * MEGABYTE).startswith(first)
    assert place.read("model", info, 10, 20) == content(20)[10:]


def test_a_read_that_is_closed_before_it_begins_is_none(place: Place) -> None:
    info = place.write("model", b"abc")

    place.store.read(place.version, "model", info, 0, 3).close()

    assert not any(kind.operation == "read" for kind in place.store.counts())


def test_several_read_at_a_time(place: Place) -> None:
    info = place.write("model", content(8 * 1000))
    found: dict[int, bytes] = {}

    def read(part: int) -> None:
        found[part] = place.read("model", info, part * 1000, part * 1000 + 1000)

    readers = [threading.Thread(target=partial(read, part)) for part in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()

    assert b"".join(found[part] for part in range(8)) == content(8 * 1000)


# …what cannot be read.


def test_a_file_that_was_replaced_is_not_the_one_that_was_listed(place: Place) -> None:
    info = place.write("model", b"old")
    place.put("model", b"new")

    with pytest.raises(NotFoundError, match=f"^{place.version}/model "):
        place.read("model", info, 0, 3)


def test_a_file_that_was_replaced_by_the_same_is_not_the_one_that_was_listed(place: Place) -> None:
    info = place.write("model", b"same")
    place.put("model", b"same")

    with pytest.raises(NotFoundError, match=f"^{place.version}/model "):
        place.read("model", info, 0, 4)


def test_a_file_that_was_deleted_is_not_found(place: Place) -> None:
    info = place.write("model", b"old")
    place.remove("model")

    with pytest.raises(NotFoundError, match=f"^{place.version}/model not found"):
        place.read("model", info, 0, 3)


@pytest.mark.parametrize("after", [0, 1, MEGABYTE, MEGABYTE + 7])
def test_bytes_that_end_too_early_are_an_error_after_what_has_come(
    place: Place, after: int
) -> None:
    info = place.write("model", content(2 * MEGABYTE))
    place.cut_short("model", after)
    received: list[bytes] = []

    with pytest.raises(UnavailableError, match=f"^{place.version}/model: "):
        received.extend(place.store.read(place.version, "model", info, 0, info.size))

    assert b"".join(received) == content(after)


def test_reads_are_counted_by_what_came_of_them(place: Place) -> None:
    info = place.write("model", b"abc")
    place.read("model", info, 0, 3)
    place.read("model", info, 1, 2)
    place.remove("model")
    with pytest.raises(NotFoundError):
        place.read("model", info, 0, 3)

    counts = place.store.counts()

    reads = sorted(count for kind, count in counts.items() if kind.operation == "read")
    assert reads == [1, 2]
