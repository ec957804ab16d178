"""For whom, and for how long, versions are fetched and kept."""

import shutil
import threading
from pathlib import Path

import pytest

from modelserver.core.storage_path import StoragePath
from modelserver.errors import CancelledError, PermissionDeniedError
from modelserver.sources.cache.fetches import MAX_AT_A_TIME
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.testing.object_store import Generated

PATIENCE_SECONDS = 20
MEGABYTE = 1 << 20
URI = "mem://bucket/m/1"


def content_here(version: StoragePath) -> bytes:
    return Path(version.path, "model").read_bytes()


# For as long as it is wanted…


def test_what_is_wanted_is_kept_until_it_is_left_out(place, fetches, told) -> None:
    version = place.version({"model": b"content"})
    fetches.want("m", [version], told)
    told.wait()
    assert place.is_kept(version)

    fetches.want("m", [], told)

    assert not place.is_kept(version)
    assert fetches.progress() == ()
    assert place.is_here(version)


def test_each_statement_is_the_whole_of_what_is_wanted(place, fetches, told) -> None:
    versions = [place.version({"model": b"%d" % n}, f"mem://bucket/m/{n}") for n in range(3)]
    fetches.want("m", versions[:2], told)
    told.wait()
    told.wait()

    fetches.want("m", versions[1:], told)
    told.wait()

    assert [place.is_kept(version) for version in versions] == [False, True, True]


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
    assert not place.is_kept(version)
    assert not place.is_here(version)


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

    assert not place.is_kept(version)


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
    assert place.is_kept(version)
    fetches.want("n", [], other_told)
    assert not place.is_kept(version)


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
    assert place.is_kept(version)
    release()
    assert not place.is_kept(version)


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

    assert not place.is_kept(version)


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
    assert not place.is_kept(kept)
    assert not place.is_kept(coming)
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
