"""What Prometheus reads of files, downloads and the cache, line by line."""

from modelserver.core.servable import ServableId
from modelserver.core.state import ManagerState, ServableState
from modelserver.core.storage_totals import CacheFill, StorageTotals
from modelserver.core.stored_version import StoredVersion, Transfer
from modelserver.telemetry import Metrics, MetricsSnapshot


def lines(**fields):
    text = Metrics(lambda: MetricsSnapshot(**fields)).exposition().decode()
    return [line for line in text.splitlines() if line.startswith("modelserver_")]


def test_each_version_of_which_the_files_are_known_says_how_large_it_is():
    found = lines(stored={"m": {2: StoredVersion(1000, 3), 1: StoredVersion(10, 1)}})

    assert 'modelserver_model_version_bytes{model="m",version="2"} 1000.0' in found
    assert 'modelserver_model_version_bytes{model="m",version="1"} 10.0' in found
    assert 'modelserver_model_version_files{model="m",version="2"} 3.0' in found


def test_an_available_version_says_how_long_it_took_from_its_first_sight():
    state = ServableState(
        ServableId("m", 1), ManagerState.AVAILABLE, first_seen_time=100.0, available_time=161.5
    )
    coming = ServableState(ServableId("m", 2), ManagerState.START, first_seen_time=100.0)

    found = [
        line for line in lines(states={"m": {1: state, 2: coming}}) if "available_seconds" in line
    ]

    assert found == ['modelserver_model_version_available_seconds{model="m",version="1"} 61.5']


def test_only_downloads_that_are_not_over_are_told():
    under_way = Transfer(size_here=250, bytes_per_second=49.5, failures=2)
    stored = {
        4: StoredVersion(1000, 3, "gs://b/m/4", under_way),
        3: StoredVersion(1000, 3, "gs://b/m/3", Transfer(is_here=True)),
        2: StoredVersion(1000, 3, "gs://b/m/2"),
        1: StoredVersion(1000, 3),
    }

    found = [line for line in lines(stored={"m": stored}) if "_download_" in line]

    labels = 'model="m",version="4"'
    assert found == [
        f"modelserver_download_bytes{{{labels}}} 250.0",
        f"modelserver_download_size_bytes{{{labels}}} 1000.0",
        f"modelserver_download_bytes_per_second{{{labels}}} 49.5",
        f"modelserver_download_failures{{{labels}}} 2.0",
    ]


def test_what_was_overwritten_is_told_of_available_versions():
    states = {
        version: ServableState(ServableId("m", version), state)
        for version, state in (
            (3, ManagerState.LOADING),
            (2, ManagerState.AVAILABLE),
            (1, ManagerState.AVAILABLE),
        )
    }

    found = lines(states={"m": states}, mutated={"m": frozenset({1})})

    assert [line for line in found if "mutated" in line] == [
        'modelserver_model_version_mutated{model="m",version="2"} 0.0',
        'modelserver_model_version_mutated{model="m",version="1"} 1.0',
    ]


def test_calls_to_storage_are_counted_by_operation_and_outcome():
    found = lines(storage=StorageTotals({("list", "200"): 3, ("read", "no answer"): 1}))

    calls = [line for line in found if "storage_calls" in line]
    assert calls == [
        'modelserver_storage_calls_total{operation="list",outcome="200"} 3.0',
        'modelserver_storage_calls_total{operation="read",outcome="no answer"} 1.0',
    ]


def test_what_was_received_and_what_was_found_in_the_cache_is_counted_from_nought():
    names = ("storage_received_bytes", "cache_hits", "cache_misses")

    for totals, values in (
        (StorageTotals(), (0, 0, 0)),
        (StorageTotals({}, 5000, 2, 1), (5000, 2, 1)),
    ):
        found = lines(storage=totals)
        for name, value in zip(names, values, strict=True):
            assert f"modelserver_{name}_total {float(value)}" in found


def test_the_cache_is_told_where_there_is_one_and_its_limit_where_there_is_one():
    def cache_lines(cache):
        found = lines(storage=StorageTotals(cache=cache))
        return [line for line in found if "_cache_" in line and "_total" not in line]

    unlimited = ["modelserver_cache_bytes 900.0", "modelserver_cache_versions 2.0"]
    assert cache_lines(CacheFill(900, 2, 5000)) == [
        *unlimited,
        "modelserver_cache_limit_bytes 5000.0",
    ]
    assert cache_lines(CacheFill(900, 2)) == unlimited
    assert cache_lines(None) == []
