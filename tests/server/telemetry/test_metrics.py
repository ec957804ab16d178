"""What Prometheus reads, line by line."""

from modelserver.core.servable import ServableId
from modelserver.core.state import ManagerState, ServableState
from modelserver.errors import DataLossError
from modelserver.histogram import HistogramSnapshot
from modelserver.telemetry import Metrics, MetricsSnapshot

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def lines(snapshot):
    return Metrics(lambda: snapshot).exposition().decode().splitlines()


def state(version, manager_state, health=None, **times):
    return ServableState(ServableId("m", version), manager_state, health, **times)


def test_calls_are_counted_by_method_and_code():
    found = lines(MetricsSnapshot(calls={(PREDICT, "OK"): 7, (PREDICT, "NOT_FOUND"): 2}))

    assert f'modelserver_rpc_calls_total{{code="OK",method="{PREDICT}"}} 7.0' in found
    assert f'modelserver_rpc_calls_total{{code="NOT_FOUND",method="{PREDICT}"}} 2.0' in found


def test_the_buckets_of_a_histogram_add_up_as_prometheus_has_them():
    seen = HistogramSnapshot((0.1, 1.0), (3, 2, 1), 4.5)

    found = lines(MetricsSnapshot(call_seconds={PREDICT: seen}))

    assert [line.split()[-1] for line in found if "rpc_seconds_bucket" in line] == [
        "3.0",
        "5.0",
        "6.0",
    ]
    assert f'modelserver_rpc_seconds_count{{method="{PREDICT}"}} 6.0' in found
    assert f'modelserver_rpc_seconds_sum{{method="{PREDICT}"}} 4.5' in found


def test_batches_are_told_where_there_is_batching():
    seen = HistogramSnapshot((1.0, 2.0), (1, 1, 0), 3.0)

    assert "modelserver_batch_rows_count 2.0" in lines(
        MetricsSnapshot(batch_rows=seen, queue_seconds=seen)
    )
    assert not any("modelserver_batch" in line for line in lines(MetricsSnapshot()))


def test_each_version_has_one_state_and_the_time_that_its_load_took():
    versions = {
        3: state(3, ManagerState.AVAILABLE, loading_time=100.0, available_time=102.5),
        2: state(2, ManagerState.END, DataLossError("broken")),
        1: state(1, ManagerState.END),
    }

    found = lines(MetricsSnapshot(states={"m": versions}))

    for version, name in (("3", "available"), ("2", "failed"), ("1", "end")):
        labels = f'model="m",state="{name}",version="{version}"'
        assert f"modelserver_model_version_state{{{labels}}} 1.0" in found
    assert 'modelserver_model_version_load_seconds{model="m",version="3"} 2.5' in found
    assert sum(line.startswith("modelserver_model_version_load") for line in found) == 1


def test_a_source_of_which_nothing_is_known_yet_is_left_out():
    found = lines(MetricsSnapshot(is_source_accessible={"a": True, "b": False, "c": None}))

    accessible = [line for line in found if line.startswith("modelserver_model_source_accessible{")]
    assert accessible == [
        'modelserver_model_source_accessible{model="a"} 1.0',
        'modelserver_model_source_accessible{model="b"} 0.0',
    ]


def test_the_server_says_what_it_is_and_how_it_is():
    found = lines(
        MetricsSnapshot(version="0.1.0", config_hash="0011", is_ready=True, calls_in_flight=3)
    )

    assert 'modelserver_info{config_hash="0011",version="0.1.0"} 1.0' in found
    assert "modelserver_ready 1.0" in found
    assert "modelserver_draining 0.0" in found
    assert "modelserver_config_refused 0.0" in found
    assert "modelserver_rpc_in_flight 3.0" in found
    assert any(line.startswith("process_resident_memory_bytes ") for line in found)


def test_names_that_others_chose_are_escaped():
    name = 'a"b\nc'
    version = ServableState(ServableId(name, 1), ManagerState.AVAILABLE)

    found = lines(MetricsSnapshot(states={name: {1: version}}))

    escaped = 'model="a\\"b\\nc",state="available",version="1"'
    assert f"modelserver_model_version_state{{{escaped}}} 1.0" in found
