"""The two gRPC services that classify a digit, each as one function from image to scores."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import grpc
import numpy as np

from mnist.data import NUM_LABELS
from mnist.mnist_pb2 import MnistRequest, MnistResponse
from modelserver.errors import InternalError, UnavailableError
from modelserver.rpc import messages

Classify: TypeAlias = Callable[[np.ndarray], Awaitable[np.ndarray]]
"""One call: an image of shape (784,) in, scores of shape (10,) out. Raises a `ServingError`."""

ReplyT = TypeVar("ReplyT")

CLASSIFY = "/tensorflow.serving.MnistService/Classify"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
_CALL_TIMEOUT_SECONDS = 5.0
_FLOAT = 1


def mnist_service(channel: grpc.aio.Channel) -> Classify:
    """Return the call of the tutorial's own server, mnist_inference_2."""
    call = channel.unary_unary(
        CLASSIFY,
        request_serializer=MnistRequest.SerializeToString,
        response_deserializer=MnistResponse.FromString,
    )

    async def classify(image: np.ndarray) -> np.ndarray:
        response = await _answer(
            call(MnistRequest(image_data=image), timeout=_CALL_TIMEOUT_SECONDS)
        )
        return _scores(response.value)

    return classify


def prediction_service(channel: grpc.aio.Channel, model_name: str) -> Classify:
    """Return a Predict call of `model_name` on any model server."""
    call = channel.unary_unary(
        PREDICT,
        request_serializer=messages.PredictRequest.SerializeToString,
        response_deserializer=messages.PredictResponse.FromString,
    )

    async def classify(image: np.ndarray) -> np.ndarray:
        request = messages.PredictRequest()
        request.model_spec.name = model_name
        tensor = request.inputs["images"]
        tensor.dtype = _FLOAT
        for size in (1, image.size):
            tensor.tensor_shape.dim.add().size = size
        tensor.tensor_content = image.astype("<f4").tobytes()
        response = await _answer(call(request, timeout=_CALL_TIMEOUT_SECONDS))
        scores = response.outputs["scores"]
        if scores.tensor_content:
            return _scores(np.frombuffer(scores.tensor_content, "<f4"))
        return _scores(scores.float_val)

    return classify


async def _answer(call: Awaitable[ReplyT]) -> ReplyT:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise UnavailableError(f"{error.code().name}: {error.details()}") from error


def _scores(values: object) -> np.ndarray:
    scores = np.array(values, np.float32)
    if scores.size != NUM_LABELS:
        raise InternalError(f"the answer has {scores.size} scores, not {NUM_LABELS}")
    return scores
