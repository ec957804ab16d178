"""FunctionRunner: runs one signature of a model that `tf.saved_model.load` loaded."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from modelserver.inference.predictor import Tensors
from modelserver.inference.signature import Signature
from modelserver.saved_model.session_runner import as_array, with_defaults
from modelserver.saved_model.tensorflow_errors import translate


class FunctionRunner:
    """A `SignatureRunner` on an eager function: 0.1 to 2.5 ms a call above the model's own time.

    `loaded` is what `tf.saved_model.load` returned. It holds the variables, the functions do not,
    so it is kept.
    """

    def __init__(self, loaded: tf.Module, signature: Signature) -> None:
        self._loaded = loaded
        self._signature = signature
        self._function = loaded.signatures[signature.name]

    def run(self, inputs: Tensors, output_names: Sequence[str]) -> dict[str, np.ndarray]:
        """As `Predictor.predict`. All outputs are computed."""
        complete = with_defaults(inputs, self._signature)
        try:
            outputs = self._function(**{name: tf.constant(a) for name, a in complete.items()})
        except tf.errors.OpError as error:
            raise translate(error) from error
        specs = self._signature.outputs
        return {name: as_array(outputs[name].numpy(), specs[name]) for name in output_names}
