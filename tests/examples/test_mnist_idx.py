"""The IDX reader: what it reads, and what it says about files that it cannot read."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from mnist.idx import read_idx
from modelserver.errors import DataLossError

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def written(folder: Path, content: bytes) -> Path:
    path = folder / "images-idx3-ubyte"
    path.write_bytes(content)
    return path


def test_a_plain_file_is_read_with_its_shape(tmp_path: Path) -> None:
    path = written(tmp_path, idx_bytes(PIXELS))

    array = read_idx(path)

    np.testing.assert_array_equal(array, PIXELS)
    assert array.dtype == np.uint8


def test_a_gzipped_file_is_known_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(idx_bytes(PIXELS)))

    np.testing.assert_array_equal(read_idx(path), PIXELS)


def test_a_missing_file_is_an_error_of_the_operating_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file of bytes: it begins with nothing"),
        (b"<html>", "not an IDX file of bytes: it begins with 3c68746d"),
        (b"\0\0\x0d\x01" + bytes(8), "not an IDX file of bytes: it begins with 00000d01"),
        (b"\0\0\x08", "ends within its header"),
        (b"\0\0\x08\x00", "ends within its header"),
        (idx_bytes(PIXELS)[:15], "ends within its header"),
        (idx_bytes(PIXELS)[:-1], r"holds 23 bytes of data, but its header promises 24 \(2x3x4\)"),
        (idx_bytes(PIXELS) + b"\0", "holds 25 bytes of data, but its header promises 24"),
        (gzip.compress(idx_bytes(PIXELS))[:-9], "not intact gzip"),
        (gzip.compress(idx_bytes(PIXELS))[:-4] + bytes(4), "not intact gzip"),
        (b"\x1f\x8bnonsense", "not intact gzip"),
    ],
)
def test_a_damaged_file_is_refused_by_name_with_the_reason(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = written(tmp_path, content)

    with pytest.raises(DataLossError, match=message) as caught:
        read_idx(path)

    assert str(path) in str(caught.value)
