"""DirectPredictor: each request by itself, on an executor."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    InternalError,
    ServingError,
    UnavailableError,
)
from modelserver.inference import DirectPredictor, Prediction
from modelserver.inference.predictor import Tensors
from modelserver.testing.clock import ManualClock
from modelserver.testing.executor import InlineExecutor, ManualExecutor
from modelserver.testing.predictor import HALF_PLUS_TWO, FakePredictor

Result = dict[str, np.ndarray] | ServingError


def make_prediction(*values: float, deadline: float | None = None) -> Prediction:
    return Prediction(HALF_PLUS_TWO, {"x": np.array(values, np.float32)}, ["y"], deadline)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_request_is_answered_with_what_the_model_computes(clock: ManualClock) -> None:
    predictor = DirectPredictor(FakePredictor(), InlineExecutor(), clock)
    answers: list[Result] = []

    predictor.submit(make_prediction(1, 2), answers.append)

    (answer,) = answers
    assert isinstance(answer, dict)
    assert answer["y"].tolist() == [2.5, 3.0]


def test_each_request_is_run_by_itself(clock: ManualClock) -> None:
    model, executor = FakePredictor(), ManualExecutor()
    predictor = DirectPredictor(model, executor, clock)
    answers: list[Result] = []

    for values in ([1], [2, 3]):
        predictor.submit(make_prediction(*values), answers.append)
    executor.run_all()

    assert model.batch_sizes == [1, 2]
    assert len(answers) == 2


def test_it_works_on_a_thread_pool(clock: ManualClock) -> None:
    with ThreadPoolExecutor(1) as executor:
        predictor = DirectPredictor(FakePredictor(), executor, clock)
        answer: Future[Result] = Future()

        predictor.submit(make_prediction(2), answer.set_result)

        result = answer.result(timeout=30)
    assert isinstance(result, dict)
    assert result["y"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (SystemExit(1), "SystemExit: 1"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
def test_what_the_model_raises_is_translated(
    clock: ManualClock, error: BaseException, message: str
) -> None:
    def fail(inputs: Tensors) -> dict[str, np.ndarray]:
        raise error

    predictor = DirectPredictor(FakePredictor(fail), InlineExecutor(), clock)
    answers: list[Result] = []

    predictor.submit(make_prediction(1), answers.append)
    predictor.close()

    (answer,) = answers
    assert isinstance(answer, InternalError)
    assert str(answer) == message


def test_a_request_whose_deadline_passed_before_its_run_is_not_computed(
    clock: ManualClock,
) -> None:
    model, executor = FakePredictor(), ManualExecutor()
    predictor = DirectPredictor(model, executor, clock)
    answers: list[Result] = []
    predictor.submit(make_prediction(1, deadline=clock.monotonic() + 1), answers.append)

    clock.advance(1)
    executor.run_all()

    assert [type(answer) for answer in answers] == [DeadlineExceededError]
    assert model.calls == []


def test_a_cancelled_request_is_not_computed(clock: ManualClock) -> None:
    model, executor = FakePredictor(), ManualExecutor()
    predictor = DirectPredictor(model, executor, clock)
    answers: list[Result] = []
    cancel = predictor.submit(make_prediction(1), answers.append)

    was_waiting = cancel()
    executor.run_all()

    assert was_waiting
    assert [type(answer) for answer in answers] == [CancelledError]
    assert model.calls == []
    assert not cancel()


def test_a_request_whose_run_has_begun_cannot_be_cancelled(clock: ManualClock) -> None:
    predictor = DirectPredictor(FakePredictor(), InlineExecutor(), clock)
    answers: list[Result] = []
    cancel = predictor.submit(make_prediction(1), answers.append)

    was_waiting = cancel()

    assert not was_waiting
    assert [type(answer) for answer in answers] == [dict]


def test_an_executor_that_takes_no_work_is_unavailable(clock: ManualClock) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    predictor = DirectPredictor(FakePredictor(), executor, clock)
    answers: list[Result] = []

    cancel = predictor.submit(make_prediction(1), answers.append)

    assert [type(answer) for answer in answers] == [UnavailableError]
    assert not cancel()


def test_an_executor_that_fails_is_the_answer(clock: ManualClock) -> None:
    class Broken:
        def submit(self, work: Callable[[], None]) -> None:
            raise ValueError("no such pool")

    predictor = DirectPredictor(FakePredictor(), Broken(), clock)
    answers: list[Result] = []

    cancel = predictor.submit(make_prediction(1), answers.append)
    predictor.close()

    (answer,) = answers
    assert isinstance(answer, InternalError)
    assert str(answer) == "ValueError: no such pool"
    assert not cancel()


@pytest.mark.parametrize("error", [RuntimeError("gone away"), asyncio.CancelledError()])
def test_a_receiver_that_fails_is_logged(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def explode(_: object) -> None:
        raise error

    predictor = DirectPredictor(FakePredictor(), InlineExecutor(), clock)

    with caplog.at_level(logging.ERROR):
        predictor.submit(make_prediction(1), explode)

    assert "The receiver of an answer failed" in caplog.text
    predictor.close()


def test_closing_waits_for_what_was_accepted(clock: ManualClock) -> None:
    model = FakePredictor(blocks=True)
    with ThreadPoolExecutor(1) as executor:
        predictor = DirectPredictor(model, executor, clock)
        events: list[str] = []
        predictor.submit(make_prediction(1), lambda _: events.append("answered"))
        model.wait_until_called()

        def close() -> None:
            predictor.close()
            events.append("closed")

        closer = threading.Thread(target=close)
        closer.start()
        model.finish()
        closer.join()

    assert events == ["answered", "closed"]


def test_a_closed_predictor_answers_unavailable(clock: ManualClock) -> None:
    predictor = DirectPredictor(FakePredictor(), InlineExecutor(), clock)
    answers: list[Result] = []
    predictor.close()

    cancel = predictor.submit(make_prediction(1), answers.append)

    assert [type(answer) for answer in answers] == [UnavailableError]
    assert not cancel()


def test_the_signatures_are_those_of_the_model(clock: ManualClock) -> None:
    predictor = DirectPredictor(FakePredictor(), InlineExecutor(), clock)

    assert predictor.signatures == {"serving_default": HALF_PLUS_TWO}
