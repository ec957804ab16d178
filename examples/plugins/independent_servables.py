"""A composite model as two independent servables: vocabulary → model.

Each is loaded, versioned and rolled out by itself; the caller takes a handle on both.
`composite_model.py` has the other way.
"""

import numpy as np

from modelserver.core import Manager, ServableRequest
from modelserver.inference import DEFAULT_SIGNATURE, Predictor

VOCABULARY, MODEL = "vocabulary", "model"


def predict_with(
    vocabulary: Predictor, model: Predictor, words: np.ndarray
) -> dict[str, np.ndarray]:
    """Look `words` [n] up and run the model on their ids [n]. Words that are not known have the id
    -1.
    """
    ids = vocabulary.predict(DEFAULT_SIGNATURE, {"keys": words}, ["values"])["values"]
    signature = model.signatures[DEFAULT_SIGNATURE]
    (input_name,) = signature.inputs
    return model.predict(DEFAULT_SIGNATURE, {input_name: ids}, list(signature.outputs))


def predict_words(manager: Manager, words: np.ndarray) -> dict[str, np.ndarray]:
    """Run the composite of two independent servables, each in its newest version."""
    with (
        manager.get_servable_handle(ServableRequest.latest(VOCABULARY)) as vocabulary,
        manager.get_servable_handle(ServableRequest.latest(MODEL)) as model,
    ):
        return predict_with(vocabulary.servable, model.servable, words)
