"""BatchedPredictor: requests share runs, and nothing else."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from modelserver.batching import SharedBatchScheduler
from modelserver.errors import (
    CancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    ServingError,
    UnavailableError,
)
from modelserver.inference import (
    BatchedPredictor,
    BatchingOptions,
    Prediction,
    Signature,
    TensorSpec,
)
from modelserver.inference.predictor import Tensors
from modelserver.testing.clock import ManualClock
from modelserver.testing.predictor import HALF_PLUS_TWO, FakePredictor, half_plus_two

FLOAT = np.dtype(np.float32)
SEQUENCE = Signature(
    "sequence",
    inputs={"x": TensorSpec("x:0", FLOAT, (None, None))},
    outputs={"y": TensorSpec("y:0", FLOAT, (None, None))},
)
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


def identity(inputs: Tensors) -> dict[str, np.ndarray]:
    return {"y": inputs["x"]}


def total(inputs: Tensors) -> dict[str, np.ndarray]:
    return {"y": np.asarray(inputs["x"].sum())}


def row(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, FLOAT)}


class Answer:
    """What `done` got; a second call of it is an error that no test can miss."""

    def __init__(self) -> None:
        self._future: Future[dict[str, np.ndarray] | ServingError] = Future()

    def __call__(self, result: dict[str, np.ndarray] | ServingError) -> None:
        self._future.set_result(result)

    @property
    def is_there(self) -> bool:
        return self._future.done()

    def wait(self) -> dict[str, np.ndarray] | ServingError:
        return self._future.result(timeout=30)

    def outputs(self) -> dict[str, np.ndarray]:
        result = self.wait()
        assert isinstance(result, dict), result
        return result

    def names(self) -> list[str]:
        return list(self.outputs())

    def values(self, name: str = "y") -> Any:
        return self.outputs()[name].tolist()

    def error(self) -> ServingError:
        result = self.wait()
        assert isinstance(result, ServingError), result
        return result


class Server:
    """A batched predictor with one thread, which `occupy` keeps busy until `model.finish`."""

    def __init__(
        self, scheduler: SharedBatchScheduler, model: FakePredictor, options: BatchingOptions
    ) -> None:
        self.model = model
        self.predictor = BatchedPredictor(model, scheduler, options)
        self._blocker = FakePredictor(blocks=True)
        self._blocking = BatchedPredictor(self._blocker, scheduler, BatchingOptions())

    def occupy(self) -> None:
        prediction = Prediction(HALF_PLUS_TWO, row(0), ["y"])
        self._blocking.submit(prediction, lambda _: None)
        self._blocker.wait_until_called()

    def let_go(self) -> None:
        self._blocker.finish()

    def submit(
        self,
        inputs: Tensors,
        *,
        signature: str = "serving_default",
        outputs: Sequence[str] = ("y",),
        deadline: float | None = None,
    ) -> Answer:
        return self.submit_cancellable(
            inputs, signature=signature, outputs=outputs, deadline=deadline
        )[0]

    def submit_cancellable(
        self,
        inputs: Tensors,
        *,
        signature: str = "serving_default",
        outputs: Sequence[str] = ("y",),
        deadline: float | None = None,
    ) -> tuple[Answer, Callable[[], bool]]:
        answer = Answer()
        prediction = Prediction(
            self.predictor.signatures[signature], inputs, list(outputs), deadline
        )
        return answer, self.predictor.submit(prediction, answer)

    def submit_together(
        self, *requests: Tensors, signature: str = "serving_default"
    ) -> list[Answer]:
        """Submit while the thread is busy, so that requests meet in the queue."""
        self.occupy()
        answers = [self.submit(inputs, signature=signature) for inputs in requests]
        self.let_go()
        return answers


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def serve(clock: ManualClock) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []
    with SharedBatchScheduler(1, clock=clock) as scheduler:

        def make(model: FakePredictor | None = None, **options: Any) -> Server:
            made.append(Server(scheduler, model or FakePredictor(), BatchingOptions(**options)))
            return made[-1]

        yield make
        for server in made:
            server.let_go()
            server.model.finish()


# Sharing a run…


def test_a_request_is_answered(serve: Callable[..., Server]) -> None:
    server = serve()

    answer = server.submit(row(1, 2))

    assert answer.values() == [2.5, 3.0]


def test_concurrent_requests_share_a_run_and_get_their_own_rows(
    serve: Callable[..., Server],
) -> None:
    server = serve()

    answers = server.submit_together(row(0), row(2, 4), row(6))

    assert [answer.values() for answer in answers] == [[2.0], [3.0, 4.0], [5.0]]
    assert server.model.batch_sizes == [4]


def test_a_batch_computes_all_outputs_and_each_request_gets_those_it_asked_for(
    serve: Callable[..., Server],
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


def test_signatures_do_not_share_runs(serve: Callable[..., Server]) -> None:
    model = FakePredictor(half_plus_two, [HALF_PLUS_TWO, replace(HALF_PLUS_TWO, name="other")])
    server = serve(model)
    server.occupy()
    answers = [server.submit(row(0)), server.submit(row(2), signature="other")]
    server.let_go()

    assert [answer.values() for answer in answers] == [[2.0], [3.0]]
    assert sorted(call.signature_name for call in model.calls) == ["other", "serving_default"]


def test_a_batch_holds_no_more_rows_than_its_limit(serve: Callable[..., Server]) -> None:
    server = serve(max_batch_size=3)

    answers = server.submit_together(row(0, 0), row(0), row(0), row(0, 0), row(0))

    assert [len(answer.values()) for answer in answers] == [2, 1, 1, 2, 1]
    assert server.model.batch_sizes == [3, 3, 1]


def test_a_batch_waits_for_its_timeout(serve: Callable[..., Server], clock: ManualClock) -> None:
    server = serve(batch_timeout_micros=10_000)
    first = server.submit(row(0))
    clock.advance(0.009)
    second = server.submit(row(2))

    clock.advance(0.001)

    assert (first.values(), second.values()) == ([2.0], [3.0])
    assert server.model.batch_sizes == [2]


def test_the_signatures_are_those_of_the_model(serve: Callable[..., Server]) -> None:
    server = serve()

    assert server.predictor.signatures == {"serving_default": HALF_PLUS_TWO}


# Sizes and shapes…


def test_a_batch_is_filled_up_to_an_allowed_size_and_nobody_sees_the_filler(
    serve: Callable[..., Server],
) -> None:
    server = serve(max_batch_size=8, allowed_batch_sizes=(2, 4, 8))

    answers = server.submit_together(row(0, 2), row(4))

    assert [answer.values() for answer in answers] == [[2.0, 3.0], [4.0]]
    assert server.model.batch_sizes == [4]
    assert server.model.calls[0].inputs["x"].tolist() == [0, 2, 4, 4]


def test_a_lone_request_is_filled_up_too(serve: Callable[..., Server]) -> None:
    server = serve(max_batch_size=8, allowed_batch_sizes=(4, 8))

    answer = server.submit(row(6, 8, 10))

    assert answer.values() == [5.0, 6.0, 7.0]
    assert server.model.calls[0].inputs["x"].tolist() == [6, 8, 10, 6]


def test_requests_of_different_lengths_are_run_apart_without_padding(
    serve: Callable[..., Server],
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
    serve: Callable[..., Server],
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
    serve: Callable[..., Server],
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
    serve: Callable[..., Server], inputs: Tensors, message: str
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


def test_a_full_queue_answers_unavailable(serve: Callable[..., Server]) -> None:
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


# Failing…


def fail_on_thirteen(inputs: Tensors) -> dict[str, np.ndarray]:
    if 13 in inputs["x"]:
        raise InvalidArgumentError("no 13 here")
    return half_plus_two(inputs)


def test_a_request_that_makes_its_batch_fail_fails_alone(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
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


def test_a_lone_request_that_fails_is_not_repeated(serve: Callable[..., Server]) -> None:
    server = serve(FakePredictor(fail_on_thirteen))

    answer = server.submit(row(13))

    assert isinstance(answer.error(), InvalidArgumentError)
    assert server.model.batch_sizes == [1]


def test_a_batch_with_effects_is_not_repeated(serve: Callable[..., Server]) -> None:
    stateful = replace(HALF_PLUS_TWO, is_stateless=False)
    server = serve(FakePredictor(fail_on_thirteen, [stateful]))

    answers = server.submit_together(row(0), row(13))

    assert {str(answer.error()) for answer in answers} == {"no 13 here"}
    assert server.model.batch_sizes == [2]


def test_what_a_model_raises_is_translated(serve: Callable[..., Server]) -> None:
    def divide(inputs: Tensors) -> dict[str, np.ndarray]:
        raise ZeroDivisionError("by zero")

    server = serve(FakePredictor(divide))

    answer = server.submit(row(1))

    assert isinstance(answer.error(), InternalError)
    assert str(answer.error()) == "ZeroDivisionError: by zero"


def test_a_repeated_request_whose_deadline_passed_meanwhile_is_not_computed(
    serve: Callable[..., Server], clock: ManualClock
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


def test_a_receiver_that_fails_does_not_keep_others_from_their_answer(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    def explode(_: object) -> None:
        raise RuntimeError("gone away")

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
    serve: Callable[..., Server],
) -> None:
    server = serve(FakePredictor(total, [SUM]))

    answers = server.submit_together(row(1, 2), row(3), signature="sum")

    assert [answer.values() for answer in answers] == [3.0, 3.0]
    assert server.model.batch_sizes == [2, 1]


def test_a_request_that_is_run_by_itself_computes_only_what_it_asked_for(
    serve: Callable[..., Server],
) -> None:
    fixed = replace(TWO_OUTPUTS, outputs={**TWO_OUTPUTS.outputs, "n": SUM.outputs["y"]})
    model = FakePredictor(lambda inputs: {**half_plus_two(inputs), "n": inputs["x"]}, [fixed])
    server = serve(model)

    answer = server.submit(row(0), signature="two", outputs=["y"])

    assert answer.values() == [2.0]
    assert list(model.calls[0].output_names) == ["y"]


def test_an_unknown_rank_is_batched(serve: Callable[..., Server]) -> None:
    server = serve(FakePredictor(half_plus_two, [UNKNOWN_RANK]))

    answers = server.submit_together(row(0), row(2, 4), signature="unknown")

    assert [answer.values() for answer in answers] == [[2.0], [3.0, 4.0]]
    assert server.model.batch_sizes == [3]


@pytest.mark.parametrize(
    "compute", [total, lambda inputs: {"y": inputs["x"][:1]}], ids=["no rows", "other rows"]
)
def test_outputs_that_turn_out_not_to_be_rows_are_computed_again_one_by_one(
    serve: Callable[..., Server], compute: Callable[[Tensors], dict[str, np.ndarray]]
) -> None:
    server = serve(FakePredictor(compute, [UNKNOWN_RANK]))

    answers = server.submit_together(row(1, 2), row(4, 4), signature="unknown")

    expected = [compute(row(1, 2))["y"].tolist(), compute(row(4, 4))["y"].tolist()]
    assert [answer.values() for answer in answers] == expected
    assert server.model.batch_sizes == [4, 2, 2]


def test_outputs_that_are_not_rows_of_a_model_with_effects_are_an_error(
    serve: Callable[..., Server],
) -> None:
    server = serve(FakePredictor(total, [replace(UNKNOWN_RANK, is_stateless=False)]))

    answers = server.submit_together(row(1), row(2), signature="unknown")

    errors = [answer.error() for answer in answers]
    assert all(isinstance(error, FailedPreconditionError) for error in errors)
    assert {str(error) for error in errors} == {"Batched output tensor has 0 dimensions"}
    assert server.model.batch_sizes == [2]


def test_an_output_that_the_model_leaves_out_is_an_error(serve: Callable[..., Server]) -> None:
    class Forgetful(FakePredictor):
        def predict(
            self, signature_name: str, inputs: Tensors, output_names: Sequence[str]
        ) -> dict[str, np.ndarray]:
            return {}

    server = serve(Forgetful())

    answers = server.submit_together(row(0), row(1))

    assert all(isinstance(answer.error(), InternalError) for answer in answers)


def test_an_output_that_the_model_leaves_out_is_the_error_of_those_who_asked_for_it(
    serve: Callable[..., Server],
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


# Deadlines and cancellation…


def test_a_request_whose_deadline_passes_in_the_queue_is_answered_then_and_not_computed(
    serve: Callable[..., Server], clock: ManualClock
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
    serve: Callable[..., Server], clock: ManualClock
) -> None:
    server = serve(FakePredictor(blocks=True))
    answer = server.submit(row(0), deadline=clock.monotonic() + 1)
    server.model.wait_until_called()

    clock.advance(2)
    server.model.finish()

    assert answer.values() == [2.0]


def test_a_cancelled_request_is_not_computed(serve: Callable[..., Server]) -> None:
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
    serve: Callable[..., Server],
) -> None:
    server = serve(FakePredictor(blocks=True))
    answer, cancel = server.submit_cancellable(row(0))
    server.model.wait_until_called()

    was_waiting = cancel()
    server.model.finish()

    assert not was_waiting
    assert answer.values() == [2.0]
    assert not cancel()


# Large requests…


def serve_split(serve: Callable[..., Server], model: FakePredictor | None = None) -> Server:
    return serve(
        model, max_batch_size=12, enable_large_batch_splitting=True, max_execution_batch_size=4
    )


def test_a_large_request_is_run_in_parts_and_answered_as_one(
    serve: Callable[..., Server],
) -> None:
    server = serve_split(serve)

    answer = server.submit(row(*range(10)))

    assert answer.values() == [n / 2 + 2 for n in range(10)]
    assert server.model.batch_sizes == [4, 4, 2]


def test_a_large_request_shares_batches_with_others(serve: Callable[..., Server]) -> None:
    server = serve_split(serve)

    first, large, last = server.submit_together(row(0, 0), row(*range(5)), row(9))

    assert first.values() == [2.0, 2.0]
    assert large.values() == [2.0, 2.5, 3.0, 3.5, 4.0]
    assert last.values() == [6.5]
    assert server.model.batch_sizes == [4, 4]


def test_a_large_request_gets_the_outputs_that_it_asked_for(serve: Callable[..., Server]) -> None:
    model = FakePredictor(
        lambda inputs: {**half_plus_two(inputs), "z": inputs["x"].astype(object)}, [TWO_OUTPUTS]
    )
    server = serve_split(serve, model)

    answer = server.submit(row(1, 2, 3, 4, 5), signature="two", outputs=["z"])

    assert answer.values("z") == [1, 2, 3, 4, 5]
    assert answer.names() == ["z"]


def test_the_first_error_of_a_part_is_the_answer(serve: Callable[..., Server]) -> None:
    server = serve_split(serve, FakePredictor(fail_on_thirteen))

    answer = server.submit(row(13, 0, 0, 0, 0, 0, 0, 0, 13))

    assert str(answer.error()) == "no 13 here"


def test_the_deadline_of_a_large_request_is_that_of_its_parts(
    serve: Callable[..., Server], clock: ManualClock
) -> None:
    server = serve_split(serve)
    server.occupy()
    answer = server.submit(row(*range(10)), deadline=clock.monotonic() + 1)

    clock.advance(1)

    assert isinstance(answer.error(), DeadlineExceededError)
    server.let_go()
    server.predictor.close()
    assert server.model.calls == []


def test_a_large_request_can_be_cancelled_as_a_whole(serve: Callable[..., Server]) -> None:
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
    serve: Callable[..., Server],
) -> None:
    server = serve_split(serve, FakePredictor(blocks=True))
    answer, cancel = server.submit_cancellable(row(*range(10)))
    server.model.wait_until_called()

    was_waiting = cancel()
    server.model.finish()

    assert not was_waiting
    assert len(answer.values()) == 10


def test_parts_whose_answers_do_not_fit_together_are_an_error(
    serve: Callable[..., Server],
) -> None:
    def widen(inputs: Tensors) -> dict[str, np.ndarray]:
        return {"y": np.ones((len(inputs["x"]), len(inputs["x"])), FLOAT)}

    server = serve_split(serve, FakePredictor(widen, [SEQUENCE]))

    answer = server.submit({"x": np.ones((6, 2), FLOAT)}, signature="sequence")

    assert isinstance(answer.error(), InternalError)


# Closing…


def test_closing_answers_what_waits(serve: Callable[..., Server]) -> None:
    server = serve(batch_timeout_micros=10_000_000)
    answer = server.submit(row(0))

    server.predictor.close()

    assert answer.is_there
    assert answer.values() == [2.0]


def test_a_closed_predictor_answers_unavailable_also_for_a_signature_not_used_before(
    serve: Callable[..., Server],
) -> None:
    model = FakePredictor(half_plus_two, [HALF_PLUS_TWO, replace(HALF_PLUS_TWO, name="other")])
    server = serve(model)
    server.submit(row(0)).wait()

    server.predictor.close()

    assert isinstance(server.submit(row(0)).error(), UnavailableError)
    assert isinstance(server.submit(row(0), signature="other").error(), UnavailableError)


def test_closing_one_model_leaves_others_on_the_same_threads_alone(
    serve: Callable[..., Server],
) -> None:
    closed, other = serve(), serve()

    closed.predictor.close()

    assert other.submit(row(0)).values() == [2.0]


def test_many_threads_get_each_their_own_answer(serve: Callable[..., Server]) -> None:
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
