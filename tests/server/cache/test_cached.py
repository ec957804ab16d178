import shutil
from collections.abc import Iterator

import pytest

from modelserver.errors import FailedPreconditionError, NotFoundError
from modelserver.sources.storage.cached import CachedStorage

URI = "mem://bucket/m/1"


@pytest.fixture
def storage(place) -> Iterator[CachedStorage]:
    storage = CachedStorage(place.store, place.cache, place.clock)
    yield storage
    storage.stop()


def located(storage: CachedStorage):
    return storage.locate(URI, storage.list_files(URI))


HOSTILE = [
    "../x",
    "..",
    "a/../../x",
    "a/..",
    "/etc/passwd",
    "a//b",
    "a/./b",
    "./a",
    ".",
    "a\0b",
    "x" * 256,
    "ü" * 128,
    f"a/{'x' * 256}/b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leads_elsewhere_or_nowhere_is_refused(
    place, storage: CachedStorage, name: str
) -> None:
    place.store.write(f"{URI}/model")
    place.store.write(f"{URI}/{name}")

    with pytest.raises(FailedPreconditionError) as caught:
        storage.list_files(URI)

    assert str(caught.value) == (
        f"{URI}/{name} cannot be copied to a disk under that name: remove or rename it"
    )


def test_a_name_that_is_a_file_and_a_folder_is_refused(place, storage: CachedStorage) -> None:
    place.store.write(f"{URI}/a/b")
    place.store.write(f"{URI}/a/b/c/d")

    with pytest.raises(FailedPreconditionError, match=r"^mem://bucket/m/1/a/b cannot be copied "):
        storage.list_files(URI)


@pytest.mark.parametrize(
    "name", ["a", "a/b", "...", "..a", "a..", ".a/b", "a b", "ü", "x" * 255, "-", "~", "a\\b", "\n"]
)
def test_any_other_name_is_as_good_as_another(place, storage: CachedStorage, name: str) -> None:
    place.store.write(f"{URI}/{name}", b"content")
    version = located(storage)

    release = storage.hold(version)

    with open(f"{version.path}/{name}", "rb") as file:
        assert file.read() == b"content"
    release()


def test_a_version_is_located_by_its_content_and_said_to_be_where_it_comes_from(
    place, storage: CachedStorage
) -> None:
    place.store.write(f"{URI}/model", b"content")
    place.store.write("mem://elsewhere/n/7/model", b"content")
    here = located(storage)
    elsewhere = storage.locate("mem://elsewhere/n/7/", storage.list_files("mem://elsewhere/n/7/"))

    assert here.path == elsewhere.path
    assert here.path.startswith(f"{place.cache.root}/versions/")
    assert (here.place, elsewhere.place) == (URI, "mem://elsewhere/n/7")


# Single files…


def test_a_file_of_a_version_that_is_not_here_is_read_where_it_is_looked_at(
    place, storage: CachedStorage
) -> None:
    place.store.write(f"{URI}/model", b"x" * 500_000 + b"tail")
    version = located(storage)

    with version.open("model") as file:
        file.seek(-4, 2)
        assert file.read(4) == b"tail"

    assert place.store.bytes_delivered() == 4
    assert storage.awaited(version) is not None


def test_a_file_of_a_version_that_is_here_is_read_from_the_disk(
    place, storage: CachedStorage
) -> None:
    place.store.write(f"{URI}/folder/model", b"content")
    version = located(storage)
    storage.hold(version)()
    place.store.reads.clear()

    with version.open("folder/model") as file:
        assert file.read() == b"content"

    assert place.store.reads == []


def test_a_file_of_a_version_that_cannot_be_trusted_is_not_read_from_the_disk(
    place, storage: CachedStorage
) -> None:
    place.store.write(f"{URI}/model", b"content")
    version = located(storage)
    storage.hold(version)()
    with open(f"{version.path}/model", "wb") as file:
        file.write(b"\0" * 7)
    with open(f"{version.path}/../manifest.json", "wb"):
        pass

    with version.open("model") as file:
        assert file.read() == b"content"


def test_a_file_of_a_version_that_has_left_is_read_from_the_store(
    place, storage: CachedStorage
) -> None:
    place.store.write(f"{URI}/model", b"content")
    version = located(storage)
    storage.hold(version)()
    shutil.rmtree(place.cache.root)

    with version.open("model") as file:
        assert file.read() == b"content"


def test_a_file_that_is_not_listed_is_none(place, storage: CachedStorage) -> None:
    place.store.write(f"{URI}/model")

    with pytest.raises(FileNotFoundError, match=r"^mem://bucket/m/1/other is not in the listing$"):
        located(storage).open("other")


def test_a_file_that_was_replaced_is_not_read(place, storage: CachedStorage) -> None:
    place.store.write(f"{URI}/model", b"old")
    version = located(storage)
    place.store.write(f"{URI}/model", b"new")

    with (
        version.open("model") as file,
        pytest.raises(NotFoundError, match=r"was replaced since it was listed"),
    ):
        file.read()


def test_a_folder_of_a_version_is_a_place_of_its_own(place, storage: CachedStorage) -> None:
    place.store.write(f"{URI}/stage/model", b"content")
    folder = located(storage).folder("stage")

    with folder.open("model") as file:
        assert file.read() == b"content"
