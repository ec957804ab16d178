import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from modelserver.core.storage_path import StoragePath
from modelserver.errors import (
    CancelledError,
    DataLossError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.download import Download
from modelserver.sources.cache.version_cache import JOURNAL
from modelserver.testing.object_store import Generated

PATIENCE_SECONDS = 20
KILOBYTE, MEGABYTE = 1 << 10, 1 << 20
URI = "mem://bucket/m/1"
FILES = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index" * 1000,
    "variables/variables.data": Generated(300 * KILOBYTE),
    "assets/deep/er/vocab.txt": b"",
}


def content_of(content: bytes | Generated) -> bytes:
    return content if isinstance(content, bytes) else content.read(0, content.size)


def contents(folder: Path) -> dict[str, bytes]:
    files = folder / "files"
    found = (path for path in files.rglob("*") if path.is_file())
    return {str(path.relative_to(files)): path.read_bytes() for path in found}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


@pytest.fixture
def download(place, folder: Path):
    """Makes a download of a version into the folder, in parts of 64 kB."""

    def make(version: StoragePath, workers: int = 4) -> Download:
        return place.download(version, folder, workers=workers, part_bytes=64 * KILOBYTE)

    return make


def names_read(place) -> set[str]:
    return {read.path.removeprefix(f"{URI}/") for read in place.store.reads}


# What comes…


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_every_file_is_here_as_it_is_there(place, folder: Path, download, workers: int) -> None:
    version = place.version(FILES)

    download(version, workers).run()

    assert contents(folder) == {name: content_of(content) for name, content in FILES.items()}


def test_what_is_received_is_counted_and_is_all_of_it_once(place, download) -> None:
    version = place.version(FILES)
    size = sum(info.size for info in version.files.values())
    run = download(version)

    run.run()

    assert run.bytes_here == run.bytes_received == size == place.store.bytes_delivered()


def test_a_file_is_read_in_parts_each_by_one_call(place, download) -> None:
    version = place.version({"model": Generated(200 * KILOBYTE)})

    download(version).run()

    ranges = sorted((read.start // KILOBYTE, read.stop // KILOBYTE) for read in place.store.reads)
    assert ranges == [(0, 64), (64, 128), (128, 192), (192, 200)]


def test_many_small_files_come(place, folder: Path, download) -> None:
    files = {f"{n % 7}/{n % 11}/file-{n}": b"%d" % n for n in range(1000)}
    version = place.version(files)

    download(version, 8).run()

    assert contents(folder) == files


@pytest.mark.parametrize("names", [["empty"], ["a/b/empty", "c"], []])
def test_files_without_content_come_without_a_call(
    place, folder: Path, download, names: list[str]
) -> None:
    version = replace(place.version({"x": b"x"}), files={})
    if names:
        place.store.remove(f"{URI}/x")
        version = place.version(dict.fromkeys(names, b""))

    download(version).run()

    assert contents(folder) == dict.fromkeys(names, b"")
    assert place.store.reads == []


# …goes on where it was stopped…


def test_what_is_here_is_not_fetched_again(place, folder: Path, download) -> None:
    version = place.version(FILES)
    download(version).run()
    place.store.reads.clear()
    again = download(version)

    again.run()

    assert place.store.reads == []
    assert again.bytes_received == 0
    assert again.bytes_here == sum(info.size for info in version.files.values())
    assert contents(folder)["saved_model.pb"] == b"graph"


def test_only_what_is_missing_is_fetched_after_a_failure(place, folder: Path, download) -> None:
    version = place.version({"model": Generated(640 * KILOBYTE)})
    place.store.fail(f"{URI}/model", NotFoundError("gone"), after=32 * KILOBYTE, times=1)
    with pytest.raises(NotFoundError, match=r"^gone$"):
        download(version, 1).run()
    place.store.reads.clear()

    download(version, 1).run()

    assert place.store.bytes_delivered() == 640 * KILOBYTE
    assert contents(folder) == {"model": Generated(640 * KILOBYTE).read(0, 640 * KILOBYTE)}


def test_parts_that_came_before_a_failure_are_not_fetched_again(place, download) -> None:
    version = place.version({"a": Generated(640 * KILOBYTE), "b": Generated(64 * KILOBYTE)})
    place.store.fail(f"{URI}/b", NotFoundError("gone"), times=1)
    with pytest.raises(NotFoundError):
        download(version, 1).run()
    place.store.reads.clear()

    download(version, 1).run()

    assert names_read(place) == {"b"}
    assert place.store.bytes_delivered() == 64 * KILOBYTE


@pytest.mark.parametrize("damage", ["zeros", "shorter", "missing"])
def test_what_a_power_failure_has_taken_is_fetched_again_whatever_is_recorded(
    place, folder: Path, download, damage: str
) -> None:
    version = place.version({"model": Generated(640 * KILOBYTE), "other": b"other"})
    download(version).run()
    place.store.reads.clear()
    path = folder / "files" / "model"
    content = path.read_bytes()
    if damage == "zeros":
        path.write_bytes(
            content[: 64 * KILOBYTE] + bytes(64 * KILOBYTE) + content[128 * KILOBYTE :]
        )
    elif damage == "shorter":
        path.write_bytes(content[: 600 * KILOBYTE])
    else:
        path.unlink()

    download(version).run()

    lost = {"zeros": 64 * KILOBYTE, "shorter": 64 * KILOBYTE, "missing": 640 * KILOBYTE}
    assert place.store.bytes_delivered() == lost[damage]
    assert path.read_bytes() == content


def test_without_its_journal_all_of_it_is_fetched_again(place, folder: Path, download) -> None:
    version = place.version(FILES)
    download(version).run()
    (folder / JOURNAL).unlink()
    place.store.reads.clear()

    download(version).run()

    assert place.store.bytes_delivered() == sum(info.size for info in version.files.values())


# …after errors that may pass…


def test_bytes_that_end_too_early_are_continued_where_they_ended(
    place, folder: Path, download
) -> None:
    version = place.version({"model": Generated(64 * KILOBYTE)})
    place.store.cut_short(f"{URI}/model", after=10_000, times=3)

    download(version).run()

    assert [read.start for read in place.store.reads] == [0, 10_000, 20_000, 30_000]
    assert place.store.bytes_delivered() == 64 * KILOBYTE
    assert contents(folder) == {"model": Generated(64 * KILOBYTE).read(0, 64 * KILOBYTE)}


def test_a_store_that_does_not_answer_is_asked_again_after_growing_pauses(place, download) -> None:
    version = place.version({"model": b"content"})
    place.store.fail(f"{URI}/model", UnavailableError("503"), times=4)

    download(version).run()

    longest = [0.5, 1.0, 2.0, 4.0]
    assert len(place.clock.waits) == 4
    assert all(
        most / 2 <= pause <= most for pause, most in zip(place.clock.waits, longest, strict=True)
    )


def test_a_store_that_answers_to_no_call_in_a_row_fails_the_download(place, download) -> None:
    version = place.version({"model": b"content"})
    place.store.fail(f"{URI}/model", UnavailableError("503"))

    with pytest.raises(UnavailableError, match=r"^503$"):
        download(version).run()

    assert len(place.store.reads) == 5


def test_each_byte_that_comes_is_a_new_chance(place, folder: Path, download) -> None:
    version = place.version({"model": Generated(40 * KILOBYTE)})
    place.store.cut_short(f"{URI}/model", after=2 * KILOBYTE, times=19)

    download(version).run()

    assert len(place.store.reads) == 20
    assert (folder / "files" / "model").stat().st_size == 40 * KILOBYTE


# …and ends where there is no sense in going on.


def test_the_error_that_ends_a_download_is_told_and_not_that_the_others_were_ended(
    place, download
) -> None:
    version = place.version({"slow": Generated(64 * KILOBYTE), "refused": b"x"})
    place.store.fail(f"{URI}/slow", UnavailableError("503"))
    place.store.fail(f"{URI}/refused", PermissionDeniedError("not you"))
    run = download(version, 2)
    # While the one pauses between two tries, the other fails, and that ends both.
    place.clock.on_wait = lambda: run._failed.wait(PATIENCE_SECONDS)

    with pytest.raises(PermissionDeniedError, match=r"^not you$"):
        run.run()


def test_after_the_first_error_nothing_more_is_read(place, download) -> None:
    version = place.version({"refused": Generated(640 * KILOBYTE), "small": b"x"})
    place.store.fail(f"{URI}/refused", PermissionDeniedError("not you"))

    with pytest.raises(PermissionDeniedError):
        download(version, 1).run()

    assert [(read.path, read.delivered) for read in place.store.reads] == [(f"{URI}/refused", 0)]


def test_a_file_that_is_replaced_meanwhile_fails_the_download(place, download) -> None:
    version = place.version({"model": Generated(640 * KILOBYTE)})
    place.store.replace_during(f"{URI}/model", b"other", after=32 * KILOBYTE)

    with pytest.raises(NotFoundError, match=r"^mem://bucket/m/1/model was replaced "):
        download(version).run()


def test_a_download_that_is_cancelled_reads_no_more_than_a_piece(place, folder: Path) -> None:
    version = place.version({"model": Generated(3 * MEGABYTE)})
    hang = place.store.hang(f"{URI}/model")
    cancellation = Cancellation(place.clock)
    run = place.download(version, folder, part_bytes=64 * MEGABYTE, cancellation=cancellation)
    errors: list[Exception] = []

    def run_until_it_ends() -> None:
        try:
            run.run()
        except CancelledError as error:
            errors.append(error)

    thread = threading.Thread(target=run_until_it_ends)
    thread.start()
    assert hang.entered.wait(PATIENCE_SECONDS)
    cancellation.cancel()
    hang.release.set()
    thread.join(PATIENCE_SECONDS)

    assert [str(error) for error in errors] == ["Fetching mem://bucket/m/1 was cancelled"]
    assert place.store.bytes_delivered() <= MEGABYTE


def test_a_download_that_is_cancelled_while_it_pauses_ends(place, folder: Path) -> None:
    version = place.version({"model": b"content"})
    cancellation = Cancellation(place.clock)
    run = place.download(version, folder, cancellation=cancellation)
    place.store.fail(f"{URI}/model", UnavailableError("503"))
    place.clock.on_wait = cancellation.cancel

    with pytest.raises(CancelledError):
        run.run()

    assert len(place.store.reads) == 1


# Content that is not what it should be…


@pytest.mark.parametrize("offset", [0, 64 * KILOBYTE, 300 * KILOBYTE - 1])
def test_wrong_bytes_are_found_and_that_file_alone_is_fetched_again(
    place, folder: Path, download, offset: int
) -> None:
    version = place.version(FILES)
    place.store.corrupt(f"{URI}/variables/variables.data", offset)

    with pytest.raises(
        DataLossError, match=r"variables\.data does not match its checksum: CRC32C "
    ):
        download(version).run()
    place.store.reads.clear()
    download(version).run()

    assert names_read(place) == {"variables/variables.data"}
    assert place.store.bytes_delivered() == 300 * KILOBYTE
    assert contents(folder) == {name: content_of(content) for name, content in FILES.items()}


def test_the_error_says_both_checksums(place, download) -> None:
    version = place.version({"model": b"123456789"})
    files = {"model": replace(version.files["model"], crc32c=0x0000BEEF)}

    with pytest.raises(DataLossError) as caught:
        download(replace(version, files=files)).run()

    assert str(caught.value) == (
        "mem://bucket/m/1/model does not match its checksum: CRC32C e3069283 was received, "
        "0000beef is stated. It is fetched again"
    )


def test_wrong_bytes_stay_found_after_a_restart(place, folder: Path, download) -> None:
    version = place.version({"a": b"aaaa", "b": b"bbbb"})
    place.store.corrupt(f"{URI}/b", 2)
    with pytest.raises(DataLossError):
        download(version).run()
    shutil.copytree(folder, folder.parent / "copy")

    place.download(version, folder.parent / "copy").run()

    assert contents(folder.parent / "copy") == {"a": b"aaaa", "b": b"bbbb"}


def test_content_of_which_no_checksum_is_stated_is_taken_as_it_comes(
    place, folder: Path, download
) -> None:
    version = place.version({"model": b"content"})
    files = {"model": replace(version.files["model"], crc32c=None)}
    place.store.corrupt(f"{URI}/model", 0)

    download(replace(version, files=files)).run()

    assert contents(folder)["model"][1:] == b"ontent"


def test_an_empty_file_that_should_not_be_is_found(place, download) -> None:
    version = place.version({"model": b""})
    files = {"model": replace(version.files["model"], crc32c=7)}

    with pytest.raises(DataLossError):
        download(replace(version, files=files)).run()
