"""RequestTask and JoinedAnswer: whoever waits is answered once."""

import numpy as np

from modelserver.errors import CancelledError, InternalError, ServingError
from modelserver.inference.predictor import Prediction
from modelserver.inference.request_task import JoinedAnswer, RequestTask
from modelserver.testing.predictor import HALF_PLUS_TWO

Result = dict[str, np.ndarray] | ServingError

PREDICTION = Prediction(HALF_PLUS_TWO, {"x": np.zeros(1, np.float32)}, ["y"], deadline=5.0)


def ones(count: int) -> dict[str, np.ndarray]:
    return {"y": np.ones(count)}


def test_a_task_has_the_deadline_of_its_request() -> None:
    task = RequestTask(PREDICTION, lambda _: None)

    assert task.deadline == 5.0


def test_a_task_is_answered_once() -> None:
    results: list[Result] = []
    task = RequestTask(PREDICTION, results.append)
    first = ones(1)

    task.answer(first)
    task.fail(InternalError("too late"))

    assert results == [first]


def test_a_joined_answer_waits_for_the_last_part_and_keeps_the_order() -> None:
    results: list[Result] = []
    joined = JoinedAnswer(2, results.append)

    joined.add_part(1, {"y": np.array([3, 4])})
    before = list(results)
    joined.add_part(0, {"y": np.array([1, 2])})

    assert before == []
    (result,) = results
    assert isinstance(result, dict)
    assert result["y"].tolist() == [1, 2, 3, 4]


def test_the_first_error_is_the_answer_at_once_and_the_rest_is_dropped() -> None:
    results: list[Result] = []
    joined = JoinedAnswer(3, results.append)
    error = CancelledError("first")

    joined.add_part(0, ones(1))
    joined.add_part(1, error)
    joined.add_part(2, InternalError("second"))

    assert results == [error]
