"""The index of a checkpoint tells how long each of its shards is."""

import io
import struct

import pytest

from modelserver.saved_model.tensor_index import read_shard_sizes
from modelserver.saved_model.wire import MalformedError

MAGIC = bytes.fromhex("57fb808b247547db")


def varint(value):
    low = bytearray()
    while value > 0x7F:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*low, value])


def integers(**fields):
    """A message of varint fields: integers(_3=1) has 1 in field 3."""
    return b"".join(
        varint(int(number[1:]) << 3) + varint(value) for number, value in fields.items()
    )


def block(entries):
    """A block whose keys share what they can with the key before."""
    content, previous = b"", b""
    for key, value in entries:
        pairs = zip(previous, key, strict=False)
        shared = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(previous), len(key)))
        lengths = varint(shared) + varint(len(key) - shared) + varint(len(value))
        content += lengths + key[shared:] + value
        previous = key
    return content + struct.pack("<II", 0, 1)


def table(*blocks, compression=b"\0"):
    """A table file of these data blocks."""
    content, handles = b"", []
    for entries in blocks:
        data = block(entries)
        handles.append(
            (entries[-1][0] if entries else b"", varint(len(content)) + varint(len(data)))
        )
        content += data + compression + b"crc!"
    index = block(handles)
    footer = (b"\0\0" + varint(len(content)) + varint(len(index))).ljust(40, b"\0") + MAGIC
    return content + index + compression + b"crc!" + footer


def read(content):
    return read_shard_sizes(io.BytesIO(content))


HEADER = (b"", integers(_1=2))


def test_a_shard_reaches_to_the_end_of_its_last_tensor():
    content = table(
        [
            HEADER,
            (b"dense/bias", integers(_3=0, _4=400, _5=40)),
            (b"dense/kernel", integers(_5=400)),
        ],
        [(b"dense_1/bias", integers(_3=1, _4=1 << 33, _5=8)), (b"empty", integers(_3=1, _5=0))],
    )

    sizes = read(content)

    assert sizes == (440, (1 << 33) + 8)


def test_a_model_without_tensors_has_empty_shards():
    assert read(table([HEADER])) == (0, 0)


def test_every_truncation_is_malformed():
    content = table([HEADER, (b"kernel", integers(_5=4))])

    for length in range(len(content)):
        with pytest.raises(MalformedError):
            read(content[:length])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(table([(b"kernel", integers(_5=4))]), id="no header"),
        pytest.param(table([(b"", b"")]), id="no shards"),
        pytest.param(table([]), id="no entries"),
        pytest.param(table(), id="no blocks"),
        pytest.param(table([HEADER, (b"kernel", integers(_3=2))]), id="shard out of range"),
        pytest.param(table([HEADER], compression=b"\1"), id="compressed"),
        pytest.param(b"\xff" * 40 + MAGIC, id="wild footer"),
        pytest.param((b"\0\0" + varint(0) + varint(2)).ljust(40, b"\0") + MAGIC, id="tiny block"),
    ],
)
def test_what_is_no_index_is_malformed(content):
    with pytest.raises(MalformedError):
        read(content)
