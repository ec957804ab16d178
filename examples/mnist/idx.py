"""The IDX format, in which MNIST is published: a short header, then the bytes of one array."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from modelserver.errors import DataLossError

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTES_MAGIC = b"\x00\x00\x08"


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, compressed with gzip or not, as a uint8 array.

    The content, not the name, tells whether it is compressed. The array is read-only.

    Raises:
        DataLossError: the file is truncated, has bytes to spare, or is no IDX file of bytes.
        OSError: it cannot be read.

    """
    content = _read_uncompressed(path)
    if not content.startswith(_UNSIGNED_BYTES_MAGIC):
        raise DataLossError(
            f"{path} is not an IDX file of bytes: it begins with {content[:4].hex() or 'nothing'}, "
            f"expected {_UNSIGNED_BYTES_MAGIC.hex()} and the number of dimensions"
        )
    shape, data = _split_header(path, content)
    if len(data) != math.prod(shape):
        raise DataLossError(
            f"{path} holds {len(data)} bytes of data, but its header promises "
            f"{math.prod(shape)} ({'x'.join(map(str, shape))}); download it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataLossError(f"{path} is not intact gzip: {error}; download it again") from error


def _split_header(path: Path, content: bytes) -> tuple[tuple[int, ...], bytes]:
    rank = content[3] if len(content) > 3 else 0
    header_bytes = 4 + 4 * rank
    if rank == 0 or len(content) < header_bytes:
        raise DataLossError(f"{path} ends within its header; download it again")
    return struct.unpack(f">{rank}I", content[4:header_bytes]), content[header_bytes:]
