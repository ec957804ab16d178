"""How versions come that must be copied first: `Storage.fetch` and `awaited`."""

import json
from pathlib import Path

from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.errors import (
    NotFoundError,
    PermissionDeniedError,
)
from modelserver.sources.cache.fetch import DOWNLOADING, retry_seconds
from modelserver.sources.cache.version_cache import boot_id
from modelserver.testing.object_store import Generated

PATIENCE_SECONDS = 20
MEGABYTE = 1 << 20
URI = "mem://bucket/m/1"


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
    assert place.is_kept(version)


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
    assert not place.is_here(version)


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


def test_a_version_that_is_fetched_to_be_held_is_settled(place, make_fetches) -> None:
    version = place.version({"model": b"content"})

    make_fetches().hold(version)()

    assert "boot" not in Path(version.path, "../manifest.json").read_text()


def test_a_version_that_whoever_fetched_it_has_not_settled_is_settled_by_the_next(
    place, make_fetches, told, all_ended
) -> None:
    version = place.version({"model": b"content"})
    make_fetches().hold(version)()
    manifest = Path(version.path, "../manifest.json")
    unsettled = {**json.loads(manifest.read_text()), "boot": boot_id()}
    manifest.write_text(json.dumps(unsettled))

    make_fetches().want("m", [version], told)
    all_ended()

    assert "boot" not in manifest.read_text()
