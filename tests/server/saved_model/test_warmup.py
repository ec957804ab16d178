"""Models are warmed up with made-up inputs, where that is harmless and possible."""

from dataclasses import replace

import numpy as np
import pytest

from modelserver.errors import InvalidArgumentError
from modelserver.inference.signature import Signature, TensorSpec
from modelserver.saved_model.warmup import synthetic_inputs, warm_up
from modelserver.testing.predictor import HALF_PLUS_TWO, FakePredictor


def signature(shape=(None, 2), dtype=np.float32, **changes):
    specs = {"x": TensorSpec("x:0", np.dtype(dtype), shape)}
    return replace(Signature("serving_default", specs, HALF_PLUS_TWO.outputs), **changes)


def sizes_called(*signatures, batch_sizes):
    predictor = FakePredictor(lambda inputs: {"y": np.zeros(1)}, signatures)
    warm_up(predictor, batch_sizes)
    return [call.num_rows for call in predictor.calls]


def test_every_batch_size_is_called_once():
    assert sizes_called(signature(), batch_sizes=(1, 8, 32)) == [1, 8, 32]


def test_a_signature_of_fixed_size_is_called_once():
    assert sizes_called(signature(shape=(5, 2)), batch_sizes=(1, 8)) == [5]


@pytest.mark.parametrize(
    "impossible",
    [
        pytest.param(signature(is_stateless=False), id="has effects"),
        pytest.param(signature(dtype=object), id="strings"),
        pytest.param(signature(shape=None), id="unknown rank"),
        pytest.param(signature(shape=(None, None)), id="unknown dimension"),
    ],
)
def test_a_signature_that_must_not_or_cannot_be_called_is_left_alone(impossible):
    assert sizes_called(impossible, batch_sizes=(1,)) == []


def test_inputs_with_defaults_are_left_out():
    inputs = synthetic_inputs(signature(shape=None, defaults={"x": np.ones(1)}), batch_size=3)

    assert inputs == {}


def test_integers_are_valid_indices_and_floats_are_not_all_alike():
    integers = synthetic_inputs(signature(dtype=np.int32), batch_size=3)
    floats = synthetic_inputs(signature(dtype=np.float64), batch_size=3)

    np.testing.assert_array_equal(integers["x"], np.zeros((3, 2), np.int32))
    assert floats["x"].dtype == np.float64
    assert len(np.unique(floats["x"])) == 6


def test_a_failed_call_is_logged_and_the_next_signature_is_warmed_up(caplog):
    def refuse_one_row(inputs):
        if len(inputs["x"]) == 1:
            raise InvalidArgumentError("too short")
        return {"y": np.zeros(2)}

    short, long = signature(shape=(1, 2), name="short"), signature(shape=(2, 2), name="long")
    predictor = FakePredictor(refuse_one_row, [short, long])

    failures = warm_up(predictor, [1])

    assert failures == [InvalidArgumentError]
    assert [call.signature_name for call in predictor.calls] == ["short", "long"]
    assert "Warm-up of signature short stopped: too short" in caplog.text
