from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelserver.errors import InvalidArgumentError, UnimplementedError
from modelserver.rpc.messages import TensorProto, TensorShapeProto
from modelserver.rpc.tensors import (
    MAX_RANK,
    MAX_REPEATED,
    DataType,
    data_type,
    decode,
    encode,
    encode_shape,
    outline,
)

NUMERIC = [
    *("float16", "float32", "float64", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]


def proto(kind: DataType, shape: tuple[int, ...], **fields: Any) -> TensorProto:
    return TensorProto(dtype=kind, tensor_shape=encode_shape(shape), **fields)


def arrays() -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    return st.sampled_from(NUMERIC).flatmap(lambda dtype: hnp.arrays(np.dtype(dtype), shapes))


@given(array=arrays(), as_content=st.booleans())
def test_an_array_survives_the_wire(array: np.ndarray, as_content: bool) -> None:
    sent = encode(array, as_content=as_content).SerializeToString()

    received = decode(TensorProto.FromString(sent), "x")

    assert received.dtype == array.dtype
    np.testing.assert_array_equal(received, array, strict=True)


@given(
    array=hnp.arrays(np.uint16, hnp.array_shapes(max_dims=2, max_side=4)), as_content=st.booleans()
)
def test_bfloat16_survives_bit_by_bit(array: np.ndarray, as_content: bool) -> None:
    sent = encode(array.view(ml_dtypes.bfloat16), as_content=as_content)

    received = decode(sent, "x")

    assert received.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(received.view(np.uint16), array, strict=True)


@given(texts=st.lists(st.binary(max_size=5), max_size=6), as_content=st.booleans())
def test_strings_survive_as_bytes(texts: list[bytes], as_content: bool) -> None:
    array = np.array(texts, dtype=object)

    received = decode(encode(array, as_content=as_content), "x")

    assert received.dtype == object
    assert received.tolist() == texts


def test_fixed_length_byte_strings_are_sent_as_strings() -> None:
    sent = encode(np.array([[b"ab", b"c"]]))

    assert sent.dtype == DataType.string
    assert list(sent.string_val) == [b"ab", b"c"]


def test_elements_go_to_the_typed_field_by_default() -> None:
    sent = encode(np.array([[1, 2]], dtype=np.int64))

    assert sent == proto(DataType.int64, (1, 2), int64_val=[1, 2])


def test_elements_go_to_the_content_when_asked() -> None:
    sent = encode(np.array([1.5], dtype=np.float32), as_content=True)

    assert sent == proto(DataType.float, (1,), tensor_content=b"\x00\x00\xc0?")


def test_an_array_of_the_other_byte_order_is_sent_right() -> None:
    sent = encode(np.array([1, 2], dtype=">i4"), as_content=True)

    assert decode(sent, "x").tolist() == [1, 2]


def test_a_slice_with_strides_is_sent_right() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2]

    assert decode(encode(array), "x").tolist() == [[0.0, 2.0], [3.0, 5.0]]


def test_content_is_not_copied() -> None:
    content = np.arange(3, dtype=np.float32).tobytes()

    array = decode(proto(DataType.float, (3,), tensor_content=content), "x")

    assert not array.flags.owndata
    assert not array.flags.writeable


def test_the_last_value_stands_for_the_missing_ones() -> None:
    array = decode(proto(DataType.int32, (2, 2), int_val=[7, 8]), "x")

    assert array.tolist() == [[7, 8], [8, 8]]


def test_the_last_value_stands_for_a_limited_number_of_others() -> None:
    most = decode(proto(DataType.bool, (MAX_REPEATED + 1,), bool_val=[True]), "x")

    assert most.all()
    with pytest.raises(InvalidArgumentError) as caught:
        decode(proto(DataType.bool, (MAX_REPEATED + 2,), bool_val=[True]), "images")
    assert caught.value.message == (
        "tensor parsing error: images: bool_val has 1 elements, shape [16777218] has 16777218, and "
        "the last may stand for 16777216 more at most"
    )


def test_an_outline_has_the_type_and_shape_without_looking_at_the_values() -> None:
    claim = outline(proto(DataType.float, (1 << 40, 3), float_val=[1]), "x")

    assert (claim.dtype, claim.shape) == (np.float32, (1 << 40, 3))


def test_an_outline_of_strings_has_their_type() -> None:
    assert outline(proto(DataType.string, (2,), string_val=[b"a", b"b"]), "x").dtype == object


def test_the_last_string_stands_for_the_missing_ones() -> None:
    array = decode(proto(DataType.string, (3,), string_val=[b"a"]), "x")

    assert array.tolist() == [b"a", b"a", b"a"]


def test_the_last_complex_value_stands_for_the_missing_ones() -> None:
    array = decode(proto(DataType.complex64, (2,), scomplex_val=[1, 2]), "x")

    assert array.tolist() == [1 + 2j, 1 + 2j]


@pytest.mark.parametrize(
    ("kind", "zeros"), [(DataType.float, [0.0, 0.0]), (DataType.string, [b"", b""])]
)
def test_no_values_at_all_are_zeros(kind: DataType, zeros: list[object]) -> None:
    assert decode(proto(kind, (2,)), "x").tolist() == zeros


def test_a_scalar_has_no_dimensions() -> None:
    array = decode(proto(DataType.float, (), float_val=[2.5]), "x")

    assert array.shape == ()
    assert array == 2.5


def test_an_empty_tensor_keeps_its_shape() -> None:
    assert decode(proto(DataType.float, (0, 3)), "x").shape == (0, 3)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (
            proto(DataType.float, (2, 2), tensor_content=b"1234"),
            "tensor_content has 4 bytes, shape [2, 2] of float needs 16",
        ),
        (
            proto(DataType.float, (2,), float_val=[1, 2, 3]),
            "float_val has 3 elements, shape [2] has 2",
        ),
        (
            proto(DataType.complex64, (1,), scomplex_val=[1]),
            "scomplex_val ends within an element",
        ),
        (TensorProto(tensor_shape=encode_shape(())), "it has no dtype"),
        (proto(DataType.float, (-1,), float_val=[1]), "its shape is not fully defined"),
        (
            proto(DataType.float, (1 << 62, 4), float_val=[1]),
            "shape [4611686018427387904, 4] is larger than an array can be",
        ),
        (
            proto(DataType.float, (0, 1 << 62), float_val=[]),
            "shape [0, 4611686018427387904] is larger than an array can be",
        ),
        (
            proto(DataType.float, (1,) * (MAX_RANK + 1), float_val=[1]),
            "it has 33 dimensions, 32 are possible",
        ),
        (
            TensorProto(dtype=1, tensor_shape=TensorShapeProto(unknown_rank=True)),
            "its shape is not fully defined",
        ),
    ],
)
def test_a_malformed_tensor_is_refused_by_its_alias(sent: TensorProto, reason: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        decode(sent, "images")

    assert caught.value.message == f"tensor parsing error: images: {reason}"


def test_an_array_of_the_highest_rank_is_read() -> None:
    assert decode(proto(DataType.float, (1,) * MAX_RANK, float_val=[1]), "x").ndim == MAX_RANK


@pytest.mark.parametrize("number", [11, 12, 13, 15, 16, 20, 21, 101])
def test_quantised_and_other_exotic_types_are_refused(number: int) -> None:
    with pytest.raises(UnimplementedError, match=f"Input x has type number {number}, which is not"):
        decode(TensorProto(dtype=number), "x")


def test_strings_in_tensor_content_are_refused() -> None:
    with pytest.raises(UnimplementedError, match="Input x has strings in tensor_content"):
        decode(proto(DataType.string, (1,), tensor_content=b"\x01a"), "x")


def test_a_numpy_type_without_a_wire_type_is_refused() -> None:
    with pytest.raises(UnimplementedError, match=r"Tensors of type datetime64\[s\] are not"):
        data_type(np.dtype("datetime64[s]"))


def test_the_numbers_of_the_types_are_tensorflow_s() -> None:
    values = TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_name

    assert {kind.name: kind.value for kind in DataType} == {
        kind.name: values[f"DT_{kind.name.upper()}"].number for kind in DataType
    }


def test_unknown_dimensions_and_ranks_are_told() -> None:
    assert [dim.size for dim in encode_shape((None, 3)).dim] == [-1, 3]
    assert encode_shape(None).unknown_rank
