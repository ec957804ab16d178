"""A servable of your own, and the platform that loads it: a linear model in a JSON file, without
TensorFlow.

A version is a directory with `model.json`: {"weights": [[…], …], "bias": […]}, `weights` with one
row for each feature. The entry point `modelserver.platforms` in this distribution's pyproject.toml
makes it the platform `linear`, so that a model configuration may say `model_platform: "linear"` and
gRPC's Predict serves it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from modelserver.core import ServableId, StoragePath
from modelserver.errors import DataLossError
from modelserver.inference import DEFAULT_SIGNATURE, Signature, TensorSpec

MODEL_FILE = "model.json"


class LinearModel:
    """The servable: y = x · weights + bias. A `Predictor`: immutable, so any number of threads may
    call it.
    """

    def __init__(self, weights: np.ndarray, bias: np.ndarray) -> None:
        features, outputs = weights.shape
        single = np.dtype(np.float32)
        self._weights, self._bias = weights, bias
        self.signatures: Mapping[str, Signature] = {
            DEFAULT_SIGNATURE: Signature(
                DEFAULT_SIGNATURE,
                inputs={"x": TensorSpec("x", single, (None, features))},
                outputs={"y": TensorSpec("y", single, (None, outputs))},
            )
        }

    def predict(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Compute `y`, the only output there is."""
        return {"y": inputs["x"] @ self._weights + self._bias}


class LinearModelLoader:
    """The Loader: reads the file on `load`, forgets the model on `unload`."""

    def __init__(self, path: StoragePath) -> None:
        self._file = Path(path.path) / MODEL_FILE
        self._model: LinearModel | None = None

    def load(self) -> None:
        """Read and check the model."""
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            weights = np.asarray(content["weights"], np.float32)
            self._model = LinearModel(weights, np.asarray(content["bias"], np.float32))
        except (ValueError, KeyError, TypeError) as error:
            raise DataLossError(f"{self._file} is no linear model: {error!r}") from error

    def unload(self) -> None:
        """Drop the model."""
        self._model = None

    def servable(self) -> object:
        """The `LinearModel`."""
        return self._model


class LinearPlatform:
    """The Platform: what a complete version looks like, and who loads it."""

    def missing_files(self, path: StoragePath) -> list[str]:
        """A version, wherever it is, is complete when its file reads as JSON to its end."""
        try:
            with path.open(MODEL_FILE) as file:
                json.load(file)
        except FileNotFoundError:
            return [MODEL_FILE]
        except ValueError:
            return [f"{MODEL_FILE} (not complete)"]
        return []

    def must_settle(self, name: str) -> bool:
        """No file must: of the only one that is read, the content tells."""
        return False

    def make_loader(self, id: ServableId, path: StoragePath) -> LinearModelLoader:
        """Make the Loader of one version."""
        return LinearModelLoader(path)


def platform(options: Mapping[str, object]) -> LinearPlatform:
    """The entry point. This platform has no options."""
    return LinearPlatform()
