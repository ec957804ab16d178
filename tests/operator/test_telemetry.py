"""What can be measured from outside."""

from modelserver_operator.api import ModelServerStatus, ModelStatus, VersionStatus
from modelserver_operator.telemetry import Telemetry
from modelserver_operator.work_queue import Key


def lines(telemetry: Telemetry, prefix: str) -> list[str]:
    """The samples whose names begin like this."""
    return [line for line in telemetry.render().decode().splitlines() if line.startswith(prefix)]


def a_status(**versions: str) -> ModelServerStatus:
    """Of one model, with the state of each version: v2="Loading"."""
    rows = [VersionStatus(version=int(name[1:]), state=state) for name, state in versions.items()]
    return ModelServerStatus(models=(ModelStatus(name="mnist", versions=tuple(rows)),))


def test_reconciliations_are_counted_by_result_and_timed() -> None:
    telemetry = Telemetry()
    telemetry.reconciled("success", 0.2)
    telemetry.reconciled("success", 0.2)
    telemetry.reconciled("conflict", 0.2)

    assert lines(telemetry, "modelserver_operator_reconcile_total") == [
        'modelserver_operator_reconcile_total{result="success"} 2.0',
        'modelserver_operator_reconcile_total{result="conflict"} 1.0',
    ]
    assert lines(telemetry, "modelserver_operator_reconcile_duration_seconds_count") == [
        "modelserver_operator_reconcile_duration_seconds_count 3.0"
    ]


def test_swallowed_changes_are_counted_by_kind() -> None:
    telemetry = Telemetry()
    telemetry.swallowed("Pod", 3)

    assert 'modelserver_operator_watch_swallowed_total{kind="Pod"} 3.0' in lines(
        telemetry, "modelserver_operator_watch_swallowed_total"
    )


def test_each_version_has_a_series_with_its_state() -> None:
    telemetry = Telemetry()
    telemetry.versions.show(Key("ns", "web"), a_status(v2="Loading", v1="Available"))

    labels = 'model="mnist",modelserver="web",namespace="ns"'
    assert lines(telemetry, "modelserver_version_state{") == [
        f'modelserver_version_state{{{labels},state="Loading",version="2"}} 1.0',
        f'modelserver_version_state{{{labels},state="Available",version="1"}} 1.0',
    ]


def test_a_version_is_in_one_state_at_a_time() -> None:
    telemetry = Telemetry()
    telemetry.versions.show(Key("ns", "web"), a_status(v1="Loading"))
    telemetry.versions.show(Key("ns", "web"), a_status(v1="Available"))

    (line,) = lines(telemetry, "modelserver_version_state{")
    assert 'state="Available"' in line


def test_the_series_of_a_deleted_model_server_vanish() -> None:
    telemetry = Telemetry()
    telemetry.versions.show(Key("ns", "web"), a_status(v1="Available"))
    telemetry.versions.show(Key("ns", "other"), a_status(v1="Available"))

    telemetry.versions.forget(Key("ns", "web"))

    (line,) = lines(telemetry, "modelserver_version_state{")
    assert 'modelserver="other"' in line


def test_a_gauge_is_read_when_somebody_asks() -> None:
    telemetry = Telemetry()
    values = {"Pod": 1.0}
    number = [1.0]
    telemetry.gauge("age_seconds", "How old.", lambda: values)
    telemetry.gauge("depth", "How many.", lambda: number[0])
    values["Pod"], values["Service"], number[0] = 2.0, 3.0, 4.0

    assert lines(telemetry, "age_seconds{") == [
        'age_seconds{kind="Pod"} 2.0',
        'age_seconds{kind="Service"} 3.0',
    ]
    assert lines(telemetry, "depth ") == ["depth 4.0"]


def test_two_operators_in_one_process_measure_apart() -> None:
    one, other = Telemetry(), Telemetry()
    one.reconciled("success", 1)

    assert lines(other, "modelserver_operator_reconcile_total") == []
