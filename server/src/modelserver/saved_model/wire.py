"""Walks the fields of a protobuf message without its schema, and without reading its contents.

A SavedModel's graph may be gigabytes; whether it is there to its end is told by the lengths alone.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_MAX_VARINT_BYTES = 10


class MalformedError(ValueError):
    """The bytes end early or are not what they should be."""


class Field(NamedTuple):
    """One field as it stands in a message: `value` is the integer of a varint field and 0 for
    others; the payload takes `size` bytes of the file from `start` on.
    """

    number: int
    value: int
    start: int
    size: int


def walk_fields(file: BinaryIO, start: int, size: int) -> Iterator[Field]:
    """Yield the fields of the message that takes `size` bytes of `file` from `start` on.

    The caller may move the file's position between fields. Raises MalformedError where a field
    would go past the message's end, or is of no known kind.
    """
    position, end = start, start + size
    while position < end:
        file.seek(position)
        field = _read_field(file)
        position = field.start + field.size
        if position > end:
            raise MalformedError(
                f"field {field.number} ends {position - end} bytes after its message"
            )
        yield field


def read_varint(file: BinaryIO) -> int:
    """Read a base-128 integer at the file's position. Raises MalformedError at the file's end."""
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        byte = file.read(1)
        if not byte:
            raise MalformedError("the file ends inside a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:  # the high bit says that more follow
            return value
    raise MalformedError("a number is too long")


def file_size(file: BinaryIO) -> int:
    """Return the size of an open file in bytes; its position moves to the end."""
    return file.seek(0, os.SEEK_END)


def _read_field(file: BinaryIO) -> Field:
    number, kind = divmod(read_varint(file), 8)
    if number == 0:
        raise MalformedError("a field has number 0")
    value, size = _read_value_and_size(file, kind)
    return Field(number, value, file.tell(), size)


def _read_value_and_size(file: BinaryIO, kind: int) -> tuple[int, int]:
    match kind:
        case 0:
            return read_varint(file), 0
        case 1:
            return 0, 8
        case 2:
            return 0, read_varint(file)
        case 5:
            return 0, 4
    raise MalformedError(f"a field is of unknown kind {kind}")
