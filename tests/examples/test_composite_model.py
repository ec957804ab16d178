"""The composite model, vocabulary → TensorFlow model, as two servables and as one."""

import shutil

import numpy as np
import pytest

from modelserver.core import AspiredVersionsManager, ServableData, ServableId, StoragePath
from modelserver.core.storage_path import FileInfo
from modelserver.errors import DataLossError
from modelserver.inference import DEFAULT_SIGNATURE
from modelserver.lookup import platform as lookup_platform
from modelserver.saved_model import platform as saved_model_platform
from modelserver.testing.executor import InlineExecutor
from modelserver.testing.loader import FakeLoader
from modelserver.testing.predictor import FakePredictor
from plugins import composite_model
from plugins.independent_servables import MODEL, VOCABULARY, predict_words

pytestmark = pytest.mark.tensorflow

WORDS = np.array([b"good", b"bad", b"good"], object)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """A version directory of the composite, in which a word's score is 10 times its id."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="ids")])
        def score(self, ids):
            return {"score": tf.cast(ids, tf.float32) * 10.0}

    directory = tmp_path_factory.mktemp("composite") / "1"
    model = Model()
    tf.saved_model.save(model, str(directory / MODEL), signatures=model.score)
    (directory / VOCABULARY).mkdir()
    (directory / VOCABULARY / "words.csv").write_text("bad\ngood\n")
    return directory


def listing(directory):
    files = {
        str(file.relative_to(directory)): FileInfo(file.stat().st_size)
        for file in directory.rglob("*")
        if file.is_file()
    }
    return StoragePath(str(directory), files)


def test_two_independent_servables_answer_together(export):
    manager = AspiredVersionsManager(executors=(InlineExecutor(), InlineExecutor()))
    for name, platform in ((VOCABULARY, lookup_platform), (MODEL, saved_model_platform)):
        servable_id = ServableId(name, 1)
        loader = platform({}).make_loader(servable_id, listing(export / name))
        manager.set_aspired_versions(name, [ServableData(servable_id, loader)])
    while manager.step():
        pass

    answer = predict_words(manager, WORDS)

    assert answer["score"].tolist() == [10.0, 0.0, 10.0]
    manager.set_aspired_versions(MODEL, [])
    manager.set_aspired_versions(VOCABULARY, [])
    while manager.step():
        pass


def test_one_composite_servable_takes_words(export):
    platform = composite_model.platform({})
    path = listing(export)
    assert platform.missing_files(path) == []
    loader = platform.make_loader(ServableId("m", 1), path)
    loader.load()

    servable = loader.servable()
    answer = servable.predict(DEFAULT_SIGNATURE, {"words": WORDS}, ["score"])

    assert answer["score"].tolist() == [10.0, 0.0, 10.0]
    assert list(servable.signatures[DEFAULT_SIGNATURE].inputs) == ["words"]
    loader.unload()


def test_a_composite_is_complete_when_both_parts_are(export, tmp_path):
    shutil.copytree(export, tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / MODEL)

    missing = composite_model.platform({}).missing_files(listing(tmp_path / "1"))

    assert missing
    assert all(name.startswith("model/") for name in missing)


def test_a_composite_whose_model_fails_unloads_its_vocabulary():
    vocabulary, model = FakeLoader(), FakeLoader(failures=[DataLossError("truncated")])
    loader = composite_model.CompositeLoader(vocabulary, model)

    with pytest.raises(DataLossError, match="truncated"):
        loader.load()

    assert (vocabulary.loads, vocabulary.unloads) == (1, 1)


def test_parts_that_make_no_composite_are_unloaded_and_the_load_fails():
    vocabulary = FakeLoader(FakePredictor())
    model = FakeLoader(FakePredictor(signatures=()))
    loader = composite_model.CompositeLoader(vocabulary, model)

    with pytest.raises(KeyError, match=DEFAULT_SIGNATURE):
        loader.load()

    assert (vocabulary.loads, vocabulary.unloads) == (1, 1)
    assert (model.loads, model.unloads) == (1, 1)


def test_a_composite_unloads_both_parts():
    parts = FakeLoader(FakePredictor()), FakeLoader(FakePredictor())
    loader = composite_model.CompositeLoader(*parts)
    loader.load()

    loader.unload()

    assert [part.unloads for part in parts] == [1, 1]
    assert loader.servable() is None


def test_each_file_of_a_composite_is_judged_by_the_platform_of_its_folder():
    platform = composite_model.platform({})

    assert platform.must_settle("vocabulary/words.csv")
    assert not platform.must_settle("vocabulary/words.npz")
    assert platform.must_settle("model/assets/words.txt")
    assert not platform.must_settle("model/saved_model.pb")
    assert not platform.must_settle("README.md")
