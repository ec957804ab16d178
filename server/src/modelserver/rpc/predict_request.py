"""From PredictRequest to Prediction: TensorFlow Serving's checks, in its order and words."""

from collections.abc import Collection, Iterable, Mapping

from modelserver.errors import FailedPreconditionError, InvalidArgumentError
from modelserver.inference.merge import check_inputs
from modelserver.inference.predictor import Prediction
from modelserver.inference.signature import DEFAULT_SIGNATURE, Signature
from modelserver.rpc.messages import PredictRequest
from modelserver.rpc.tensors import decode, outline


def to_prediction(
    request: PredictRequest, signatures: Mapping[str, Signature], deadline: float | None
) -> Prediction:
    """Find the signature, decode the inputs and choose the outputs.

    Raises:
        FailedPreconditionError: the model has no such signature.
        InvalidArgumentError: inputs are missing, unknown, malformed or of the wrong type or shape;
            an output is unknown or asked for twice.
        UnimplementedError: an input's type is not supported.

    """
    signature = _find_signature(signatures, request.model_spec.signature_name)
    _check_number_of_inputs(signature, request.inputs)
    _check_names_of_inputs(signature, request.inputs)
    protos = dict(request.inputs)
    outlines = {alias: outline(proto, alias) for alias, proto in protos.items()}
    check_inputs(signature, outlines)
    inputs = {alias: decode(proto, alias, outlines[alias]) for alias, proto in protos.items()}
    return Prediction(signature, inputs, _wanted_outputs(signature, request), deadline)


def _find_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    name = name or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise FailedPreconditionError(f'Serving signature key "{name}" not found.')
    return signature


def _check_number_of_inputs(signature: Signature, sent: Collection[str]) -> None:
    expected = signature.inputs.keys()
    may_omit = bool(signature.defaults)
    if len(sent) == len(expected) or (len(sent) < len(expected) and may_omit):
        return
    raise InvalidArgumentError(
        f"input size does not match signature: {len(sent)}!={len(expected)} "
        f"len({_set(sent)}) != len({_set(expected)}). "
        f"Sent extra: {_set(set(sent) - expected)}. "
        f"Missing but required: {_set(expected - set(sent))}."
    )


def _check_names_of_inputs(signature: Signature, sent: Collection[str]) -> None:
    defaults = signature.defaults or {}
    for alias, spec in sorted(signature.inputs.items()):
        if alias not in sent and alias not in defaults:
            raise InvalidArgumentError(
                f"Signature input alias: {alias}(feed name: {spec.name}) not found in request and "
                f"no default value provided. Inputs expected to be in the request {_set(sent)}, "
                f"or default input alias set: {_list(defaults)}"
            )
    used = signature.inputs.keys() & set(sent)
    if len(used) != len(sent):
        raise InvalidArgumentError(
            f"Inputs contains invalid name. Used request inputs: {_list(used)}, "
            f"request input: {_list(sent)}"
        )


def _wanted_outputs(signature: Signature, request: PredictRequest) -> list[str]:
    wanted: list[str] = []
    for alias in request.output_filter:
        if alias not in signature.outputs:
            raise InvalidArgumentError(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        if alias in wanted:
            raise InvalidArgumentError(f"duplicate output tensor alias: {alias}")
        wanted.append(alias)
    return wanted or list(signature.outputs)


def _list(aliases: Iterable[str]) -> str:
    return ",".join(sorted(aliases))


def _set(aliases: Iterable[str]) -> str:
    return f"{{{_list(aliases)}}}"
