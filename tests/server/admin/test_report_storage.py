"""What the pod's report says of files, downloads and the cache."""

import json
from dataclasses import replace

import pytest

from modelserver.admin import ModelSnapshot, ServerSnapshot, SourceSnapshot, build_report
from modelserver.core.servable import ServableId
from modelserver.core.state import ManagerState, ServableState
from modelserver.core.storage_totals import CacheFill, StorageTotals
from modelserver.core.stored_version import StoredVersion, Transfer
from modelserver.errors import DataLossError

URI = "gs://bucket/m/1"
AVAILABLE = ServableState(
    ServableId("m", 1),
    ManagerState.AVAILABLE,
    first_seen_time=1_700_000_000.0,
    available_time=1_700_000_012.3456,
)
COMING = ServableState(
    ServableId("m", 1), ManagerState.START, message="downloading", is_coming=True
)
UNDER_WAY = StoredVersion(1000, 3, URI, Transfer(size_here=250, bytes_per_second=49.6, failures=2))
RECEIVED = StoredVersion(1000, 3, URI, Transfer(is_here=True, size_here=1000))
KEPT = StoredVersion(1000, 3, URI, Transfer(is_here=True, was_kept=True, size_here=1000))
MOUNTED = StoredVersion(1000, 3)
UNKNOWN_TIME = {"secondsToAvailable": None}


def server(state, stored=None, mutated=(), **fields):
    source = SourceSnapshot(True, mutated=frozenset(mutated))
    model = ModelSnapshot(
        "m", "gs://bucket/m", source, {1: state}, stored={} if stored is None else {1: stored}
    )
    return ServerSnapshot(models=(model,), **fields)


def report(snapshot):
    return build_report(snapshot, is_ready=True)


def document(snapshot):
    return json.loads(report(snapshot).body)


def row(*args):
    return document(server(*args))["models"][0]["versions"][0]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        pytest.param(None, (None, None, None, None), id="unknown"),
        pytest.param(MOUNTED, (None, 1000, 3, None), id="mounted"),
        pytest.param(UNDER_WAY, (URI, 1000, 3, None), id="under-way"),
        pytest.param(RECEIVED, (URI, 1000, 3, False), id="received"),
        pytest.param(KEPT, (URI, 1000, 3, True), id="kept"),
        pytest.param(StoredVersion(0, 0, URI), (URI, 0, 0, None), id="not-copied-any-more"),
    ],
)
def test_a_version_says_what_its_files_are_and_whether_they_were_in_the_cache(stored, expected):
    found = row(COMING, stored)["storage"]

    names = ("uri", "bytes", "files", "cacheHit")
    assert found == dict(zip(names, expected, strict=True)) | UNKNOWN_TIME


def test_a_uri_is_cut_to_what_a_report_may_carry():
    stored = replace(UNDER_WAY, uri=f"gs://bucket/{'x' * 1024}/1")

    found = document(server(COMING, stored))

    uris = (
        found["models"][0]["versions"][0]["storage"]["uri"],
        found["progress"]["downloads"][0]["uri"],
    )
    assert [len(uri) for uri in uris] == [256, 256]


def test_an_available_version_says_how_long_it_took_to_get_there():
    assert row(AVAILABLE)["storage"]["secondsToAvailable"] == 12.346


def test_a_clock_that_was_set_back_makes_no_negative_time():
    state = replace(AVAILABLE, first_seen_time=1_800_000_000.0)

    assert row(state)["storage"]["secondsToAvailable"] == 0.0


def test_a_version_that_was_overwritten_says_so_while_it_serves():
    found = row(AVAILABLE, MOUNTED, {1})

    assert (found["state"], found["reason"]) == ("Available", "Mutated")
    assert found["message"] == (
        "overwritten in place after it was loaded: what was loaded serves on; "
        "export under a new number"
    )


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param(replace(AVAILABLE, manager_state=ManagerState.UNLOADING), "", id="unloads"),
        pytest.param(replace(AVAILABLE, health=DataLossError("broken")), "LoadFailed", id="fails"),
    ],
)
def test_what_is_worse_or_over_goes_before_being_overwritten(state, reason):
    assert row(state, MOUNTED, {1})["reason"] == reason


def test_an_available_version_that_stayed_as_it_was_has_no_reason():
    found = row(AVAILABLE, MOUNTED, {2})

    assert (found["reason"], found["message"]) == ("", "")


def test_progress_has_the_downloads_that_are_not_over():
    assert document(server(COMING, UNDER_WAY))["progress"]["downloads"] == [
        {
            "model": "m",
            "version": 1,
            "uri": URI,
            "bytesDone": 250,
            "bytesTotal": 1000,
            "bytesPerSecond": 50,
            "failures": 2,
        }
    ]


@pytest.mark.parametrize("stored", [None, MOUNTED, RECEIVED, KEPT])
def test_what_is_here_is_no_download(stored):
    assert document(server(COMING, stored))["progress"]["downloads"] == []


def test_progress_counts_calls_and_says_how_full_the_cache_is():
    calls = {("read", "206"): 7, ("list", "503"): 1, ("list", "200"): 3}
    totals = StorageTotals(calls, cache=CacheFill(900, 2, 5000))

    assert document(server(COMING, storage=totals))["progress"]["storage"] == {
        "calls": [
            {"operation": "list", "outcome": "200", "count": 3},
            {"operation": "list", "outcome": "503", "count": 1},
            {"operation": "read", "outcome": "206", "count": 7},
        ],
        "cache": {"bytes": 900, "versions": 2, "limitBytes": 5000},
    }


def test_where_nothing_is_copied_there_is_no_cache():
    assert document(server(AVAILABLE))["progress"]["storage"] == {"calls": [], "cache": None}


def test_progress_says_in_how_many_seconds_each_base_path_is_looked_at():
    due, overdue, unplanned = (
        ModelSnapshot(name, "/m", next_poll=at)
        for name, at in (("due", 107.5), ("overdue", 99.0), ("unplanned", None))
    )

    found = document(ServerSnapshot(models=(due, overdue, unplanned), now=100.0))

    assert found["progress"]["nextPolls"] == {"due": 7.5, "overdue": 0.0}


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(server(COMING, replace(UNDER_WAY, transfer=Transfer())), id="download"),
        pytest.param(
            server(COMING, UNDER_WAY, storage=StorageTotals({("read", "206"): 9})), id="calls"
        ),
        pytest.param(
            server(COMING, UNDER_WAY, storage=StorageTotals(cache=CacheFill(1, 1))), id="cache"
        ),
        pytest.param(server(COMING, UNDER_WAY, now=7.0), id="time"),
    ],
)
def test_the_tag_stays_while_a_download_goes_on(later):
    assert report(server(COMING, UNDER_WAY)).etag == report(later).etag


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(server(COMING, RECEIVED), id="arrives"),
        pytest.param(server(COMING, replace(UNDER_WAY, size=1001)), id="is-another"),
    ],
)
def test_the_tag_changes_when_a_version_arrives_or_becomes_another(later):
    assert report(server(COMING, UNDER_WAY)).etag != report(later).etag


def test_the_tag_changes_when_a_version_is_overwritten():
    assert report(server(AVAILABLE)).etag != report(server(AVAILABLE, None, {1})).etag
