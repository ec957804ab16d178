"""SavedModelBundle: a loaded SavedModel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from modelserver.errors import FailedPreconditionError

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    from modelserver.inference.predictor import Tensors
    from modelserver.inference.signature import Signature


class SignatureRunner(Protocol):
    """Runs one signature of a loaded model. Thread-safe."""

    def run(self, inputs: Tensors, output_names: Sequence[str]) -> dict[str, np.ndarray]:
        """As `Predictor.predict` for this signature."""


class SavedModelBundle:
    """What a handle on a SavedModel gives: a `Predictor`, with TensorFlow's own objects for those
    who want them.

    `session` holds the model's variables and tables; it is None for a model that only
    `tf.saved_model.load` could load. `meta_graph_def` has the tags and the SignatureDefs; the graph
    is left out of it, to save memory. Nothing here may be used once the handle is released.
    """

    def __init__(
        self,
        signatures: Mapping[str, Signature],
        runners: Mapping[str, SignatureRunner],
        meta_graph_def: MetaGraphDef,
        session: tf.compat.v1.Session | None,
        devices: Sequence[str],
    ) -> None:
        self.signatures = MappingProxyType(dict(signatures))
        """Every way to call the model, by name."""
        self.meta_graph_def = meta_graph_def
        self.session = session
        self.devices = tuple(devices)
        """What it may run on, in TensorFlow's words."""
        self._runners = dict(runners)

    def predict(
        self, signature_name: str, inputs: Tensors, output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Compute the named outputs of one signature, as `Predictor.predict`.

        An output may share memory with an input: do not write to the inputs while the answer is in
        use. Raises FailedPreconditionError for a signature that is not there, and after `close`.
        """
        runner = self._runners.get(signature_name)
        if runner is None:
            raise self._refusal(signature_name)
        return runner.run(inputs, output_names)

    def close(self) -> None:
        """Free the variables. Every later `predict` fails; none may be running."""
        self._runners = {}
        if self.session is not None:
            self.session.close()
            self.session = None

    def _refusal(self, signature_name: str) -> FailedPreconditionError:
        if signature_name in self.signatures:
            return FailedPreconditionError("The model has been unloaded")
        return FailedPreconditionError(f'Serving signature key "{signature_name}" not found.')
