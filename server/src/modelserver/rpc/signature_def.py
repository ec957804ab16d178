"""Signatures as GetModelMetadata describes them."""

from collections.abc import Iterable, Mapping

from modelserver.inference.signature import Signature, TensorSpec
from modelserver.rpc.messages import SignatureDef, SignatureDefMap, TensorInfo
from modelserver.rpc.tensors import data_type, encode, encode_shape


def signature_def_map(signatures: Iterable[Signature]) -> SignatureDefMap:
    """All signatures of a model."""
    definitions = {signature.name: _signature_def(signature) for signature in signatures}
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
