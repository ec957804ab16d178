"""Signature and TensorSpec: what a model takes and gives, as numpy knows it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

DEFAULT_SIGNATURE = "serving_default"
"""The signature that a request without one means."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a signature.

    `name` is the tensor's name in the model (`serving_default_x:0`), `dtype` its numpy type (object
    for strings, bytes inside), `shape` its dimensions with None for unknown ones, or None where
    even the rank is unknown.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...] | None

    @property
    def has_batch_dimension(self) -> bool:
        """Whether dimension 0 may vary, so that rows of several requests can be stacked. Unknown
        rank counts.
        """
        return self.shape is None or (len(self.shape) > 0 and self.shape[0] is None)


@dataclass(frozen=True, slots=True)
class Signature:
    """A named way to call a model: `inputs` and `outputs` by alias, the names that clients use.

    `method_name` is the SavedModel's (`tensorflow/serving/predict`). `is_stateless` is False where
    calling has effects (counters, queues): such signatures are never called to warm up. `defaults`
    are inputs that a request may omit.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = "tensorflow/serving/predict"
    is_stateless: bool = True
    defaults: Mapping[str, np.ndarray] | None = None

    @property
    def is_batchable(self) -> bool:
        """Whether rows of several requests may be stacked: dimension 0 is fixed on no input and on
        no output.
        """
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(spec.has_batch_dimension for spec in specs)
