"""The cache on disks that are full, or that cannot be written to."""

import errno
from pathlib import Path

import pytest

from modelserver.core.storage_path import FileInfo
from modelserver.errors import FailedPreconditionError, ResourceExhaustedError
from modelserver.sources.cache.version_cache import VersionCache, disk_full_told, in_words

MEGABYTE = 1 << 20


def put(cache: VersionCache, address: str, size: int) -> None:
    claim = cache.claim(address)
    assert claim is not None
    try:
        folder = cache.begin(address, f"gs://b/{address}", {"model": FileInfo(size)})
        (folder / "files" / "model").write_bytes(b"x" * size)
        cache.publish(address)
    finally:
        claim.release()


def test_what_nobody_uses_leaves_when_the_disk_fills(disks) -> None:
    def act(root: Path) -> None:
        cache = VersionCache(root)
        put(cache, "a", 6 * MEGABYTE)
        put(cache, "b", 6 * MEGABYTE)

        assert (cache.has("a"), cache.has("b")) == (False, True)

    disks.on(act, size=10 * MEGABYTE)


def test_a_tenth_of_the_disk_is_left_to_others_where_that_is_possible(disks) -> None:
    def act(root: Path) -> None:
        cache = VersionCache(root)
        put(cache, "a", 2 * MEGABYTE)
        put(cache, "b", 8 * MEGABYTE - 2**18)

        assert (cache.has("a"), cache.has("b")) == (False, True)

    disks.on(act, size=10 * MEGABYTE)


def test_a_version_that_is_larger_than_the_disk_is_refused_before_it_is_fetched(disks) -> None:
    def act(root: Path) -> None:
        cache = VersionCache(root)
        with pytest.raises(ResourceExhaustedError, match=r"has no room for 11\.5 MB: "):
            put(cache, "a", 11 * MEGABYTE)
        assert list((root / "incoming").iterdir()) == []

    disks.on(act, size=10 * MEGABYTE)


def test_a_disk_that_somebody_else_fills_is_named(disks) -> None:
    def act(root: Path) -> None:
        with pytest.raises(ResourceExhaustedError) as caught, disk_full_told(root):
            (root / "file").write_bytes(b"x" * 2 * MEGABYTE)
        assert str(caught.value) == (
            f"The disk of the cache {root} is full: No space left on device. Make it larger, or "
            "serve fewer versions"
        )

    disks.on(act, size=MEGABYTE)


def test_other_errors_of_a_disk_are_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="what") as caught, disk_full_told(tmp_path):
        raise OSError(errno.EIO, "what")

    assert caught.value.errno == errno.EIO


def test_a_full_disk_can_be_made_room_on(disks) -> None:
    def act(root: Path) -> None:
        cache = VersionCache(root)
        put(cache, "a", 2 * MEGABYTE)
        with pytest.raises(OSError, match="No space left"):
            (root / "others").write_bytes(b"x" * 20 * MEGABYTE)

        put(cache, "b", MEGABYTE)

        assert (cache.has("a"), cache.has("b")) == (False, True)

    disks.on(act, size=10 * MEGABYTE)


@pytest.fixture
def filled(disks, tmp_path: Path) -> Path:
    """A folder with a cache, which is to become a disk that cannot be written to."""
    root = tmp_path / "disk"
    put(VersionCache(root), "a", 10)
    return root


def test_a_disk_that_cannot_be_written_to_is_refused_with_what_to_do(filled: Path, disks) -> None:
    def act(root: Path) -> None:
        cache = VersionCache(root)
        for ask in (cache.claim, cache.use):
            with pytest.raises(FailedPreconditionError) as caught:
                ask("a")
            assert str(caught.value) == (
                f"The cache {root} cannot be written to: Read-only file system. Give the server a "
                "writable directory (--cache_dir)"
            )
        assert cache.has("a")
        assert cache.usage().versions == 1

    disks.on(act, is_read_only=True)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (3_200_000_000, "3.2 GB"),
        (4_100_000_000_000, "4.1 TB"),
        (4_100_000_000_000_000, "4100.0 TB"),
    ],
)
def test_sizes_are_told_in_units_that_people_use(size: int, words: str) -> None:
    assert in_words(size) == words
