"""Freezing, where it was asked for and keeps the answers."""

import logging

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def load_frozen(load, caplog):
    """Load with freezing allowed; also returns what was logged."""
    caplog.set_level(logging.INFO, "modelserver.saved_model")

    def load_frozen(model):
        bundle = load(model, allow_freezing=True)
        return bundle, caplog.text

    return load_frozen


def variables(session):
    return [node.name for node in session.graph.as_graph_def().node if node.op == "VarHandleOp"]


@pytest.mark.parametrize("model", ["softmax", "convolutions", "keras", "tf1"])
def test_a_frozen_model_has_no_variables_and_answers_as_before(load, load_frozen, model):
    frozen, log = load_frozen(model)
    plain = load(model)
    (alias, spec), *_ = plain.signatures["serving_default"].inputs.items()
    inputs = {alias: np.random.default_rng(3).random([3, *spec.shape[1:]], np.float32)}
    names = list(plain.signatures["serving_default"].outputs)

    outputs = frozen.predict("serving_default", inputs, names)

    expected = plain.predict("serving_default", inputs, names)
    for name in names:
        np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-3, atol=1e-5)
    assert variables(frozen.session) == []
    assert "is frozen" in log


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("counter", "signature add cannot be tried out"),
        ("table", "signature serving_default cannot be tried out"),
        ("many_signatures", "signature flat cannot be tried out"),
    ],
)
def test_what_cannot_be_compared_is_served_unfrozen(load_frozen, model, reason):
    bundle, log = load_frozen(model)

    assert f"is not frozen: {reason}" in log
    assert bundle.signatures


def test_models_are_not_frozen_unless_asked(load):
    assert variables(load("softmax").session)


def test_large_variables_are_not_frozen(load):
    from modelserver.errors import FailedPreconditionError
    from modelserver.saved_model.freezing import freeze

    bundle = load("softmax")

    with pytest.raises(FailedPreconditionError, match="the variables take 100000000 bytes"):
        freeze(bundle.session, bundle.signatures, 100_000_000, None)


def freeze_one(bundle, name):
    from modelserver.saved_model.freezing import freeze

    return freeze(bundle.session, {name: bundle.signatures[name]}, 0, None)


def test_a_model_whose_answers_would_change_is_refused(load):
    from modelserver.errors import FailedPreconditionError

    bundle = load("many_signatures")

    with pytest.raises(FailedPreconditionError, match="y of signature noise would change"):
        freeze_one(bundle, "noise")


def test_bfloat16_answers_are_compared_as_numbers(load):
    frozen = freeze_one(load("many_signatures"), "brain")

    assert frozen.graph.as_graph_def().node
    frozen.close()
