"""SavedModels: the platform `tensorflow` serves what `tf.saved_model.save`, Keras and TensorFlow 1
export.

This package is the only one that imports TensorFlow, and it does so in `Loader.load`, not before:
importing the package, making the platform and telling complete versions from incomplete ones take
milliseconds.

A version directory is complete once

- `saved_model.pb` (or `saved_model.pbtxt`) is there to its end,
- `variables/variables.index` is there to its end, and each shard of data is as long as it says,
- and so are the assets that the model names.

Its servable is a `SavedModelBundle`, a `Predictor`.
"""

from modelserver.saved_model.bundle import SavedModelBundle
from modelserver.saved_model.loader import SavedModelLoader
from modelserver.saved_model.options import SavedModelOptions
from modelserver.saved_model.platform import (
    SavedModelPlatform,
    platform,
    saved_model_source_adapter,
)

__all__ = [
    "SavedModelBundle",
    "SavedModelLoader",
    "SavedModelOptions",
    "SavedModelPlatform",
    "platform",
    "saved_model_source_adapter",
]
