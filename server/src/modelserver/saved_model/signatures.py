"""Translates the SignatureDefs of a MetaGraph into `Signature`s."""

import logging
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef, TensorInfo

from modelserver.inference.signature import Signature, TensorSpec
from modelserver.saved_model.graph import ModelGraph

_log = logging.getLogger(__name__)

# TensorFlow's own bookkeeping, which no client calls.
_INTERNAL_PREFIX = "__saved_model"
_NOT_ARRAYS = (tf.resource, tf.variant)


def read_signatures(meta_graph: MetaGraphDef, graph: ModelGraph) -> dict[str, Signature]:
    """Return the signatures that clients can call, by name.

    One that takes or gives anything but dense tensors, or one tensor by two input names, is left
    out with a warning.
    """
    public = {
        name: definition
        for name, definition in meta_graph.signature_def.items()
        if not name.startswith(_INTERNAL_PREFIX)
    }
    served = {}
    for name, definition in sorted(public.items()):
        if obstacle := _obstacle(definition):
            _log.warning("Signature %s is not served: %s", name, obstacle)
        else:
            served[name] = _signature(name, definition, graph)
    return served


def _obstacle(definition: SignatureDef) -> str | None:
    if not _is_dense(definition):
        return "it has inputs or outputs that are not dense"
    if len({info.name for info in definition.inputs.values()}) < len(definition.inputs):
        return "two of its inputs are one tensor, which cannot be fed twice"
    return None


def _is_dense(definition: SignatureDef) -> bool:
    return all(
        info.WhichOneof("encoding") == "name" and tf.dtypes.as_dtype(info.dtype) not in _NOT_ARRAYS
        for info in [*definition.inputs.values(), *definition.outputs.values()]
    )


def _signature(name: str, definition: SignatureDef, graph: ModelGraph) -> Signature:
    outputs = _specs(definition.outputs)
    defaults = {alias: tf.make_ndarray(value) for alias, value in definition.defaults.items()}
    return Signature(
        name=name,
        inputs=_specs(definition.inputs),
        outputs=outputs,
        method_name=definition.method_name,
        is_stateless=not graph.has_effects(spec.name for spec in outputs.values()),
        defaults=defaults or None,
    )


def _specs(infos: Mapping[str, TensorInfo]) -> dict[str, TensorSpec]:
    return {
        alias: TensorSpec(info.name, _numpy_dtype(info.dtype), _shape(info.tensor_shape))
        for alias, info in sorted(infos.items())
    }


def _numpy_dtype(dtype: int) -> np.dtype[np.generic]:
    numpy_dtype: np.dtype[np.generic] = np.dtype(tf.dtypes.as_dtype(dtype).as_numpy_dtype)
    # Quantized types are records of one integer to TensorFlow; arrays of them hold the integer.
    fields = numpy_dtype.fields
    return next(iter(fields.values()))[0] if fields else numpy_dtype


def _shape(shape: TensorShapeProto) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
