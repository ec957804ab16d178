"""The promises of Predictor, kept by FakePredictor and by the platforms' servables."""

import threading

import numpy as np
import pytest

from modelserver.core import ServableId, StoragePath
from modelserver.inference import DEFAULT_SIGNATURE
from modelserver.lookup import platform as lookup_platform
from modelserver.saved_model import platform as saved_model_platform
from modelserver.testing.predictor import FakePredictor
from plugins.linear_model import LinearModel


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    return FakePredictor()


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    return LinearModel(np.ones((3, 2), np.float32), np.zeros(2, np.float32))


@pytest.fixture(scope="module")
def lookup(tmp_path_factory):
    directory = tmp_path_factory.mktemp("lookup")
    (directory / "table.csv").write_text("a,1,2\nb,3,4\n")
    loader = lookup_platform({}).make_loader(ServableId("m", 1), StoragePath(str(directory)))
    loader.load()
    return loader.servable()


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    import tensorflow as tf

    class TwoOutputs(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def call(self, x):
            return {"sum": tf.reduce_sum(x, 1), "twice": x * 2.0}

    directory = str(tmp_path_factory.mktemp("saved_model") / "1")
    module = TwoOutputs()
    tf.saved_model.save(module, directory, signatures=module.call)
    loader = saved_model_platform({}).make_loader(ServableId("m", 1), StoragePath(directory))
    loader.load()
    yield loader.servable()
    loader.unload()


@pytest.fixture(
    params=["fake", "linear", "lookup", pytest.param("saved_model", marks=pytest.mark.tensorflow)]
)
def predictor(request):
    return request.getfixturevalue(request.param)


def inputs_of(signature, rows):
    """Inputs that fit the signature: made up from its specs."""
    return {
        alias: np.full(
            (rows, *(dim or 1 for dim in spec.shape[1:])),
            b"a" if spec.dtype == object else 1,
            spec.dtype,
        )
        for alias, spec in signature.inputs.items()
    }


def test_signatures_are_named_as_they_are_keyed(predictor):
    assert all(name == signature.name for name, signature in predictor.signatures.items())
    assert DEFAULT_SIGNATURE in predictor.signatures


@pytest.mark.parametrize("rows", [1, 4])
def test_the_outputs_asked_for_come_in_that_order_with_the_spec_s_type_and_shape(predictor, rows):
    signature = predictor.signatures[DEFAULT_SIGNATURE]
    wanted = sorted(signature.outputs, reverse=True)

    outputs = predictor.predict(DEFAULT_SIGNATURE, inputs_of(signature, rows), wanted)

    assert list(outputs) == wanted
    for name, array in outputs.items():
        spec = signature.outputs[name]
        assert array.dtype == spec.dtype
        expected = (rows, *spec.shape[1:])
        assert len(array.shape) == len(expected)
        assert all(
            want is None or want == got for want, got in zip(expected, array.shape, strict=True)
        )


def test_each_output_can_be_asked_for_alone_and_is_the_same(predictor):
    signature = predictor.signatures[DEFAULT_SIGNATURE]
    inputs = inputs_of(signature, 2)
    together = predictor.predict(DEFAULT_SIGNATURE, inputs, list(signature.outputs))

    for name in signature.outputs:
        alone = predictor.predict(DEFAULT_SIGNATURE, inputs, [name])
        assert list(alone) == [name]
        np.testing.assert_array_equal(alone[name], together[name])


def test_rows_are_computed_independently_of_their_neighbours(predictor):
    signature = predictor.signatures[DEFAULT_SIGNATURE]
    outputs = list(signature.outputs)

    one = predictor.predict(DEFAULT_SIGNATURE, inputs_of(signature, 1), outputs)
    many = predictor.predict(DEFAULT_SIGNATURE, inputs_of(signature, 3), outputs)

    for name in outputs:
        for row in many[name]:
            np.testing.assert_array_equal(row, one[name][0])


def test_many_threads_may_call_at_once(predictor):
    signature = predictor.signatures[DEFAULT_SIGNATURE]
    expected = predictor.predict(
        DEFAULT_SIGNATURE, inputs_of(signature, 2), list(signature.outputs)
    )
    answers = []

    def call():
        answers.append(
            predictor.predict(DEFAULT_SIGNATURE, inputs_of(signature, 2), list(signature.outputs))
        )

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert len(answers) == 8
    for answer in answers:
        for name, array in expected.items():
            np.testing.assert_array_equal(answer[name], array)
