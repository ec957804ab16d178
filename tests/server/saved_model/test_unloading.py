"""What was loaded is gone once it is unloaded, and can be loaded again."""

import gc
import weakref

import numpy as np
import pytest

from modelserver.core.servable import ServableId
from modelserver.errors import FailedPreconditionError
from modelserver.saved_model import SavedModelLoader, SavedModelOptions

pytestmark = pytest.mark.tensorflow

ID = ServableId("model", 1)


def test_a_loaded_model_is_not_loaded_over_and_may_be_loaded_after_it_was_unloaded(export):
    loader = SavedModelLoader(ID, str(export("softmax")), SavedModelOptions())
    loader.load()
    bundle = loader.servable()

    with pytest.raises(FailedPreconditionError, match="version: 1} is already loaded"):
        loader.load()
    is_unharmed = loader.servable() is bundle and bundle.session is not None
    loader.unload()
    loader.load()
    again = loader.servable().predict(
        "serving_default", {"images": np.ones((1, 784), np.float32)}, ["classes"]
    )
    loader.unload()

    assert is_unharmed
    assert again["classes"].shape == (1,)


@pytest.mark.parametrize("model", ["softmax", "keras_in_module"])
def test_an_unloaded_model_cannot_be_called(export, model):
    loader = SavedModelLoader(ID, str(export(model)), SavedModelOptions())
    loader.load()
    bundle = loader.servable()

    loader.unload()

    with pytest.raises(FailedPreconditionError, match="The model has been unloaded"):
        bundle.predict("serving_default", {"images": np.ones((1, 784), np.float32)}, ["scores"])
    with pytest.raises(FailedPreconditionError, match="is not loaded"):
        loader.servable()


def test_unloading_frees_session_and_graph(export):
    loader = SavedModelLoader(ID, str(export("softmax")), SavedModelOptions())
    loader.load()
    session = weakref.ref(loader.servable().session)
    graph = weakref.ref(session().graph)

    gc.disable()  # so that what is freed is freed by unloading
    try:
        loader.unload()
    finally:
        gc.enable()

    assert session() is None
    assert graph() is None
