"""The models that these tests load, exported when first asked for and kept for the session.

TensorFlow is imported by the exporting functions, so that tests without it stay quick.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from modelserver.core.servable import ServableId
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.saved_model import SavedModelBundle, SavedModelLoader, SavedModelOptions

COLORS = "red\ngreen\nblue\n"


def export_softmax(directory: Path) -> None:
    import tensorflow as tf

    class Softmax(tf.Module):
        def __init__(self) -> None:
            self.weights = tf.Variable(_softmax_weights())

        @tf.function(input_signature=[tf.TensorSpec([None, 784], tf.float32, name="images")])
        def __call__(self, images):
            logits = images @ self.weights
            return {"scores": tf.nn.softmax(logits), "classes": tf.argmax(logits, 1)}

    module = Softmax()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)


def _softmax_weights() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((784, 10)).astype(np.float32)


def export_tf1(directory: Path) -> None:
    """Reference variables, an output that is an input, and two outputs that are one tensor."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        initial = np.arange(6, dtype=np.float32).reshape(3, 2)
        weights = v1.get_variable("weights", initializer=initial, use_resource=False)
        y = tf.matmul(x, weights, name="y")
        session.run(v1.global_variables_initializer())
        _save_tf1(session, directory, {"x": x}, {"y": y, "again": y, "given": x})


def export_tf1_without_variables(directory: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        _save_tf1(session, directory, {"x": x}, {"y": x * 2})


def export_tf1_text(directory: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        y = x * v1.get_variable("factor", initializer=np.float32(3))
        session.run(v1.global_variables_initializer())
        _save_tf1(session, directory, {"x": x}, {"y": y}, as_text=True)


def _save_tf1(session, directory, inputs, outputs, *, as_text=False) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(directory))
    signature = v1.saved_model.predict_signature_def(inputs, outputs)
    builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
    builder.save(as_text=as_text)


def export_keras(directory: Path) -> None:
    import keras

    layers = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.layers.Input((4,)), *layers, keras.layers.Dense(3)])
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 0.5, np.float32))
    model.export(directory, verbose=False)


def export_keras_in_module(directory: Path) -> None:
    """A Keras 3 model whose variables a Session does not restore."""
    import keras
    import tensorflow as tf

    class Wrapper(tf.Module):
        def __init__(self) -> None:
            self.model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
            for weight in self.model.weights:
                weight.assign(np.ones(weight.shape, np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def __call__(self, x):
            tf.debugging.assert_less(x, 100.0, "x is too large")
            return {"y": self.model(x), "rows": tf.shape(x)[0]}

    module = Wrapper()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)


def export_convolutions(directory: Path) -> None:
    import keras

    layers = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.layers.Input((8, 8, 1)), *layers, keras.layers.Flatten()])
    model.export(directory, verbose=False)


def export_table(directory: Path) -> None:
    """Strings in, strings out, by way of a vocabulary file."""
    import tensorflow as tf

    vocabulary = directory.parent / "colors.txt"
    vocabulary.write_text(COLORS)

    class Table(tf.Module):
        def __init__(self) -> None:
            initializer = tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticHashTable(initializer, -1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="color")])
        def __call__(self, color):
            return {"row": self.table.lookup(color), "upper": tf.strings.upper(color)}

    module = Table()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)
    vocabulary.unlink()


def export_unfilled_table(directory: Path) -> None:
    """A table that the objects say how to fill, and the graph does not."""
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    class Table(tf.Module):
        def __init__(self) -> None:
            rows = np.array([[0, 10], [5, 20]], np.int64).T
            initializer = tf.lookup.KeyValueTensorInitializer(*map(tf.constant, rows))
            self.table = tf.lookup.StaticHashTable(initializer, -1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="id")])
        def __call__(self, id):
            return {"row": self.table.lookup(id)}

    module = Table()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)
    file = directory / "saved_model.pb"
    saved_model = SavedModel.FromString(file.read_bytes())
    del saved_model.meta_graphs[0].signature_def["__saved_model_init_op"]
    del saved_model.meta_graphs[0].collection_def["saved_model_main_op"]
    file.write_bytes(saved_model.SerializeToString())


def export_counter(directory: Path) -> None:
    import tensorflow as tf

    class Counter(tf.Module):
        def __init__(self) -> None:
            self.count = tf.Variable(0, dtype=tf.int64)

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64, name="by")])
        def add(self, by):
            return {"count": self.count.assign_add(by)}

        @tf.function(input_signature=[])
        def get(self):
            return {"count": self.count.read_value()}

    module = Counter()
    signatures = {"add": module.add, "get": module.get}
    tf.saved_model.save(module, str(directory), signatures=signatures)


def export_many_signatures(directory: Path) -> None:
    """Fixed and free batch dimensions, scalars, unknown rank, bfloat16, a random output."""
    import tensorflow as tf

    def signature(*specs):
        return tf.function(input_signature=[tf.TensorSpec(*spec) for spec in specs])

    module = tf.Module()
    module.fixed = signature(([2, 3], tf.float32, "x"))(lambda x: {"y": x + 1})
    module.label = signature(([], tf.string, "name"))(lambda name: {"label": "a " + name})
    module.flat = signature((None, tf.int32, "x"))(lambda x: {"y": tf.reshape(x, [-1])})
    module.brain = signature(([None], tf.bfloat16, "x"))(lambda x: {"y": x * 2})
    module.noise = signature(([None], tf.float32, "x"))(
        lambda x: {"y": x + tf.random.uniform(tf.shape(x))}
    )
    names = ("fixed", "label", "flat", "brain", "noise")
    signatures = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(directory), signatures=signatures)


EXPORTERS: dict[str, Callable[[Path], None]] = {
    "softmax": export_softmax,
    "tf1": export_tf1,
    "tf1_without_variables": export_tf1_without_variables,
    "tf1_text": export_tf1_text,
    "keras": export_keras,
    "keras_in_module": export_keras_in_module,
    "convolutions": export_convolutions,
    "table": export_table,
    "unfilled_table": export_unfilled_table,
    "counter": export_counter,
    "many_signatures": export_many_signatures,
}


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the directory of a model by its name in EXPORTERS. Read-only for tests."""
    exported: dict[str, Path] = {}

    def export_once(name: str) -> Path:
        if name not in exported:
            directory = tmp_path_factory.mktemp(name) / "1"
            EXPORTERS[name](directory)
            exported[name] = directory
        return exported[name]

    return export_once


@pytest.fixture
def softmax() -> Callable[[np.ndarray], np.ndarray]:
    """What the model `softmax` computes, in numpy."""

    def compute(images: np.ndarray) -> np.ndarray:
        exponents = np.exp(images @ _softmax_weights())
        return exponents / exponents.sum(1, keepdims=True)

    return compute


@pytest.fixture
def load(export: Callable[[str], Path]) -> Iterator[Callable[..., SavedModelBundle]]:
    """Load a model by name or path; it is unloaded after the test."""
    loaders: list[SavedModelLoader] = []
    versions = itertools.count(1)

    def load_bundle(model: str | Path, **changes: object) -> SavedModelBundle:
        path = export(model) if isinstance(model, str) else model
        options = {"enable_model_warmup": False, **changes}
        loader = SavedModelLoader(
            ServableId("model", next(versions)), str(path), SavedModelOptions(**options)
        )
        loader.load()
        loaders.append(loader)
        return loader.servable()

    yield load_bundle
    for loader in loaders:
        loader.unload()


@pytest.fixture
def list_files() -> Callable[[Path], StoragePath]:
    """List a directory as a source does."""

    def list_directory(directory: Path) -> StoragePath:
        files = [file for file in directory.rglob("*") if file.is_file()]
        return StoragePath(
            str(directory),
            {file.relative_to(directory).as_posix(): _file_info(file.stat()) for file in files},
        )

    return list_directory


def _file_info(status: os.stat_result) -> FileInfo:
    return FileInfo(status.st_size, str(status.st_mtime_ns))
