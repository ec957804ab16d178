"""BatchedPredictor: requests share runs, and nothing else."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    InvalidArgumentError,
    UnavailableError,
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


def identity(inputs: Tensors) -> dict[str, np.ndarray]:
    return {"y": inputs["x"]}


def row(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, FLOAT)}


# Sharing a run…


def test_a_request_is_answered(serve: Callable[..., Any]) -> None:
    server = serve()

    answer = server.submit(row(1, 2))

    assert answer.values() == [2.5, 3.0]


def test_concurrent_requests_share_a_run_and_get_their_own_rows(
    serve: Callable[..., Any],
) -> None:
    server = serve()

    answers = server.submit_together(row(0), row(2, 4), row(6))

    assert [answer.values() for answer in answers] == [[2.0], [3.0, 4.0], [5.0]]
    assert server.model.batch_sizes == [4]


def test_a_batch_computes_all_outputs_and_each_request_gets_those_it_asked_for(
    serve: Callable[..., Any],
) -> None:
    model = FakePredictor(
        lambda inputs: {**half_plus_two(inputs), "z": inputs["x"].astype(object)}, [TWO_OUTPUTS]
    )
    server = serve(model)
    server.occupy()
    first = server.submit(row(0), signature="two", outputs=["z"])
    second = server.submit(row(2), signature="two", outputs=["z", "y"])
    alone = server.submit(row(9), signature="two", outputs=["y"])
    server.let_go()

    names = [answer.names() for answer in (first, second, alone)]

    assert names == [["z"], ["z", "y"], ["y"]]
    assert [list(call.output_names) for call in model.calls] == [["y", "z"]]


def test_signatures_do_not_share_runs(serve: Callable[..., Any]) -> None:
    model = FakePredictor(half_plus_two, [HALF_PLUS_TWO, replace(HALF_PLUS_TWO, name="other")])
    server = serve(model)
    server.occupy()
    answers = [server.submit(row(0)), server.submit(row(2), signature="other")]
    server.let_go()

    assert [answer.values() for answer in answers] == [[2.0], [3.0]]
    assert sorted(call.signature_name for call in model.calls) == ["other", "serving_default"]


def test_a_batch_holds_no_more_rows_than_its_limit(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=3)

    answers = server.submit_together(row(0, 0), row(0), row(0), row(0, 0), row(0))

    assert [len(answer.values()) for answer in answers] == [2, 1, 1, 2, 1]
    assert server.model.batch_sizes == [3, 3, 1]


def test_a_batch_waits_for_its_timeout(serve: Callable[..., Any], clock: ManualClock) -> None:
    server = serve(batch_timeout_micros=10_000)
    first = server.submit(row(0))
    clock.advance(0.009)
    second = server.submit(row(2))

    clock.advance(0.001)

    assert (first.values(), second.values()) == ([2.0], [3.0])
    assert server.model.batch_sizes == [2]


def test_the_signatures_are_those_of_the_model(serve: Callable[..., Any]) -> None:
    server = serve()

    assert server.predictor.signatures == {"serving_default": HALF_PLUS_TWO}


# Sizes and shapes…


def test_a_batch_is_filled_up_to_an_allowed_size_and_nobody_sees_the_filler(
    serve: Callable[..., Any],
) -> None:
    server = serve(max_batch_size=8, allowed_batch_sizes=(2, 4, 8))

    answers = server.submit_together(row(0, 2), row(4))

    assert [answer.values() for answer in answers] == [[2.0, 3.0], [4.0]]
    assert server.model.batch_sizes == [4]
    assert server.model.calls[0].inputs["x"].tolist() == [0, 2, 4, 4]


def test_a_lone_request_is_filled_up_too(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=8, allowed_batch_sizes=(4, 8))

    answer = server.submit(row(6, 8, 10))

    assert answer.values() == [5.0, 6.0, 7.0]
    assert server.model.calls[0].inputs["x"].tolist() == [6, 8, 10, 6]


def test_requests_of_different_lengths_are_run_apart_without_padding(
    serve: Callable[..., Any],
) -> None:
    server = serve(FakePredictor(identity, [SEQUENCE]))

    answers = server.submit_together(
        {"x": np.ones((1, 2), FLOAT)},
        {"x": np.ones((1, 3), FLOAT)},
        {"x": np.ones((2, 2), FLOAT)},
        signature="sequence",
    )

    assert [np.shape(answer.values()) for answer in answers] == [(1, 2), (1, 3), (2, 2)]
    assert sorted(server.model.batch_sizes) == [1, 3]


def test_requests_of_different_lengths_share_a_run_with_padding(
    serve: Callable[..., Any],
) -> None:
    server = serve(FakePredictor(identity, [SEQUENCE]), pad_variable_length_inputs=True)

    answers = server.submit_together(
        {"x": np.array([[1, 2]], FLOAT)},
        {"x": np.array([[5, 6, 7]], FLOAT)},
        signature="sequence",
    )

    assert [answer.values() for answer in answers] == [[[1, 2, 1]], [[5, 6, 7]]]
    assert server.model.batch_sizes == [2]


def test_requests_that_turn_out_not_to_merge_are_run_one_by_one(
    serve: Callable[..., Any],
) -> None:
    server = serve(FakePredictor(identity, [SEQUENCE]), pad_variable_length_inputs=True)

    answers = server.submit_together(
        {"x": np.ones((1, 0), FLOAT)}, {"x": np.ones((1, 2), FLOAT)}, signature="sequence"
    )

    assert [answer.values() for answer in answers] == [[[]], [[1, 1]]]
    assert server.model.batch_sizes == [1, 1]


# Refusing…


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({"x": np.ones(2)}, "must be of type float32", id="type"),
        pytest.param({"x": np.ones((2, 2), FLOAT)}, "must be of shape", id="shape"),
        pytest.param({"x": np.ones(0, FLOAT)}, "at least one row", id="no rows"),
        pytest.param(
            row(1, 2, 3, 4, 5),
            "Task size 5 is larger than maximum input batch size 4",
            id="too large",
        ),
    ],
)
def test_a_wrong_request_is_refused_alone(
    serve: Callable[..., Any], inputs: Tensors, message: str
) -> None:
    server = serve(max_batch_size=4)
    server.occupy()
    good = server.submit(row(0))

    wrong, cancel = server.submit_cancellable(inputs)
    server.let_go()

    assert wrong.is_there
    assert isinstance(wrong.error(), InvalidArgumentError)
    assert message in str(wrong.error())
    assert not cancel()
    assert good.values() == [2.0]


def test_a_full_queue_answers_unavailable(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=1, max_enqueued_batches=2)
    server.occupy()
    accepted = [server.submit(row(0)), server.submit(row(0))]

    refused = server.submit(row(0))
    server.let_go()

    assert isinstance(refused.error(), UnavailableError)
    assert str(refused.error()).startswith(
        "The batch scheduling queue to which this task was submitted is full"
    )
    assert [answer.values() for answer in accepted] == [[2.0], [2.0]]


# Deadlines and cancellation…


def test_a_request_whose_deadline_passes_in_the_queue_is_answered_then_and_not_computed(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    server = serve()
    server.occupy()
    late = server.submit(row(0), deadline=clock.monotonic() + 1)
    patient = server.submit(row(2))

    clock.advance(1)
    error = late.error()
    server.let_go()

    assert isinstance(error, DeadlineExceededError)
    assert str(error) == "Run() timeout exceeded while waiting in batching queue"
    assert patient.values() == [3.0]
    assert server.model.batch_sizes == [1]


def test_a_request_whose_run_has_begun_gets_its_answer_however_late(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    server = serve(FakePredictor(blocks=True))
    answer = server.submit(row(0), deadline=clock.monotonic() + 1)
    server.model.wait_until_called()

    clock.advance(2)
    server.model.finish()

    assert answer.values() == [2.0]


def test_a_cancelled_request_is_not_computed(serve: Callable[..., Any]) -> None:
    server = serve()
    server.occupy()
    cancelled, cancel = server.submit_cancellable(row(0))
    kept = server.submit(row(2))

    was_waiting = cancel()
    server.let_go()

    assert was_waiting
    assert isinstance(cancelled.error(), CancelledError)
    assert kept.values() == [3.0]
    assert server.model.batch_sizes == [1]


def test_cancelling_twice_or_after_the_run_began_does_nothing(
    serve: Callable[..., Any],
) -> None:
    server = serve(FakePredictor(blocks=True))
    answer, cancel = server.submit_cancellable(row(0))
    server.model.wait_until_called()

    was_waiting = cancel()
    server.model.finish()

    assert not was_waiting
    assert answer.values() == [2.0]
    assert not cancel()


# Closing…


def test_closing_answers_what_waits(serve: Callable[..., Any]) -> None:
    server = serve(batch_timeout_micros=10_000_000)
    answer = server.submit(row(0))

    server.predictor.close()

    assert answer.is_there
    assert answer.values() == [2.0]


def test_a_closed_predictor_answers_unavailable_also_for_a_signature_not_used_before(
    serve: Callable[..., Any],
) -> None:
    model = FakePredictor(half_plus_two, [HALF_PLUS_TWO, replace(HALF_PLUS_TWO, name="other")])
    server = serve(model)
    server.submit(row(0)).wait()

    server.predictor.close()

    assert isinstance(server.submit(row(0)).error(), UnavailableError)
    assert isinstance(server.submit(row(0), signature="other").error(), UnavailableError)


def test_closing_one_model_leaves_others_on_the_same_threads_alone(
    serve: Callable[..., Any],
) -> None:
    closed, other = serve(), serve()

    closed.predictor.close()

    assert other.submit(row(0)).values() == [2.0]


def test_many_threads_get_each_their_own_answer(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=8, allowed_batch_sizes=(4, 8), max_enqueued_batches=1000)
    wrong: list[float] = []

    def ask(first: int) -> None:
        values = range(first, first + 100)
        wrong.extend(v for v in values if server.submit(row(v)).values() != [v / 2 + 2])

    clients = [threading.Thread(target=ask, args=[1000 * number]) for number in range(6)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert wrong == []
