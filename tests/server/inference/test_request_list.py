"""RequestForm, RequestListTask and merge_lists: a list on its way through a batch queue."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.errors import UnavailableError
from modelserver.inference.merge import merge_inputs, non_batch_shape
from modelserver.inference.request_list import InputForm, RequestForm, RequestListTask, merge_lists
from modelserver.inference.signature import Signature, TensorSpec
from modelserver.testing.request_list import FakeRequestList

FLOAT = np.dtype(np.float32)


def of_type(dtype: np.dtype[np.generic]) -> Signature:
    spec = TensorSpec("x:0", dtype, None)
    return Signature("s", {"x": spec}, {"y": spec, "z": spec})


def numbers(count: int, num_rows: int = 1, dtype: np.dtype[np.generic] = FLOAT) -> FakeRequestList:
    """Requests of `num_rows` rows of two numbers: 0, 1, 2…"""
    values = np.arange(count * num_rows * 2).astype(dtype).reshape(count, num_rows, 2)
    return FakeRequestList(list(values), of_type(dtype))


def whole(requests: FakeRequestList) -> RequestListTask:
    return RequestListTask(requests, range(len(requests)))


def values(task: RequestListTask) -> list[list[float]]:
    rows: list[list[float]] = task.inputs["x"].tolist()
    return rows


# The form…


def test_a_form_counts_the_rows_and_bytes_of_one_request() -> None:
    given = InputForm("x", FLOAT, (3, 2))

    assert given.num_bytes == 24
    assert RequestForm(of_type(FLOAT), (given,), ["y"]).num_rows == 3


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 5), (2, 3, 4)])
def test_a_form_shares_batches_with_single_requests_of_its_shape(shape: tuple[int, ...]) -> None:
    signature = of_type(FLOAT)
    form = RequestForm(signature, (InputForm("x", FLOAT, shape),), ["y"])

    alone = non_batch_shape(signature, {"x": np.zeros(shape, FLOAT)}, is_padded=False)

    assert form.batch_shape == alone
    assert hash(form.batch_shape) == hash(alone)


# The task…


def test_a_task_has_the_rows_of_all_its_requests() -> None:
    task = whole(numbers(2, num_rows=3))

    assert (task.size, task.unit, task.deadline) == (6, 3, None)
    assert (task.shape, list(task.output_names)) == ((("x", (2,)),), ["y", "z"])
    assert values(task) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]


def test_the_first_requests_can_be_cut_off_as_a_task_of_their_own() -> None:
    task = whole(numbers(3, num_rows=2))

    part = task.take_first(4)

    assert (part.size, part.unit, part.shape) == (4, 2, task.shape)
    assert values(part) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert task.size == 2
    assert values(task) == [[8, 9], [10, 11]]


def test_requests_that_want_no_answer_any_more_are_left_out() -> None:
    requests = numbers(4)
    requests.unwanted = {0, 2}
    task = whole(requests)

    assert task.is_wanted()
    assert task.size == 2
    assert values(task) == [[2, 3], [6, 7]]


def test_a_task_that_nobody_wants_is_empty_and_answers_nobody() -> None:
    requests = numbers(2)
    requests.unwanted = {0, 1}
    task = whole(requests)

    is_wanted = task.is_wanted()
    task.fail(UnavailableError("late"))

    assert (is_wanted, task.size) == (False, 0)
    assert requests.answered == []


def test_a_part_asks_for_its_own_requests_only() -> None:
    requests = numbers(3)
    task = whole(requests)
    part = task.take_first(2)
    requests.unwanted = {2}

    assert part.is_wanted()
    assert not task.is_wanted()
    assert part.size == 2


def test_each_request_can_be_had_as_a_task_of_its_own() -> None:
    task = whole(numbers(3))
    task.take_first(1)

    each = list(task.each())

    assert [values(request) for request in each] == [[[2, 3]], [[4, 5]]]
    assert [request.has_several_requests for request in each] == [False, False]


def test_whether_there_are_several_requests_is_about_those_that_are_left() -> None:
    requests = numbers(3)
    task = whole(requests)
    had_several = task.has_several_requests
    requests.unwanted = {1, 2}
    task.is_wanted()

    assert had_several
    assert not task.has_several_requests


def test_the_outputs_that_were_asked_for_are_chosen_in_that_order() -> None:
    requests = FakeRequestList([np.zeros(1, FLOAT)], of_type(FLOAT), ["z", "y"])
    one, two = np.zeros(1), np.ones(1)

    chosen = whole(requests).choose({"y": one, "w": two, "z": two})

    assert list(chosen) == ["z", "y"]
    assert (chosen["z"], chosen["y"]) == (two, one)


# Answering…


def test_each_request_gets_its_own_rows() -> None:
    requests = numbers(2, num_rows=2)

    whole(requests).answer({"y": np.arange(4)})

    assert [rows.tolist() for rows in requests.outputs("y")] == [[0, 1], [2, 3]]


def test_a_task_is_answered_once() -> None:
    requests = numbers(2)
    task = whole(requests)

    task.answer({"y": np.arange(2)})
    task.fail(UnavailableError("too late"))
    task.answer({"y": np.arange(2)})

    assert [rows.tolist() for rows in requests.outputs("y")] == [[0], [1]]


def test_what_fails_is_answered_to_each_request_that_is_left() -> None:
    requests = numbers(3)
    task = whole(requests)
    task.take_first(1)
    error = UnavailableError("not now")

    task.fail(error)

    assert requests.answered == [1, 2]
    assert [requests.result(place) for place in (1, 2)] == [error, error]


# Merging…


def test_lists_are_merged_in_their_order() -> None:
    merged = merge_lists([whole(numbers(2)), whole(numbers(1, num_rows=2))], 4)

    assert merged["x"].tolist() == [[0, 1], [2, 3], [0, 1], [2, 3]]


def test_missing_rows_repeat_the_first_row_of_the_last_request() -> None:
    merged = merge_lists([whole(numbers(1)), whole(numbers(2, num_rows=2))], 7)

    assert merged["x"].tolist() == [[0, 1], [0, 1], [2, 3], [4, 5], [6, 7], [4, 5], [4, 5]]


def test_each_input_has_an_array_of_its_own() -> None:
    spec = TensorSpec("x:0", FLOAT, None)
    signature = Signature("s", {"ids": spec, "mask": spec}, {"y": spec})
    ids, mask = np.arange(3, dtype=np.int64), np.arange(6, dtype=FLOAT).reshape(3, 2)
    requests = FakeRequestList(
        [{"ids": ids[n : n + 1], "mask": mask[n : n + 1]} for n in range(3)], signature
    )
    task = whole(requests)

    merged = merge_lists([task.take_first(1), task], 4)

    assert list(merged) == ["ids", "mask"]
    assert merged["ids"].tolist() == [0, 1, 2, 2]
    assert merged["mask"].tolist() == [[0, 1], [2, 3], [4, 5], [4, 5]]


@pytest.mark.parametrize(
    "dtype",
    [np.float16, np.float64, np.int8, np.uint64, np.bool_, np.complex64, ml_dtypes.bfloat16],
)
def test_merged_rows_have_the_type_of_the_input(dtype: type) -> None:
    requests = numbers(2, dtype=np.dtype(dtype))

    merged = merge_lists([whole(requests)], 3)["x"]

    assert merged.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(merged[:2], np.arange(4).astype(dtype).reshape(2, 2))


@given(
    counts=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=4),
    num_filler_rows=st.integers(0, 5),
)
def test_merging_lists_is_merging_their_requests(
    counts: list[tuple[int, int]], num_filler_rows: int
) -> None:
    lists = [numbers(count, num_rows) for count, num_rows in counts]
    singles = [task.inputs for requests in lists for task in whole(requests).each()]
    num_rows = sum(count * rows for count, rows in counts) + num_filler_rows

    merged = merge_lists([whole(requests) for requests in lists], num_rows)

    expected = merge_inputs(singles, num_rows, pads=False)
    np.testing.assert_array_equal(merged["x"], expected["x"], strict=True)
