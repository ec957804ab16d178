"""The platform `numpy` for modelserver: a version is a directory with `model.npz`, as `numpy_model`
describes it. The benchmark gives it an entry point in `modelserver.platforms`, as a plug-in has.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import numpy_model

from modelserver.core import ServableId, StoragePath
from modelserver.inference import DEFAULT_SIGNATURE, Signature, TensorSpec

FILE = "model.npz"


class NumpyPredictor:
    """The servable: a `Predictor` of rows of any width."""

    def __init__(self, file: str) -> None:
        self._predict = numpy_model.load(file)
        single = np.dtype(np.float32)
        with np.load(file) as content:
            features = content["w0"].shape[0] if content.files else None
        self.signatures: Mapping[str, Signature] = {
            DEFAULT_SIGNATURE: Signature(
                DEFAULT_SIGNATURE,
                inputs={"x": TensorSpec("x", single, (None, features))},
                outputs={"y": TensorSpec("y", single, (None, 10))},
            )
        }

    def predict(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """The only output there is."""
        return {"y": self._predict(inputs["x"])}


class NumpyLoader:
    """The Loader of one directory."""

    def __init__(self, path: StoragePath) -> None:
        self._file = os.path.join(path.path, FILE)
        self._predictor: NumpyPredictor | None = None

    def load(self) -> None:
        """Read the weights."""
        self._predictor = NumpyPredictor(self._file)

    def unload(self) -> None:
        """Drop them."""
        self._predictor = None

    def servable(self) -> object:
        """The `NumpyPredictor`."""
        return self._predictor


class NumpyPlatform:
    """The Platform: its versions are complete when the file is there."""

    def missing_files(self, path: StoragePath) -> list[str]:
        """Only the name is looked at: the benchmark's files are whole."""
        return [] if FILE in path.files else [FILE]

    def must_settle(self, name: str) -> bool:
        """None must."""
        return False

    def make_loader(self, id: ServableId, path: StoragePath) -> NumpyLoader:
        """Make the Loader of one version."""
        return NumpyLoader(path)


def platform(options: Mapping[str, object]) -> NumpyPlatform:
    """The entry point."""
    return NumpyPlatform()
