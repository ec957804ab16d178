"""TensorFlow's errors come out in the words of modelserver.errors, on one line."""

import pytest

from modelserver import errors

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def translate():
    from modelserver.saved_model.tensorflow_errors import translate

    return translate


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("InvalidArgumentError", errors.InvalidArgumentError),
        ("OutOfRangeError", errors.InvalidArgumentError),
        ("NotFoundError", errors.NotFoundError),
        ("FailedPreconditionError", errors.FailedPreconditionError),
        ("ResourceExhaustedError", errors.ResourceExhaustedError),
        ("UnavailableError", errors.UnavailableError),
        ("DeadlineExceededError", errors.DeadlineExceededError),
        ("CancelledError", errors.CancelledError),
        ("UnimplementedError", errors.UnimplementedError),
        ("DataLossError", errors.DataLossError),
        ("InternalError", errors.InternalError),
        ("AbortedError", errors.InternalError),
    ],
)
def test_each_error_has_its_word(translate, name, expected):
    import tensorflow as tf

    translated = translate(getattr(tf.errors, name)(None, None, "what happened"))

    assert type(translated) is expected
    assert translated.message == "what happened"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("bad shape\n\t [[{{node MatMul}}]]", id="session"),
        pytest.param(
            "Graph execution error:\n\nDetected at node MatMul defined at (most recent call):\n"
            "<stack traces unavailable>\nbad shape\n\t [[{{node MatMul}}]] [Op:__inference_f_35]",
            id="function",
        ),
        pytest.param("Graph execution error:\n\nbad shape", id="function without a node"),
        pytest.param(
            "{{function_node __wrapped__MatMul}} bad shape [Op:MatMul] name: ", id="eager"
        ),
    ],
)
def test_the_message_is_the_line_that_says_what_went_wrong(translate, message):
    import tensorflow as tf

    translated = translate(tf.errors.InvalidArgumentError(None, None, message))

    assert translated.message == "bad shape"


def test_an_error_without_a_message_says_so(translate):
    import tensorflow as tf

    translated = translate(tf.errors.AbortedError(None, None, ""))

    assert translated.message == "TensorFlow gave no message"


def test_the_cause_behind_a_vague_error_is_found(translate):
    import tensorflow as tf

    error = RuntimeError("could not restore")
    error.__context__ = tf.errors.NotFoundError(None, None, "no such shard")

    translated = translate(error)

    assert type(translated) is errors.NotFoundError
    assert translated.message == "no such shard"


def test_other_errors_are_translated_as_everywhere(translate):
    own = errors.NotFoundError("mine")

    assert translate(own) is own
    assert type(translate(ValueError("oops"))) is errors.InternalError
    assert type(translate(MemoryError())) is errors.ResourceExhaustedError
