"""PredictionService: `tensorflow.serving.PredictionService` over raw bytes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import numpy as np

from modelserver.core.handle import ServableHandle
from modelserver.core.manager import Manager
from modelserver.errors import (
    InvalidArgumentError,
    ServingError,
    UnimplementedError,
    as_serving_error,
)
from modelserver.inference.predictor import AsyncPredictor, Prediction
from modelserver.rpc.messages import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
)
from modelserver.rpc.model_spec import (
    effective_model_spec,
    parse,
    required_model_spec,
    servable_request,
)
from modelserver.rpc.predict_request import to_prediction
from modelserver.rpc.replies import Replies
from modelserver.rpc.service import Handler, MethodCalls, answer_each
from modelserver.rpc.signature_def import signature_def_map
from modelserver.rpc.status import error_answer
from modelserver.rpc.tensors import encode
from modelserver.rpc.transport.base import Answer

_logger = logging.getLogger(__name__)

SERVICE_NAME = "tensorflow.serving.PredictionService"
SIGNATURE_DEF = "signature_def"
"""The one metadata field there is."""


class PredictionService:
    """A `Service` whose answers come from a manager's `AsyncPredictor`s.

    Each Predict call holds a handle on its version until its answer is made, and no longer.
    `encodes_as_content` puts output tensors into `tensor_content` rather than into typed fields
    (`enable_serialization_as_tensor_content`). Classify, Regress and MultiInference answer
    UNIMPLEMENTED.
    """

    def __init__(self, manager: Manager, *, encodes_as_content: bool = False) -> None:
        self._manager = manager
        self._encodes_as_content = encodes_as_content
        self._waiting: dict[int, _PredictCall] = {}

    @property
    def methods(self) -> Mapping[str, Handler]:
        """The five methods of the service."""
        return {
            f"/{SERVICE_NAME}/Predict": self._predict_each,
            f"/{SERVICE_NAME}/GetModelMetadata": answer_each(self._get_model_metadata),
            f"/{SERVICE_NAME}/Classify": answer_each(partial(_refuse, "Classify")),
            f"/{SERVICE_NAME}/Regress": answer_each(partial(_refuse, "Regress")),
            f"/{SERVICE_NAME}/MultiInference": answer_each(partial(_refuse, "MultiInference")),
        }

    def cancel(self, ids: Sequence[int]) -> None:
        """Withdraw requests that still wait for their run."""
        for id in ids:
            call = self._waiting.get(id)
            if call is not None:
                _cancel(call)

    def _predict_each(self, calls: MethodCalls, replies: Replies) -> None:
        for id, body, deadline in zip(*calls, strict=True):
            try:
                self._predict(id, body, deadline, replies)
            except Exception as error:  # each call has its own answer
                replies.send(id, error_answer(error))

    def _predict(self, id: int, body: bytes, deadline: float | None, replies: Replies) -> None:
        request = parse(PredictRequest, body)
        handle = self._claim(required_model_spec(request))
        try:
            prediction = to_prediction(request, handle.servable.signatures, deadline)
        except BaseException:
            handle.release()
            raise
        self._submit(_PredictCall(id, handle, prediction), replies)

    def _submit(self, call: "_PredictCall", replies: Replies) -> None:
        def done(result: dict[str, np.ndarray] | ServingError) -> None:
            if self._waiting.pop(call.id, None) is not None:
                replies.send(call.id, call.finish(result, as_content=self._encodes_as_content))

        self._waiting[call.id] = call
        try:
            call.submit(done)
        except Exception as error:  # against its contract: the handle must come back all the same
            done(as_serving_error(error))

    def _claim(self, spec: ModelSpec) -> ServableHandle[AsyncPredictor]:
        handle = self._manager.get_servable_handle(servable_request(spec))
        if not hasattr(handle.servable, "submit"):
            handle.release()
            raise InvalidArgumentError("Servable type doesn't match the asked for type.")
        return cast(ServableHandle[AsyncPredictor], handle)

    def _get_model_metadata(self, body: bytes) -> bytes:
        request = parse(GetModelMetadataRequest, body)
        spec = required_model_spec(request)
        _check_metadata_fields(request.metadata_field)
        with self._claim(spec) as handle:
            signatures = signature_def_map(handle.servable.signatures.values())
            response = GetModelMetadataResponse(model_spec=effective_model_spec(handle.id))
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response.SerializeToString()


class _PredictCall:
    """One Predict call from its submission to its answer."""

    __slots__ = ("_handle", "_prediction", "_withdraw", "id")

    def __init__(
        self, id: int, handle: ServableHandle[AsyncPredictor], prediction: Prediction
    ) -> None:
        self.id = id
        self._handle = handle
        self._prediction = prediction
        self._withdraw: Callable[[], bool] | None = None

    def submit(self, done: Callable[[dict[str, np.ndarray] | ServingError], None]) -> None:
        """Queue the prediction; `done` may be called before this returns."""
        self._withdraw = self._handle.servable.submit(self._prediction, done)

    def cancel(self) -> None:
        """Withdraw the prediction if it still waits; `done` is called then."""
        if self._withdraw is not None:
            self._withdraw()

    def finish(self, result: dict[str, np.ndarray] | ServingError, *, as_content: bool) -> Answer:
        """Make the answer and give the handle back."""
        with self._handle:
            if isinstance(result, ServingError):
                return error_answer(result)
            try:
                return self._encode(result, as_content=as_content)
            except Exception as error:  # a type that does not travel: this call's answer
                return error_answer(error)

    def _encode(self, outputs: Mapping[str, np.ndarray], *, as_content: bool) -> bytes:
        tensors = {alias: encode(array, as_content=as_content) for alias, array in outputs.items()}
        model_spec = effective_model_spec(self._handle.id, self._prediction.signature.name)
        return PredictResponse(outputs=tensors, model_spec=model_spec).SerializeToString()


def _cancel(call: _PredictCall) -> None:
    try:
        call.cancel()
    except Exception:  # against its contract: the others are cancelled all the same
        _logger.exception("A predictor failed to withdraw a request.")


def _check_metadata_fields(fields: Sequence[str]) -> None:
    if not fields:
        raise InvalidArgumentError(
            "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in fields:
        if field != SIGNATURE_DEF:
            raise InvalidArgumentError(f"Metadata field {field} is not supported")


def _refuse(method: str, body: bytes) -> bytes:
    raise UnimplementedError(
        f"{method} is not supported by this server: call Predict with the model's inputs."
    )
