"""Signatures as GetModelMetadata describes them."""

import logging
from collections.abc import Iterable, Mapping

from modelserver.errors import UnimplementedError
from modelserver.inference.signature import Signature, TensorSpec
from modelserver.rpc.messages import SignatureDef, SignatureDefMap, TensorInfo
from modelserver.rpc.tensors import data_type, encode, encode_shape

_logger = logging.getLogger(__name__)


def signature_def_map(signatures: Iterable[Signature]) -> SignatureDefMap:
    """The signatures of a model, without those that have a tensor of a type that does not travel:
    clients cannot use them.
    """
    definitions: dict[str, SignatureDef] = {}
    for signature in signatures:
        try:
            definitions[signature.name] = _signature_def(signature)
        except UnimplementedError as error:
            _logger.debug("Signature %s is not told to clients: %s", signature.name, error)
    return SignatureDefMap(signature_def=definitions)


def _signature_def(signature: Signature) -> SignatureDef:
    defaults = signature.defaults or {}
    return SignatureDef(
        inputs=_tensor_infos(signature.inputs),
        outputs=_tensor_infos(signature.outputs),
        method_name=signature.method_name,
        defaults={alias: encode(array) for alias, array in defaults.items()},
    )


def _tensor_infos(specs: Mapping[str, TensorSpec]) -> dict[str, TensorInfo]:
    return {
        alias: TensorInfo(
            name=spec.name, dtype=data_type(spec.dtype), tensor_shape=encode_shape(spec.shape)
        )
        for alias, spec in specs.items()
    }
