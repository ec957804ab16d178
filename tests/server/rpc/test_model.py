from collections.abc import Callable, Iterator

import pytest

from modelserver.core.monitor import ServableStateMonitor
from modelserver.core.servable import ServableId
from modelserver.core.state import HeldBack, ManagerState, ServableState
from modelserver.errors import DataLossError, NotFoundError, ServingError
from modelserver.rpc.messages import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    ReloadConfigRequest,
)
from modelserver.rpc.model import ModelService
from modelserver.rpc.server import RpcServer
from modelserver.rpc.service import method_names
from modelserver.rpc.transport.base import Answer, StatusCode
from modelserver.testing.transport import MemoryTransport

GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

Ask = Callable[[GetModelStatusRequest], Answer]


@pytest.fixture
def monitor() -> ServableStateMonitor:
    return ServableStateMonitor()


@pytest.fixture
def transport(monitor: ServableStateMonitor) -> Iterator[MemoryTransport]:
    service = ModelService(monitor)
    transport = MemoryTransport(method_names([service]))
    server = RpcServer(transport, [service])
    server.start()
    yield transport
    server.stop(0)


@pytest.fixture
def ask(transport: MemoryTransport) -> Ask:
    return lambda request: transport.call(GET_MODEL_STATUS, request.SerializeToString())


def state(version: int, where: ManagerState, health: ServingError | None = None) -> ServableState:
    return ServableState(ServableId("m", version), where, health)


def rows(answer: Answer) -> list[tuple[int, int, int, str]]:
    assert isinstance(answer, bytes)
    response = GetModelStatusResponse.FromString(answer)
    return [
        (row.version, row.state, row.status.error_code, row.status.error_message)
        for row in response.model_version_status
    ]


def for_version(version: int) -> GetModelStatusRequest:
    request = GetModelStatusRequest(model_spec=ModelSpec(name="m"))
    request.model_spec.version.value = version
    return request


def test_all_versions_are_told_highest_first(monitor: ServableStateMonitor, ask: Ask) -> None:
    monitor.publish(state(1, ManagerState.AVAILABLE))
    monitor.publish(state(3, ManagerState.LOADING))
    monitor.publish(state(2, ManagerState.END, NotFoundError("no saved_model.pb")))

    answer = ask(GetModelStatusRequest(model_spec=ModelSpec(name="m")))

    assert rows(answer) == [(3, 20, 0, ""), (2, 50, 5, "no saved_model.pb"), (1, 30, 0, "")]


@pytest.mark.parametrize(
    ("where", "number"),
    [
        (ManagerState.START, 10),
        (ManagerState.LOADING, 20),
        (ManagerState.AVAILABLE, 30),
        (ManagerState.UNLOADING, 40),
        (ManagerState.END, 50),
    ],
)
def test_states_have_the_numbers_of_the_api(
    monitor: ServableStateMonitor, ask: Ask, where: ManagerState, number: int
) -> None:
    monitor.publish(state(1, where))

    assert rows(ask(for_version(1))) == [(1, number, 0, "")]


def test_one_version_can_be_asked_for(monitor: ServableStateMonitor, ask: Ask) -> None:
    monitor.publish(state(1, ManagerState.AVAILABLE))
    monitor.publish(state(2, ManagerState.AVAILABLE))

    assert rows(ask(for_version(1))) == [(1, 30, 0, "")]


def test_a_label_is_ignored(monitor: ServableStateMonitor, ask: Ask) -> None:
    monitor.publish(state(1, ManagerState.AVAILABLE))

    answer = ask(GetModelStatusRequest(model_spec=ModelSpec(name="m", version_label="x")))

    assert rows(answer) == [(1, 30, 0, "")]


def test_a_request_without_a_model_spec_is_invalid(ask: Ask) -> None:
    assert ask(GetModelStatusRequest()) == (StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")


@pytest.mark.parametrize("version", [None, 1])
def test_a_request_without_a_name_is_invalid(ask: Ask, version: int | None) -> None:
    spec = ModelSpec() if version is None else ModelSpec(version={"value": version})

    answer = ask(GetModelStatusRequest(model_spec=spec))

    assert answer == (StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")


def test_an_unknown_version_is_not_found(monitor: ServableStateMonitor, ask: Ask) -> None:
    monitor.publish(state(1, ManagerState.AVAILABLE))

    answer = ask(for_version(7))

    assert answer == (StatusCode.NOT_FOUND, "Could not find version 7 of model m")


def test_an_unknown_model_is_not_found(ask: Ask) -> None:
    answer = ask(GetModelStatusRequest(model_spec=ModelSpec(name="other")))

    assert answer == (StatusCode.NOT_FOUND, "Could not find any versions of model other")


def test_a_version_that_is_held_back_says_what_it_waits_for(
    monitor: ServableStateMonitor, ask: Ask
) -> None:
    monitor.report_held_back("m", {2: HeldBack("waiting for upload: variables/variables.index")})

    answer = ask(GetModelStatusRequest(model_spec=ModelSpec(name="m")))

    expected = "waiting for upload: variables/variables.index"
    assert rows(answer) == [(2, ManagerState.START, StatusCode.OK, expected)]


def test_a_version_between_two_tries_has_the_error_and_which_try_it_was(
    monitor: ServableStateMonitor, ask: Ask
) -> None:
    error = DataLossError("saved_model.pb is truncated")
    message = "try 1 of 6 failed"
    monitor.publish(ServableState(ServableId("m", 1), ManagerState.LOADING, error, message))

    answer = ask(GetModelStatusRequest(model_spec=ModelSpec(name="m")))

    expected = "saved_model.pb is truncated (try 1 of 6 failed)"
    assert rows(answer) == [(1, ManagerState.LOADING, StatusCode.DATA_LOSS, expected)]


def test_a_file_name_that_is_not_utf_8_is_written_out(
    monitor: ServableStateMonitor, ask: Ask
) -> None:
    monitor.report_held_back("m", {2: HeldBack("waiting for upload: assets/\udcff")})

    answer = ask(GetModelStatusRequest(model_spec=ModelSpec(name="m")))

    expected = r"waiting for upload: assets/\udcff"
    assert rows(answer) == [(2, ManagerState.START, StatusCode.OK, expected)]


def test_a_body_that_is_no_request_is_invalid(transport: MemoryTransport) -> None:
    code, message = transport.call(GET_MODEL_STATUS, b"\xff\xff")

    assert code == StatusCode.INVALID_ARGUMENT
    assert "is not a serialized tensorflow.serving.GetModelStatusRequest" in str(message)


def test_reloading_is_unimplemented_and_says_what_to_do(transport: MemoryTransport) -> None:
    answer = transport.call(RELOAD, ReloadConfigRequest().SerializeToString())

    assert answer == (
        StatusCode.UNIMPLEMENTED,
        "HandleReloadConfigRequest is not supported by this server: change the file given as "
        "--model_config_file, which is read again every --model_config_file_poll_wait_seconds.",
    )
