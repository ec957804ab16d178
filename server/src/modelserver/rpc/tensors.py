"""TensorProto to numpy and back, with the rules that TensorFlow's own conversion has."""

import enum
import math
import sys
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from modelserver.errors import InvalidArgumentError, UnimplementedError
from modelserver.rpc.messages import TensorProto, TensorShapeProto

MAX_RANK = 32
"""More dimensions no array has with every numpy that is supported."""

MAX_REPEATED = 2**24
"""How many elements the last value of a tensor may stand for beyond its own: 64 MiB of floats. A
few bytes must not make the server allocate whatever their sender likes to claim."""


class DataType(enum.IntEnum):
    """TensorFlow's element types, numbers as on the wire, names as in its messages."""

    float = 1
    double = 2
    int32 = 3
    uint8 = 4
    int16 = 5
    int8 = 6
    string = 7
    complex64 = 8
    int64 = 9
    bool = 10
    bfloat16 = 14
    uint16 = 17
    complex128 = 18
    half = 19
    uint32 = 22
    uint64 = 23


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How elements of one type stand in a TensorProto without `tensor_content`.

    `field` holds them as `wire` values; each element of `dtype` is one or two of `unit`, which
    `wire` values are narrowed to: a half is the 16 bits in an int32, a complex64 two floats.
    """

    dtype: np.dtype[np.generic]
    field: str
    wire: np.dtype[np.generic]
    unit: np.dtype[np.generic]


def _encoding(
    dtype: DTypeLike, field: str, wire: DTypeLike | None = None, unit: DTypeLike | None = None
) -> _Encoding:
    return _Encoding(np.dtype(dtype), field, np.dtype(wire or dtype), np.dtype(unit or dtype))


_ENCODINGS = {
    DataType.float: _encoding(np.float32, "float_val"),
    DataType.double: _encoding(np.float64, "double_val"),
    DataType.half: _encoding(np.float16, "half_val", np.int32, np.uint16),
    DataType.bfloat16: _encoding(ml_dtypes.bfloat16, "half_val", np.int32, np.uint16),
    DataType.int8: _encoding(np.int8, "int_val", np.int32),
    DataType.int16: _encoding(np.int16, "int_val", np.int32),
    DataType.int32: _encoding(np.int32, "int_val"),
    DataType.int64: _encoding(np.int64, "int64_val"),
    DataType.uint8: _encoding(np.uint8, "int_val", np.int32),
    DataType.uint16: _encoding(np.uint16, "int_val", np.int32),
    DataType.uint32: _encoding(np.uint32, "uint32_val"),
    DataType.uint64: _encoding(np.uint64, "uint64_val"),
    DataType.bool: _encoding(np.bool_, "bool_val"),
    DataType.string: _encoding(np.object_, "string_val"),
    DataType.complex64: _encoding(np.complex64, "scomplex_val", np.float32, np.float32),
    DataType.complex128: _encoding(np.complex128, "dcomplex_val", np.float64, np.float64),
}
_ENCODINGS_BY_NUMBER = {int(data_type): encoding for data_type, encoding in _ENCODINGS.items()}
_DATA_TYPES = {encoding.dtype: data_type for data_type, encoding in _ENCODINGS.items()}


def data_type(dtype: np.dtype[np.generic]) -> DataType:
    """The wire's name for a numpy type.

    Raises:
        UnimplementedError: tensors of this type do not travel.

    """
    if dtype.kind == "S":
        return DataType.string
    found = _DATA_TYPES.get(dtype.newbyteorder("="))
    if found is None:
        raise UnimplementedError(f"Tensors of type {dtype} are not supported.")
    return found


def travels_raw(dtype: np.dtype[np.generic], *, as_content: bool) -> bool:
    """Whether the elements of an array of this type stand in a message as they do in memory, one
    after another, in as many bytes whatever their values are. False for types that do not travel.
    """
    known = _DATA_TYPES.get(dtype)
    if known is None or known is DataType.string:
        return False
    encoding = _ENCODINGS[known]
    # Integers in typed fields have variable length.
    return as_content or (encoding.wire == encoding.unit and encoding.wire.kind in "fb")


@dataclass(frozen=True, slots=True)
class Outline:
    """What a message claims to be. To be checked before `decode` looks at the values: a few bytes
    may claim to be very many of them.
    """

    encoding: _Encoding
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of the array's elements."""
        return self.encoding.dtype


def outline(proto: TensorProto, alias: str) -> Outline:
    """The outline of what a request sent for the input `alias`. Raises as `decode` does."""
    encoding = _ENCODINGS_BY_NUMBER.get(proto.dtype)
    if encoding is None:
        raise _unsupported(proto.dtype, alias)
    shape = _shape(proto.tensor_shape, alias)
    # As numpy counts: an array without elements must have possible dimensions, too.
    if math.prod(filter(None, shape)) * encoding.dtype.itemsize > sys.maxsize:
        raise _parsing_error(alias, f"shape {list(shape)} is larger than an array can be")
    return Outline(encoding, shape)


def decode(proto: TensorProto, alias: str, known: Outline | None = None) -> np.ndarray:
    """The array that a request sent for the input `alias`; strings as an object array of bytes.
    `known` is its outline, where it has been made already.

    `tensor_content` is not copied, so such an array is read-only. In a typed field the last value
    stands for all that are missing, `MAX_REPEATED` at most, and no value at all for zeros.

    Raises:
        InvalidArgumentError: `tensor parsing error: ALIAS` with what does not fit.
        UnimplementedError: quantised types, resources, variants.

    """
    claim = known or outline(proto, alias)
    if proto.tensor_content:
        return _from_content(proto, claim.encoding, claim.shape, alias)
    return _from_field(proto, claim.encoding, claim.shape, alias)


def _unsupported(number: int, alias: str) -> InvalidArgumentError | UnimplementedError:
    if number == 0:
        return _parsing_error(alias, "it has no dtype")
    return UnimplementedError(
        f"Input {alias} has type number {number}, which is not supported: "
        f"send one of {', '.join(sorted(known.name for known in DataType))}."
    )


def _parsing_error(alias: str, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"tensor parsing error: {alias}: {reason}")


def _shape(proto: TensorShapeProto, alias: str) -> tuple[int, ...]:
    if len(proto.dim) > MAX_RANK:
        raise _parsing_error(alias, f"it has {len(proto.dim)} dimensions, {MAX_RANK} are possible")
    shape = tuple(dim.size for dim in proto.dim)
    if proto.unknown_rank or any(size < 0 for size in shape):
        raise _parsing_error(alias, "its shape is not fully defined")
    return shape


def _from_content(
    proto: TensorProto, encoding: _Encoding, shape: tuple[int, ...], alias: str
) -> np.ndarray:
    if encoding.dtype.hasobject:
        raise UnimplementedError(f"Input {alias} has strings in tensor_content: use string_val.")
    content = proto.tensor_content
    expected_bytes = math.prod(shape) * encoding.dtype.itemsize
    if len(content) != expected_bytes:
        raise _parsing_error(
            alias,
            f"tensor_content has {len(content)} bytes, shape {list(shape)} of "
            f"{DataType(proto.dtype).name} needs {expected_bytes}",
        )
    return np.frombuffer(content, encoding.dtype).reshape(shape)


def _from_field(
    proto: TensorProto, encoding: _Encoding, shape: tuple[int, ...], alias: str
) -> np.ndarray:
    sent = np.array(getattr(proto, encoding.field), dtype=encoding.wire)
    if (sent.size * encoding.unit.itemsize) % encoding.dtype.itemsize:
        raise _parsing_error(alias, f"{encoding.field} ends within an element")
    values = sent.astype(encoding.unit, copy=False).view(encoding.dtype)
    count = math.prod(shape)
    if values.size > count:
        raise _parsing_error(
            alias, f"{encoding.field} has {values.size} elements, shape {list(shape)} has {count}"
        )
    if count - values.size > MAX_REPEATED:
        raise _parsing_error(
            alias,
            f"{encoding.field} has {values.size} elements, shape {list(shape)} has {count}, and "
            f"the last may stand for {MAX_REPEATED} more at most",
        )
    if values.size < count:
        values = _repeat_last(values, count)
    return values.reshape(shape)


def _repeat_last(values: np.ndarray, count: int) -> np.ndarray:
    missing = b"" if values.dtype.hasobject else values.dtype.type(0)
    repeated = np.full(count, values[-1] if values.size else missing, dtype=values.dtype)
    repeated[: values.size] = values
    return repeated


def encode(array: np.ndarray, *, as_content: bool = False) -> TensorProto:
    """The message for an array: elements in the typed field, or as raw bytes in `tensor_content`.

    Strings stand in `string_val` in both cases: most clients cannot read them otherwise.

    Raises:
        UnimplementedError: see `data_type`.

    """
    kind = data_type(array.dtype)
    proto = TensorProto(dtype=kind, tensor_shape=encode_shape(array.shape))
    encoding = _ENCODINGS[kind]
    if kind is DataType.string:
        proto.string_val.extend(array.reshape(-1).tolist())
        return proto
    native = np.ascontiguousarray(array, dtype=encoding.dtype).reshape(-1)
    if as_content:
        proto.tensor_content = native.tobytes()
    else:
        getattr(proto, encoding.field).extend(native.view(encoding.unit).tolist())
    return proto


def encode_shape(shape: tuple[int | None, ...] | None) -> TensorShapeProto:
    """The message for a shape: a dimension None is -1 there, a shape None is unknown rank."""
    if shape is None:
        return TensorShapeProto(unknown_rank=True)
    dims = [TensorShapeProto.Dim(size=-1 if size is None else size) for size in shape]
    return TensorShapeProto(dim=dims)
