"""SavedModelLoader: the Loader of one version of a SavedModel."""

import gc
import logging
import os

from modelserver.clock import Clock, SystemClock
from modelserver.core.servable import ServableId
from modelserver.errors import FailedPreconditionError
from modelserver.inference.signature import Signature
from modelserver.saved_model.bundle import SavedModelBundle
from modelserver.saved_model.options import SavedModelOptions

_log = logging.getLogger(__name__)

# Read by TensorFlow when it is first imported; who runs the server may have set them.
_ENVIRONMENT = {
    # Errors only: at the next level, each call with a wrong shape writes to the log.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # A Session says so itself; this is for models that are loaded as eager functions.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}


class SavedModelLoader:
    """Loads the SavedModel in directory `path`; its servable is a `SavedModelBundle`.

    The first load of the process imports TensorFlow, which takes seconds. `load` returns once the
    model is warm.
    """

    def __init__(
        self,
        id: ServableId,
        path: str,
        options: SavedModelOptions,
        clock: Clock | None = None,
    ) -> None:
        self._id = id
        self._path = path
        self._options = options
        self._clock = clock or SystemClock()
        self._bundle: SavedModelBundle | None = None

    def load(self) -> None:
        """Load and warm up. Raises a `ServingError`: FailedPreconditionError while it is loaded
        already, and see `load_warm_bundle`.
        """
        if self._bundle is not None:
            raise FailedPreconditionError(f"{self._id} is already loaded")
        start = self._clock.monotonic()
        self._bundle = bundle = self._load_bundle()
        _log.info(
            "Loaded %s from %s in %.2f s on %s: %s",
            self._id,
            self._path,
            self._clock.monotonic() - start,
            ", ".join(bundle.devices),
            "; ".join(_describe(signature) for signature in bundle.signatures.values()),
        )

    def unload(self) -> None:
        """Close the bundle and collect garbage: graphs are full of reference cycles."""
        if self._bundle is not None:
            self._bundle.close()
            self._bundle = None
        gc.collect()

    def servable(self) -> SavedModelBundle:
        """Return the bundle. Raises FailedPreconditionError while there is none."""
        if self._bundle is None:
            raise FailedPreconditionError(f"{self._id} is not loaded")
        return self._bundle

    def _load_bundle(self) -> SavedModelBundle:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from modelserver.saved_model.loading import load_warm_bundle  # imports TensorFlow

        return load_warm_bundle(self._path, self._options)


def _describe(signature: Signature) -> str:
    return f"{signature.name}({', '.join(signature.inputs)}) -> {', '.join(signature.outputs)}"
