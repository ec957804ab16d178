import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from modelserver.core.storage_path import FileInfo
from modelserver.errors import FailedPreconditionError, ResourceExhaustedError
from modelserver.sources.cache.journal import Journal
from modelserver.sources.cache.locks import FileLock
from modelserver.sources.cache.parts import Part
from modelserver.sources.cache.version_cache import JOURNAL, CacheUsage, VersionCache

PATIENCE_SECONDS = 20
BLOCK = 4096

USER = """
import signal, sys
from pathlib import Path
from modelserver.sources.cache.version_cache import VersionCache

assert VersionCache(Path(sys.argv[1])).use(sys.argv[2]) is not None
print("used", flush=True)
signal.pause()
"""


class Shelf:
    """A cache that the test puts versions into, as a fetch would."""

    def __init__(self, root: Path, limit: int | None = None) -> None:
        self.root = root
        self.cache = VersionCache(root, limit)

    def begin(self, address: str, size: int = BLOCK) -> FileLock:
        claim = self.cache.claim(address)
        assert claim is not None
        try:
            folder = self.cache.begin(address, f"gs://b/{address}", {"model": FileInfo(size)})
        except ResourceExhaustedError:
            claim.release()
            raise
        (folder / "files" / "model").write_bytes(b"x" * size)
        return claim

    def put(self, address: str, size: int = BLOCK, last_used: float | None = None) -> None:
        claim = self.begin(address, size)
        self.cache.publish(address)
        claim.release()
        if last_used is not None:
            os.utime(self.root / "locks" / address, (last_used, last_used))

    def use(self, address: str) -> FileLock:
        lock = self.cache.use(address)
        assert lock is not None
        return lock

    @property
    def addresses(self) -> set[str]:
        return {path.name for path in (self.root / "versions").iterdir()}


@pytest.fixture
def make_shelf(tmp_path: Path) -> Callable[..., Shelf]:
    return lambda limit=None: Shelf(tmp_path / "cache", limit)


@pytest.fixture
def shelf(make_shelf: Callable[..., Shelf]) -> Shelf:
    return make_shelf()


# One version…


def test_a_cache_that_nothing_was_fetched_into_is_no_folder(shelf: Shelf) -> None:
    assert not shelf.cache.has("a")
    assert shelf.cache.use("a") is None
    assert shelf.cache.usage() == CacheUsage(0, 0, None)
    assert not shelf.root.exists()


def test_a_version_is_here_once_it_is_published_and_not_before(shelf: Shelf) -> None:
    claim = shelf.begin("a")

    assert not shelf.cache.has("a")
    shelf.cache.publish("a")
    assert shelf.cache.has("a")
    assert (Path(shelf.cache.path_of("a")) / "model").read_bytes() == b"x" * BLOCK
    claim.release()


def test_what_was_begun_is_found_as_it_was_left(shelf: Shelf) -> None:
    shelf.begin("a").release()

    claim = shelf.cache.claim("a")
    folder = shelf.cache.begin("a", "gs://b/a", {"model": FileInfo(BLOCK)})

    assert claim is not None
    assert (folder / "files" / "model").read_bytes() == b"x" * BLOCK
    claim.release()


def test_a_version_that_is_used_is_used_by_any_number_and_claimed_by_nobody(shelf: Shelf) -> None:
    shelf.put("a")
    users = [shelf.use("a"), shelf.use("a")]

    for user in users:
        assert shelf.cache.claim("a") is None
        user.release()

    claim = shelf.cache.claim("a")
    assert claim is not None
    claim.release()


def test_a_version_that_is_claimed_is_claimed_once(shelf: Shelf) -> None:
    claim = shelf.cache.claim("a")
    assert claim is not None

    assert VersionCache(shelf.root).claim("a") is None
    claim.release()


def test_what_another_version_left_in_its_place_makes_way(shelf: Shelf) -> None:
    claim = shelf.begin("a")
    rest = shelf.root / "versions" / "a"
    rest.mkdir()
    (rest / "something").touch()

    shelf.cache.publish("a")

    assert shelf.cache.has("a")
    assert not (rest / "something").exists()
    assert list((shelf.root / "incoming").iterdir()) == []
    claim.release()


# When the machine goes down…


def boot_again(root: Path, address: str) -> None:
    """Let the version look as one that was published before the machine was started."""
    manifest = root / "versions" / address / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_bytes()), "boot": "another"}))


def test_a_version_that_was_not_on_the_disk_itself_is_not_trusted_after_a_boot(
    shelf: Shelf,
) -> None:
    shelf.put("a")

    boot_again(shelf.root, "a")

    assert not shelf.cache.has("a")
    assert shelf.cache.use("a") is None


def test_a_version_that_is_settled_is_trusted_after_every_boot(shelf: Shelf) -> None:
    shelf.put("a")

    shelf.cache.settle("a")

    assert "boot" not in json.loads((shelf.root / "versions/a/manifest.json").read_bytes())
    assert shelf.cache.has("a")


def test_several_may_settle_a_version_at_a_time(shelf: Shelf) -> None:
    shelf.put("a")
    errors: list[OSError] = []

    def settle() -> None:
        try:
            for _ in range(20):
                VersionCache(shelf.root).settle("a")
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert shelf.cache.is_settled("a")
    assert sorted(os.listdir(shelf.root / "versions" / "a")) == ["files", "manifest.json"]


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"[]"], ids=["empty", "zeros", "other"])
def test_a_version_whose_manifest_was_lost_is_not_trusted(shelf: Shelf, content: bytes) -> None:
    shelf.put("a")

    (shelf.root / "versions/a/manifest.json").write_bytes(content)

    assert not shelf.cache.has("a")


def test_what_is_not_trusted_is_begun_with_what_is_there_and_what_is_known_of_it(
    shelf: Shelf,
) -> None:
    claim = shelf.begin("a")
    with closing(Journal(str(shelf.root / "incoming" / "a" / JOURNAL))) as journal:
        journal.record(Part("model", 0, BLOCK), 7)
    shelf.cache.publish("a")
    boot_again(shelf.root, "a")

    folder = shelf.cache.begin("a", "gs://b/a", {"model": FileInfo(BLOCK)})

    assert (folder / "files" / "model").read_bytes() == b"x" * BLOCK
    with closing(Journal(str(folder / JOURNAL))) as journal:
        assert journal.parts == {Part("model", 0, BLOCK): 7}
    shelf.cache.publish("a")
    assert shelf.cache.has("a")
    claim.release()


def test_what_is_settled_has_no_journal_any_more(shelf: Shelf) -> None:
    claim = shelf.begin("a")
    Journal(str(shelf.root / "incoming" / "a" / JOURNAL)).close()
    shelf.cache.publish("a")

    shelf.cache.settle("a")

    assert not (shelf.root / "versions" / "a" / JOURNAL).exists()
    claim.release()


# How full it is…


def test_usage_counts_whole_blocks_of_what_is_whole_and_of_what_is_begun(shelf: Shelf) -> None:
    shelf.put("a", BLOCK + 1)
    claim = shelf.cache.claim("b")
    assert claim is not None
    shelf.cache.begin("b", "gs://b/b", {"model": FileInfo(10 * BLOCK), "empty": FileInfo(0)})

    assert shelf.cache.usage() == CacheUsage(12 * BLOCK, 1, None)
    claim.release()


def test_usage_of_what_cannot_be_looked_at_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert VersionCache(tmp_path / "file", 7).usage() == CacheUsage(0, 0, 7)


# Making room…


def test_what_was_used_longest_ago_leaves_and_no_more_than_must(
    make_shelf: Callable[..., Shelf],
) -> None:
    shelf = make_shelf(4 * BLOCK)
    shelf.put("newest", last_used=300)
    shelf.put("oldest", last_used=100)
    shelf.put("newer", last_used=200)

    shelf.put("next", 2 * BLOCK)

    assert shelf.addresses == {"newest", "newer", "next"}
    assert not (shelf.root / "locks" / "oldest").exists()
    assert list((shelf.root / "incoming").iterdir()) == []
    assert shelf.cache.usage().size == 4 * BLOCK


def test_using_a_version_is_what_counts_and_not_its_age(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(2 * BLOCK)
    shelf.put("a", last_used=100)
    shelf.put("b", last_used=200)
    shelf.use("a").release()

    shelf.put("c")

    assert shelf.addresses == {"a", "c"}


def test_what_is_used_stays_however_old_it_is(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(2 * BLOCK)
    shelf.put("used", last_used=100)
    shelf.put("idle", last_used=200)
    user = VersionCache(shelf.root).use("used")
    assert user is not None

    shelf.put("next")

    assert shelf.addresses == {"used", "next"}
    user.release()


def test_a_version_that_leaves_in_the_moment_in_which_it_is_asked_for_is_not_used(
    make_shelf: Callable[..., Shelf],
) -> None:
    shelf = make_shelf(BLOCK)
    shelf.put("a")

    class LeavingCache(VersionCache):
        def has(self, address: str) -> bool:
            is_here = super().has(address)
            if is_here:
                shelf.put("b")
            return is_here

    assert LeavingCache(shelf.root).use("a") is None
    claim = shelf.cache.claim("a")
    assert claim is not None
    claim.release()


def test_what_is_begun_and_left_makes_way_as_anything_does(
    make_shelf: Callable[..., Shelf],
) -> None:
    shelf = make_shelf(2 * BLOCK)
    shelf.begin("left", 2 * BLOCK).release()

    shelf.put("next")

    assert shelf.addresses == {"next"}
    assert list((shelf.root / "incoming").iterdir()) == []


def test_what_is_being_fetched_stays_and_counts_whole(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(10 * BLOCK)
    coming = shelf.cache.claim("coming")
    assert coming is not None
    shelf.cache.begin("coming", "gs://b/coming", {"model": FileInfo(9 * BLOCK)})

    with pytest.raises(ResourceExhaustedError) as caught:
        shelf.put("next", 2 * BLOCK)

    assert str(caught.value) == (
        f"The cache {shelf.root} of 41.0 kB has no room for 8.2 kB: 4.1 kB are lacking beside what "
        "is in use. Make it larger, or serve fewer versions"
    )
    coming.release()


def test_nothing_leaves_for_what_has_no_room_all_the_same(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(2 * BLOCK)
    shelf.put("a")

    with pytest.raises(ResourceExhaustedError):
        shelf.put("next", 3 * BLOCK)

    assert shelf.addresses == {"a"}


def test_a_fetch_that_goes_on_needs_room_for_what_is_missing_only(
    make_shelf: Callable[..., Shelf],
) -> None:
    shelf = make_shelf(4 * BLOCK)
    shelf.put("a")
    shelf.begin("b", 3 * BLOCK).release()

    shelf.put("b", 3 * BLOCK)

    assert shelf.addresses == {"a", "b"}


def test_of_many_that_are_begun_at_a_time_no_more_are_than_have_room(
    make_shelf: Callable[..., Shelf],
) -> None:
    shelf = make_shelf(4 * BLOCK)
    begun: list[FileLock] = []
    refused: list[str] = []

    def begin(address: str) -> None:
        try:
            begun.append(shelf.begin(address))
        except ResourceExhaustedError:
            refused.append(address)

    threads = [threading.Thread(target=partial(begin, f"{number}")) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(begun), len(refused)) == (4, 12)
    assert shelf.cache.usage().size == 4 * BLOCK
    for lock in begun:
        lock.release()


def test_what_a_killed_process_was_dropping_is_gone_with_the_next_version(shelf: Shelf) -> None:
    shelf.put("a")
    dropped = shelf.root / "incoming" / "old.1234.dropped"
    (dropped / "files").mkdir(parents=True)
    (dropped / "files" / "model").write_bytes(b"x" * BLOCK)

    assert shelf.cache.usage().size == BLOCK
    shelf.put("b")

    assert not dropped.exists()
    assert shelf.addresses == {"a", "b"}


@pytest.mark.process
def test_what_another_process_uses_stays_until_that_is_killed(
    make_shelf: Callable[..., Shelf],
) -> None:
    shelf = make_shelf(BLOCK)
    shelf.put("used", last_used=100)
    command = [sys.executable, "-c", USER, str(shelf.root), "used"]
    user = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert user.stdout is not None
        assert user.stdout.readline() == b"used\n"
        with pytest.raises(ResourceExhaustedError):
            shelf.put("next")
        assert shelf.addresses == {"used"}
    finally:
        user.send_signal(signal.SIGKILL)
        user.communicate(timeout=PATIENCE_SECONDS)

    shelf.put("other")

    assert shelf.addresses == {"other"}


# Where the folder is not as it should be…


def test_a_cache_that_was_deleted_is_made_again(shelf: Shelf) -> None:
    shelf.put("a")
    user = shelf.use("a")
    shutil.rmtree(shelf.root)

    assert not shelf.cache.has("a")
    assert shelf.cache.use("a") is None
    shelf.put("a")

    assert shelf.cache.has("a")
    user.release()


def test_a_cache_that_is_deleted_during_a_fetch_fails_that_and_not_the_next(shelf: Shelf) -> None:
    claim = shelf.begin("a")
    shutil.rmtree(shelf.root)

    with pytest.raises(FileNotFoundError):
        shelf.cache.publish("a")
    claim.release()
    shelf.put("a")

    assert shelf.cache.has("a")


def test_versions_whose_locks_were_deleted_can_be_used(shelf: Shelf) -> None:
    shelf.put("a")
    shutil.rmtree(shelf.root / "locks")

    shelf.use("a").release()


def test_a_cache_that_is_a_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(FailedPreconditionError) as caught:
        VersionCache(tmp_path / "file").claim("a")

    assert str(caught.value) == (
        f"The cache {tmp_path}/file cannot be written to: Not a directory. Give the server a "
        "writable directory (--cache_dir)"
    )


def test_files_stay_open_for_locks_and_for_nothing_else(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(2 * BLOCK)
    before = len(os.listdir("/proc/self/fd"))

    for number in range(5):
        shelf.put(f"{number}")
    user = shelf.use("4")
    with pytest.raises(ResourceExhaustedError):
        shelf.cache.begin("9", "gs://b/9", {"model": FileInfo(2 * BLOCK)})
    assert shelf.cache.claim("4") is None
    shelf.cache.settle("4")
    user.release()

    assert len(os.listdir("/proc/self/fd")) == before
