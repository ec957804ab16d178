"""Reads how long each shard of a checkpoint must be from its index, `variables.index`.

The index is a table in LevelDB's format, sorted by key. Its values are protobuf messages: under the
empty key a BundleHeaderProto, under each tensor's name a BundleEntryProto that says where in which
shard the tensor is.
"""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from modelserver.saved_model.wire import MalformedError, file_size, read_varint, walk_fields

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_UNCOMPRESSED = b"\0"
_HEADER_NUM_SHARDS = 1
_ENTRY_SHARD_ID, _ENTRY_OFFSET, _ENTRY_SIZE = 3, 4, 5


class _BlockHandle(NamedTuple):
    offset: int
    size: int


def read_shard_sizes(file: BinaryIO) -> tuple[int, ...]:
    """Return the least size in bytes of each data shard, in order. There is at least one.

    Raises MalformedError where the index is cut short or is no index.
    """
    entries = _read_entries(file)
    key, header = next(entries, (b"", b""))
    num_shards = _integers(header).get(_HEADER_NUM_SHARDS, 0)
    if key or num_shards < 1:
        raise MalformedError("the index has no header")
    sizes = [0] * num_shards
    for _, value in entries:
        entry = _integers(value)
        shard = entry.get(_ENTRY_SHARD_ID, 0)
        if shard >= num_shards:
            raise MalformedError(f"the index names shard {shard} of {num_shards}")
        end = entry.get(_ENTRY_OFFSET, 0) + entry.get(_ENTRY_SIZE, 0)
        sizes[shard] = max(sizes[shard], end)
    return tuple(sizes)


def _read_entries(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    index = _read_block(file, _read_footer(file))
    for _, handle in _block_entries(index):
        yield from _block_entries(_read_block(file, _parse_handle(io.BytesIO(handle))))


def _read_footer(file: BinaryIO) -> _BlockHandle:
    start = file_size(file) - _FOOTER_BYTES
    if start < 0:
        raise MalformedError("the index is shorter than its footer")
    file.seek(start)
    footer = file.read(_FOOTER_BYTES)
    if struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise MalformedError("the index does not end with a footer")
    handles = io.BytesIO(footer)
    _parse_handle(handles)  # of the meta index, which checkpoints leave empty
    return _parse_handle(handles)


def _parse_handle(handle: BinaryIO) -> _BlockHandle:
    return _BlockHandle(read_varint(handle), read_varint(handle))


def _read_block(file: BinaryIO, handle: _BlockHandle) -> bytes:
    file.seek(handle.offset)
    block, compression = file.read(handle.size), file.read(1)
    if len(block) < handle.size or compression != _UNCOMPRESSED:
        raise MalformedError("a block of the index is cut short or compressed")
    return block


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each entry; a key is stored as what differs from the one before."""
    if len(block) < 4:
        raise MalformedError("a block of the index is empty")
    (num_restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (num_restarts + 1)
    stream = io.BytesIO(block)
    key = b""
    while stream.tell() < end:
        shared, unshared, value_size = (read_varint(stream) for _ in range(3))
        key = key[:shared] + stream.read(unshared)
        yield key, stream.read(value_size)


def _integers(message: bytes) -> dict[int, int]:
    fields = walk_fields(io.BytesIO(message), 0, len(message))
    return {field.number: field.value for field in fields}
