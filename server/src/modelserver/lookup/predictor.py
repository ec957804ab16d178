"""LookupPredictor: a LookupTable as a model."""

from collections.abc import Mapping, Sequence

import numpy as np

from modelserver.inference import DEFAULT_SIGNATURE, Signature, TensorSpec
from modelserver.lookup.table import LookupTable


class LookupPredictor:
    """A `Predictor` with one signature: `keys` [n] in, `values` [n, …] and `found` [n] out."""

    def __init__(self, table: LookupTable) -> None:
        self._table = table
        signature = Signature(
            DEFAULT_SIGNATURE,
            inputs={"keys": TensorSpec("keys", table.key_dtype, (None,))},
            outputs={
                "values": TensorSpec("values", table.value_dtype, (None, *table.value_shape)),
                "found": TensorSpec("found", np.dtype(bool), (None,)),
            },
        )
        self._signatures = {signature.name: signature}

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The one signature, `serving_default`."""
        return self._signatures

    def predict(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Look all keys up at once."""
        del signature_name  # there is but one
        rows = self._table.find(inputs["keys"])
        return {
            name: self._table.gather(rows) if name == "values" else rows >= 0
            for name in output_names
        }
