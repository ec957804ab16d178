"""The private way to call a Session and the public one, held to the same answers.

When this fails after an upgrade of TensorFlow, the private method has changed.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from modelserver.saved_model.bundle import SavedModelBundle

pytestmark = pytest.mark.tensorflow


class PublicSession:
    """A Session as a TensorFlow without the private method would have it."""

    def __init__(self, session):
        self.make_callable = session.make_callable


@pytest.fixture(params=["private", "public"])
def session(request, load):
    """The Session of `tf1`: x [n, 3], y = x @ [3, 2]."""
    session = load("tf1").session
    return session if request.param == "private" else PublicSession(session)


@pytest.fixture
def make_callable():
    from modelserver.saved_model.callable import make_callable

    return make_callable


def rows(n):
    return np.arange(3 * n, dtype=np.float32).reshape(n, 3)


WEIGHTS = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_tensorflow_has_the_private_method(load):
    assert hasattr(load("tf1").session, "_make_callable_from_options")


@pytest.mark.parametrize("inter_op", [0, 1, 2])
def test_one_answer_comes_for_each_fetch(session, make_callable, inter_op):
    call = make_callable(session, ["x:0"], ["y:0", "weights/read:0", "y:0"], inter_op)

    answers = call(rows(2))

    assert len(answers) == 3
    np.testing.assert_array_equal(answers[0], rows(2) @ WEIGHTS)
    np.testing.assert_array_equal(answers[1], WEIGHTS)
    np.testing.assert_array_equal(answers[2], rows(2) @ WEIGHTS)


def test_arrays_that_are_not_contiguous_are_read_right(session, make_callable):
    call = make_callable(session, ["x:0"], ["y:0"])
    strided = np.repeat(rows(2), 2, axis=1)[:, ::2]

    answers = [call(x)[0] for x in (strided, np.asfortranarray(rows(2)))]

    np.testing.assert_array_equal(answers, [rows(2) @ WEIGHTS] * 2)


def test_a_model_error_is_an_op_error(session, make_callable):
    import tensorflow as tf

    call = make_callable(session, ["x:0"], ["y:0"])

    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"size-incompatible|Cannot feed value of shape"
    ):
        call(np.ones((1, 4), np.float32))


def test_a_call_runs_in_the_thread_that_makes_it(load, make_callable):
    import tensorflow as tf

    threads = []

    def remember_thread(x):
        threads.append(threading.get_ident())
        return x

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        y = tf.numpy_function(remember_thread, [x], tf.float32)
        for each in (session, PublicSession(session)):
            make_callable(each, [x.name], [y.name])(np.ones(1, np.float32))

    assert threads == [threading.get_ident()] * 2


def test_many_threads_share_a_callable(session, make_callable):
    call = make_callable(session, ["x:0"], ["y:0"])
    requests = [rows(n % 5 + 1) for n in range(250)]

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(call, requests))

    for (answer,), request in zip(answers, requests, strict=True):
        np.testing.assert_array_equal(answer, request @ WEIGHTS)


def test_a_bundle_answers_alike_without_the_private_method(load):
    import tensorflow as tf

    bundle = load("table")
    colors = np.array([b"green", b"pink"], object)
    expected = bundle.predict("serving_default", {"color": colors}, ["upper", "row"])

    public = public_bundle(bundle)
    actual = public.predict("serving_default", {"color": colors}, ["upper", "row"])

    assert isinstance(bundle.session, tf.compat.v1.Session)
    assert {name: array.tolist() for name, array in actual.items()} == {
        name: array.tolist() for name, array in expected.items()
    }


def public_bundle(bundle):
    from modelserver.saved_model.session_runner import SessionRunner

    session = PublicSession(bundle.session)
    runners = {
        name: SessionRunner(session, signature, 0) for name, signature in bundle.signatures.items()
    }
    return SavedModelBundle(bundle.signatures, runners, bundle.meta_graph_def, None, ())
