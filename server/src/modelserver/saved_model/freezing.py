"""Freezing: turns a loaded model's variables into constants, so that TensorFlow folds them.

It pays for convolutions (their batch normalization is folded into them) and for little else, and
takes time and memory in proportion to the variables; hence opt-in and bounded.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from modelserver.errors import FailedPreconditionError
from modelserver.inference.predictor import Tensors
from modelserver.inference.signature import Signature
from modelserver.saved_model.session_runner import SessionRunner
from modelserver.saved_model.warmup import synthetic_inputs

_MAX_VARIABLE_BYTES = 64 << 20
_RELATIVE_TOLERANCE = 1e-3
_ABSOLUTE_TOLERANCE = 1e-5
_BATCH_SIZE = 2


def freeze(
    session: tf.compat.v1.Session,
    signatures: Mapping[str, Signature],
    variable_bytes: int,
    config: tf.compat.v1.ConfigProto,
) -> tf.compat.v1.Session:
    """Return a new Session that has the same signatures and constants for variables.

    Both Sessions are open afterwards. Raises FailedPreconditionError with the reason where a
    signature has state or cannot be called with made-up inputs, where the variables take more than
    64 MiB and where the answers of the two differ; and whatever TensorFlow raises for a graph that
    it cannot convert.
    """
    if variable_bytes > _MAX_VARIABLE_BYTES:
        raise FailedPreconditionError(f"the variables take {variable_bytes} bytes")
    samples = {name: _sample(signature) for name, signature in signatures.items()}
    frozen = tf.compat.v1.Session(graph=_frozen_graph(session, signatures), config=config)
    try:
        for name, sample in samples.items():
            _compare(session, frozen, signatures[name], sample)
    except Exception:
        frozen.close()
        raise
    return frozen


def _sample(signature: Signature) -> Tensors:
    inputs = synthetic_inputs(signature, _BATCH_SIZE) if signature.is_stateless else None
    if inputs is None:
        raise FailedPreconditionError(f"signature {signature.name} cannot be tried out")
    return inputs


def _frozen_graph(session: tf.compat.v1.Session, signatures: Mapping[str, Signature]) -> tf.Graph:
    outputs = {
        spec.name.split(":")[0]
        for signature in signatures.values()
        for spec in signature.outputs.values()
    }
    graph_def = tf.compat.v1.graph_util.convert_variables_to_constants(
        session, session.graph.as_graph_def(), sorted(outputs)
    )
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    return graph


def _compare(
    session: tf.compat.v1.Session,
    frozen: tf.compat.v1.Session,
    signature: Signature,
    inputs: Tensors,
) -> None:
    names = list(signature.outputs)
    expected, actual = (
        SessionRunner(each, signature, inter_op_parallelism=0).run(inputs, names)
        for each in (session, frozen)
    )
    for name in names:
        if not _are_close(expected[name], actual[name]):
            raise FailedPreconditionError(
                f"output {name} of signature {signature.name} would change"
            )


def _are_close(expected: np.ndarray, actual: np.ndarray) -> bool:
    if expected.dtype.kind in "biuOS":
        return np.array_equal(expected, actual)
    if expected.dtype.kind == "V":  # bfloat16 and smaller: numpy has no arithmetic of its own
        expected, actual = expected.astype(np.float32), actual.astype(np.float32)
    return np.allclose(expected, actual, _RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE, equal_nan=True)
