"""AsyncPredictorLoader: the servable is the predictor behind a queue, which rests before unload."""

from collections.abc import Callable, Mapping

import pytest

from modelserver.batching import SharedBatchScheduler
from modelserver.errors import UnavailableError
from modelserver.inference import (
    AsyncPredictorLoader,
    BatchedPredictor,
    BatchingOptions,
    Completion,
    Prediction,
    Predictor,
    Signature,
)
from modelserver.testing.loader import FakeLoader
from modelserver.testing.predictor import FakePredictor


class RestingPredictor:
    """Records when it was closed, and what it was made from."""

    def __init__(self, predictor: Predictor, loader: FakeLoader) -> None:
        self.predictor = predictor
        self.was_loaded_at_close: bool | None = None
        self._loader = loader

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self.predictor.signatures

    def submit(self, prediction: Prediction, done: Completion) -> Callable[[], bool]:
        raise NotImplementedError

    def close(self) -> None:
        self.was_loaded_at_close = self._loader.is_loaded


def test_the_servable_is_made_from_the_loaded_predictor() -> None:
    model = FakePredictor()
    inner = FakeLoader(model)
    loader = AsyncPredictorLoader(inner, lambda predictor: RestingPredictor(predictor, inner))

    loader.load()

    servable = loader.servable()
    assert isinstance(servable, RestingPredictor)
    assert servable.predictor is model
    assert inner.loads == 1


def test_unloading_lets_the_predictor_rest_first() -> None:
    inner = FakeLoader(FakePredictor())
    loader = AsyncPredictorLoader(inner, lambda predictor: RestingPredictor(predictor, inner))
    loader.load()
    servable = loader.servable()
    assert isinstance(servable, RestingPredictor)

    loader.unload()

    assert servable.was_loaded_at_close
    assert inner.unloads == 1
    assert loader.servable() is None


def test_a_failed_load_makes_nothing_and_may_be_tried_again() -> None:
    inner = FakeLoader(FakePredictor(), failures=[OSError("disk")])
    loader = AsyncPredictorLoader(inner, lambda predictor: RestingPredictor(predictor, inner))

    with pytest.raises(OSError, match="disk"):
        loader.load()
    after_failure = loader.servable()
    loader.load()

    assert after_failure is None
    assert isinstance(loader.servable(), RestingPredictor)


def test_what_was_loaded_is_unloaded_where_no_predictor_can_be_made_of_it() -> None:
    inner = FakeLoader(FakePredictor())
    refusals: list[Exception] = [UnavailableError("The batch scheduler has been stopped")]

    def make_async(predictor: Predictor) -> RestingPredictor:
        if refusals:
            raise refusals.pop()
        return RestingPredictor(predictor, inner)

    loader = AsyncPredictorLoader(inner, make_async)

    with pytest.raises(UnavailableError, match="stopped"):
        loader.load()
    was_loaded, servable = inner.is_loaded, loader.servable()
    loader.load()

    assert (was_loaded, servable) == (False, None)
    assert isinstance(loader.servable(), RestingPredictor)


def test_what_was_loaded_is_unloaded_where_it_has_no_servable() -> None:
    class Unservable(FakeLoader):
        def servable(self) -> object:
            raise SystemExit(1)

    inner = Unservable()
    loader = AsyncPredictorLoader(inner, lambda predictor: RestingPredictor(predictor, inner))

    with pytest.raises(SystemExit):
        loader.load()

    assert not inner.is_loaded


def test_it_batches_a_model_until_it_is_unloaded() -> None:
    with SharedBatchScheduler(1) as scheduler:
        loader = AsyncPredictorLoader(
            FakeLoader(FakePredictor()),
            lambda predictor: BatchedPredictor(predictor, scheduler, BatchingOptions()),
        )

        loader.load()
        is_batched = isinstance(loader.servable(), BatchedPredictor)
        loader.unload()

    assert is_batched


def test_a_servable_that_is_no_predictor_is_handed_out_as_it_is() -> None:
    inner = FakeLoader("a lookup table of its own kind")
    loader = AsyncPredictorLoader(inner, lambda predictor: RestingPredictor(predictor, inner))

    loader.load()

    assert loader.servable() == "a lookup table of its own kind"
    loader.unload()
    assert inner.unloads == 1
