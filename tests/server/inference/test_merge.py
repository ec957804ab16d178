"""Merging inputs and splitting outputs: which rows go where, and what is refused."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from modelserver.errors import FailedPreconditionError, InvalidArgumentError
from modelserver.inference.merge import (
    check_inputs,
    count_rows,
    join_outputs,
    merge_inputs,
    non_batch_shape,
    pad_to,
    round_up,
    slice_rows,
    split_outputs,
)
from modelserver.inference.signature import Signature, TensorSpec

FLOAT = np.dtype(np.float32)
STRING = np.dtype(object)


def make_signature(
    *, defaults: dict[str, np.ndarray] | None = None, **shapes: tuple[int | None, ...] | None
) -> Signature:
    """Inputs of floats by name, and no output: nothing here looks at outputs."""
    inputs = {alias: TensorSpec(f"{alias}:0", FLOAT, shape) for alias, shape in shapes.items()}
    return Signature("serving_default", inputs, {}, defaults=defaults)


def floats(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def strings(*rows: list[bytes]) -> np.ndarray:
    return np.array(rows, dtype=object)


# Checking one request…


@pytest.mark.parametrize("shape", [(None, 3), (2, 3), (None, None), None])
def test_inputs_of_the_signatures_shape_pass(shape: tuple[int | None, ...] | None) -> None:
    check_inputs(make_signature(x=shape), {"x": floats(2, 3)})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        pytest.param(floats(2, 4), "must be of shape [?,3]; was [2,4]", id="dimension"),
        pytest.param(floats(3), "must be of shape [?,3]; was [3]", id="rank"),
        pytest.param(np.zeros((2, 3)), "must be of type float32; was float64", id="type"),
    ],
)
def test_an_input_that_does_not_fit_its_spec_is_refused_by_name(
    array: np.ndarray, message: str
) -> None:
    signature = make_signature(x=(None, 3))

    with pytest.raises(InvalidArgumentError, match=re.escape(message)) as refusal:
        check_inputs(signature, {"x": array})

    assert str(refusal.value).startswith("Input 'x' of signature 'serving_default'")


def test_an_input_that_the_signature_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="has no input 'y'"):
        check_inputs(make_signature(x=(None,)), {"x": floats(1), "y": floats(1)})


def test_a_missing_input_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgumentError, match="also needs the inputs: a, c"):
        check_inputs(make_signature(c=(None,), a=(None,), b=(None,)), {"b": floats(1)})


def test_an_input_with_a_default_may_be_missing() -> None:
    signature = make_signature(x=(None,), k=(None,), defaults={"k": floats(1)})

    check_inputs(signature, {"x": floats(2)})


def test_the_size_of_a_request_is_its_rows() -> None:
    assert count_rows({"x": floats(3, 2), "y": floats(3)}) == 3


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({}, "Batching Run() must have at least one input tensor", id="none"),
        pytest.param(
            {"x": floats(2), "y": np.float32(1).reshape(())},
            "Batching Run() input tensors must have at least one dimension",
            id="scalar",
        ),
        pytest.param(
            {"x": floats(2), "y": floats(3)},
            "Batching Run() input tensors must have equal 0th-dimension size",
            id="unequal",
        ),
        pytest.param(
            {"x": floats(0, 2)},
            "Batching Run() input tensors must have at least one row",
            id="empty",
        ),
    ],
)
def test_inputs_that_are_not_rows_are_refused(inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{re.escape(message)}$"):
        count_rows(inputs)


# What may be merged…


def test_requests_of_one_shape_may_differ_in_rows_and_in_the_order_of_inputs() -> None:
    signature = make_signature(x=(None, None), y=(None,))

    first = non_batch_shape(signature, {"x": floats(1, 4), "y": floats(1)}, is_padded=False)
    second = non_batch_shape(signature, {"y": floats(3), "x": floats(3, 4)}, is_padded=False)

    assert first == second
    assert hash(first) == hash(second)


def test_requests_of_different_lengths_are_of_one_shape_only_if_padded() -> None:
    signature = make_signature(x=(None, None))
    short, long = {"x": floats(1, 4)}, {"x": floats(1, 9)}

    padded = {non_batch_shape(signature, x, is_padded=True) for x in (short, long)}
    unpadded = {non_batch_shape(signature, x, is_padded=False) for x in (short, long)}

    assert len(padded) == 1
    assert len(unpadded) == 2


def test_requests_of_different_rank_are_never_of_one_shape() -> None:
    signature = make_signature(x=None)
    flat, deep = {"x": floats(2, 4)}, {"x": floats(2, 4, 4)}

    shapes = {non_batch_shape(signature, x, is_padded=True) for x in (flat, deep)}

    assert len(shapes) == 2


def test_requests_that_leave_out_different_inputs_are_never_of_one_shape() -> None:
    signature = make_signature(x=(None,), k=(None,), defaults={"k": floats(1)})

    without = non_batch_shape(signature, {"x": floats(1)}, is_padded=True)
    given_ = non_batch_shape(signature, {"x": floats(1), "k": floats(1)}, is_padded=True)

    assert without != given_


# Merging…


def test_rows_are_stacked_in_order() -> None:
    merged = merge_inputs(
        [{"x": np.array([[1.0], [2.0]])}, {"x": np.array([[3.0]])}], num_rows=3, pads=False
    )

    assert_array_equal(merged["x"], [[1.0], [2.0], [3.0]])


def test_a_lone_request_is_not_copied() -> None:
    array = floats(2, 2)

    merged = merge_inputs([{"x": array}], num_rows=2, pads=True)

    assert merged["x"] is array


def test_missing_rows_repeat_the_first_row_of_the_last_request() -> None:
    requests = [{"x": np.array([[1.0], [2.0]])}, {"x": np.array([[3.0], [4.0]])}]

    merged = merge_inputs(requests, num_rows=7, pads=False)

    assert_array_equal(merged["x"], [[1.0], [2.0], [3.0], [4.0], [3.0], [3.0], [3.0]])


def test_strings_are_rows_too() -> None:
    requests = [{"x": strings([b"a", b"b"])}, {"x": strings([b"c\0", b""])}]

    merged = merge_inputs(requests, num_rows=3, pads=False)

    assert merged["x"].dtype == STRING
    assert merged["x"].tolist() == [[b"a", b"b"], [b"c\0", b""], [b"c\0", b""]]


def test_arrays_of_different_shapes_cannot_be_stacked_without_padding() -> None:
    requests = [{"x": floats(1, 2)}, {"x": floats(1, 3)}]

    with pytest.raises(FailedPreconditionError) as refusal:
        merge_inputs(requests, num_rows=2, pads=False)

    assert str(refusal.value) == (
        "Tensors with name 'x' from different tasks have different shapes and padding is turned "
        "off. Set pad_variable_length_inputs to true, or ensure that all tensors with the same "
        "name have equal dimensions starting with the first dim."
    )


def test_padding_repeats_each_arrays_own_first_element() -> None:
    requests = [
        {"x": np.array([[1, 2, 3]])},
        {"x": np.array([[7], [8]])},
    ]

    merged = merge_inputs(requests, num_rows=3, pads=True)

    assert_array_equal(merged["x"], [[1, 2, 3], [7, 7, 7], [8, 7, 7]])


def test_padding_grows_every_dimension_but_the_first_to_the_largest() -> None:
    requests = [{"x": floats(1, 5, 2)}, {"x": floats(2, 3, 4)}]

    merged = merge_inputs(requests, num_rows=3, pads=True)

    assert merged["x"].shape == (3, 5, 4)
    assert_array_equal(merged["x"][1:, :3, :], floats(2, 3, 4))


def test_padding_and_missing_rows_go_together() -> None:
    requests = [{"x": np.array([[1, 2]])}, {"x": np.array([[5]])}]

    merged = merge_inputs(requests, num_rows=4, pads=True)

    assert_array_equal(merged["x"], [[1, 2], [5, 5], [5, 5], [5, 5]])


def test_padding_of_strings_keeps_their_last_bytes() -> None:
    padded = pad_to(strings([b"a\0"]), (1, 3))

    assert padded.tolist() == [[b"a\0", b"a\0", b"a\0"]]


@pytest.mark.parametrize("rank", range(1, 7))
def test_ranks_from_1_to_6_can_be_padded(rank: int) -> None:
    shape = (2, *[3] * (rank - 1))

    padded = pad_to(np.ones((2, *[2] * (rank - 1))), shape)

    assert_array_equal(padded, np.ones(shape))


def test_rank_7_cannot_be_padded() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^Only tensors with rank from 1 to 6 can be padded\.$"
    ):
        pad_to(floats(1, 1, 1, 1, 1, 1, 1), (1, 1, 1, 1, 1, 1, 2))


def test_an_array_without_elements_cannot_be_padded() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^Got empty tensor in batch of non-empty tensors\.$"
    ):
        merge_inputs([{"x": floats(1, 0)}, {"x": floats(1, 2)}], num_rows=2, pads=True)


def test_arrays_of_different_rank_cannot_be_padded() -> None:
    with pytest.raises(InvalidArgumentError, match="ranks"):
        merge_inputs([{"x": floats(1, 2)}, {"x": floats(1, 2, 2)}], num_rows=2, pads=True)


@pytest.mark.parametrize(
    ("num_rows", "allowed", "expected"),
    [
        pytest.param(3, (), 3, id="no sizes"),
        pytest.param(3, (2, 4, 8), 4, id="next"),
        pytest.param(4, (2, 4, 8), 4, id="exact"),
        pytest.param(9, (2, 4, 8), 9, id="none large enough"),
    ],
)
def test_a_batch_is_rounded_up_to_the_next_allowed_size(
    num_rows: int, allowed: tuple[int, ...], expected: int
) -> None:
    assert round_up(num_rows, allowed) == expected


# Splitting…


def test_each_request_gets_its_rows_and_nobody_gets_the_filler() -> None:
    outputs = {"y": np.array([1, 2, 3, 9, 9])}

    answers = split_outputs(outputs, names=[["y"], ["y"]], sizes=[2, 1], num_rows=5)

    assert [answer["y"].tolist() for answer in answers] == [[1, 2], [3]]


def test_each_request_gets_the_outputs_that_it_named_in_that_order() -> None:
    outputs = {"y": floats(2), "z": floats(2)}

    answers = split_outputs(outputs, names=[["z", "y"], ["y"]], sizes=[1, 1], num_rows=2)

    assert [list(answer) for answer in answers] == [["z", "y"], ["y"]]


def test_an_output_that_is_named_but_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="z"):
        split_outputs({"y": floats(1)}, names=[["z"]], sizes=[1], num_rows=1)


def test_an_output_without_dimensions_cannot_be_split() -> None:
    with pytest.raises(FailedPreconditionError, match=r"^Batched output tensor has 0 dimensions$"):
        split_outputs({"y": np.array(1.0)}, names=[["y"]], sizes=[1], num_rows=1)


def test_an_output_with_another_number_of_rows_cannot_be_split() -> None:
    with pytest.raises(FailedPreconditionError) as refusal:
        split_outputs({"y": floats(3)}, names=[["y"]] * 2, sizes=[2, 2], num_rows=4)

    assert str(refusal.value) == (
        "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes "
        "of the input tensors"
    )


def test_the_answers_to_parts_are_joined_in_order() -> None:
    joined = join_outputs(
        [{"y": floats(2), "z": strings([b"a"])}, {"y": floats(1), "z": strings([b"b"])}]
    )

    assert joined["y"].tolist() == [0, 1, 0]
    assert joined["z"].tolist() == [[b"a"], [b"b"]]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    lengths=st.lists(st.integers(1, 4), min_size=6, max_size=6),
    allowed=st.sampled_from([(), (4, 8, 32)]),
    of_strings=st.booleans(),
)
def test_what_is_merged_and_split_again_is_what_it_was(
    sizes: list[int], lengths: list[int], allowed: tuple[int, ...], of_strings: bool
) -> None:
    requests = [
        {"x": floats(size, length).astype(object if of_strings else FLOAT) + 10 * number}
        for number, (size, length) in enumerate(zip(sizes, lengths, strict=False))
    ]
    num_rows = round_up(sum(sizes), allowed)

    merged = merge_inputs(requests, num_rows, pads=True)
    answers = split_outputs(merged, [["x"]] * len(sizes), sizes, num_rows)

    assert len(merged["x"]) == num_rows
    for request, answer in zip(requests, answers, strict=True):
        width = request["x"].shape[1]
        assert_array_equal(answer["x"][:, :width], request["x"])
        assert (answer["x"][:, width:] == request["x"][0, 0]).all()


def test_slices_of_rows_are_views() -> None:
    array = floats(4, 2)

    part = slice_rows({"x": array}, 1, 3)

    assert_array_equal(part["x"], array[1:3])
    assert np.shares_memory(part["x"], array)
