"""Synthetic calls: made-up inputs for a signature, and warming a model up with them.

The first call of each shape allocates, and on a GPU compiles; a client should not wait for that.
"""

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from modelserver.errors import ServingError, as_serving_error
from modelserver.inference.predictor import Predictor
from modelserver.inference.signature import Signature, TensorSpec

_log = logging.getLogger(__name__)


def warm_up(predictor: Predictor, batch_sizes: Sequence[int]) -> list[type[ServingError]]:
    """Call every stateless signature whose inputs can be made up, once for each batch size. Return
    the kind of failure of each signature that failed.

    A call that fails is logged and warming up goes on with the next signature: made-up inputs may
    be wrong for the model.
    """
    failures = []
    for signature in predictor.signatures.values():
        sizes = batch_sizes if signature.is_batchable else batch_sizes[:1]
        try:
            for inputs in _synthetic_calls(signature, sizes):
                predictor.predict(signature.name, inputs, list(signature.outputs))
        except Exception as error:  # a model may raise anything, and serves nonetheless
            _log.warning("Warm-up of signature %s stopped: %s", signature.name, error)
            failures.append(type(as_serving_error(error)))
    return failures


def synthetic_inputs(signature: Signature, batch_size: int) -> dict[str, np.ndarray] | None:
    """Make up one call of `batch_size` rows, or None where that is impossible.

    Impossible are strings, unknown ranks and unknown dimensions other than the first. Integers are
    zeros, which are valid as indices; other numbers are random in [0, 1), the same each time.
    """
    arrays = {
        alias: _synthetic_array(spec, batch_size)
        for alias, spec in signature.inputs.items()
        if alias not in (signature.defaults or {})
    }
    known = {alias: array for alias, array in arrays.items() if array is not None}
    return known if len(known) == len(arrays) else None


def _synthetic_calls(
    signature: Signature, batch_sizes: Sequence[int]
) -> Iterator[dict[str, np.ndarray]]:
    if not signature.is_stateless:
        return
    for size in batch_sizes:
        inputs = synthetic_inputs(signature, size)
        if inputs is not None:
            yield inputs


def _synthetic_array(spec: TensorSpec, batch_size: int) -> np.ndarray | None:
    if spec.shape is None or spec.dtype.kind == "O" or None in spec.shape[1:]:
        return None
    shape = [batch_size if size is None else size for size in spec.shape]
    if spec.dtype.kind in "iub":
        return np.zeros(shape, spec.dtype)
    return np.random.default_rng(0).random(shape, np.float32).astype(spec.dtype)
