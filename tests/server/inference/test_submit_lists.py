"""submit_lists: what came as lists is run as lists, and each request gets its own answer."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.batching import SharedBatchScheduler
from modelserver.errors import (
    InternalError,
    InvalidArgumentError,
    ServingError,
    UnavailableError,
)
from modelserver.inference import BatchedPredictor, BatchingOptions, DirectPredictor, Prediction
from modelserver.inference import batched as batched_module
from modelserver.inference import direct as direct_module
from modelserver.inference.adjustable import AdjustablePredictor
from modelserver.inference.predictor import AsyncPredictor, Tensors
from modelserver.inference.signature import Signature, TensorSpec
from modelserver.testing.clock import ManualClock
from modelserver.testing.executor import InlineExecutor, ManualExecutor
from modelserver.testing.predictor import HALF_PLUS_TWO, FakePredictor, half_plus_two
from modelserver.testing.request_list import FakeRequestList

FLOAT = np.dtype(np.float32)
STATEFUL = replace(HALF_PLUS_TWO, is_stateless=False)
FIXED = Signature(
    "fixed",
    inputs={"x": TensorSpec("x:0", FLOAT, (2,))},
    outputs={"y": TensorSpec("y:0", FLOAT, (2,))},
)
ONE_ROW = Signature(
    "one_row",
    inputs={"x": TensorSpec("x:0", FLOAT, (1,))},
    outputs={"y": TensorSpec("y:0", FLOAT, (1,))},
)
SEQUENCE = Signature(
    "sequence",
    inputs={"x": TensorSpec("x:0", FLOAT, (None, None))},
    outputs={"y": TensorSpec("y:0", FLOAT, (None, None))},
)


def array(*values: float) -> np.ndarray:
    return np.array(values, FLOAT)


def singles(*values: float) -> FakeRequestList:
    """Requests of one row, a number each."""
    return FakeRequestList([array(value) for value in values])


def listed(requests: FakeRequestList, name: str = "y") -> list[list[float]]:
    return [rows.tolist() for rows in requests.outputs(name)]


def rows_of_runs(server: Any) -> list[list[float]]:
    return [call.inputs["x"].tolist() for call in server.model.calls]


# Batched: sharing a run…


def test_a_list_is_one_run_and_each_request_gets_its_own_row(serve: Callable[..., Any]) -> None:
    server = serve()
    requests = singles(0, 2, 4)

    assert server.predictor.submit_lists([requests])

    assert listed(requests) == [[2.0], [3.0], [4.0]]
    assert rows_of_runs(server) == [[0.0, 2.0, 4.0]]


def test_requests_of_several_rows_get_theirs(serve: Callable[..., Any]) -> None:
    server = serve()
    requests = FakeRequestList([array(0, 2), array(4, 6)])

    server.predictor.submit_lists([requests])

    assert listed(requests) == [[2.0, 3.0], [4.0, 5.0]]


def test_lists_and_single_requests_of_one_shape_share_a_run(serve: Callable[..., Any]) -> None:
    server = serve()
    server.occupy()
    pairs, triples = FakeRequestList([array(2, 4), array(6, 8)]), FakeRequestList([array(1, 3, 5)])

    before = server.submit({"x": array(0)})
    server.predictor.submit_lists([pairs, triples])
    after = server.submit({"x": array(10, 12)})
    server.let_go()

    assert (before.values(), after.values()) == ([2.0], [7.0, 8.0])
    assert listed(pairs) == [[3.0, 4.0], [5.0, 6.0]]
    assert listed(triples) == [[2.5, 3.5, 4.5]]
    assert rows_of_runs(server) == [[0, 2, 4, 6, 8, 1, 3, 5, 10, 12]]


def test_lists_of_other_dimensions_do_not_share_a_run(serve: Callable[..., Any]) -> None:
    server = serve(FakePredictor(lambda inputs: {"y": inputs["x"]}, [SEQUENCE]))
    server.occupy()
    short = FakeRequestList([np.ones((1, 2), FLOAT)] * 2, SEQUENCE)
    long = FakeRequestList([np.ones((1, 3), FLOAT)] * 2, SEQUENCE)

    server.predictor.submit_lists([short])
    server.predictor.submit_lists([long])
    server.let_go()

    assert listed(short) == [[[1.0, 1.0]]] * 2
    assert listed(long) == [[[1.0, 1.0, 1.0]]] * 2
    assert server.model.batch_sizes == [2, 2]


def test_rows_that_fill_a_batch_up_are_seen_by_no_request(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=8, allowed_batch_sizes=(4, 8))
    requests = singles(2, 4, 6)

    server.predictor.submit_lists([requests])

    assert listed(requests) == [[3.0], [4.0], [5.0]]
    assert rows_of_runs(server) == [[2, 4, 6, 6]]


def test_a_list_of_one_request_is_filled_up_too(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=4, allowed_batch_sizes=(4,))
    requests = singles(2)

    server.predictor.submit_lists([requests])

    assert listed(requests) == [[3.0]]
    assert rows_of_runs(server) == [[2, 2, 2, 2]]


def test_a_large_list_is_run_in_batches_of_the_largest_size(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=4)
    requests = FakeRequestList([array(x, x) for x in range(5)])

    server.predictor.submit_lists([requests])

    assert listed(requests) == [[x / 2 + 2] * 2 for x in range(5)]
    assert server.model.batch_sizes == [4, 4, 2]


def test_with_splitting_lists_are_divided_between_requests_only(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=9, enable_large_batch_splitting=True, max_execution_batch_size=3)
    server.occupy()
    requests = FakeRequestList([array(x, x) for x in range(3)])

    before = server.submit({"x": array(9, 9)})
    server.predictor.submit_lists([requests])
    after = server.submit({"x": array(8, 8, 8)})
    server.let_go()

    assert listed(requests) == [[x / 2 + 2] * 2 for x in range(3)]
    assert (before.values(), after.values()) == ([6.5] * 2, [6.0] * 3)
    assert max(server.model.batch_sizes) <= 3


def test_each_request_gets_the_outputs_it_asked_for_in_its_order(serve: Callable[..., Any]) -> None:
    spec = HALF_PLUS_TWO.outputs["y"]
    signature = replace(HALF_PLUS_TWO, outputs={"y": spec, "z": spec})
    model = FakePredictor(lambda inputs: {**half_plus_two(inputs), "z": -inputs["x"]}, [signature])
    server = serve(model)
    one = FakeRequestList([array(2), array(4)], signature, ["z"])
    both = FakeRequestList([array(6)], signature, ["z", "y"])

    server.predictor.submit_lists([one, both])

    assert [list(one.result(0)), list(both.result(0))] == [["z"], ["z", "y"]]  # type: ignore[arg-type]
    assert (listed(one, "z"), listed(both, "z"), listed(both)) == ([[-2], [-4]], [[-6]], [[5]])


def test_requests_that_want_no_answer_when_they_are_run_are_left_out(
    serve: Callable[..., Any],
) -> None:
    server = serve()
    server.occupy()
    requests, others = singles(0, 2, 4, 6), singles(8)
    server.predictor.submit_lists([requests, others])

    requests.unwanted = {0, 2}
    server.let_go()

    assert [requests.result(place)["y"].tolist() for place in (1, 3)] == [[3.0], [5.0]]  # type: ignore[index]
    assert listed(others) == [[6.0]]
    assert rows_of_runs(server) == [[2, 6, 8]]
    server.predictor.close()
    assert requests.answered == [1, 3]


def test_a_list_that_nobody_wants_any_more_is_not_run(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=4, allowed_batch_sizes=(4,))
    server.occupy()
    requests = singles(0, 2)
    server.predictor.submit_lists([requests])

    requests.unwanted = {0, 1}
    server.let_go()
    server.predictor.close()

    assert server.model.calls == []
    assert requests.answered == []


# Batched: failing…


def fail_for(*wrong: float) -> Callable[[Tensors], dict[str, np.ndarray]]:
    def compute(inputs: Tensors) -> dict[str, np.ndarray]:
        if np.isin(inputs["x"], wrong).any():
            raise InvalidArgumentError("wrong value")
        return half_plus_two(inputs)

    return compute


def test_a_run_that_fails_is_repeated_request_by_request(serve: Callable[..., Any]) -> None:
    server = serve(FakePredictor(fail_for(2)))
    requests = singles(0, 2, 4)

    server.predictor.submit_lists([requests])

    assert isinstance(requests.result(1), InvalidArgumentError)
    assert [requests.result(place)["y"].tolist() for place in (0, 2)] == [[2.0], [4.0]]  # type: ignore[index]
    assert rows_of_runs(server) == [[0, 2, 4], [0], [2], [4]]


def test_a_run_of_one_request_that_fails_is_not_repeated(serve: Callable[..., Any]) -> None:
    server = serve(FakePredictor(fail_for(2)))
    requests = FakeRequestList([array(0, 2, 4)])

    server.predictor.submit_lists([requests])

    assert isinstance(requests.errors()[0], InvalidArgumentError)
    assert server.model.batch_sizes == [3]


def test_a_list_of_which_one_request_is_left_is_not_repeated(serve: Callable[..., Any]) -> None:
    server = serve(FakePredictor(fail_for(2)))
    requests = singles(0, 2, 4)
    requests.unwanted = {0, 2}

    server.predictor.submit_lists([requests])

    assert isinstance(requests.result(1), InvalidArgumentError)
    assert rows_of_runs(server) == [[2]]


def test_a_run_of_two_lists_of_one_request_each_is_repeated(serve: Callable[..., Any]) -> None:
    server = serve(FakePredictor(fail_for(2)))
    server.occupy()
    good, wrong = singles(0), singles(2)

    server.predictor.submit_lists([good, wrong])
    server.let_go()

    assert listed(good) == [[2.0]]
    assert isinstance(wrong.errors()[0], InvalidArgumentError)
    assert rows_of_runs(server) == [[0, 2], [0], [2]]


def test_single_requests_that_share_a_failing_run_get_their_own_answers(
    serve: Callable[..., Any],
) -> None:
    server = serve(FakePredictor(fail_for(2)))
    server.occupy()
    requests = singles(0, 2)

    alone = server.submit({"x": array(4)})
    server.predictor.submit_lists([requests])
    server.let_go()

    assert alone.values() == [4.0]
    assert isinstance(requests.result(1), InvalidArgumentError)
    assert requests.result(0)["y"].tolist() == [2.0]  # type: ignore[index]


def test_a_run_with_effects_is_not_repeated(serve: Callable[..., Any]) -> None:
    server = serve(FakePredictor(fail_for(2), [STATEFUL]))
    requests = FakeRequestList([array(x) for x in (0, 2, 4)], STATEFUL)

    server.predictor.submit_lists([requests])

    assert [type(error) for error in requests.errors()] == [InvalidArgumentError] * 3
    assert server.model.batch_sizes == [3]


def test_outputs_that_are_not_rows_are_asked_for_request_by_request(
    serve: Callable[..., Any],
) -> None:
    server = serve(FakePredictor(lambda inputs: {"y": inputs["x"].sum(keepdims=True)}))
    requests = FakeRequestList([array(0, 2), array(4, 6)])

    server.predictor.submit_lists([requests])

    assert listed(requests) == [[2.0], [10.0]]
    assert server.model.batch_sizes == [4, 2, 2]


def test_what_is_no_exception_is_an_answer_too(serve: Callable[..., Any]) -> None:
    def leave(inputs: Tensors) -> dict[str, np.ndarray]:
        raise SystemExit("bye")

    requests = singles(0, 2)

    serve(FakePredictor(leave)).predictor.submit_lists([requests])

    assert [type(error) for error in requests.errors()] == [InternalError] * 2


def test_what_a_full_queue_has_no_room_for_is_answered_and_the_rest_is_run(
    serve: Callable[..., Any],
) -> None:
    server = serve(max_batch_size=2, max_enqueued_batches=1)
    server.occupy()
    requests = singles(0, 2, 4, 6)

    taken = server.predictor.submit_lists([requests])
    refused = [requests.result(place) for place in (2, 3)]
    server.let_go()

    assert taken
    assert [type(result) for result in refused] == [UnavailableError] * 2
    assert [requests.result(place)["y"].tolist() for place in (0, 1)] == [[2.0], [3.0]]  # type: ignore[index]
    assert server.model.batch_sizes == [2]


def test_after_close_lists_are_answered_with_unavailable(serve: Callable[..., Any]) -> None:
    server = serve()
    server.predictor.submit_lists([first := singles(0)])
    first.result(0)
    server.predictor.close()
    requests, others = singles(0, 2), singles(4)

    taken = server.predictor.submit_lists([requests, others])

    assert taken
    errors = [*requests.errors(), *others.errors()]
    assert [type(error) for error in errors] == [UnavailableError] * 3
    assert server.model.batch_sizes == [1]


def test_after_close_lists_to_a_signature_that_was_never_used_are_answered(
    serve: Callable[..., Any],
) -> None:
    server = serve()
    server.predictor.close()
    requests = singles(0, 2)

    taken = server.predictor.submit_lists([requests])

    assert taken
    assert [type(error) for error in requests.errors()] == [UnavailableError] * 2


def test_closing_answers_the_lists_that_wait(serve: Callable[..., Any]) -> None:
    server = serve()
    server.occupy()
    requests = singles(0, 2)
    server.predictor.submit_lists([requests])
    closer = threading.Thread(target=server.predictor.close)
    closer.start()

    server.let_go()
    closer.join()

    assert listed(requests) == [[2.0], [3.0]]


# Batched: what must come one by one…


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        ({"max_batch_size": 2}, FakeRequestList([array(1, 2, 3)])),
        (
            {
                "max_batch_size": 8,
                "enable_large_batch_splitting": True,
                "max_execution_batch_size": 2,
            },
            FakeRequestList([array(1, 2, 3)]),
        ),
        ({"pad_variable_length_inputs": True}, FakeRequestList([array(1)])),
        ({}, FakeRequestList([array(1, 2)], FIXED)),
        ({}, FakeRequestList([array(1)], ONE_ROW)),
    ],
    ids=["too many rows", "too many rows for a run", "padding", "unbatchable", "one row only"],
)
def test_lists_that_cannot_be_run_as_such_are_not_taken(
    serve: Callable[..., Any], options: dict[str, Any], requests: FakeRequestList
) -> None:
    server = serve(FakePredictor(half_plus_two, [HALF_PLUS_TWO, FIXED, ONE_ROW]), **options)

    assert not server.predictor.submit_lists([requests])

    server.predictor.close()
    assert server.model.calls == []
    assert requests.answered == []


def test_one_list_with_too_many_rows_keeps_all_from_being_taken(serve: Callable[..., Any]) -> None:
    server = serve(max_batch_size=2)
    small, large = singles(0), FakeRequestList([array(1, 2, 3)])

    assert not server.predictor.submit_lists([small, large])

    server.predictor.close()
    assert (small.answered, large.answered) == ([], [])


@given(
    counts=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=4),
    max_batch_size=st.integers(3, 8),
    is_filled_up=st.booleans(),
    data=st.data(),
)
def test_whatever_comes_together_each_request_gets_what_it_would_get_alone(
    counts: list[tuple[int, int]], max_batch_size: int, is_filled_up: bool, data: st.DataObject
) -> None:
    numbers = iter(range(10_000))
    lists = [
        FakeRequestList([array(*(next(numbers) for _ in range(rows))) for _ in range(count)])
        for count, rows in counts
    ]
    arrays = [[requests_array(r, place) for place in range(len(r))] for r in lists]
    for requests in lists:
        requests.unwanted = data.draw(st.sets(st.integers(0, len(requests) - 1)))
    options = BatchingOptions(
        max_batch_size=max_batch_size,
        max_enqueued_batches=100,
        allowed_batch_sizes=(max_batch_size,) if is_filled_up else (),
    )
    model = FakePredictor(fail_for(3, 7))

    with SharedBatchScheduler(1) as scheduler:
        predictor = BatchedPredictor(model, scheduler, options)
        predictor.submit_lists(lists)
        predictor.close()

    for requests, own in zip(lists, arrays, strict=True):
        wanted = [place for place in range(len(requests)) if place not in requests.unwanted]
        assert requests.answered == wanted
        for place in wanted:
            assert_alone(requests.result(place), own[place])


def requests_array(requests: FakeRequestList, place: int) -> np.ndarray:
    (given,) = requests.form.inputs
    out = np.empty(given.shape, given.dtype)
    requests.write([place], [out])
    return out


def assert_alone(result: dict[str, np.ndarray] | ServingError, asked: np.ndarray) -> None:
    if np.isin(asked, (3, 7)).any():
        assert isinstance(result, InvalidArgumentError)
    else:
        assert isinstance(result, dict)
        np.testing.assert_array_equal(result["y"], half_plus_two({"x": asked})["y"])


# Which thread runs it…


class TimedModel(FakePredictor):
    """A model whose runs take `seconds` of `clock`, and which remembers the threads they are on."""

    def __init__(self, clock: ManualClock, seconds: float = 0.0) -> None:
        super().__init__(self._spend)
        self.seconds = seconds
        self.threads: list[int] = []
        self._clock = clock

    def _spend(self, inputs: Tensors) -> dict[str, np.ndarray]:
        self.threads.append(threading.get_ident())
        self._clock.advance(self.seconds)
        return half_plus_two(inputs)

    def is_run_here(self, predictor: AsyncPredictor) -> bool:
        """Whether the next list is run on the calling thread."""
        requests = singles(0, 2)
        assert predictor.submit_lists([requests])
        assert listed(requests) == [[2.0], [3.0]]
        return self.threads[-1] == threading.get_ident()


def test_the_first_list_is_run_by_the_scheduler_and_light_ones_from_then_on_here(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    model = TimedModel(clock, batched_module.LIGHT_SECONDS / 2)
    predictor = serve(model).predictor

    assert [model.is_run_here(predictor) for _ in range(3)] == [False, True, True]


def test_a_light_list_has_its_answer_when_the_call_returns(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    server = serve(TimedModel(clock))
    server.predictor.submit_lists([first := singles(0)])
    first.result(0)
    server.occupy()
    requests = singles(2, 4)

    server.predictor.submit_lists([requests])

    assert requests.answered == [0, 1]


def test_heavy_lists_are_never_run_here(serve: Callable[..., Any], clock: ManualClock) -> None:
    model = TimedModel(clock, batched_module.LIGHT_SECONDS * 1.01)
    predictor = serve(model).predictor

    assert [model.is_run_here(predictor) for _ in range(4)] == [False] * 4


def test_a_single_request_shows_whether_a_model_is_light(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    model = TimedModel(clock)
    server = serve(model)

    server.submit({"x": array(0)}).values()

    assert model.is_run_here(server.predictor)


def test_a_model_that_becomes_heavy_leaves_the_calling_thread(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    model = TimedModel(clock)
    predictor = serve(model).predictor
    was_run_here = [model.is_run_here(predictor) for _ in range(2)]
    model.seconds = batched_module.LIGHT_SECONDS * 100

    model.is_run_here(predictor)

    assert was_run_here == [False, True]
    assert not model.is_run_here(predictor)


def test_where_batches_wait_for_more_light_lists_wait_too(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    model = TimedModel(clock)
    server = serve(model, batch_timeout_micros=10_000, max_batch_size=2)
    was_run_here = [model.is_run_here(server.predictor) for _ in range(3)]
    requests = singles(2)

    server.predictor.submit_lists([requests])
    before = requests.answered
    clock.advance(0.010)

    assert was_run_here == [False] * 3
    assert before == []
    assert listed(requests) == [[3.0]]


def test_light_lists_do_not_overtake_what_waits(
    serve: Callable[..., Any], clock: ManualClock
) -> None:
    model = TimedModel(clock)
    server = serve(model)
    model.is_run_here(server.predictor)
    server.occupy()
    waiting = server.submit({"x": array(8)})
    requests = singles(10)

    server.predictor.submit_lists([requests])
    server.let_go()

    assert (waiting.values(), listed(requests)) == ([6.0], [[7.0]])
    assert rows_of_runs(server)[-1] == [8, 10]


# Direct…


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def submit_alone(predictor: AsyncPredictor, x: float = 0.0) -> None:
    """Make one request and wait for its answer."""
    answered = threading.Event()
    prediction = Prediction(HALF_PLUS_TWO, {"x": array(x)}, ["y"])
    predictor.submit(prediction, lambda _: answered.set())
    assert answered.wait(30)


def test_a_direct_predictor_takes_no_list_before_it_knows_its_model(clock: ManualClock) -> None:
    model = TimedModel(clock)
    requests = singles(0)

    taken = DirectPredictor(model, ManualExecutor(), clock).submit_lists([requests])

    assert not taken
    assert (model.calls, requests.answered) == ([], [])


def test_a_direct_predictor_runs_the_requests_of_a_light_model_one_by_one_here(
    clock: ManualClock, pool: ThreadPoolExecutor
) -> None:
    model = TimedModel(clock, direct_module.LIGHT_SECONDS / 2)
    predictor = DirectPredictor(model, pool, clock)
    submit_alone(predictor)
    pairs, triple = FakeRequestList([array(0, 2), array(4, 6)]), FakeRequestList([array(1, 3, 5)])

    taken = predictor.submit_lists([pairs, triple])

    assert taken
    assert (pairs.answered, triple.answered) == ([0, 1], [0])
    assert listed(pairs) == [[2.0, 3.0], [4.0, 5.0]]
    assert listed(triple) == [[2.5, 3.5, 4.5]]
    assert model.batch_sizes == [1, 2, 2, 3]
    assert model.threads[1:] == [threading.get_ident()] * 3
    assert model.threads[0] != threading.get_ident()


def test_a_direct_predictor_takes_no_list_for_a_heavy_model(
    clock: ManualClock, pool: ThreadPoolExecutor
) -> None:
    model = TimedModel(clock, direct_module.LIGHT_SECONDS * 1.01)
    predictor = DirectPredictor(model, pool, clock)
    submit_alone(predictor)
    requests = singles(0)

    taken = predictor.submit_lists([requests])

    assert not taken
    assert (model.batch_sizes, requests.answered) == ([1], [])


def test_a_direct_predictor_leaves_out_what_is_not_wanted(clock: ManualClock) -> None:
    model = TimedModel(clock)
    predictor = DirectPredictor(model, InlineExecutor(), clock)
    submit_alone(predictor)
    requests = singles(0, 2, 4)
    requests.unwanted = {1}

    predictor.submit_lists([requests])

    assert requests.answered == [0, 2]
    assert [call.inputs["x"].tolist() for call in model.calls[1:]] == [[0], [4]]


def test_a_direct_predictor_computes_only_the_outputs_that_were_asked_for(
    clock: ManualClock,
) -> None:
    spec = HALF_PLUS_TWO.outputs["y"]
    signature = replace(HALF_PLUS_TWO, outputs={"y": spec, "z": spec})
    model = FakePredictor(lambda inputs: {"y": inputs["x"], "z": -inputs["x"]}, [signature])
    predictor = DirectPredictor(model, InlineExecutor(), clock)
    submit_alone(predictor)
    requests = FakeRequestList([array(2), array(4)], signature, ["z"])

    predictor.submit_lists([requests])

    assert listed(requests, "z") == [[-2.0], [-4.0]]
    assert [tuple(call.output_names) for call in model.calls[1:]] == [("z",), ("z",)]


def test_a_direct_predictor_gives_an_error_only_to_the_request_that_caused_it(
    clock: ManualClock,
) -> None:
    predictor = DirectPredictor(FakePredictor(fail_for(2)), InlineExecutor(), clock)
    submit_alone(predictor)
    requests = singles(0, 2, 4)

    predictor.submit_lists([requests])

    assert isinstance(requests.result(1), InvalidArgumentError)
    assert [requests.result(place)["y"].tolist() for place in (0, 2)] == [[2.0], [4.0]]  # type: ignore[index]


def test_a_direct_predictor_runs_lists_for_signatures_that_cannot_be_batched(
    clock: ManualClock,
) -> None:
    model = FakePredictor(half_plus_two, [HALF_PLUS_TWO, FIXED])
    predictor = DirectPredictor(model, InlineExecutor(), clock)
    submit_alone(predictor)
    requests = FakeRequestList([array(0, 2), array(4, 6)], FIXED)

    assert predictor.submit_lists([requests])

    assert listed(requests) == [[2.0, 3.0], [4.0, 5.0]]


def test_a_closed_direct_predictor_takes_no_list(clock: ManualClock) -> None:
    model = TimedModel(clock)
    predictor = DirectPredictor(model, InlineExecutor(), clock)
    submit_alone(predictor)
    predictor.close()
    requests = singles(0)

    taken = predictor.submit_lists([requests])

    assert not taken
    assert (model.batch_sizes, requests.answered) == ([1], [])


def test_closing_a_direct_predictor_waits_for_the_list_that_it_runs(clock: ManualClock) -> None:
    events: list[str] = []
    began, may_end = threading.Event(), threading.Event()

    def compute(inputs: Tensors) -> dict[str, np.ndarray]:
        if inputs["x"][0]:
            began.set()
            assert may_end.wait(30)
            events.append(f"ran {inputs['x'][0]:.0f}")
        return half_plus_two(inputs)

    def close() -> None:
        predictor.close()
        events.append("closed")

    predictor = DirectPredictor(FakePredictor(compute), InlineExecutor(), clock)
    submit_alone(predictor)
    caller = threading.Thread(target=predictor.submit_lists, args=([singles(2, 4)],))
    caller.start()
    assert began.wait(30)
    closer = threading.Thread(target=close)
    closer.start()
    while predictor.submit_lists([]):  # until it is closed
        pass

    may_end.set()
    closer.join()
    caller.join()

    assert events == ["ran 2", "ran 4", "closed"]


# Adjustable…


def test_an_adjustable_predictor_passes_lists_on_to_the_predictor_in_use(
    clock: ManualClock,
) -> None:
    models: dict[BatchingOptions | None, FakePredictor] = {}

    def make(options: BatchingOptions | None) -> DirectPredictor:
        models[options] = FakePredictor()
        predictor = DirectPredictor(models[options], InlineExecutor(), clock)
        submit_alone(predictor)
        return predictor

    other = BatchingOptions()
    predictor = AdjustablePredictor(make, None)
    first, second = singles(0, 2), singles(4, 6)

    predictor.submit_lists([first])
    predictor.use(other)
    predictor.submit_lists([second])

    assert (listed(first), listed(second)) == ([[2.0], [3.0]], [[4.0], [5.0]])
    assert [models[options].batch_sizes for options in (None, other)] == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("is_taken", [True, False])
def test_an_adjustable_predictor_says_whether_lists_were_taken(is_taken: bool) -> None:
    class Answering(DirectPredictor):
        def submit_lists(self, lists: Sequence[object], **how: bool) -> bool:
            return is_taken

    direct = Answering(FakePredictor(), InlineExecutor(), ManualClock())

    assert AdjustablePredictor(lambda _: direct, None).submit_lists([singles(0)]) is is_taken
