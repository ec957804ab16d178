"""The promises of AsyncPredictor, kept by BatchedPredictor, DirectPredictor and
AdjustablePredictor."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from modelserver.batching import SharedBatchScheduler
from modelserver.clock import SystemClock
from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    ServingError,
)
from modelserver.inference import BatchedPredictor, BatchingOptions, DirectPredictor, Prediction
from modelserver.inference.adjustable import AdjustablePredictor
from modelserver.testing.predictor import HALF_PLUS_TWO, FakePredictor
from modelserver.testing.request_list import FakeRequestList


class Answers:
    """A Completion that keeps every call it gets."""

    def __init__(self):
        self.results = []
        self._came = threading.Semaphore(0)

    def __call__(self, result):
        self.results.append(result)
        self._came.release()

    def wait(self):
        assert self._came.acquire(timeout=30)
        return self.results[-1]


@pytest.fixture(params=["batched", "direct", "adjustable"])
def serve(request):
    """Put a Predictor behind a queue or a pool with one thread."""
    clean_up = []

    def make(predictor):
        if request.param == "batched":
            scheduler = SharedBatchScheduler(1)
            clean_up.append(scheduler.stop)
            return BatchedPredictor(predictor, scheduler, BatchingOptions())
        executor = ThreadPoolExecutor(1)
        clean_up.append(executor.shutdown)
        direct = DirectPredictor(predictor, executor, SystemClock())
        return direct if request.param == "direct" else AdjustablePredictor(lambda _: direct, None)

    yield make
    for step in clean_up:
        step()


def prediction(x=4.0, deadline=None):
    return Prediction(HALF_PLUS_TWO, {"x": np.array([x], np.float32)}, ["y"], deadline)


def test_the_signatures_are_those_of_the_model(serve):
    model = FakePredictor()

    assert serve(model).signatures == model.signatures


def test_an_answer_comes_once(serve):
    answers = Answers()
    predictor = serve(FakePredictor())

    predictor.submit(prediction(4.0), answers)
    answer = answers.wait()
    predictor.close()

    assert answer["y"].tolist() == [4.0]
    assert len(answers.results) == 1


def test_requests_have_their_own_answers(serve):
    predictor = serve(FakePredictor())
    all_answers = [Answers() for _ in range(20)]

    for x, answers in enumerate(all_answers):
        predictor.submit(prediction(2.0 * x), answers)

    assert [a.wait()["y"].tolist() for a in all_answers] == [[x + 2.0] for x in range(20)]


def test_what_the_model_raises_is_the_answer(serve):
    def fail(inputs):
        raise ZeroDivisionError("division by zero")

    answers = Answers()

    serve(FakePredictor(fail)).submit(prediction(), answers)

    assert isinstance(answers.wait(), ServingError)
    assert "division by zero" in str(answers.results[0])


class NoExceptionAtAll(BaseException):
    """As foreign runtimes raise when they panic."""


def test_what_is_no_exception_is_an_answer_too_and_the_next_request_is_served(serve):
    def panic_once(inputs):
        if inputs["x"][0] == 0.0:
            raise NoExceptionAtAll("panic")
        return {"y": inputs["x"]}

    predictor = serve(FakePredictor(panic_once))
    panicked, good = Answers(), Answers()

    predictor.submit(prediction(0.0), panicked)
    panicked.wait()
    predictor.submit(prediction(1.0), good)

    assert isinstance(panicked.results[0], ServingError)
    assert good.wait()["y"].tolist() == [1.0]
    predictor.close()


def test_a_request_whose_deadline_has_passed_is_not_run(serve):
    model = FakePredictor()
    answers = Answers()

    serve(model).submit(prediction(deadline=SystemClock().monotonic() - 1.0), answers)

    assert isinstance(answers.wait(), DeadlineExceededError)
    assert model.calls == []


def test_a_waiting_request_can_be_cancelled_and_a_running_one_cannot(serve):
    model = FakePredictor(blocks=True)
    predictor = serve(model)
    running, waiting = Answers(), Answers()
    cancel_running = predictor.submit(prediction(1.0), running)
    model.wait_until_called()
    cancel_waiting = predictor.submit(prediction(2.0), waiting)

    assert cancel_waiting()
    assert not cancel_running()
    model.finish()

    assert isinstance(waiting.wait(), CancelledError)
    assert running.wait()["y"].tolist() == [2.5]
    assert not cancel_running()
    assert not cancel_waiting()


def test_after_close_requests_are_refused_by_their_answer(serve):
    predictor = serve(FakePredictor())
    predictor.close()
    answers = Answers()

    predictor.submit(prediction(), answers)

    assert isinstance(answers.wait(), ServingError)


def test_close_waits_for_what_was_accepted(serve):
    model = FakePredictor(blocks=True)
    predictor = serve(model)
    all_answers = [Answers() for _ in range(3)]
    for answers in all_answers:
        predictor.submit(prediction(), answers)
    model.wait_until_called()
    closer = threading.Thread(target=predictor.close)
    closer.start()

    model.finish()
    closer.join(30)

    assert not closer.is_alive()
    assert [len(answers.results) for answers in all_answers] == [1, 1, 1]


# Lists…


def request_list(*values):
    return FakeRequestList([np.array([x], np.float32) for x in values])


def submit(predictor, *lists):
    """Submit lists as an edge does: one by one where they are not taken as such."""
    if predictor.submit_lists(lists):
        return
    for requests in lists:
        for place in requests.wanted(range(len(requests))):
            inputs = {"x": np.empty(requests.form.inputs[0].shape, np.float32)}
            requests.write([place], [inputs["x"]])
            prediction = Prediction(HALF_PLUS_TWO, inputs, ["y"])
            predictor.submit(prediction, lambda result, r=requests, p=place: r.answer([p], result))


def values(requests):
    return [rows.tolist() for rows in requests.outputs("y")]


@pytest.fixture(params=[0, 1, 2], ids=["at first", "then", "later"])
def serve_lists(serve, request):
    """Put a Predictor there that has had some requests before: that may make a difference."""

    def make(predictor):
        served = serve(predictor)
        for _ in range(request.param):
            served.submit(prediction(100.0), answers := Answers())
            answers.wait()
        return served

    return make


def test_every_request_of_a_list_has_its_own_answer(serve_lists):
    predictor = serve_lists(FakePredictor())
    lists = request_list(0.0, 2.0, 4.0), request_list(6.0)

    submit(predictor, *lists)

    assert [values(requests) for requests in lists] == [[[2.0], [3.0], [4.0]], [[5.0]]]
    predictor.close()
    assert [requests.answered for requests in lists] == [[0, 1, 2], [0]]


def test_lists_that_are_not_taken_are_not_touched(serve_lists):
    model = FakePredictor()
    predictor = serve_lists(model)
    requests = request_list(0.0, 2.0)
    num_calls = len(model.calls)

    is_taken = predictor.submit_lists([requests])
    predictor.close()

    assert requests.answered == ([0, 1] if is_taken else [])
    assert is_taken or len(model.calls) == num_calls


def test_requests_of_a_list_that_want_no_answer_get_none_and_are_not_computed(serve_lists):
    model = FakePredictor()
    predictor = serve_lists(model)
    requests = request_list(7.0, 2.0, 7.0)
    requests.unwanted = {0, 2}

    submit(predictor, requests)
    predictor.close()

    assert requests.answered == [1]
    assert requests.result(1)["y"].tolist() == [3.0]
    assert not any(7.0 in call.inputs["x"] for call in model.calls)


@pytest.mark.parametrize("error", [ZeroDivisionError, NoExceptionAtAll])
def test_what_goes_wrong_with_one_request_of_a_list_is_its_own_answer(serve_lists, error):
    def compute(inputs):
        if 2.0 in inputs["x"]:
            raise error("of course")
        return {"y": inputs["x"]}

    predictor = serve_lists(FakePredictor(compute))
    requests = request_list(0.0, 2.0, 4.0)

    submit(predictor, requests)

    assert isinstance(requests.result(1), ServingError)
    assert "of course" in str(requests.result(1))
    assert [requests.result(place)["y"].tolist() for place in (0, 2)] == [[0.0], [4.0]]


def test_after_close_the_requests_of_a_list_are_refused_by_their_answers(serve_lists):
    model = FakePredictor()
    predictor = serve_lists(model)
    num_calls = len(model.calls)
    predictor.close()
    requests = request_list(0.0, 2.0)

    submit(predictor, requests)

    assert len(requests.errors()) == 2
    assert len(model.calls) == num_calls


def test_close_waits_for_a_list_that_was_accepted(serve_lists):
    began, may_end = threading.Event(), threading.Event()

    def compute(inputs):
        if 100.0 not in inputs["x"]:
            began.set()
            assert may_end.wait(30)
        return {"y": inputs["x"]}

    predictor = serve_lists(FakePredictor(compute))
    requests = request_list(1.0, 2.0, 3.0)
    caller = threading.Thread(target=submit, args=(predictor, requests))
    caller.start()
    assert began.wait(30)
    answered = []
    closer = threading.Thread(
        target=lambda: (predictor.close(), answered.extend(requests.answered))
    )
    closer.start()

    may_end.set()
    closer.join(30)
    caller.join(30)

    assert not closer.is_alive()
    assert 0 in answered
    assert requests.result(0)["y"].tolist() == [1.0]
