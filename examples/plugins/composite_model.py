"""A composite model as one servable: a version is a directory with `vocabulary/` and `model/`.

Both parts are loaded, versioned and rolled out together, and clients send words as if the model
took them. `independent_servables.py` has the other way.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
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
        words = TensorSpec("words", np.dtype(object), (None,))
        signature = replace(model.signatures[DEFAULT_SIGNATURE], inputs={"words": words})
        self.signatures: Mapping[str, Signature] = {DEFAULT_SIGNATURE: signature}

    def predict(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Answer with the outputs asked for."""
        outputs = predict_with(self._vocabulary, self._model, inputs["words"])
        return {name: outputs[name] for name in output_names}


class CompositeLoader:
    """Loads both parts, or neither: if they do not make a composite, they are unloaded again."""

    def __init__(self, vocabulary: Loader, model: Loader) -> None:
        self._parts = [vocabulary, model]
        self._loaded = ExitStack()
        self._composite: CompositeModel | None = None

    def load(self) -> None:
        """Load the vocabulary, then the model."""
        with ExitStack() as loaded:
            for part in self._parts:
                part.load()
                loaded.callback(part.unload)
            self._composite = CompositeModel(*(cast(Predictor, p.servable()) for p in self._parts))
            self._loaded = loaded.pop_all()

    def unload(self) -> None:
        """Unload both."""
        self._composite = None
        self._loaded.close()

    def servable(self) -> object:
        """The `CompositeModel`."""
        return self._composite


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
            for missing in part.missing_files(path.folder(name))
        ]

    def must_settle(self, name: str) -> bool:
        """Ask the platform of the folder that the file is in."""
        folder, _, rest = name.partition("/")
        return folder in self._parts and self._parts[folder].must_settle(rest)

    def make_loader(self, id: ServableId, path: StoragePath) -> CompositeLoader:
        """Make the Loader of both parts."""
        loaders = (part.make_loader(id, path.folder(name)) for name, part in self._parts.items())
        return CompositeLoader(*loaders)


platform = CompositePlatform  # the entry point, with the options of both parts
