"""AsyncPredictorLoader: a Loader whose servable is what edges call."""

from collections.abc import Callable
from typing import Protocol, cast

from modelserver.core.loader import Loader
from modelserver.inference.predictor import AsyncPredictor, Predictor


class ClosableAsyncPredictor(AsyncPredictor, Protocol):
    """An `AsyncPredictor` that comes to rest before its model is unloaded."""

    def close(self) -> None:
        """Refuse further requests, and return when nothing runs any more."""


class AsyncPredictorLoader:
    """Wraps a platform's Loader so that its servable, a `Predictor`, comes behind a queue or a
    thread pool. A servable that is no `Predictor` is handed out as it is; edges refuse it.

    `make_async` is called after each successful load: `lambda predictor:
    BatchedPredictor(predictor, scheduler, options)`. If it raises, the wrapped Loader is unloaded
    and the load has failed. Unloading closes what it made first.
    """

    def __init__(
        self, loader: Loader, make_async: Callable[[Predictor], ClosableAsyncPredictor]
    ) -> None:
        self._loader = loader
        self._make_async = make_async
        self._servable: object = None
        self._predictor: ClosableAsyncPredictor | None = None

    def load(self) -> None:
        """Load the wrapped Loader."""
        self._loader.load()
        try:
            servable = self._loader.servable()
            if hasattr(servable, "predict"):
                servable = self._predictor = self._make_async(cast(Predictor, servable))
        except BaseException:  # this load has failed, so nobody is going to call `unload`
            self._loader.unload()
            raise
        self._servable = servable

    def unload(self) -> None:
        """Let what was accepted be answered, then unload the wrapped Loader."""
        predictor, self._predictor, self._servable = self._predictor, None, None
        try:
            if predictor is not None:
                predictor.close()
        finally:
            self._loader.unload()

    def servable(self) -> object:
        """Return the `AsyncPredictor`, or what the wrapped Loader has instead of a `Predictor`."""
        return self._servable
