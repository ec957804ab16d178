"""Every kind of SavedModel, loaded and called."""

import gc
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest

from modelserver.core.servable import ServableId
from modelserver.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
)
from modelserver.saved_model import SavedModelLoader, SavedModelOptions

pytestmark = pytest.mark.tensorflow

ID = ServableId("model", 1)


def images(rows):
    return np.random.default_rng(rows).random((rows, 784), np.float32)


# Each kind of model


@pytest.mark.parametrize("rows", [0, 1, 32])
def test_a_tensorflow_2_module_answers_as_numpy_does(load, softmax, rows):
    bundle = load("softmax")

    outputs = bundle.predict("serving_default", {"images": images(rows)}, ["scores", "classes"])

    expected = softmax(images(rows))
    np.testing.assert_allclose(outputs["scores"], expected, rtol=1e-4)
    np.testing.assert_array_equal(outputs["classes"], expected.argmax(1))


def test_a_tensorflow_1_model_answers_as_numpy_does(load):
    bundle = load("tf1")
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)

    outputs = bundle.predict("serving_default", {"x": x}, ["y"])

    np.testing.assert_array_equal(outputs["y"], x @ np.arange(6).reshape(3, 2))


@pytest.mark.parametrize(("model", "factor"), [("tf1_without_variables", 2), ("tf1_text", 3)])
def test_models_without_variables_and_in_text_form_load(load, model, factor):
    bundle = load(model)

    outputs = bundle.predict("serving_default", {"x": np.ones(2, np.float32)}, ["y"])

    np.testing.assert_array_equal(outputs["y"], [factor, factor])


def test_a_keras_model_answers_in_a_session(load):
    bundle = load("keras")
    (name,) = bundle.signatures["serving_default"].inputs

    outputs = bundle.predict("serving_default", {name: np.ones((2, 4), np.float32)}, ["output_0"])

    hidden = np.maximum(4 * 0.5 + 0.5, 0) - 0.5
    normalized = hidden / np.sqrt(0.5 + 1e-3) * 0.5 + 0.5
    np.testing.assert_allclose(
        outputs["output_0"], np.full((2, 3), 8 * normalized * 0.5 + 0.5), 1e-5
    )
    assert bundle.session is not None


def test_a_keras_model_that_a_session_does_not_restore_answers_as_functions(load):
    bundle = load("keras_in_module")

    x = np.array([[1, 2], [3, 4]], np.float32)
    outputs = bundle.predict("serving_default", {"x": x}, ["rows", "y"])

    np.testing.assert_array_equal(outputs["y"], [[4], [8]])
    np.testing.assert_array_equal(outputs["rows"], 2)
    assert isinstance(outputs["rows"], np.ndarray)
    assert list(outputs) == ["rows", "y"]
    assert bundle.session is None


def test_a_hash_table_is_filled_from_its_asset_and_strings_are_bytes(load):
    bundle = load("table")
    colors = np.array([b"blue", b"red", b"\xff\0"], object)

    outputs = bundle.predict("serving_default", {"color": colors}, ["row", "upper"])

    np.testing.assert_array_equal(outputs["row"], [2, 0, -1])
    assert outputs["upper"].tolist() == [b"BLUE", b"RED", b"\xff\0"]


def test_a_counter_keeps_its_state_between_calls(load):
    bundle = load("counter")

    for _ in range(3):
        bundle.predict("add", {"by": np.array(2)}, ["count"])

    assert bundle.predict("get", {}, ["count"])["count"] == 6


def test_outputs_without_dimensions_are_arrays(load):
    bundle = load("many_signatures")

    label = bundle.predict("label", {"name": np.array(b"duck", object)}, ["label"])["label"]

    assert isinstance(label, np.ndarray)
    assert label.shape == ()
    assert label.item() == b"a duck"


def test_bfloat16_goes_in_and_comes_out(load):
    bundle = load("many_signatures")
    x = np.array([1.5, -2], ml_dtypes.bfloat16)

    outputs = bundle.predict("brain", {"x": x}, ["y"])

    assert outputs["y"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(outputs["y"].astype(np.float32), [3, -4])


# Signatures


def test_signatures_tell_types_and_shapes_as_numpy_does(load):
    signatures = load("many_signatures").signatures

    shapes = {name: signature.inputs for name, signature in signatures.items()}
    assert shapes["fixed"]["x"].shape == (2, 3)
    assert shapes["label"]["name"].shape == ()
    assert shapes["label"]["name"].dtype == object
    assert shapes["flat"]["x"].shape is None
    assert shapes["brain"]["x"].dtype == ml_dtypes.bfloat16
    assert not signatures["fixed"].is_batchable
    assert signatures["flat"].is_batchable


def test_only_signatures_that_write_state_are_stateful(load):
    stateful = {
        name
        for model in ("softmax", "tf1", "keras", "table", "counter", "many_signatures")
        for name, signature in load(model).signatures.items()
        if not signature.is_stateless
    }

    assert stateful == {"add"}


def test_an_unknown_signature_is_refused(load):
    bundle = load("softmax")

    with pytest.raises(FailedPreconditionError, match='Serving signature key "nope" not found'):
        bundle.predict("nope", {}, ["y"])


def test_inputs_with_defaults_may_be_left_out(load, export, tmp_path):
    path = shutil.copytree(export("tf1"), tmp_path / "1")
    set_default(path, "x", np.ones((1, 3), np.float32))
    bundle = load(path)

    outputs = bundle.predict("serving_default", {}, ["y"])

    assert bundle.signatures["serving_default"].defaults is not None
    np.testing.assert_array_equal(outputs["y"], [[6, 9]])


def test_a_signature_with_sparse_inputs_is_left_out_with_a_warning(load, export, tmp_path, caplog):
    path = shutil.copytree(export("tf1"), tmp_path / "1")
    with edit_meta_graph(path) as meta_graph:
        sparse = meta_graph.signature_def["sparse"].inputs["x"]
        sparse.coo_sparse.values_tensor_name = "x:0"

    bundle = load(path)

    assert list(bundle.signatures) == ["serving_default"]
    assert "Signature sparse is not served" in caplog.text


def test_a_signature_that_takes_one_tensor_twice_is_left_out_with_a_warning(
    load, export, tmp_path, caplog
):
    path = shutil.copytree(export("tf1"), tmp_path / "1")
    with edit_meta_graph(path) as meta_graph:
        doubled = meta_graph.signature_def["doubled"]
        doubled.CopyFrom(meta_graph.signature_def["serving_default"])
        doubled.inputs["same"].CopyFrom(doubled.inputs["x"])

    bundle = load(path)

    assert list(bundle.signatures) == ["serving_default"]
    assert "Signature doubled is not served: two of its inputs are one tensor" in caplog.text


# Output filters


def test_outputs_come_in_the_order_asked_for(load):
    bundle = load("softmax")

    outputs = [
        list(bundle.predict("serving_default", {"images": images(1)}, names))
        for names in (["classes"], ["scores"], ["scores", "classes"], ["classes", "scores"])
    ]

    assert outputs == [["classes"], ["scores"], ["scores", "classes"], ["classes", "scores"]]


@pytest.mark.parametrize(
    "names", [["given"], ["y", "again"], ["again", "given"], ["y", "again", "given"]]
)
def test_one_tensor_may_be_several_outputs_and_an_input_be_an_output(load, names):
    bundle = load("tf1")
    x = np.ones((1, 3), np.float32)

    outputs = bundle.predict("serving_default", {"x": x}, names)

    expected = {"y": [[6, 9]], "again": [[6, 9]], "given": x}
    for name in names:
        np.testing.assert_array_equal(outputs[name], expected[name])


# Errors of calls


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        pytest.param(
            "tf1",
            {"x": np.ones((1, 4), np.float32)},
            r"^Matrix size-incompatible: In\[0\]: \[1,4\], In\[1\]: \[3,2\]$",
            id="session",
        ),
        pytest.param(
            "keras_in_module",
            {"x": np.full((1, 2), 100, np.float32)},
            "^assertion failed: .*x is too large",
            id="functions",
        ),
    ],
)
def test_what_the_model_refuses_is_an_invalid_argument_in_one_line(load, model, inputs, message):
    bundle = load(model)

    with pytest.raises(InvalidArgumentError, match=message) as caught:
        bundle.predict(
            "serving_default", inputs, list(bundle.signatures["serving_default"].outputs)
        )

    assert "\n" not in caught.value.message


# Errors of loading


@pytest.mark.parametrize("model", ["softmax", "tf1"])
def test_missing_tags_are_named_with_those_that_are_there(export, model):
    options = SavedModelOptions(saved_model_tags=("serve", "gpu"))
    loader = SavedModelLoader(ID, str(export(model)), options)

    with pytest.raises(NotFoundError, match=r"supplied tags: { serve gpu }\..* has { serve }\."):
        loader.load()


def test_an_empty_directory_is_not_found(tmp_path):
    loader = SavedModelLoader(ID, str(tmp_path), SavedModelOptions())

    with pytest.raises(NotFoundError, match=r"Could not find SavedModel \.pb or \.pbtxt"):
        loader.load()


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index"])
def test_a_truncated_file_is_data_loss(export, tmp_path, name):
    path = shutil.copytree(export("softmax"), tmp_path / "1")
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    loader = SavedModelLoader(ID, str(path), SavedModelOptions())

    with pytest.raises(DataLossError):
        loader.load()


def test_a_corrupt_text_file_is_data_loss(tmp_path):
    (tmp_path / "saved_model.pbtxt").write_text("meta_graphs { nonsense }")
    loader = SavedModelLoader(ID, str(tmp_path), SavedModelOptions())

    with pytest.raises(DataLossError, match=r"Can't parse .*saved_model\.pbtxt as text proto"):
        loader.load()


def test_damaged_weights_are_data_loss(export, tmp_path):
    path = shutil.copytree(export("softmax"), tmp_path / "1")
    shard = path / "variables" / "variables.data-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[1000:1004] = b"\0\0\0\0"
    shard.write_bytes(content)
    loader = SavedModelLoader(ID, str(path), SavedModelOptions())

    with pytest.raises(DataLossError):
        loader.load()


def test_a_missing_shard_is_told_and_the_load_may_be_tried_again(export, tmp_path, softmax):
    path = shutil.copytree(export("softmax"), tmp_path / "1")
    shard = path / "variables" / "variables.data-00000-of-00001"
    content = shard.read_bytes()
    shard.unlink()
    loader = SavedModelLoader(ID, str(path), SavedModelOptions())
    with pytest.raises(ServingError):
        loader.load()
    shard.write_bytes(content)

    loader.load()

    outputs = loader.servable().predict("serving_default", {"images": images(2)}, ["scores"])
    np.testing.assert_allclose(outputs["scores"], softmax(images(2)), rtol=1e-4)
    loader.unload()


@pytest.mark.parametrize("tags", [("serve",), ("gpu",)])
def test_a_failed_load_holds_nothing_while_its_error_is_shown(export, tmp_path, tags):
    import tensorflow as tf

    path = shutil.copytree(export("softmax"), tmp_path / "1")
    (path / "variables" / "variables.data-00000-of-00001").unlink()
    loader = SavedModelLoader(ID, str(path), SavedModelOptions(saved_model_tags=tags))
    gc.collect()
    graphs = [each for each in gc.get_objects() if isinstance(each, tf.Graph)]

    with pytest.raises(ServingError) as shown:
        loader.load()

    new = [each for each in gc.get_objects() if isinstance(each, tf.Graph) and each not in graphs]
    assert new == []
    assert isinstance(shown.value, NotFoundError)


def test_the_bundle_keeps_signatures_and_tags_but_not_the_graph(load):
    meta_graph = load("softmax").meta_graph_def

    assert "serving_default" in meta_graph.signature_def
    assert list(meta_graph.meta_info_def.tags) == ["serve"]
    assert not meta_graph.HasField("graph_def")


# Several at once


def test_two_models_and_two_loads_of_one_do_not_share_state(load, softmax):
    first, second, other = load("counter"), load("counter"), load("softmax")

    first.predict("add", {"by": np.array(5)}, ["count"])

    assert second.predict("get", {}, ["count"])["count"] == 0
    outputs = other.predict("serving_default", {"images": images(1)}, ["scores"])
    np.testing.assert_allclose(outputs["scores"], softmax(images(1)), rtol=1e-4)


@pytest.mark.parametrize("model", ["softmax", "keras_in_module"])
def test_calls_from_many_threads_get_their_own_answers(load, model):
    bundle = load(model)
    (alias,) = bundle.signatures["serving_default"].inputs
    output = "scores" if model == "softmax" else "y"
    width = 784 if model == "softmax" else 2
    requests = [np.full((n % 7 + 1, width), n / 99, np.float32) for n in range(99)]
    expected = [
        bundle.predict("serving_default", {alias: request}, [output])[output]
        for request in requests
    ]

    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda request: bundle.predict("serving_default", {alias: request}, [output]),
                requests,
            )
        )

    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer[output], wanted, rtol=1e-5)


def test_models_load_at_the_same_time(export):
    names = ["softmax", "tf1", "table", "counter"]
    loaders = [SavedModelLoader(ID, str(export(name)), SavedModelOptions()) for name in names]

    with ThreadPoolExecutor(len(loaders)) as pool:
        list(pool.map(lambda loader: loader.load(), loaders))

    assert all(loader.servable().signatures for loader in loaders)
    for loader in loaders:
        loader.unload()


# The log


def test_loading_logs_version_signatures_and_device(load, caplog):
    caplog.set_level(logging.INFO, "modelserver")

    load("softmax")

    assert "Loaded {name: model version: 1}" in caplog.text
    assert "serving_default(images) -> classes, scores" in caplog.text
    assert "CPU:0" in caplog.text


def test_loading_logs_no_deprecation_notice(load, caplog):
    load("tf1")

    assert "deprecated" not in caplog.text


# Editing an export


class edit_meta_graph:  # noqa: N801  # reads as a verb in a with statement
    """Change the first MetaGraph of an export."""

    def __init__(self, path):
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        self._file = path / "saved_model.pb"
        self._saved_model = SavedModel.FromString(self._file.read_bytes())

    def __enter__(self):
        return self._saved_model.meta_graphs[0]

    def __exit__(self, *error):
        self._file.write_bytes(self._saved_model.SerializeToString())


def set_default(path, alias, value):
    import tensorflow as tf

    with edit_meta_graph(path) as meta_graph:
        signature = meta_graph.signature_def["serving_default"]
        signature.defaults[alias].CopyFrom(tf.make_tensor_proto(value))


def test_a_model_without_a_signature_is_refused_and_leaves_nothing_behind(export, tmp_path):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    shutil.copytree(export("softmax"), tmp_path / "1")
    file = tmp_path / "1" / "saved_model.pb"
    model = SavedModel.FromString(file.read_bytes())
    model.meta_graphs[0].signature_def.clear()
    file.write_bytes(model.SerializeToString())
    loader = SavedModelLoader(ID, str(tmp_path / "1"), SavedModelOptions())

    with pytest.raises(FailedPreconditionError, match="has no signature that can be served"):
        loader.load()
    with pytest.raises(FailedPreconditionError, match="is not loaded"):
        loader.servable()
