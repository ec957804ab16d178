"""The first calls tell whether a model that a Session has loaded works in it."""

import numpy as np
import pytest

from modelserver.errors import FailedPreconditionError, InvalidArgumentError

pytestmark = pytest.mark.tensorflow


def test_a_model_whose_calls_fail_in_a_session_answers_as_functions(load):
    bundle = load("unfilled_table", enable_model_warmup=True)

    outputs = bundle.predict("serving_default", {"id": np.array([5])}, ["row"])

    assert bundle.session is None
    np.testing.assert_array_equal(outputs["row"], [20])


def test_without_first_calls_nothing_tells_that_a_session_lacks_something(load):
    bundle = load("unfilled_table", enable_model_warmup=False)

    with pytest.raises(FailedPreconditionError, match="Table not initialized"):
        bundle.predict("serving_default", {"id": np.array([5])}, ["row"])


@pytest.mark.parametrize("kind", [InvalidArgumentError, FailedPreconditionError])
def test_a_model_that_eager_functions_do_not_help_stays_in_its_session(load, monkeypatch, kind):
    warmed_up = []

    def fail_always(bundle, batch_sizes):
        warmed_up.append(bundle.session is not None)
        return [kind]

    monkeypatch.setattr("modelserver.saved_model.loading.warm_up", fail_always)

    bundle = load("softmax", enable_model_warmup=True)

    # What is wrong with the inputs is so in any way of loading: only what lacks is tried anew.
    assert warmed_up == ([True] if kind is InvalidArgumentError else [True, False])
    assert bundle.session is not None
    assert bundle.predict("serving_default", {"images": np.ones((2, 784), np.float32)}, ["classes"])
