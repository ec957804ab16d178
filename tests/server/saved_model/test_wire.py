"""Protobuf messages are walked by their lengths alone."""

import io

import pytest

from modelserver.saved_model.wire import MalformedError, read_varint, walk_fields

MESSAGE = (
    b"\x08\x96\x01"  # field 1: varint 150
    b"\x12\x03abc"  # field 2: three bytes
    b"\x1d\x01\x02\x03\x04"  # field 3: fixed 32 bits
    b"\x21\x01\x02\x03\x04\x05\x06\x07\x08"  # field 4: fixed 64 bits
)


def walk(content):
    return list(walk_fields(io.BytesIO(bytes(content)), 0, len(content)))


def test_fields_come_with_number_value_place_and_size():
    fields = walk(MESSAGE)

    assert fields == [(1, 150, 3, 0), (2, 0, 5, 3), (3, 0, 9, 4), (4, 0, 14, 8)]


def test_a_message_inside_another_is_walked_by_its_place():
    file = io.BytesIO(b"\x0a\x02\x08\x07")
    (outer,) = walk_fields(file, 0, 4)

    (inner,) = walk_fields(file, outer.start, outer.size)

    assert (inner.number, inner.value) == (1, 7)


def test_an_empty_message_has_no_fields():
    assert walk(b"") == []


@pytest.mark.parametrize("length", [1, 2, 4, 5, 6, 7, 9, 12, 14, 21])
def test_a_cut_message_is_malformed(length):
    with pytest.raises(MalformedError):
        walk(MESSAGE[:length])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\0\0", id="field number 0"),
        pytest.param(b"\x0b", id="a group"),
        pytest.param(b"\x0f", id="unknown kind"),
        pytest.param(b"\xff" * 12, id="endless number"),
    ],
)
def test_what_is_no_message_is_malformed(content):
    with pytest.raises(MalformedError):
        walk(content)


def test_a_field_of_another_message_is_not_taken_for_the_rest_of_this_one():
    file = io.BytesIO(b"\x12\x05abcde")

    with pytest.raises(MalformedError, match="field 2 ends 2 bytes after its message"):
        list(walk_fields(file, 0, 5))


def test_the_largest_number_is_read():
    assert read_varint(io.BytesIO(b"\xff" * 9 + b"\x01")) == 2**64 - 1
