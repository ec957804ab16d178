"""The promises of Loader, kept by FakeLoader and by the platforms' loaders."""

import json
import shutil

import pytest

from modelserver.core import ServableId, StoragePath
from modelserver.inference import AsyncPredictorLoader
from modelserver.lookup import platform as lookup_platform
from modelserver.saved_model import platform as saved_model_platform
from modelserver.testing.loader import FakeLoader
from modelserver.testing.predictor import FakePredictor
from plugins.linear_model import platform as linear_platform

ID = ServableId("m", 1)


@pytest.fixture
def make_good_and_broken(request, tmp_path):
    """Two loaders of one kind: one that will load, and one that will not."""
    return request.getfixturevalue(request.param)(tmp_path)


@pytest.fixture
def fake():
    return lambda tmp_path: (FakeLoader(), FakeLoader(failures=[OSError("no disk")] * 9))


@pytest.fixture
def lookup():
    def make(tmp_path):
        (tmp_path / "good").mkdir()
        (tmp_path / "good" / "words.csv").write_text("a\nb\n")
        (tmp_path / "broken").mkdir()
        loader_of = lookup_platform({}).make_loader
        return tuple(
            loader_of(ID, StoragePath(str(tmp_path / name))) for name in ("good", "broken")
        )

    return make


@pytest.fixture
def linear():
    def make(tmp_path):
        (tmp_path / "model.json").write_text(json.dumps({"weights": [[1.0]], "bias": [0.0]}))
        loader_of = linear_platform({}).make_loader
        return tuple(
            loader_of(ID, StoragePath(str(path))) for path in (tmp_path, tmp_path / "gone")
        )

    return make


@pytest.fixture
def asynchronous():
    def make(tmp_path):
        class Closable(FakePredictor):
            def close(self):
                """Nothing is running."""

        inners = (FakeLoader(FakePredictor()), FakeLoader(failures=[OSError("no disk")] * 9))
        return tuple(AsyncPredictorLoader(inner, lambda predictor: Closable()) for inner in inners)

    return make


@pytest.fixture
def saved_model():
    def make(tmp_path):
        import tensorflow as tf

        class Identity(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
            def call(self, x):
                return {"y": x + 0.0}

        module = Identity()
        tf.saved_model.save(module, str(tmp_path / "good"), signatures=module.call)
        shutil.copytree(tmp_path / "good", tmp_path / "broken")
        (tmp_path / "broken" / "saved_model.pb").write_bytes(b"\x0a\xff")
        loader_of = saved_model_platform({}).make_loader
        return tuple(
            loader_of(ID, StoragePath(str(tmp_path / name))) for name in ("good", "broken")
        )

    return make


every_loader = pytest.mark.parametrize(
    "make_good_and_broken",
    [
        "fake",
        "lookup",
        "linear",
        "asynchronous",
        pytest.param("saved_model", marks=pytest.mark.tensorflow),
    ],
    indirect=True,
)


@every_loader
def test_what_has_been_loaded_has_a_servable_until_it_is_unloaded(make_good_and_broken):
    good, _ = make_good_and_broken

    good.load()
    servable = good.servable()
    good.unload()

    assert servable is not None


@every_loader
def test_a_load_that_cannot_work_raises_and_may_be_tried_again(make_good_and_broken):
    _, broken = make_good_and_broken

    for _ in range(2):
        with pytest.raises(Exception, match=r"."):
            broken.load()


@every_loader
def test_what_was_unloaded_may_be_loaded_again(make_good_and_broken):
    good, _ = make_good_and_broken

    for _ in range(2):
        good.load()
        assert good.servable() is not None
        good.unload()


@every_loader
def test_a_failed_load_holds_nothing_and_needs_no_unload(make_good_and_broken):
    good, broken = make_good_and_broken
    good.load()

    with pytest.raises(Exception, match=r"."):
        broken.load()

    good.unload()  # the other of its kind is not touched by the failure
