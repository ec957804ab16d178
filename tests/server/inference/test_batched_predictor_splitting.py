"""BatchedPredictor: large requests are run in parts, and answered as one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
)
from modelserver.inference import Signature, TensorSpec
from modelserver.inference.predictor import Tensors
from modelserver.testing.clock import ManualClock
from modelserver.testing.predictor import HALF_PLUS_TWO, FakePredictor, half_plus_two

FLOAT = np.dtype(np.float32)
SEQUENCE = Signature(
    "sequence",
    inputs={"x": TensorSpec("x:0", FLOAT, (None, None))},
    outputs={"y": TensorSpec("y:0", FLOAT, (None, None))},
)
TWO_OUTPUTS = replace(
    HALF_PLUS_TWO,
    name="two",
    outputs={
        "y": TensorSpec("y:0", FLOAT, (None,)),
        "z": TensorSpec("z:0", np.dtype(object), (None,)),
    },
)


def row(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, FLOAT)}


def rows(count: int, length: int) -> dict[str, np.ndarray]:
    return {"x": np.ones((count, length), FLOAT)}


def identity(inputs: Tensors) -> dict[str, np.ndarray]:
    return {"y": inputs["x"]}


def fail_on_thirteen(inputs: Tensors) -> dict[str, np.ndarray]:
    if 13 in inputs["x"]:
        raise InvalidArgumentError("no 13 here")
    return half_plus_two(inputs)


def serve_split(
    serve: Callable[..., Any], model: FakePredictor | None = None, **options: Any
) -> Any:
    return serve(
        model,
        max_batch_size=12,
        enable_large_batch_splitting=True,
        max_execution_batch_size=4,
        **options,
    )


def test_a_large_request_is_run_in_parts_and_answered_as_one(
    serve: Callable[..., Any],
) -> None:
    server = serve_split(serve)

    answer = server.submit(row(*range(10)))

    assert answer.values() == [n / 2 + 2 for n in range(10)]
    assert server.model.batch_sizes == [4, 4, 2]


def test_a_large_request_shares_batches_with_others(serve: Callable[..., Any]) -> None:
    server = serve_split(serve)

    first, large, last = server.submit_together(row(0, 0), row(*range(5)), row(9))

    assert first.values() == [2.0, 2.0]
    assert large.values() == [2.0, 2.5, 3.0, 3.5, 4.0]
    assert last.values() == [6.5]
    assert server.model.batch_sizes == [4, 4]


def test_a_large_request_gets_the_outputs_that_it_asked_for(serve: Callable[..., Any]) -> None:
    model = FakePredictor(
        lambda inputs: {**half_plus_two(inputs), "z": inputs["x"].astype(object)}, [TWO_OUTPUTS]
    )
    server = serve_split(serve, model)

    answer = server.submit(row(1, 2, 3, 4, 5), signature="two", outputs=["z"])

    assert answer.values("z") == [1, 2, 3, 4, 5]
    assert answer.names() == ["z"]


def test_the_first_error_of_a_part_is_the_answer(serve: Callable[..., Any]) -> None:
    server = serve_split(serve, FakePredictor(fail_on_thirteen))

    answer = server.submit(row(13, 0, 0, 0, 0, 0, 0, 0, 13))

    assert str(answer.error()) == "no 13 here"


def test_the_deadline_of_a_large_request_is_that_of_its_parts(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    server = serve_split(serve)
    server.occupy()
    answer = server.submit(row(*range(10)), deadline=clock.monotonic() + 1)

    clock.advance(1)

    assert isinstance(answer.error(), DeadlineExceededError)
    server.let_go()
    server.predictor.close()
    assert server.model.calls == []


def test_a_large_request_can_be_cancelled_as_a_whole(serve: Callable[..., Any]) -> None:
    server = serve_split(serve)
    server.occupy()
    answer, cancel = server.submit_cancellable(row(*range(10)))

    was_waiting = cancel()

    assert was_waiting
    assert isinstance(answer.error(), CancelledError)
    server.let_go()
    server.predictor.close()
    assert server.model.calls == []


def test_a_large_request_of_which_a_part_is_being_run_cannot_be_cancelled(
    serve: Callable[..., Any],
) -> None:
    server = serve_split(serve, FakePredictor(blocks=True))
    answer, cancel = server.submit_cancellable(row(*range(10)))
    server.model.wait_until_called()

    was_waiting = cancel()
    server.model.finish()

    assert not was_waiting
    assert len(answer.values()) == 10


def test_parts_whose_answers_do_not_fit_together_are_an_error(
    serve: Callable[..., Any],
) -> None:
    def widen(inputs: Tensors) -> dict[str, np.ndarray]:
        return {"y": np.ones((len(inputs["x"]), len(inputs["x"])), FLOAT)}

    server = serve_split(serve, FakePredictor(widen, [SEQUENCE]))

    answer = server.submit({"x": np.ones((6, 2), FLOAT)}, signature="sequence")

    assert isinstance(answer.error(), InternalError)


def test_no_batch_is_filled_up_beyond_the_most_rows_that_it_may_have(
    serve: Callable[..., Any],
) -> None:
    server = serve_split(serve, allowed_batch_sizes=(1, 6, 12))

    answer = server.submit(row(*range(9)))

    assert answer.values() == [n / 2 + 2 for n in range(9)]
    assert server.model.batch_sizes == [4, 4, 1]


# With padding…


def serve_padded(serve: Callable[..., Any]) -> Any:
    model = FakePredictor(identity, [SEQUENCE])
    return serve_split(serve, model, pad_variable_length_inputs=True)


def test_with_padding_a_request_that_fits_a_batch_is_not_split(
    serve: Callable[..., Any],
) -> None:
    server = serve_padded(serve)

    answers = server.submit_together(rows(2, 5), rows(4, 2), signature="sequence")

    assert [np.shape(answer.values()) for answer in answers] == [(2, 5), (4, 2)]
    assert server.model.batch_sizes == [2, 4]


def test_with_padding_the_parts_of_a_large_request_are_not_padded(
    serve: Callable[..., Any],
) -> None:
    server = serve_padded(serve)

    answers = server.submit_together(rows(2, 5), rows(6, 2), rows(1, 7), signature="sequence")

    assert [np.shape(answer.values()) for answer in answers] == [(2, 7), (6, 2), (1, 7)]
    assert sorted(server.model.batch_sizes) == [2, 3, 4]


def test_with_padding_the_rest_of_a_large_request_shares_a_batch_with_its_like(
    serve: Callable[..., Any],
) -> None:
    server = serve_padded(serve)

    answers = server.submit_together(rows(6, 2), rows(6, 2), rows(6, 3), signature="sequence")

    assert [np.shape(answer.values()) for answer in answers] == [(6, 2), (6, 2), (6, 3)]
    assert sorted(server.model.batch_sizes) == [2, 4, 4, 4, 4]
