"""Answers: what is cut from one serialisation is what serialising each would have given."""

from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver.core.servable import ServableId
from modelserver.errors import UnavailableError
from modelserver.rpc.answers import AnswerForm, Answers, serialize
from modelserver.rpc.messages import PredictResponse
from modelserver.rpc.replies import Replies
from modelserver.rpc.tensors import decode
from modelserver.rpc.transport.base import Answer, StatusCode
from modelserver.testing.transport import MemoryTransport

ID = ServableId("m", 3)
NUMBERS = [
    np.dtype(kind)
    for kind in (
        *(np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.complex64, np.complex128),
        *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
        np.bool_,
    )
]
TEXT = np.dtype(object)

Outputs = dict[str, np.ndarray]


class Sent:
    """Calls that wait for their answers, in memory."""

    def __init__(self, count: int) -> None:
        self.transport = MemoryTransport(["/m"])
        self.transport.start()
        self._calls = [self.transport.begin("/m", b"") for _ in range(count)]
        calls = self.transport.next_calls(0)
        assert calls is not None
        self.ids = calls.ids

    def answers(self) -> list[Answer]:
        assert self.transport.stats().in_flight == 0, "a call has no answer"
        return [call.answer() for call in self._calls]


def form(*, as_content: bool = False) -> AnswerForm:
    return AnswerForm(ID, "sign", as_content)


def send(answers: Answers, outputs: Outputs, count: int) -> list[PredictResponse]:
    sent = Sent(count)
    answers.answer(sent.ids, outputs, Replies(sent.transport))
    return [parse(answer) for answer in sent.answers()]


def parse(answer: Answer) -> PredictResponse:
    assert isinstance(answer, bytes), answer
    return PredictResponse.FromString(answer)


def singly(outputs: Outputs, count: int, *, as_content: bool) -> list[PredictResponse]:
    """What each call would have got alone."""
    responses = []
    for place in range(count):
        own = {
            name: array[len(array) // count * place : len(array) // count * (place + 1)]
            for name, array in outputs.items()
        }
        responses.append(parse(serialize(ID, "sign", own, as_content=as_content)))
    return responses


def texts(responses: Iterable[PredictResponse]) -> list[bytes]:
    """As bytes, for messages with a NaN are not equal to themselves."""
    return [response.SerializeToString(deterministic=True) for response in responses]


def check(answers: Answers, outputs: Outputs, count: int, *, as_content: bool = False) -> None:
    """Each call gets what it would have got alone, bit by bit."""
    responses = send(answers, outputs, count)

    assert texts(responses) == texts(singly(outputs, count, as_content=as_content))


# Whatever a model gives…


def special(dtype: np.dtype[Any]) -> list[object]:
    if dtype == TEXT:
        return [b"", b"a", b"\xff\0", b"long" * 40]
    if dtype == np.bool_:
        return [False, True]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        small = [0, 1, 2, 65, 97, 127]
        return [limits.min, limits.max, *small, *([128, 255] if limits.max > 254 else [])]
    return [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, -np.nan, 1e-7, 12.078, 1e4]


@st.composite
def arrays(draw: st.DrawFn, num_rows: int, dtypes: Iterable[np.dtype[Any]]) -> np.ndarray:
    dtype = draw(st.sampled_from([*dtypes]))
    shape = (num_rows, *draw(st.lists(st.integers(1, 4), max_size=2)))
    count = int(np.prod(shape))
    values = draw(st.lists(st.sampled_from(special(dtype)), min_size=count, max_size=count))
    array = np.array(values, dtype).reshape(shape)
    if draw(st.booleans()):  # the same, but not in one piece
        array = np.stack([array, array], axis=-1)[..., 0]
    return array


NAMES = st.sampled_from([["y"], ["y", "scores"], ["A", "", "aaaa"], ["b", "a"]])


@st.composite
def outputs_of(
    draw: st.DrawFn,
    num_rows: int,
    names: st.SearchStrategy[list[str]] = NAMES,
    dtypes: Iterable[np.dtype[Any]] = (*NUMBERS, TEXT),
) -> Outputs:
    return {name: draw(arrays(num_rows, dtypes)) for name in draw(names)}


@given(data=st.data(), num_rows=st.integers(1, 5), count=st.integers(1, 5))
@pytest.mark.parametrize("as_content", [False, True])
def test_each_call_gets_what_it_would_have_got_alone(
    as_content: bool, data: st.DataObject, num_rows: int, count: int
) -> None:
    outputs = data.draw(outputs_of(num_rows * count))

    check(Answers(form(as_content=as_content)), outputs, count, as_content=as_content)


@given(data=st.data())
@settings(max_examples=40)
@pytest.mark.parametrize("as_content", [False, True])
def test_what_the_latest_answers_were_like_does_not_show_in_the_next_ones(
    as_content: bool, data: st.DataObject
) -> None:
    answers = Answers(form(as_content=as_content))
    names = st.just(data.draw(NAMES))  # the form's, always the same
    dtypes = [np.dtype(kind) for kind in (np.float32, np.bool_, np.int32, object)]
    shapes = st.tuples(st.integers(1, 3), st.integers(1, 3))

    for num_rows, count in data.draw(st.lists(shapes, min_size=2, max_size=5)):
        outputs = data.draw(outputs_of(num_rows * count, names, dtypes))
        check(answers, outputs, count, as_content=as_content)


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_every_type_travels(dtype: np.dtype[Any], num_rows: int, as_content: bool) -> None:
    values = np.array(special(dtype) * 5, dtype)[: num_rows * 5]

    for outputs in ({"y": values}, {"y": values, "z": values[::-1]}):
        check(Answers(form(as_content=as_content)), outputs, 5, as_content=as_content)


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16], ids=str)
def test_what_is_no_number_and_a_negative_zero_arrive_bit_by_bit(
    dtype: Any, as_content: bool
) -> None:
    sent = np.array([np.nan, -0.0, -np.nan, np.inf, 0.0, -np.inf], dtype)

    responses = send(Answers(form(as_content=as_content)), {"y": sent}, 3)

    received = [decode(response.outputs["y"], "y") for response in responses]
    assert np.concatenate(received).tobytes() == sent.tobytes()


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("values", [[True], [False], [True, False], [False, False, True]])
def test_truths_arrive(values: list[bool], as_content: bool) -> None:
    answers = Answers(form(as_content=as_content))

    responses = send(answers, {"y": np.array(values)}, len(values))

    assert [decode(r.outputs["y"], "y").tolist() for r in responses] == [[v] for v in values]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_], ids=str)
@pytest.mark.parametrize("as_content", [False, True])
def test_many_small_outputs_are_not_mistaken_for_one_another(dtype: Any, as_content: bool) -> None:
    values = {f"{name}": np.array([name % 2, name], dtype) for name in range(40)}

    check(Answers(form(as_content=as_content)), values, 2, as_content=as_content)


# Values of any length…


@pytest.mark.parametrize("as_content", [False, True])
def test_integers_arrive_whatever_their_length_is(as_content: bool) -> None:
    answers = Answers(form(as_content=as_content))
    rows = [0, 1, 127, 128, 255, 256, 300, -1, -128, 2**31 - 1, -(2**31), 16384]

    responses = send(answers, {"y": np.array(rows, np.int32)}, len(rows))

    assert [decode(r.outputs["y"], "y").tolist() for r in responses] == [[row] for row in rows]


def test_integers_that_are_longer_in_the_next_run_arrive() -> None:
    answers = Answers(form())
    send(answers, {"y": np.array([1, 2], np.int64)}, 2)

    responses = send(answers, {"y": np.array([-(2**62), 128], np.int64)}, 2)

    received = [decode(response.outputs["y"], "y").tolist() for response in responses]
    assert received == [[-(2**62)], [128]]


@pytest.mark.parametrize("as_content", [False, True])
def test_strings_arrive(as_content: bool) -> None:
    rows = np.array([[b"", b"a"], [b"much longer", b"\0\xff"]], object)

    responses = send(Answers(form(as_content=as_content)), {"y": rows}, 2)

    assert [decode(r.outputs["y"], "y").tolist() for r in responses] == [[r] for r in rows.tolist()]


def test_strings_of_fixed_length_arrive() -> None:
    rows = np.array([b"a", b"longer"])

    responses = send(Answers(form()), {"y": rows}, 2)

    assert [list(r.outputs["y"].string_val) for r in responses] == [[b"a"], [b"longer"]]


def test_numbers_beside_strings_arrive() -> None:
    outputs = {"y": np.array([1.5, -0.0], np.float32), "label": np.array([b"one", b""], object)}

    check(Answers(form()), outputs, 2)


# Arrays of any kind…


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.complex64, ml_dtypes.bfloat16], ids=str)
def test_rows_that_are_not_in_one_piece_arrive(dtype: Any, as_content: bool) -> None:
    square = np.arange(36).astype(dtype).reshape(6, 6)

    for rows in (square.T, square[:, ::2], square[::-1], square[::2], square[:, 1]):
        for outputs in ({"y": rows}, {"y": rows, "z": rows}):
            check(Answers(form(as_content=as_content)), outputs, 3, as_content=as_content)


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4", ">u2"])
def test_rows_in_the_other_byte_order_arrive(dtype: str, as_content: bool) -> None:
    rows = np.array([[1.0, 2.0], [3.0, 258.0]], dtype)
    answers = Answers(form(as_content=as_content))

    for other in (rows.astype(rows.dtype.newbyteorder("=")), rows):
        responses = send(answers, {"y": other}, 2)

        received = [decode(response.outputs["y"], "y").tolist() for response in responses]
        assert received == [[[1, 2]], [[3, 258]]]


def test_rows_that_may_not_be_written_to_arrive() -> None:
    rows = np.arange(4, dtype=np.float32)
    rows.setflags(write=False)

    check(Answers(form()), {"y": rows}, 2)


@pytest.mark.parametrize("as_content", [False, True])
def test_rows_without_elements_arrive(as_content: bool) -> None:
    empty, full = np.zeros((4, 0, 2), np.float32), np.ones((4, 1), np.float32)
    answers = Answers(form(as_content=as_content))

    for outputs in ({"y": empty}, {"y": full}, {"y": empty, "z": full}):
        check(answers, outputs, 2, as_content=as_content)


# One call…


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize(
    "array",
    [
        np.array(1.5, np.float32),
        np.array(-7, np.int64),
        np.array(b"text", object),
        np.array(False),
        np.arange(7, dtype=np.float32),
        np.zeros((0, 3), np.float32),
    ],
    ids=["a number", "an integer", "a string", "a truth", "seven", "none"],
)
def test_an_answer_to_one_call_is_all_of_an_output_whatever_its_shape(
    array: np.ndarray, as_content: bool
) -> None:
    rows = np.array([[1.0, 2.0]], np.float32)

    for outputs in ({"y": array}, {"y": array, "z": rows}):
        (response,) = send(Answers(form(as_content=as_content)), outputs, 1)

        alone = parse(serialize(ID, "sign", outputs, as_content=as_content))
        assert texts([response]) == texts([alone])


def test_an_output_that_was_a_number_may_be_rows_next_time() -> None:
    answers = Answers(form())
    shapes: list[tuple[int, ...]] = [(), (1,), (3,), (1, 1), (), (2, 2)]

    received = [
        decode(send(answers, {"y": np.ones(shape, np.float32)}, 1)[0].outputs["y"], "y").shape
        for shape in shapes
    ]

    assert received == shapes


def test_no_outputs_are_an_empty_answer() -> None:
    (response,) = send(Answers(form()), {}, 1)

    assert texts([response]) == texts([parse(serialize(ID, "sign", {}, as_content=False))])


# What an answer says besides…


def test_an_answer_says_by_which_version_and_signature_it_was_made() -> None:
    outputs: Mapping[str, np.ndarray] = {"y": np.ones((4, 3), np.float32)}

    responses = send(Answers(form()), dict(outputs), 4)

    for response in responses:
        spec = response.model_spec
        assert (spec.name, spec.version.value, spec.signature_name) == ("m", 3, "sign")


@pytest.mark.parametrize("count", [1, 3])
def test_a_type_that_does_not_travel_is_the_answer_to_each(count: int) -> None:
    sent = Sent(count)
    outputs = {
        "y": np.ones(count, np.float32),
        "z": np.zeros(count, ml_dtypes.float8_e5m2),
    }

    Answers(form()).answer(sent.ids, outputs, Replies(sent.transport))

    for answer in sent.answers():
        assert isinstance(answer, tuple)
        assert answer[0] is StatusCode.UNIMPLEMENTED
        assert "float8_e5m2" in answer[1]


def test_an_error_is_the_answer_to_each() -> None:
    sent = Sent(2)

    Answers(form()).answer(sent.ids, UnavailableError("not now"), Replies(sent.transport))

    assert sent.answers() == [(StatusCode.UNAVAILABLE, "not now")] * 2


def test_after_a_type_that_does_not_travel_others_do() -> None:
    answers = Answers(form())
    sent = Sent(2)
    outputs = {"y": np.zeros(2, ml_dtypes.float8_e5m2)}
    answers.answer(sent.ids, outputs, Replies(sent.transport))

    check(answers, {"y": np.ones(2, np.float32)}, 2)
