"""ModelService: `tensorflow.serving.ModelService` over raw bytes."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from modelserver.core.servable import ServableId, ServableRequest
from modelserver.core.state import ServableState
from modelserver.errors import NotFoundError, UnimplementedError
from modelserver.rpc.messages import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
    StatusProto,
)
from modelserver.rpc.model_spec import parse, required_model_spec, servable_request
from modelserver.rpc.service import Handler, answer_each
from modelserver.rpc.status import status_code, valid_text

SERVICE_NAME = "tensorflow.serving.ModelService"


class StateReader(Protocol):
    """What is read of a `ServableStateMonitor`. Thread-safe."""

    def get_state(self, id: ServableId) -> ServableState | None:
        """The newest state of one version, None if it is not known."""

    def get_version_states(self, name: str) -> Mapping[int, ServableState]:
        """The newest state of every version of `name`, highest version first."""


class ModelService:
    """A `Service` that tells the state of versions. HandleReloadConfigRequest answers
    UNIMPLEMENTED.
    """

    def __init__(self, states: StateReader) -> None:
        self._states = states

    @property
    def methods(self) -> Mapping[str, Handler]:
        """The two methods of the service."""
        return {
            f"/{SERVICE_NAME}/GetModelStatus": answer_each(self._get_model_status),
            f"/{SERVICE_NAME}/HandleReloadConfigRequest": answer_each(_refuse_reload),
        }

    def cancel(self, ids: Sequence[int]) -> None:
        """Nothing waits here."""

    def _get_model_status(self, body: bytes) -> bytes:
        request = parse(GetModelStatusRequest, body)
        states = self._find_states(servable_request(required_model_spec(request)))
        rows = [model_version_status(state) for state in states]
        return GetModelStatusResponse(model_version_status=rows).SerializeToString()

    def _find_states(self, request: ServableRequest) -> list[ServableState]:
        """The version asked for, or all of the model: a label is ignored."""
        name, version = request.name, request.version
        if version is not None:
            state = self._states.get_state(ServableId(name, version))
            if state is None:
                raise NotFoundError(f"Could not find version {version} of model {name}")
            return [state]
        states = self._states.get_version_states(name)
        if not states:
            raise NotFoundError(f"Could not find any versions of model {name}")
        return list(states.values())


def model_version_status(state: ServableState) -> ModelVersionStatus:
    """One version's state as clients see it; the numbers of `ManagerState` are the wire's.

    The message has the error and, beyond the reference, what a healthy version waits for.
    """
    error = state.health.message if state.health is not None else ""
    message = f"{error} ({state.message})" if error and state.message else error or state.message
    status = StatusProto(error_code=status_code(state.health), error_message=valid_text(message))
    return ModelVersionStatus(version=state.id.version, state=state.manager_state, status=status)


def _refuse_reload(body: bytes) -> bytes:
    raise UnimplementedError(
        "HandleReloadConfigRequest is not supported by this server: change the file given as "
        "--model_config_file, which is read again every --model_config_file_poll_wait_seconds."
    )
