"""What `Storage.fetch`, `awaited` and `hold` mean for versions that must be copied first."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.errors import (
    CancelledError,
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
)
from modelserver.sources.cache.address import address_of
from modelserver.sources.cache.fetch import DOWNLOADING, retry_seconds
from modelserver.sources.cache.fetches import MAX_AT_A_TIME, Fetches
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.testing.object_store import Generated

PATIENCE_SECONDS = 20
MEGABYTE = 1 << 20
URI = "mem://bucket/m/1"


def address(version: StoragePath) -> str:
    return address_of(version.place, version.files)


def is_kept(cache: VersionCache, version: StoragePath) -> bool:
    """Whether somebody keeps the version from leaving."""
    claim = VersionCache(cache.root).claim(address(version))
    if claim is not None:
        claim.release()
    return claim is None


def content_here(version: StoragePath) -> bytes:
    return Path(version.path, "model").read_bytes()


# A version comes…


def test_what_is_wanted_comes_and_is_told_of_once(place, fetches, told, all_ended) -> None:
    version = place.version({"model": b"content"})
    assert fetches.awaited(version) == DOWNLOADING

    fetches.want("m", [version], told)

    told.wait()
    assert fetches.awaited(version) is None
    assert content_here(version) == b"content"
    all_ended()
    assert not told.has_more


def test_what_is_on_its_way_is_awaited(place, fetches, told) -> None:
    version = place.version({"model": b"content"})
    hang = place.store.hang(f"{URI}/model")

    fetches.want("m", [version], told)

    assert hang.entered.wait(PATIENCE_SECONDS)
    assert fetches.awaited(version) == HeldBack("downloading", is_coming=True)
    assert not told.has_more
    hang.release.set()
    told.wait()
    assert fetches.awaited(version) is None


def test_wanting_it_again_fetches_nothing_and_tells_nothing(
    place, fetches, told, all_ended
) -> None:
    version = place.version({"model": b"content"})
    fetches.want("m", [version], told)
    told.wait()

    for _ in range(3):
        fetches.want("m", [version], told)

    all_ended()
    assert len(place.store.reads) == 1
    assert not told.has_more


def test_what_is_in_the_cache_is_neither_read_nor_told_of(
    place, make_fetches, told, all_ended
) -> None:
    version = place.version({"model": b"content"})
    make_fetches().hold(version)()
    place.store.reads.clear()
    restarted = make_fetches()

    assert restarted.awaited(version) is None
    restarted.want("m", [version], told)

    all_ended()
    assert place.store.reads == []
    assert not told.has_more
    assert is_kept(place.cache, version)


def test_progress_says_how_far_each_version_is(place, fetches, told) -> None:
    version = place.version({"model": Generated(3 * MEGABYTE), "more": b"x"})
    hang = place.store.hang(f"{URI}/model", after=2 * MEGABYTE)
    fetches.want("m", [version], told)
    assert hang.entered.wait(PATIENCE_SECONDS)

    (progress,) = fetches.progress()

    assert (progress.uri, progress.path) == (URI, version.path)
    assert (progress.size, progress.files) == (3 * MEGABYTE + 1, 2)
    assert not progress.is_here
    assert progress.size_here in (2 * MEGABYTE, 2 * MEGABYTE + 1)
    hang.release.set()
    told.wait()
    (progress,) = fetches.progress()
    assert progress.is_here
    assert progress.size_here == progress.size_received == 3 * MEGABYTE + 1
    assert not progress.was_kept


def test_progress_tells_what_was_kept(place, make_fetches, told) -> None:
    version = place.version({"model": b"content"})
    make_fetches().hold(version)()
    restarted = make_fetches()

    restarted.want("m", [version], told)

    (progress,) = restarted.progress()
    assert (progress.is_here, progress.was_kept) == (True, True)
    assert (progress.size_here, progress.size_received) == (7, 0)
    assert (restarted.arrivals.hits, restarted.arrivals.misses) == (1, 0)


def test_usage_is_that_after_the_last_arrival(place, fetches, told) -> None:
    assert fetches.usage.versions == 0

    fetches.want("m", [place.version({"model": b"content"})], told)
    told.wait()

    assert (fetches.usage.size, fetches.usage.versions) == (4096, 1)


# …again and again, if need be…


def test_pauses_grow_from_a_second_to_a_minute() -> None:
    assert [retry_seconds(failures) for failures in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert retry_seconds(10**9) == 60


def test_a_failure_is_told_with_its_reason_and_when_it_is_tried_again(
    place, make_fetches, told, manual_clock
) -> None:
    fetches = make_fetches(clock=manual_clock)
    version = place.version({"model": b"content"})
    place.store.fail(f"{URI}/model", PermissionDeniedError("not you"))

    fetches.want("m", [version], told)

    for seconds in (1, 2, 4, 8):
        told.wait()
        awaited = fetches.awaited(version)
        assert awaited is not None
        assert (awaited.message, awaited.is_coming) == ("the download is tried again", False)
        assert isinstance(awaited.error, PermissionDeniedError)
        assert awaited.retry_time == manual_clock.time() + seconds
        manual_clock.advance(seconds)
    told.wait()
    assert len(place.store.reads) == 5
    assert fetches.progress()[0].failures == 5


def test_it_is_not_tried_again_before_its_time(
    place, make_fetches, told, other_told, manual_clock
) -> None:
    fetches = make_fetches(clock=manual_clock)
    place.store.fail(f"{URI}/model", PermissionDeniedError("not you"))
    fetches.want("m", [place.version({"model": b"content"})], told)
    told.wait()
    manual_clock.advance(0.9)

    # What is begun only now is brought, and the other has still not been asked for.
    fetches.want("n", [place.version({"model": b"other"}, "mem://bucket/n/1")], other_told)
    other_told.wait()

    assert [read.path for read in place.store.reads] == [
        f"{URI}/model",
        "mem://bucket/n/1/model",
    ]


def test_a_failure_that_passes_is_forgotten(place, fetches, told) -> None:
    version = place.version({"model": b"content"})
    place.store.fail(f"{URI}/model", PermissionDeniedError("not you"), times=2)

    fetches.want("m", [version], told)

    for _ in range(3):
        told.wait()
    assert fetches.awaited(version) is None
    assert content_here(version) == b"content"


def test_wrong_content_is_fetched_again_that_file_alone(place, fetches, told) -> None:
    version = place.version({"model": b"content", "more": Generated(MEGABYTE)})
    place.store.corrupt(f"{URI}/model", 3)

    fetches.want("m", [version], told)

    told.wait()
    told.wait()
    assert fetches.awaited(version) is None
    assert content_here(version) == b"content"
    assert place.store.bytes_delivered() == MEGABYTE + 2 * 7


def test_a_version_that_is_replaced_during_its_download_is_never_here(
    place, make_fetches, told, manual_clock
) -> None:
    fetches = make_fetches(clock=manual_clock)
    version = place.version({"model": b"content", "more": b"more"})
    place.store.replace_during(f"{URI}/model", b"changed")

    fetches.want("m", [version], told)

    told.wait()
    awaited = fetches.awaited(version)
    assert awaited is not None
    assert isinstance(awaited.error, NotFoundError)
    assert str(awaited.error) == f"{URI}/model was replaced since it was listed"
    assert not place.cache.has(address(version))


def test_content_that_was_uploaded_again_is_fetched_from_the_newest_listing(
    place, make_fetches, told, manual_clock
) -> None:
    fetches = make_fetches(clock=manual_clock)
    version = place.version({"model": b"content"})
    uploaded_again = place.version({"model": b"content"})
    fetches.want("m", [version], told)
    told.wait()
    assert fetches.awaited(version) is not None

    fetches.want("m", [uploaded_again], told)
    manual_clock.advance(1)

    told.wait()
    assert fetches.awaited(uploaded_again) is None


def test_content_that_is_gone_from_one_place_is_fetched_from_the_other(
    place, make_fetches, told, other_told, manual_clock
) -> None:
    fetches = make_fetches(clock=manual_clock)
    first = place.version({"model": b"content"})
    second = place.version({"model": b"content"}, "mem://elsewhere/n/7")
    place.store.remove(URI)
    fetches.want("m", [first], told)
    told.wait()

    fetches.want("n", [second], other_told)
    fetches.want("m", [], told)
    manual_clock.advance(1)

    other_told.wait()
    assert fetches.awaited(second) is None


def test_one_that_fails_is_in_nobodys_way(place, make_fetches, told, manual_clock) -> None:
    fetches = make_fetches(clock=manual_clock)
    others = [place.version({"model": b"%d" % n}, f"mem://bucket/m/{n}") for n in range(2, 8)]
    failing = place.version({"model": b"content"})
    place.store.fail(f"{URI}/model", PermissionDeniedError("not you"))

    fetches.want("m", [failing, *others], told)

    for _ in range(7):
        told.wait()
    assert [fetches.awaited(version) for version in others] == [None] * 6
    assert fetches.awaited(failing) is not None


# …for as long as it is wanted…


def test_what_is_wanted_is_kept_until_it_is_left_out(place, fetches, told) -> None:
    version = place.version({"model": b"content"})
    fetches.want("m", [version], told)
    told.wait()
    assert is_kept(place.cache, version)

    fetches.want("m", [], told)

    assert not is_kept(place.cache, version)
    assert fetches.progress() == ()
    assert place.cache.has(address(version))


def test_each_statement_is_the_whole_of_what_is_wanted(place, fetches, told) -> None:
    versions = [place.version({"model": b"%d" % n}, f"mem://bucket/m/{n}") for n in range(3)]
    fetches.want("m", versions[:2], told)
    told.wait()
    told.wait()

    fetches.want("m", versions[1:], told)
    told.wait()

    assert [is_kept(place.cache, version) for version in versions] == [False, True, True]


def test_a_download_that_nobody_wants_any_more_ends(place, fetches, told, all_ended) -> None:
    version = place.version({"model": Generated(8 * MEGABYTE)})
    hang = place.store.hang(f"{URI}/model", after=MEGABYTE)
    fetches.want("m", [version], told)
    assert hang.entered.wait(PATIENCE_SECONDS)

    fetches.want("m", [], told)
    hang.release.set()

    all_ended()
    assert place.store.bytes_delivered() <= 2 * MEGABYTE
    assert not told.has_more
    assert not is_kept(place.cache, version)
    assert not place.cache.has(address(version))


def test_a_retry_that_nobody_wants_any_more_is_not_made(
    place, make_fetches, told, manual_clock, all_ended
) -> None:
    fetches = make_fetches(clock=manual_clock)
    place.store.fail(f"{URI}/model", PermissionDeniedError("not you"))
    fetches.want("m", [place.version({"model": b"content"})], told)
    told.wait()

    fetches.want("m", [], told)

    all_ended()
    assert len(place.store.reads) == 1


def test_what_is_wanted_again_goes_on_where_it_was(place, fetches, told, all_ended) -> None:
    version = place.version({"a": Generated(MEGABYTE), "model": b"content"})
    hang = place.store.hang(f"{URI}/model")
    fetches.want("m", [version], told)
    assert hang.entered.wait(PATIENCE_SECONDS)
    while fetches.progress()[0].size_here < MEGABYTE:
        pass
    fetches.want("m", [], told)
    hang.release.set()
    all_ended()

    fetches.want("m", [version], told)

    told.wait()
    assert fetches.awaited(version) is None
    assert place.store.bytes_delivered() <= MEGABYTE + 2 * 7


def test_what_is_let_go_before_it_is_found_here_is_not_kept(
    place, make_fetches, told, all_ended
) -> None:
    """Whichever comes first, the last statement counts."""
    version = place.version({"model": b"content"})
    make_fetches().hold(version)()
    fetches = make_fetches()
    statements = [[version], []] * 100

    threads = [
        threading.Thread(target=lambda: [fetches.want("m", wanted, told) for wanted in statements])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fetches.want("m", [], told)
    all_ended()

    assert not is_kept(place.cache, version)


# …and for all who want it.


def test_two_that_want_the_same_content_share_one_download_and_are_both_told(
    place, fetches, told, other_told
) -> None:
    here = place.version({"model": b"content"})
    elsewhere = place.version({"model": b"content"}, "mem://elsewhere/n/7")
    hang = place.store.hang(f"{URI}/model")
    fetches.want("m", [here], told)
    assert hang.entered.wait(PATIENCE_SECONDS)

    fetches.want("n", [elsewhere], other_told)
    hang.release.set()

    told.wait()
    other_told.wait()
    assert fetches.awaited(here) is fetches.awaited(elsewhere) is None
    assert here.path == elsewhere.path
    assert place.store.bytes_delivered() == 7


def test_what_two_want_stays_until_neither_does(place, fetches, told, other_told) -> None:
    version = place.version({"model": b"content"})
    fetches.want("m", [version], told)
    fetches.want("n", [version], other_told)
    told.wait()

    fetches.want("m", [], told)
    assert is_kept(place.cache, version)
    fetches.want("n", [], other_told)
    assert not is_kept(place.cache, version)


def test_who_has_left_is_told_nothing(place, fetches, told, other_told) -> None:
    version = place.version({"model": b"content"})
    hang = place.store.hang(f"{URI}/model")
    fetches.want("m", [version], told)
    fetches.want("n", [version], other_told)
    assert hang.entered.wait(PATIENCE_SECONDS)

    fetches.want("m", [], told)
    hang.release.set()

    other_told.wait()
    assert not told.has_more


def test_who_asked_before_it_arrived_and_wants_it_after_is_told_all_the_same(
    place, fetches, told, other_told
) -> None:
    version = place.version({"model": b"content"})
    fetches.want("m", [version], told)
    told.wait()

    fetches.want("n", [version], other_told)

    other_told.wait()
    fetches.want("n", [version], other_told)
    assert not other_told.has_more


# Holding…


def test_what_is_held_stays_when_it_is_no_longer_wanted(place, fetches, told) -> None:
    version = place.version({"model": b"content"})
    fetches.want("m", [version], told)
    told.wait()
    release = fetches.hold(version)

    fetches.want("m", [], told)
    assert is_kept(place.cache, version)
    release()
    assert not is_kept(place.cache, version)


def test_what_has_left_is_fetched_by_whoever_holds_it(place, fetches, told) -> None:
    version = place.version({"model": b"content"})
    fetches.want("m", [version], told)
    told.wait()
    shutil.rmtree(place.cache.root)

    release = fetches.hold(version)

    assert content_here(version) == b"content"
    release()


def test_what_is_being_fetched_is_waited_for_by_whoever_holds_it(place, fetches, told) -> None:
    version = place.version({"model": b"content"})
    hang = place.store.hang(f"{URI}/model")
    fetches.want("m", [version], told)
    assert hang.entered.wait(PATIENCE_SECONDS)
    place.clock.on_wait = hang.release.set

    release = fetches.hold(version)

    assert content_here(version) == b"content"
    assert place.store.bytes_delivered() == 7
    release()


def test_holding_what_cannot_be_had_fails_with_the_reason(place, fetches) -> None:
    version = place.version({"model": b"content"})
    place.store.fail(f"{URI}/model", PermissionDeniedError("not you"))

    with pytest.raises(PermissionDeniedError, match=r"^not you$"):
        fetches.hold(version)

    assert not is_kept(place.cache, version)


def test_nothing_is_fetched_to_be_held_once_all_is_stopped(place, fetches) -> None:
    version = place.version({"model": b"content"})
    fetches.stop()

    with pytest.raises(CancelledError):
        fetches.hold(version)

    assert place.store.reads == []


def test_what_is_here_can_be_held_though_all_is_stopped(place, fetches) -> None:
    version = place.version({"model": b"content"})
    fetches.hold(version)()
    fetches.stop()

    fetches.hold(version)()


# Stopping…


def test_a_stop_ends_downloads_retries_and_what_is_kept(
    place, fetches, told, other_told, all_ended
) -> None:
    kept = place.version({"model": b"kept"}, "mem://bucket/m/2")
    fetches.want("kept", [kept], other_told)
    other_told.wait()
    coming = place.version({"model": Generated(8 * MEGABYTE)})
    hang = place.store.hang(f"{URI}/model", after=MEGABYTE)
    fetches.want("m", [coming], told)
    assert hang.entered.wait(PATIENCE_SECONDS)

    fetches.stop()
    hang.release.set()

    all_ended()
    assert place.store.bytes_delivered() <= 2 * MEGABYTE + 4
    assert not is_kept(place.cache, kept)
    assert not is_kept(place.cache, coming)
    assert not told.has_more


def test_nothing_is_begun_after_a_stop(place, fetches, told) -> None:
    fetches.stop()

    fetches.want("m", [place.version({"model": b"content"})], told)

    assert fetches.progress() == ()
    assert place.store.reads == []


# Many at a time…


def test_no_more_than_a_few_are_fetched_at_a_time_and_the_others_follow(
    place, fetches, told
) -> None:
    uris = [f"mem://bucket/m/{number}" for number in range(MAX_AT_A_TIME + 2)]
    versions = [place.version({"model": uri.encode()}, uri) for uri in uris]
    hangs = [place.store.hang(f"{uri}/model") for uri in uris]
    fetches.want("m", versions[:MAX_AT_A_TIME], told)
    for hang in hangs[:MAX_AT_A_TIME]:
        assert hang.entered.wait(PATIENCE_SECONDS)

    fetches.want("m", versions, told)
    assert [hang.entered.is_set() for hang in hangs[MAX_AT_A_TIME:]] == [False, False]
    hangs[0].release.set()
    told.wait()

    for hang in hangs:
        hang.release.set()
    for _ in versions[1:]:
        told.wait()
    assert [fetches.awaited(version) for version in versions] == [None] * len(versions)


def test_who_waits_for_a_turn_keeps_nobody_else_from_fetching_the_same(
    place, make_fetches, told, other_told
) -> None:
    uris = [f"mem://bucket/m/{number}" for number in range(MAX_AT_A_TIME)]
    busy = [place.version({"model": uri.encode()}, uri) for uri in uris]
    hangs = [place.store.hang(f"{uri}/model") for uri in uris]
    last = place.version({"model": b"last"}, "mem://bucket/m/last")
    fetches = make_fetches()
    fetches.want("m", busy, told)
    for hang in hangs:
        assert hang.entered.wait(PATIENCE_SECONDS)
    fetches.want("n", [last], other_told)

    make_fetches(VersionCache(place.cache.root)).hold(last)()

    other_told.wait()
    assert fetches.awaited(last) is None
    for hang in hangs:
        hang.release.set()


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
    claim = VersionCache(place.cache.root).claim(address(version))
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
    many = [make_fetches(VersionCache(place.cache.root)) for _ in range(6)]

    for fetches in many:
        fetches.want("m", [version], told)

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
    assert is_kept(place.cache, version)


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
