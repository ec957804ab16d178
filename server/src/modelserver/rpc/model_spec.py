"""ModelSpec: how a request says which model it means."""

from typing import TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from modelserver.core.servable import ServableId, ServableRequest
from modelserver.errors import InvalidArgumentError
from modelserver.rpc.messages import (
    GetModelMetadataRequest,
    GetModelStatusRequest,
    ModelSpec,
    PredictRequest,
)

MessageT = TypeVar("MessageT", bound=Message)
HasModelSpec: TypeAlias = PredictRequest | GetModelMetadataRequest | GetModelStatusRequest


def parse(message_class: type[MessageT], body: bytes) -> MessageT:
    """Parse a request's body. Raises `InvalidArgumentError`."""
    try:
        return message_class.FromString(body)
    except DecodeError as error:
        name = message_class.DESCRIPTOR.full_name
        raise InvalidArgumentError(f"The request is not a serialized {name}: {error}") from error


def required_model_spec(request: HasModelSpec) -> ModelSpec:
    """The request's model spec. Raises `InvalidArgumentError` if there is none."""
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    return request.model_spec


def servable_request(spec: ModelSpec) -> ServableRequest:
    """What to ask a manager for: the version, the label's version, or the latest.

    Raises:
        InvalidArgumentError: it names no model.

    """
    if not spec.name:
        raise InvalidArgumentError("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        return ServableRequest.specific(spec.name, spec.version.value)
    if choice == "version_label":
        return ServableRequest.labelled(spec.name, spec.version_label)
    return ServableRequest.latest(spec.name)


def effective_model_spec(id: ServableId, signature_name: str = "") -> ModelSpec:
    """What a response says it was answered by."""
    spec = ModelSpec(name=id.name, signature_name=signature_name)
    spec.version.value = id.version
    return spec
