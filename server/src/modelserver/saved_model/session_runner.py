"""SessionRunner: runs one signature in a Session, through prepared callables."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from modelserver.inference.predictor import Tensors
from modelserver.inference.signature import Signature, TensorSpec
from modelserver.saved_model.callable import make_callable
from modelserver.saved_model.tensorflow_errors import translate

_Fetch: TypeAlias = Callable[[Tensors], dict[str, np.ndarray]]

# Each takes a copy of the part of the graph that it runs, so clients that ask for ever other
# outputs must not pile them up.
_MAX_PARTIAL_FETCHES = 16


class SessionRunner:
    """A `SignatureRunner` on a Session that holds the signature's graph.

    What fetches all outputs is prepared at once; other sets of outputs when first asked for, and
    the latest few are kept.
    """

    def __init__(
        self, session: tf.compat.v1.Session, signature: Signature, inter_op_parallelism: int
    ) -> None:
        self._session = session
        self._signature = signature
        self._inter_op_parallelism = inter_op_parallelism
        self._all_outputs = frozenset(signature.outputs)
        self._fetch_all = self._make_fetch(self._all_outputs)
        self._fetch_some = lru_cache(_MAX_PARTIAL_FETCHES)(self._make_fetch)

    def run(self, inputs: Tensors, output_names: Sequence[str]) -> dict[str, np.ndarray]:
        """As `Predictor.predict`."""
        wanted = frozenset(output_names)
        try:
            fetch = self._fetch_all if wanted == self._all_outputs else self._fetch_some(wanted)
            outputs = fetch(with_defaults(inputs, self._signature))
        except tf.errors.OpError as error:
            raise translate(error) from error
        return {name: outputs[name] for name in output_names}

    def _make_fetch(self, wanted: frozenset[str]) -> _Fetch:
        """Prepare the outputs `wanted`. TensorFlow refuses to fetch what is fed, so an output that
        is an input by another name is handed through.
        """
        aliases = {spec.name: alias for alias, spec in self._signature.inputs.items()}
        specs = {name: self._signature.outputs[name] for name in sorted(wanted)}
        passed = {name: aliases[spec.name] for name, spec in specs.items() if spec.name in aliases}
        computed = {name: spec for name, spec in specs.items() if name not in passed}
        compute = self._make_compute(computed) if computed else _compute_nothing
        if not passed:
            return compute
        return lambda inputs: (
            compute(inputs) | {name: inputs[alias] for name, alias in passed.items()}
        )

    def _make_compute(self, specs: dict[str, TensorSpec]) -> _Fetch:
        feeds = tuple(self._signature.inputs)
        call = make_callable(
            self._session,
            [self._signature.inputs[alias].name for alias in feeds],
            [spec.name for spec in specs.values()],
            self._inter_op_parallelism,
        )

        def compute(inputs: Tensors) -> dict[str, np.ndarray]:
            results = call(*[inputs[alias] for alias in feeds])
            return {
                name: as_array(result, spec)
                for (name, spec), result in zip(specs.items(), results, strict=True)
            }

        return compute


def with_defaults(inputs: Tensors, signature: Signature) -> Tensors:
    """Return all inputs of the signature: those given, and the defaults of those left out."""
    return inputs if signature.defaults is None else {**signature.defaults, **inputs}


def as_array(result: object, spec: TensorSpec) -> np.ndarray:
    """Return what TensorFlow gave as an array: without dimensions it gives scalars."""
    return result if isinstance(result, np.ndarray) else np.asarray(result, spec.dtype)


def _compute_nothing(inputs: Tensors) -> dict[str, np.ndarray]:
    del inputs
    return {}
