"""A composite model as one servable: a version is a directory with `vocabulary/` and `model/`.

Both parts are loaded, versioned and rolled out together, and clients send words as if the model
took them. `independent_servables.py` has the other way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from modelserver.core import Loader, ServableId, StoragePath
from modelserver.inference import DEFAULT_SIGNATURE, Platform, Predictor, Signature, TensorSpec
from modelserver.lookup import platform as lookup_platform
from modelserver.saved_model import platform as saved_model_platform
from plugins.independent_servables import MODEL, VOCABULARY, predict_with


class CompositeModel:
    """The one servable: a `Predictor` that takes `words` and answers with the model's outputs."""

    def __init__(self, vocabulary: Predictor, model: Predictor) -> None:
        self._vocabulary, self._model = vocabulary, model
        words = {"words": TensorSpec("words", np.dtype(object), (None,))}
        of_model = model.signatures[DEFAULT_SIGNATURE]
        self.signatures: Mapping[str, Signature] = {
            DEFAULT_SIGNATURE: replace(of_model, inputs=words)
        }

    def predict(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Answer with the outputs asked for."""
        outputs = predict_with(self._vocabulary, self._model, inputs["words"])
        return {name: outputs[name] for name in output_names}


class CompositeLoader:
    """Loads both parts, or neither: if the second fails, the first is unloaded again."""

    def __init__(self, vocabulary: Loader, model: Loader) -> None:
        self._vocabulary, self._model = vocabulary, model

    def load(self) -> None:
        """Load the vocabulary, then the model."""
        self._vocabulary.load()
        try:
            self._model.load()
        except BaseException:
            self._vocabulary.unload()
            raise

    def unload(self) -> None:
        """Unload both."""
        self._model.unload()
        self._vocabulary.unload()

    def servable(self) -> object:
        """The `CompositeModel`."""
        vocabulary, model = self._vocabulary.servable(), self._model.servable()
        return CompositeModel(cast(Predictor, vocabulary), cast(Predictor, model))


class CompositePlatform:
    """A version holds `vocabulary/`, a `lookup` export, and `model/`, a SavedModel."""

    def __init__(self, options: Mapping[str, object]) -> None:
        self._parts: dict[str, Platform] = {
            VOCABULARY: lookup_platform(options),
            MODEL: saved_model_platform(options),
        }

    def missing_files(self, path: StoragePath) -> list[str]:
        """Ask each part's platform about its own folder."""
        return [
            f"{name}/{missing}"
            for name, part in self._parts.items()
            for missing in part.missing_files(_folder(path, name))
        ]

    def make_loader(self, id: ServableId, path: StoragePath) -> CompositeLoader:
        """Make the Loader of both parts."""
        vocabulary, model = (
            part.make_loader(id, _folder(path, name)) for name, part in self._parts.items()
        )
        return CompositeLoader(vocabulary, model)


def _folder(path: StoragePath, name: str) -> StoragePath:
    files = {
        k.removeprefix(f"{name}/"): v for k, v in path.files.items() if k.startswith(f"{name}/")
    }
    return StoragePath(f"{path.path}/{name}", files)


def platform(options: Mapping[str, object]) -> CompositePlatform:
    """The entry point, with the options of both parts."""
    return CompositePlatform(options)
