"""PredictTemplates: a request that is known by its bytes is what a parser would make of it."""

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from modelserver.core.handle import ServableHandle
from modelserver.core.servable import ServableId, ServableRequest
from modelserver.errors import ServingError
from modelserver.inference.direct import DirectPredictor
from modelserver.inference.predictor import AsyncPredictor
from modelserver.inference.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from modelserver.rpc.messages import ModelSpec, PredictRequest, TensorProto
from modelserver.rpc.model_spec import servable_request
from modelserver.rpc.predict_request import to_prediction
from modelserver.rpc.predict_template import (
    MAX_TEMPLATES,
    PredictTemplate,
    PredictTemplates,
    make_template,
)
from modelserver.rpc.tensors import DataType, encode, encode_shape
from modelserver.testing.clock import ManualClock
from modelserver.testing.executor import InlineExecutor
from modelserver.testing.predictor import FakePredictor

FLOAT = np.dtype(np.float32)
DTYPES = {
    kind.name: np.dtype(getattr(ml_dtypes, kind.name, None) or _type)
    for kind, _type in {
        DataType.float: np.float32,
        DataType.double: np.float64,
        DataType.half: np.float16,
        DataType.bfloat16: ml_dtypes.bfloat16,
        DataType.int8: np.int8,
        DataType.int16: np.int16,
        DataType.int32: np.int32,
        DataType.int64: np.int64,
        DataType.uint8: np.uint8,
        DataType.uint16: np.uint16,
        DataType.uint32: np.uint32,
        DataType.uint64: np.uint64,
        DataType.bool: np.bool_,
        DataType.complex64: np.complex64,
        DataType.complex128: np.complex128,
    }.items()
}
"""Every type that has a length, by the name of the signature that takes it."""


def signature(name: str, dtype: np.dtype[Any], *aliases: str) -> Signature:
    spec = TensorSpec("t:0", dtype, None)
    inputs = dict.fromkeys(aliases or ("x",), spec)
    return Signature(name, inputs, outputs={"y": spec, "z": spec})


SIGNATURES = {
    DEFAULT_SIGNATURE: signature(DEFAULT_SIGNATURE, FLOAT),
    "pair": signature("pair", FLOAT, "x", "x2"),
    "string": signature("string", np.dtype(object)),
    **{name: signature(name, dtype) for name, dtype in DTYPES.items()},
}


def make_predictor() -> DirectPredictor:
    model = FakePredictor(signatures=SIGNATURES.values())
    return DirectPredictor(model, InlineExecutor(), ManualClock())


PREDICTOR = make_predictor()


def make(body: bytes, predictor: DirectPredictor = PREDICTOR) -> PredictTemplate | None:
    """The template of a body that is a right request."""
    request = PredictRequest.FromString(body)
    prediction = to_prediction(request, predictor.signatures, None)
    handle: ServableHandle[AsyncPredictor] = ServableHandle(
        ServableId("m", 1), predictor, lambda: None
    )
    with handle:
        return make_template(body, request, prediction, handle, as_content=False)


def learn(templates: PredictTemplates, body: bytes) -> PredictTemplate | None:
    """As the service does with what no template fits."""
    template = make(body)
    if template is not None:
        templates.add(body, PredictRequest.FromString(body), template)
    return template


def knowing(body: bytes) -> tuple[PredictTemplates, PredictTemplate]:
    templates = PredictTemplates()
    template = learn(templates, body)
    assert template is not None
    return templates, template


def knows(templates: PredictTemplates, body: bytes) -> bool:
    known, unknown = templates.sort([body])
    assert [*known.values(), unknown] == [[0], []] or (not known and unknown == [0])
    return bool(known)


# Bodies, field by field…


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, payload: bytes) -> bytes:
    """A field of bytes, a string or a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def entry(alias: str, tensor: bytes) -> bytes:
    """One entry of `inputs`."""
    return field(2, field(1, alias.encode()) + field(2, tensor))


def spec(**fields: Any) -> bytes:
    return PredictRequest(model_spec=ModelSpec(name="m", **fields)).SerializeToString()


def with_content(array: np.ndarray) -> bytes:
    return encode(array, as_content=True).SerializeToString()


def in_fields(array: np.ndarray) -> bytes:
    return encode(array).SerializeToString()


def floats(*shape: int, start: float = 0.5) -> np.ndarray:
    count = int(np.prod(shape))
    return (np.arange(count, dtype=np.float32) + np.float32(start)).reshape(shape)


OUTPUT_FILTER = field(3, b"y")


# What is known…


@pytest.mark.parametrize("write", [with_content, in_fields])
@pytest.mark.parametrize("tail", [b"", OUTPUT_FILTER])
def test_the_same_request_with_other_values_is_known(
    write: Callable[[np.ndarray], bytes], tail: bytes
) -> None:
    def body(start: float) -> bytes:
        return spec() + entry("x", write(floats(2, 3, start=start))) + tail

    templates, template = knowing(body(0.5))

    known, unknown = templates.sort([body(7.0)])

    assert known == {template: [0]}
    assert unknown == []
    assert values_in(body(7.0), template) == [floats(2, 3, start=7.0).tobytes()]


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_that_has_a_length_is_known_by_its_content(name: str) -> None:
    values = np.arange(32).astype(DTYPES[name])
    others = values[::-1].copy()

    templates, _ = knowing(spec(signature_name=name) + entry("x", with_content(values)))

    assert knows(templates, spec(signature_name=name) + entry("x", with_content(others)))


@pytest.mark.parametrize("name", ["float", "double"])
def test_doubles_and_floats_are_known_by_their_fields_too(name: str) -> None:
    values = np.arange(32).astype(DTYPES[name])
    others = values[::-1].copy()

    templates, _ = knowing(spec(signature_name=name) + entry("x", in_fields(values)))

    assert knows(templates, spec(signature_name=name) + entry("x", in_fields(others)))


def test_a_template_says_what_the_request_says() -> None:
    version = spec(signature_name="float", version={"value": 3})
    tail = field(3, b"z") + field(3, b"y")
    _, template = knowing(version + entry("x", with_content(floats(3, 2))) + tail)

    form = template.form

    assert template.request == ServableRequest.specific("m", 3)
    assert template.predictor() is PREDICTOR
    assert form.signature is SIGNATURES["float"]
    (known,) = form.inputs
    assert (known.alias, known.dtype, known.shape, known.num_bytes) == ("x", FLOAT, (3, 2), 24)
    assert list(form.output_names) == ["z", "y"]
    assert form.num_rows == 3


def test_bodies_are_sorted_by_template_in_their_order() -> None:
    def two(start: float) -> bytes:
        return spec() + entry("x", with_content(floats(2, 4, start=start)))

    def five(start: float) -> bytes:
        return spec() + entry("x", with_content(floats(5, start=start)))

    templates = PredictTemplates()
    of_two, of_five = learn(templates, two(0)), learn(templates, five(0))

    known, unknown = templates.sort([two(1), five(2), b"?", two(3), b"", five(4), two(5)])

    assert known == {of_two: [0, 3, 6], of_five: [1, 5]}
    assert unknown == [2, 4]


def test_no_bodies_are_no_work() -> None:
    assert PredictTemplates().sort([]) == ({}, [])


# What is not…


BODY = spec() + entry("x", with_content(floats(4))) + OUTPUT_FILTER


@given(place=st.integers(0, len(BODY) - 1), change=st.integers(1, 255))
def test_another_byte_outside_of_the_values_is_another_request(place: int, change: int) -> None:
    templates, template = knowing(BODY)
    is_value = any(place in holes for holes in holes_of(template))
    changed = bytearray(BODY)
    changed[place] ^= change

    assert knows(templates, bytes(changed)) == is_value


@pytest.mark.parametrize(
    "other",
    [BODY[:-1], BODY + b"\0", BODY[1:], BODY[: len(BODY) // 2], BODY * 2, b""],
    ids=["a byte less", "a byte more", "from the second byte", "half", "twice", "nothing"],
)
def test_another_length_is_another_request(other: bytes) -> None:
    templates, _ = knowing(BODY)

    assert not knows(templates, other)


def test_a_request_of_a_few_bytes_has_a_template_too() -> None:
    templates, _ = knowing(spec() + entry("x", with_content(np.float32([5.0]))))

    assert knows(templates, spec() + entry("x", with_content(np.float32([7.0]))))


@given(body=st.binary(max_size=2 * len(BODY)))
def test_what_is_no_request_is_never_known(body: bytes) -> None:
    templates, _ = knowing(BODY)

    assert not knows(templates, body)
    assert not knows(templates, BODY[:20] + body)


def test_a_request_whose_content_is_shorter_than_its_shape_is_not_known() -> None:
    """It has the length of a right one, but the bytes are elsewhere."""
    templates, _ = knowing(BODY)
    tensor = TensorProto(dtype=1, tensor_shape=encode_shape((4,)), tensor_content=b"1" * 12)
    body = spec() + entry("x", tensor.SerializeToString())
    body += field(3, b"y" * (len(BODY) - len(body) - 2))

    assert len(body) == len(BODY)
    assert not knows(templates, body)


@pytest.mark.parametrize(
    "body",
    [
        spec(signature_name="int32") + entry("x", in_fields(np.arange(64, dtype=np.int32))),
        spec(signature_name="bfloat16") + entry("x", in_fields(np.ones(64, ml_dtypes.bfloat16))),
        spec(signature_name="string") + entry("x", in_fields(np.array([b"0123456789" * 4], "O"))),
        spec(signature_name="pair")
        + entry("x", with_content(floats(8)))
        + entry("x2", b"\x08\x01"),
        spec(signature_name="complex128") + entry("x", with_content(np.array(1 + 1j))),
        spec() + entry("x", b"\x08\x01\x12\x04\x12\x02\x08\x08" + field(5, b"\0\0\xa0\x40")),
        spec() + entry("x", b"\x08\x01\x12\x04\x12\x02\x08\x04" + b"\x2d\0\0\xa0\x40" * 4),
        spec() + entry("x", with_content(np.zeros((0, 4), np.float32))),
    ],
    ids=[
        "integers in fields",
        "halves in fields",
        "strings",
        "an input without values",
        "no dimensions",
        "one value that stands for all",
        "values that are not packed",
        "no elements",
    ],
)
def test_a_request_whose_values_do_not_stand_in_one_piece_makes_no_template(body: bytes) -> None:
    assert make(body) is None


# Where the values' bytes stand more than once…


def test_a_field_before_with_the_same_bytes_is_not_taken_for_the_values() -> None:
    def body(values: np.ndarray) -> bytes:
        client_id = field(6, floats(4).tobytes())
        return spec() + client_id + entry("x", with_content(values)) + OUTPUT_FILTER

    templates = PredictTemplates()
    template = learn(templates, body(floats(4)))

    known, _ = templates.sort([body(floats(4, start=9.0))])

    for found in known:
        check(found, body(floats(4, start=9.0)))
    assert template is None or known


def test_a_field_behind_with_the_same_bytes_is_not_taken_for_the_values() -> None:
    content = floats(4).tobytes()
    body = spec() + entry("x", with_content(floats(4))) + field(6, content)

    template = make(body)

    if template is not None:
        check(template, body)
        check(template, replace(body, template, bytes(16)))


def test_values_in_a_field_that_is_not_its_types_are_not_taken_for_its_own() -> None:
    values = np.full(4, 1.5, np.float64)
    tensor = TensorProto.FromString(in_fields(values))
    tensor.float_val.extend(np.frombuffer(values.tobytes(), np.float32))
    body = spec(signature_name="double") + entry("x", tensor.SerializeToString())

    template = make(body)

    assert template is not None
    check(template, replace(body, template, bytes(32)))


def test_of_two_entries_of_one_input_the_last_one_counts() -> None:
    first, last = entry("x", with_content(floats(4))), entry("x", with_content(floats(4, start=9)))

    for body in (spec() + first + last, spec() + first + first):
        _, template = knowing(body)

        assert template.offsets == [len(body) - 16]
        check(template, replace(body, template, bytes(16)))


def test_of_two_contents_of_one_tensor_the_last_one_counts() -> None:
    tensor = with_content(floats(4)) + field(4, floats(4, start=9).tobytes())
    body = spec() + entry("x", tensor)

    _, template = knowing(body)

    assert template.offsets == [len(body) - 16]
    check(template, replace(body, template, bytes(16)))


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_request_whose_content_is_its_own_first_bytes_is_no_failure(start: int) -> None:
    content = b"z" * 16
    tensor = TensorProto(dtype=1, tensor_shape=encode_shape((4,)), tensor_content=content)
    body = spec() + entry("x", tensor.SerializeToString()) + OUTPUT_FILTER
    body = body.replace(content, body[start : start + 16])

    template = make(body)

    if template is not None:
        check(template, body)
        check(template, replace(body, template, bytes(16)))


@pytest.mark.parametrize("value", [0, 1])
def test_values_that_are_what_is_tried_in_their_place_are_known(value: int) -> None:
    tensor = TensorProto(
        dtype=1, tensor_shape=encode_shape((4,)), tensor_content=bytes([value]) * 16
    )
    body = spec() + entry("x", tensor.SerializeToString())

    templates, template = knowing(body)

    assert knows(templates, replace(body, template, b"0123456789abcdef"))


def test_values_that_are_no_numbers_are_known() -> None:
    nan = np.full(4, np.nan, np.float32)

    for write in (with_content, in_fields):
        templates, _ = knowing(spec() + entry("x", write(nan)))

        assert knows(templates, spec() + entry("x", write(floats(4))))


# Several inputs…


def pair(x: np.ndarray, x2: np.ndarray, between: bytes = b"", behind: bytes = b"") -> bytes:
    inputs = [entry("x2", with_content(x2)), entry("x", with_content(x))]
    return spec(signature_name="pair") + between.join(inputs) + behind


PAIR = pair(floats(2, 3), floats(2, start=40), field(6, b"me"), OUTPUT_FILTER)


def test_a_request_with_several_inputs_is_known_by_all_but_the_values_of_each() -> None:
    templates, template = knowing(PAIR)
    other = pair(floats(2, 3, start=9), floats(2), field(6, b"me"), OUTPUT_FILTER)

    assert knows(templates, other)
    assert [known.alias for known in template.form.inputs] == ["x", "x2"]
    assert values_in(other, template) == [floats(2, 3, start=9).tobytes(), floats(2).tobytes()]


@given(place=st.integers(0, len(PAIR) - 1), change=st.integers(1, 255))
def test_another_byte_outside_of_all_values_is_another_request(place: int, change: int) -> None:
    templates, template = knowing(PAIR)
    is_value = any(place in hole for hole in holes_of(template))
    changed = bytearray(PAIR)
    changed[place] ^= change

    assert knows(templates, bytes(changed)) == is_value


def test_one_input_may_stand_in_fields_and_the_other_as_content() -> None:
    def body(start: float) -> bytes:
        inputs = entry("x", in_fields(floats(4, start=start))), entry("x2", with_content(floats(4)))
        return spec(signature_name="pair") + b"".join(inputs)

    templates, _ = knowing(body(0.5))

    assert knows(templates, body(9.0))


def test_inputs_with_the_same_values_are_not_taken_for_each_other() -> None:
    for same in (floats(4), np.zeros(4, np.float32)):
        body = pair(same, same)

        template = make(body)

        assert template is not None
        check(template, replace(body, template, bytes(16), b"\1" * 16))


@pytest.mark.parametrize(
    "body",
    [pair(floats(2, 3), floats(3)), pair(floats(6), floats(6)[:5]), pair(floats(2), floats(1)[0])],
    ids=["rows", "elements", "dimensions"],
)
def test_inputs_of_different_numbers_of_rows_make_no_template(body: bytes) -> None:
    assert make(body) is None


def test_several_inputs_are_found_when_parsed_whatever_order_they_come_in() -> None:
    templates, template = knowing(PAIR)
    x, x2 = floats(2, 3, start=7), floats(2, start=70)
    inputs = entry("x", with_content(x)), entry("x2", with_content(x2))
    body = b"".join([*inputs, OUTPUT_FILTER, field(6, b"me"), spec(signature_name="pair")])

    assert not knows(templates, body)
    assert templates.find(PredictRequest.FromString(body)) == (
        template,
        [x.tobytes(), x2.tobytes()],
    )


# Whatever is recognised…


def holes_of(template: PredictTemplate) -> list[range]:
    """Where the values stand."""
    inputs = template.form.inputs
    return [
        range(offset, offset + known.num_bytes)
        for offset, known in zip(template.offsets, inputs, strict=True)
    ]


def values_in(body: bytes, template: PredictTemplate) -> list[bytes]:
    return [body[hole.start : hole.stop] for hole in holes_of(template)]


def replace(body: bytes, template: PredictTemplate, *values: bytes) -> bytes:
    for hole, own in zip(holes_of(template), values, strict=True):
        body = body[: hole.start] + own + body[hole.start + len(own) :]
    return body


def check(template: PredictTemplate, body: bytes, values: list[bytes] | None = None) -> None:
    """What a parser makes of `body` is what the template says, its values where that says."""
    request = PredictRequest.FromString(body)
    prediction = to_prediction(request, PREDICTOR.signatures, None)
    form = template.form
    assert servable_request(request.model_spec) == template.request
    assert prediction.signature is form.signature
    assert list(prediction.output_names) == list(form.output_names)
    assert prediction.inputs.keys() == {known.alias for known in form.inputs}
    for known, own in zip(form.inputs, values or values_in(body, template), strict=True):
        array = prediction.inputs[known.alias]
        assert (array.dtype, array.shape) == (known.dtype, known.shape)
        if request.inputs[known.alias].tensor_content:
            assert array.tobytes() == own
        else:  # Python's floats keep that something is not a number, but not its every bit
            found = np.frombuffer(own, known.dtype).reshape(known.shape)
            np.testing.assert_array_equal(found, array)


@dataclass(frozen=True)
class Message:
    """A body with room for other values: `tensor` writes them, the rest is always the same."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    write: Callable[[bytes], bytes]

    @property
    def num_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize


def shuffled(draw: st.DrawFn, fields: Sequence[bytes]) -> list[bytes]:
    return draw(st.permutations(fields)) if draw(st.booleans()) else list(fields)


def bits(values: bytes, dtype: np.dtype[Any]) -> np.ndarray:
    raw = np.frombuffer(values, np.uint8)
    return (raw & 1).view(np.bool_) if dtype == np.bool_ else raw.view(dtype)


@st.composite
def specs(draw: st.DrawFn, name: str) -> bytes:
    fields: dict[str, Any] = draw(
        st.sampled_from([{}, {"version": {"value": 3}}, {"version_label": "stable"}])
    )
    if name == "float" and draw(st.booleans()):
        name = ""  # which means the default one, for floats too
    return spec(signature_name=name, **fields)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    name = draw(st.sampled_from(["float", "float", "double", *DTYPES]))
    dtype = DTYPES[name]
    shape = (draw(st.integers(1, 5)), *draw(st.lists(st.integers(4, 9), max_size=2)))
    kind, has_content = DataType[name], draw(st.sampled_from([True, True, False]))
    tensor_fields = [
        TensorProto(dtype=kind).SerializeToString(),
        TensorProto(tensor_shape=encode_shape(shape)).SerializeToString(),
    ]
    place = draw(st.integers(0, 2))
    model = draw(specs(name))
    unknown = draw(st.lists(st.sampled_from([0, 1, 2]), max_size=2))
    filters = [field(3, f.encode()) for f in draw(st.sampled_from(["", "y", "zy"]))]
    order = draw(st.permutations(range(4))) if draw(st.booleans()) else (0, 1, 2, 3)
    is_twice, has_two = draw(st.booleans()), draw(st.integers(0, 9)) == 9

    def write(values: bytes) -> bytes:
        if has_content:
            sent = field(4, values)
        else:
            proto = encode(bits(values, dtype).reshape(shape))
            proto.ClearField("dtype")
            proto.ClearField("tensor_shape")
            sent = proto.SerializeToString()
        tensor = b"".join([*tensor_fields[:place], sent, *tensor_fields[place:]])
        inputs = entry("x", tensor)
        if is_twice:
            inputs = entry("x", with_content(floats(4))) + inputs
        if has_two:
            inputs += field(2, field(1, b"x2") + field(2, with_content(floats(1))))
        extra = b"".join(_unknown(kind, values, model) for kind in unknown)
        parts = [model, extra, inputs, b"".join(filters)]
        return b"".join(parts[number] for number in order)

    return Message(dtype, shape, write)


def _unknown(kind: int, values: bytes, model: bytes) -> bytes:
    """Something that no server asks for: a field of a later protocol, or the client's name."""
    return [field(1000, b"later"), field(6, values), field(5, model)][kind]


def acceptable(body: bytes) -> bool:
    try:
        request = PredictRequest.FromString(body)
        to_prediction(request, PREDICTOR.signatures, None)
    except (DecodeError, ServingError):
        return False
    return True


@st.composite
def contents(draw: st.DrawFn, message: Message) -> bytes:
    size = message.num_bytes
    like_the_header = (message.write(bytes(size)) * size)[:size]
    choices = [bytes(size), b"\1" * size, b"\xff" * size, like_the_header]
    random = st.binary(min_size=size, max_size=size)
    return draw(random | st.sampled_from(choices))


def check_known(templates: PredictTemplates, body: bytes) -> None:
    """Whatever `sort` and `find` say of a body, a parser says too."""
    known, unknown = templates.sort([body])
    for template, places in known.items():
        assert (places, unknown) == ([0], [])
        check(template, body)
    if acceptable(body):
        found = templates.find(PredictRequest.FromString(body))
        if found is not None:
            template, content = found
            check(template, body, content)


@given(data=st.data())
def test_a_request_that_is_known_is_what_a_parser_makes_of_it(data: st.DataObject) -> None:
    message = data.draw(messages())
    body = message.write(data.draw(contents(message)))
    assume(acceptable(body))
    templates = PredictTemplates()
    learn(templates, body)

    check_known(templates, body)
    for _ in range(4):
        check_known(templates, message.write(data.draw(contents(message))))


@given(data=st.data())
def test_a_known_request_of_several_inputs_is_what_a_parser_makes_of_it(
    data: st.DataObject,
) -> None:
    columns = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    fields = [spec(signature_name="pair"), field(1000, b"later"), OUTPUT_FILTER]
    order = data.draw(st.permutations(range(5)))
    writes = [data.draw(st.sampled_from([with_content, in_fields])) for _ in columns]

    def write(first: float, second: float) -> bytes:
        arrays = [floats(3, columns[0], start=first), floats(3, columns[1], start=second)]
        inputs = [entry(a, w(x)) for a, w, x in zip(("x", "x2"), writes, arrays, strict=True)]
        return b"".join((fields + inputs)[number] for number in order)

    starts = st.sampled_from([0.5, 1.5, 2.0, float("nan")])
    templates = PredictTemplates()
    for _ in range(4):
        body = write(data.draw(starts), data.draw(starts))
        check_known(templates, body)
        learn(templates, body)


@given(data=st.data())
def test_a_known_request_with_any_byte_changed_is_what_a_parser_makes_of_it(
    data: st.DataObject,
) -> None:
    message = data.draw(messages())
    body = message.write(data.draw(contents(message)))
    assume(acceptable(body))
    templates = PredictTemplates()
    learn(templates, body)

    for _ in range(4):
        changed = bytearray(body)
        changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        check_known(templates, bytes(changed))


@given(data=st.data())
@settings(max_examples=40)
def test_requests_that_were_learnt_one_after_the_other_are_told_apart(data: st.DataObject) -> None:
    templates = PredictTemplates()
    bodies = []
    for message in data.draw(st.lists(messages(), min_size=2, max_size=5)):
        bodies += [message.write(data.draw(contents(message))) for _ in range(2)]
        if acceptable(bodies[-1]):
            learn(templates, bodies[-1])

    known, unknown = templates.sort(bodies)

    assert sorted([place for places in known.values() for place in places] + unknown) == [
        *range(len(bodies))
    ]
    for template, places in known.items():
        assert places == sorted(places)
        for place in places:
            check(template, bodies[place])
    for body in bodies:
        check_known(templates, body)


# When it has been parsed…


def parsed(*fields: bytes) -> PredictRequest:
    return PredictRequest.FromString(b"".join(fields))


def test_a_request_that_is_written_in_another_order_is_found_when_parsed() -> None:
    templates, template = knowing(spec() + entry("x", with_content(floats(4))))
    others = floats(4, start=9.0)
    body = entry("x", with_content(others)) + spec()

    found = templates.find(PredictRequest.FromString(body))

    assert not knows(templates, body)
    assert found == (template, [others.tobytes()])


def test_looking_for_a_request_leaves_it_as_it_is() -> None:
    templates = PredictTemplates()
    request = parsed(spec(), entry("x", with_content(floats(4))))
    before = request.SerializeToString()

    templates.find(request)

    assert request.SerializeToString() == before


@pytest.mark.parametrize(
    "other",
    [
        spec() + entry("x", with_content(floats(5))),
        spec() + entry("x", with_content(floats(2, 2))),
        spec(signature_name="float") + entry("x", with_content(floats(4))),
        spec(version={"value": 1}) + entry("x", with_content(floats(4))),
        spec() + entry("x", with_content(floats(4))) + OUTPUT_FILTER,
        spec() + entry("x", in_fields(floats(4))),
        spec() + entry("x2", with_content(floats(4))),
        spec() + entry("x", with_content(floats(4))) + entry("x2", with_content(floats(4))),
        spec() + entry("x", with_content(floats(4).view(np.int32))),
        spec() + entry("x", b"\x08\x01\x12\x04\x12\x02\x08\x04" + field(4, bytes(12))),
        spec(),
    ],
    ids=[
        "more rows",
        "another shape",
        "another signature",
        "another version",
        "other outputs",
        "in fields",
        "another input",
        "one more input",
        "another type",
        "less content",
        "no input",
    ],
)
def test_a_request_that_differs_in_more_than_its_values_is_not_found(other: bytes) -> None:
    templates, _ = knowing(spec() + entry("x", with_content(floats(4))))

    assert templates.find(PredictRequest.FromString(other)) is None


def test_of_one_length_and_two_lengths_of_header_both_are_known_in_some_way() -> None:
    values = with_content(floats(4))
    long_header = spec() + entry("x", values)
    long_tail = entry("x", values) + spec(version_label="ab")
    long_header = field(1000, b"." * (len(long_tail) - len(long_header) - 3)) + long_header
    assert len(long_header) == len(long_tail)
    templates, _ = knowing(long_header)

    template = learn(templates, long_tail)

    assert knows(templates, long_header)
    assert templates.find(PredictRequest.FromString(long_tail)) == (template, [floats(4).tobytes()])


def test_requests_of_one_header_that_differ_behind_the_values_do_not_unseat_each_other() -> None:
    values = in_fields(floats(4))
    bodies = [spec() + entry("x", values) + field(3, output) for output in (b"y", b"z")]
    templates, _ = knowing(bodies[0])

    for _ in range(40):
        for body in bodies:
            if not knows(templates, body) and templates.wants(body):
                learn(templates, body)

    assert knows(templates, bodies[0])
    assert not templates.wants(bodies[1])


def test_a_request_takes_the_place_of_one_to_a_predictor_that_is_gone() -> None:
    predictor = make_predictor()
    bodies = [
        spec() + entry("x", in_fields(floats(4))) + field(3, output) for output in (b"y", b"z")
    ]
    templates = PredictTemplates()
    templates.add(bodies[0], PredictRequest.FromString(bodies[0]), make(bodies[0], predictor))

    del predictor
    gc.collect()
    learn(templates, bodies[1])

    assert knows(templates, bodies[1])


# How many, and for how long…


def known_in_any_way(templates: PredictTemplates, bodies: Iterable[bytes]) -> int:
    return sum(
        knows(templates, body) or templates.find(PredictRequest.FromString(body)) is not None
        for body in bodies
    )


def test_no_more_than_so_many_are_known() -> None:
    def body(number: int) -> bytes:
        return spec() + field(6, b"%05d" % number) + entry("x", with_content(floats(4)))

    templates = PredictTemplates()
    bodies = [body(number) for number in range(MAX_TEMPLATES + 10)]

    for one in bodies:
        learn(templates, one)

    assert 0 < len(templates) <= MAX_TEMPLATES
    assert 10 <= known_in_any_way(templates, bodies) <= MAX_TEMPLATES
    assert knows(templates, bodies[-1])


def test_those_that_can_only_be_found_when_parsed_are_no_more_than_so_many_either() -> None:
    def body(number: int) -> bytes:
        return spec() + entry("x", with_content(floats(4))) + field(6, b"%05d" % number)

    first = field(6, b"00000") + spec() + entry("x", with_content(floats(4)))
    templates, _ = knowing(first)
    bodies = [body(number) for number in range(MAX_TEMPLATES + 10)]
    assert {len(one) for one in bodies} == {len(first)}

    for one in bodies:
        learn(templates, one)

    assert 10 <= known_in_any_way(templates, bodies) <= MAX_TEMPLATES


def test_what_is_forgotten_is_known_no_more_and_can_be_learnt_again() -> None:
    other = spec() + entry("x", with_content(floats(5)))
    templates, template = knowing(BODY)
    learn(templates, other)

    templates.forget(template)
    has_forgotten = not knows(templates, BODY)
    templates.forget(template)
    learn(templates, BODY)

    assert has_forgotten
    assert knows(templates, BODY)
    assert knows(templates, other)


def test_what_is_forgotten_is_not_found_either() -> None:
    templates, template = knowing(BODY)

    templates.forget(template)

    assert templates.find(PredictRequest.FromString(BODY)) is None


def test_a_template_does_not_keep_its_predictor_alive() -> None:
    predictor = make_predictor()
    templates = PredictTemplates()
    template = make(BODY, predictor)
    assert template is not None
    templates.add(BODY, PredictRequest.FromString(BODY), template)

    del predictor
    gc.collect()

    assert template.predictor() is None


def batch_key(body: bytes) -> object:
    template = make(body)
    assert template is not None
    return template.batch_key


def test_requests_that_differ_in_rows_version_and_outputs_only_may_share_a_run() -> None:
    keys: Mapping[object, None] = dict.fromkeys(
        [
            batch_key(spec() + entry("x", with_content(floats(2, 3)))),
            batch_key(spec() + entry("x", with_content(floats(5, 3))) + OUTPUT_FILTER),
            batch_key(spec(version={"value": 1}) + entry("x", in_fields(floats(2, 3)))),
        ]
    )

    assert len(keys) == 1


@pytest.mark.parametrize(
    "other",
    [
        spec() + entry("x", with_content(floats(2, 4))),
        spec() + entry("x", with_content(floats(6))),
        spec(signature_name="float") + entry("x", with_content(floats(2, 3))),
    ],
    ids=["other columns", "other rank", "another signature"],
)
def test_requests_of_another_shape_or_signature_do_not_share_a_run(other: bytes) -> None:
    assert batch_key(spec() + entry("x", with_content(floats(2, 3)))) != batch_key(other)


def test_requests_to_another_predictor_do_not_share_a_run() -> None:
    other = make_predictor()

    template = make(BODY, other)

    assert template is not None
    assert template.batch_key != batch_key(BODY)
