"""Fetches into a cache that others use, too, and into one that is not as it should be."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modelserver.core.storage_path import StoragePath
from modelserver.errors import (
    FailedPreconditionError,
    PermissionDeniedError,
)
from modelserver.sources.cache.address import address_of
from modelserver.sources.cache.fetch import DOWNLOADING
from modelserver.sources.cache.fetches import Fetches
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.testing.object_store import Generated

PATIENCE_SECONDS = 20
MEGABYTE = 1 << 20
URI = "mem://bucket/m/1"


def content_here(version: StoragePath) -> bytes:
    return Path(version.path, "model").read_bytes()


# Processes that share a cache…


def test_what_another_process_fetches_is_waited_for_and_not_fetched(
    place, make_fetches, told, other_told
) -> None:
    version = place.version({"model": b"content"})
    hang = place.store.hang(f"{URI}/model")
    other = make_fetches(VersionCache(place.cache.root))
    other.want("m", [version], other_told)
    assert hang.entered.wait(PATIENCE_SECONDS)
    place.clock.on_wait = hang.release.set
    fetches = make_fetches()

    fetches.want("m", [version], told)

    told.wait()
    assert fetches.awaited(version) is None
    assert place.store.bytes_delivered() == 7
    assert fetches.progress()[0].was_kept


def test_what_another_process_has_given_up_is_taken_over(place, make_fetches, told) -> None:
    version = place.version({"model": b"content"})
    claim = VersionCache(place.cache.root).claim(address_of(version.place, version.files))
    assert claim is not None
    given_up: list[bool] = []

    def give_up() -> None:
        if not given_up:
            given_up.append(True)
            claim.release()

    place.clock.on_wait = give_up
    fetches = make_fetches()

    fetches.want("m", [version], told)

    told.wait()
    assert fetches.awaited(version) is None
    assert given_up


def test_many_processes_that_want_the_same_fetch_it_once(place, make_fetches, told) -> None:
    version = place.version({"model": Generated(MEGABYTE)})
    hang = place.store.hang(f"{URI}/model")
    many = [make_fetches(VersionCache(place.cache.root)) for _ in range(6)]

    for fetches in many:
        fetches.want("m", [version], told)
    hang.release.set()

    for _ in many:
        told.wait()
    assert [fetches.awaited(version) for fetches in many] == [None] * 6
    assert place.store.bytes_delivered() == MEGABYTE


# When the cache is not as it should be…


def test_a_cache_that_was_cleared_is_filled_again(place, fetches, told) -> None:
    version = place.version({"model": b"content"})
    fetches.want("m", [version], told)
    told.wait()
    shutil.rmtree(place.cache.root)
    assert fetches.awaited(version) == DOWNLOADING

    fetches.want("m", [version], told)

    told.wait()
    assert fetches.awaited(version) is None
    assert content_here(version) == b"content"
    assert place.is_kept(version)


def test_a_cache_that_cannot_be_written_to_is_told_and_tried_again(
    place, make_fetches, told, manual_clock, tmp_path: Path
) -> None:
    (tmp_path / "root").touch()
    fetches = make_fetches(VersionCache(tmp_path / "root"), manual_clock)
    version = place.version({"model": b"content"})

    fetches.want("m", [version], told)

    told.wait()
    awaited = fetches.awaited(version)
    assert awaited is not None
    assert isinstance(awaited.error, FailedPreconditionError)
    assert str(awaited.error).startswith(f"The cache {tmp_path}/root cannot be written to: ")
    (tmp_path / "root").unlink()
    manual_clock.advance(1)
    told.wait()
    assert fetches.awaited(version) is None


def test_a_disk_that_cannot_be_written_to_any_more_fails_no_statement(
    place, make_fetches, told, disks, tmp_path: Path
) -> None:
    version = place.version({"model": b"content"})
    make_fetches(VersionCache(tmp_path / "disk")).hold(version)()

    def act(root: Path) -> None:
        fetches = make_fetches(VersionCache(root))
        fetches.want("m", [version], told)
        told.wait()
        (progress,) = fetches.progress()
        assert not progress.is_here
        with pytest.raises(FailedPreconditionError, match="Read-only file system"):
            fetches.hold(version)
        fetches.stop()

    disks.on(act, is_read_only=True)


def test_a_disk_that_fills_during_a_download_is_told_and_tried_again(
    place, make_fetches, told, disks, manual_clock
) -> None:
    version = place.version({"model": Generated(4 * MEGABYTE)})

    def act(root: Path) -> None:
        fetches = make_fetches(VersionCache(root), manual_clock)
        hang = place.store.hang(f"{URI}/model", after=MEGABYTE)
        fetches.want("m", [version], told)
        assert hang.entered.wait(PATIENCE_SECONDS)
        (root / "others").write_bytes(b"x" * 3 * MEGABYTE)
        hang.release.set()
        told.wait()
        awaited = fetches.awaited(version)
        assert awaited is not None
        assert str(awaited.error).startswith(f"The disk of the cache {root} is full: No space left")
        (root / "others").unlink()
        manual_clock.advance(1)
        told.wait()
        assert fetches.awaited(version) is None
        fetches.stop()

    disks.on(act, size=6 * MEGABYTE)


def test_no_file_stays_open_whatever_becomes_of_the_versions(
    place, make_fetches, told, all_ended
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    fetches = make_fetches()
    versions = [place.version({"model": b"%d" % n}, f"mem://bucket/m/{n}") for n in range(4)]
    place.store.fail("mem://bucket/m/0/model", PermissionDeniedError("not you"), times=1)

    fetches.want("m", versions, told)
    for _ in range(5):
        told.wait()
    fetches.want("m", versions[2:], told)
    fetches.hold(versions[0])()
    fetches.stop()
    all_ended()

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_version_is_settled_once_it_has_been_told_of(
    place, fetches: Fetches, told, all_ended: Callable[[], None]
) -> None:
    version = place.version({"model": b"content"})

    fetches.want("m", [version], told)
    told.wait()
    all_ended()

    assert "boot" not in Path(version.path, "../manifest.json").read_text()
