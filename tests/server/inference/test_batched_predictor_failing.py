"""BatchedPredictor: what goes wrong with one request is answered to that one."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modelserver.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
)
from modelserver.inference import Prediction, Signature, TensorSpec
from modelserver.inference.predictor import Tensors
from modelserver.testing.clock import ManualClock
from modelserver.testing.predictor import HALF_PLUS_TWO, FakePredictor, half_plus_two

FLOAT = np.dtype(np.float32)
SUM = Signature(
    "sum",
    inputs={"x": TensorSpec("x:0", FLOAT, (None,))},
    outputs={"y": TensorSpec("y:0", FLOAT, ())},
)
UNKNOWN_RANK = Signature(
    "unknown",
    inputs={"x": TensorSpec("x:0", FLOAT, None)},
    outputs={"y": TensorSpec("y:0", FLOAT, None)},
)
TWO_OUTPUTS = replace(
    HALF_PLUS_TWO,
    name="two",
    outputs={
        "y": TensorSpec("y:0", FLOAT, (None,)),
        "z": TensorSpec("z:0", np.dtype(object), (None,)),
    },
)


def total(inputs: Tensors) -> dict[str, np.ndarray]:
    return {"y": np.asarray(inputs["x"].sum())}


def row(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, FLOAT)}


# Failing…


def fail_on_thirteen(inputs: Tensors) -> dict[str, np.ndarray]:
    if 13 in inputs["x"]:
        raise InvalidArgumentError("no 13 here")
    return half_plus_two(inputs)


def test_a_request_that_cannot_even_be_checked_is_answered(serve: Callable[..., Any]) -> None:
    server = serve()

    answer, cancel = server.submit_cancellable({"x": "no array"})

    assert isinstance(answer.error(), InternalError)
    assert not cancel()


def test_a_request_that_makes_its_batch_fail_fails_alone(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(FakePredictor(fail_on_thirteen))

    with caplog.at_level(logging.WARNING):
        good, bad, fine = server.submit_together(row(0), row(13), row(2))
        values = (good.values(), fine.values())

    assert values == ([2.0], [3.0])
    assert isinstance(bad.error(), InvalidArgumentError)
    assert str(bad.error()) == "no 13 here"
    assert server.model.batch_sizes == [3, 1, 1, 1]
    assert "A batch of signature 'serving_default' failed" in caplog.text


def test_a_lone_request_that_fails_is_not_repeated(serve: Callable[..., Any]) -> None:
    server = serve(FakePredictor(fail_on_thirteen))

    answer = server.submit(row(13))

    assert isinstance(answer.error(), InvalidArgumentError)
    assert server.model.batch_sizes == [1]


def test_a_batch_with_effects_is_not_repeated(serve: Callable[..., Any]) -> None:
    stateful = replace(HALF_PLUS_TWO, is_stateless=False)
    server = serve(FakePredictor(fail_on_thirteen, [stateful]))

    answers = server.submit_together(row(0), row(13))

    assert {str(answer.error()) for answer in answers} == {"no 13 here"}
    assert server.model.batch_sizes == [2]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (SystemExit(1), "SystemExit: 1"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
def test_what_a_model_raises_is_translated(
    serve: Callable[..., Any], error: BaseException, message: str
) -> None:
    def fail(inputs: Tensors) -> dict[str, np.ndarray]:
        raise error

    server = serve(FakePredictor(fail))

    answers = [server.submit(row(1)), *server.submit_together(row(1), row(2))]
    errors = [answer.error() for answer in answers]
    server.predictor.close()

    assert all(isinstance(error, InternalError) for error in errors)
    assert {str(error) for error in errors} == {message}


def test_a_repeated_request_whose_deadline_passed_meanwhile_is_not_computed(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    def fail_slowly(inputs: Tensors) -> dict[str, np.ndarray]:
        if len(inputs["x"]) > 1:
            clock.advance(1)
            raise InvalidArgumentError("too many")
        return half_plus_two(inputs)

    server = serve(FakePredictor(fail_slowly))
    server.occupy()
    patient = server.submit(row(0))
    hurried = server.submit(row(2), deadline=clock.monotonic() + 1)
    server.let_go()

    assert patient.values() == [2.0]
    assert isinstance(hurried.error(), DeadlineExceededError)
    assert server.model.batch_sizes == [2, 1]


@pytest.mark.parametrize("error", [RuntimeError("gone away"), asyncio.CancelledError()])
def test_a_receiver_that_fails_does_not_keep_others_from_their_answer(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def explode(_: object) -> None:
        raise error

    server = serve()
    server.occupy()
    with caplog.at_level(logging.ERROR):
        server.predictor.submit(Prediction(HALF_PLUS_TWO, row(0), ["y"]), explode)
        answer = server.submit(row(2))
        server.let_go()
        values = answer.values()

    assert values == [3.0]
    assert "The receiver of an answer failed" in caplog.text


# Outputs that are not rows…


def test_a_signature_with_an_output_of_fixed_size_is_run_request_by_request(
    serve: Callable[..., Any],
) -> None:
    server = serve(FakePredictor(total, [SUM]))

    answers = server.submit_together(row(1, 2), row(3), signature="sum")

    assert [answer.values() for answer in answers] == [3.0, 3.0]
    assert server.model.batch_sizes == [2, 1]


def test_a_request_that_is_run_by_itself_computes_only_what_it_asked_for(
    serve: Callable[..., Any],
) -> None:
    fixed = replace(TWO_OUTPUTS, outputs={**TWO_OUTPUTS.outputs, "n": SUM.outputs["y"]})
    model = FakePredictor(lambda inputs: {**half_plus_two(inputs), "n": inputs["x"]}, [fixed])
    server = serve(model)

    answer = server.submit(row(0), signature="two", outputs=["y"])

    assert answer.values() == [2.0]
    assert list(model.calls[0].output_names) == ["y"]


def test_an_unknown_rank_is_batched(serve: Callable[..., Any]) -> None:
    server = serve(FakePredictor(half_plus_two, [UNKNOWN_RANK]))

    answers = server.submit_together(row(0), row(2, 4), signature="unknown")

    assert [answer.values() for answer in answers] == [[2.0], [3.0, 4.0]]
    assert server.model.batch_sizes == [3]


@pytest.mark.parametrize(
    "compute", [total, lambda inputs: {"y": inputs["x"][:1]}], ids=["no rows", "other rows"]
)
def test_outputs_that_turn_out_not_to_be_rows_are_computed_again_one_by_one(
    serve: Callable[..., Any], compute: Callable[[Tensors], dict[str, np.ndarray]]
) -> None:
    server = serve(FakePredictor(compute, [UNKNOWN_RANK]))

    answers = server.submit_together(row(1, 2), row(4, 4), signature="unknown")

    expected = [compute(row(1, 2))["y"].tolist(), compute(row(4, 4))["y"].tolist()]
    assert [answer.values() for answer in answers] == expected
    assert server.model.batch_sizes == [4, 2, 2]


def test_outputs_that_are_not_rows_of_a_model_with_effects_are_an_error(
    serve: Callable[..., Any],
) -> None:
    server = serve(FakePredictor(total, [replace(UNKNOWN_RANK, is_stateless=False)]))

    answers = server.submit_together(row(1), row(2), signature="unknown")

    errors = [answer.error() for answer in answers]
    assert all(isinstance(error, FailedPreconditionError) for error in errors)
    assert {str(error) for error in errors} == {"Batched output tensor has 0 dimensions"}
    assert server.model.batch_sizes == [2]


def test_an_output_that_the_model_leaves_out_is_an_error(serve: Callable[..., Any]) -> None:
    class Forgetful(FakePredictor):
        def predict(
            self, signature_name: str, inputs: Tensors, output_names: Sequence[str]
        ) -> dict[str, np.ndarray]:
            return {}

    server = serve(Forgetful())

    answers = server.submit_together(row(0), row(1))

    assert all(isinstance(answer.error(), InternalError) for answer in answers)


def test_an_output_that_the_model_leaves_out_is_the_error_of_those_who_asked_for_it(
    serve: Callable[..., Any],
) -> None:
    class Forgetful(FakePredictor):
        def predict(
            self, signature_name: str, inputs: Tensors, output_names: Sequence[str]
        ) -> dict[str, np.ndarray]:
            return super().predict(signature_name, inputs, ["y"])

    server = serve(Forgetful(half_plus_two, [TWO_OUTPUTS]))
    server.occupy()
    content = server.submit(row(0), signature="two", outputs=["y"])
    disappointed = server.submit(row(2), signature="two", outputs=["z"])
    server.let_go()

    assert content.values() == [2.0]
    assert isinstance(disappointed.error(), InternalError)
