"""Reading a LookupTable from a file. The formats are described in `modelserver.lookup`."""

import csv
import math
import os
import zipfile
import zlib
from array import array
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from modelserver.errors import DataLossError, InvalidArgumentError, ServingError
from modelserver.lookup.table import LookupTable

_INT64_MAX = np.iinfo(np.int64).max
# Up to here float32 holds every whole number.
_FLOAT32_EXACT = 2.0**24


class _Csv(csv.excel):
    """Commas, and quotes where a field needs them."""

    strict = True


class _Tsv(csv.excel_tab):
    """Tabs; a quote is a character like any other, as vocabularies of tokens have it."""

    quoting = csv.QUOTE_NONE


_DIALECTS = {".csv": _Csv, ".tsv": _Tsv}
_SUFFIXES = (".npz", *_DIALECTS)


def table_names(names: Iterable[str]) -> list[str]:
    """Which of the files in a version directory are tables, sorted."""
    return sorted(name for name in names if name.endswith(_SUFFIXES) and "/" not in name)


def is_text_table(name: str) -> bool:
    """Whether the file of that name in a version directory is a table whose end shows nowhere."""
    return name.endswith(tuple(_DIALECTS)) and "/" not in name


def is_cut_short(file: BinaryIO, name: str) -> bool:
    """Whether the table in `file`, called `name`, lacks its end: an `.npz` has its directory there.
    Of a text only an empty one is known to.
    """
    return not _has_zip_directory(file) if name.endswith(".npz") else not file.read(1)


def read_table(path: str) -> LookupTable:
    """Read the table file at `path`, of any of the formats.

    Raises:
        InvalidArgumentError: the content is not a table; the message names the line or array.
        DataLossError: the file is truncated or corrupt.
        OSError: it cannot be read.

    """
    try:
        return _read_npz(path) if path.endswith(".npz") else _read_text(path)
    except ServingError as error:
        raise type(error)(f"{path}: {error.message}") from error


# .npz…


def _has_zip_directory(file: str | BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(file):
            return True
    except zipfile.BadZipFile:
        return False


def _read_npz(path: str) -> LookupTable:
    if not _has_zip_directory(path):
        raise DataLossError("truncated, or not an .npz file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("keys", "values") if name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataLossError(f"corrupt .npz file: {error}") from error
    except ValueError as error:  # numpy's word for an array that it cannot or must not read
        raise InvalidArgumentError(str(error)) from error
    if "keys" not in arrays:
        raise InvalidArgumentError("no array 'keys'")
    keys = _checked_keys(arrays["keys"])
    return LookupTable(keys, _checked_values(arrays.get("values"), len(keys)))


def _checked_keys(keys: np.ndarray) -> list[bytes] | list[int]:
    if keys.ndim != 1:
        raise InvalidArgumentError(f"array 'keys' has {keys.ndim} dimensions, needs 1")
    if keys.dtype.kind == "U":
        return [key.encode() for key in keys.tolist()]
    if keys.dtype.kind not in "Siu":
        raise InvalidArgumentError(
            f"array 'keys' has type {keys.dtype}, needs integers or strings (not objects)"
        )
    if keys.dtype.kind == "u" and keys.max(initial=0) > _INT64_MAX:
        raise InvalidArgumentError("array 'keys' has integers that do not fit into int64")
    return keys.tolist()  # type: ignore[no-any-return]  # bytes or int, by the check of its type


def _checked_values(values: np.ndarray | None, count: int) -> np.ndarray | None:
    if values is None:
        return None
    if values.ndim == 0 or len(values) != count:
        raise InvalidArgumentError(f"array 'values' has shape {values.shape} for {count} keys")
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise InvalidArgumentError(f"array 'values' has type {values.dtype}, needs numbers")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


# .csv and .tsv…


def _read_text(path: str) -> LookupTable:
    with open(path, "rb") as file:
        reader = csv.reader(_decoded(file), _DIALECTS[os.path.splitext(path)[1]])
        rows = _Rows()
        try:
            for row in reader:
                rows.add(row, reader.line_num)
        except (ValueError, csv.Error) as error:
            raise InvalidArgumentError(f"line {reader.line_num}: {error}") from error
    return rows.table()


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """Decode line by line, so that an error is known to be in its line. A byte order mark, which
    spreadsheets put first, is not part of the first key.
    """
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataLossError(f"line {number}: not UTF-8 ({error.reason})") from error


class _Rows:
    """Collects the rows of a text. `add` raises `ValueError` with what is wrong in a row."""

    def __init__(self) -> None:
        self._lines: dict[bytes, int] = {}
        self._numbers = array("f")
        self._width: int | None = None

    def add(self, row: list[str], line: int) -> None:
        """Take the row that ends in `line`."""
        if not row:
            raise ValueError("the line is empty")
        key = row[0].encode()
        if key in self._lines:
            raise ValueError(f"key {key!r} is already in line {self._lines[key]}")
        self._lines[key] = line
        width = len(row) - 1
        if self._width not in (None, width):
            raise ValueError(f"{width} numbers, the lines before have {self._width}")
        self._width = width
        numbers = [float(text) for text in row[1:]]
        if any(abs(number) > _FLOAT32_EXACT for number in numbers):
            _check_float32(row[1:])
        self._numbers.extend(numbers)

    def table(self) -> LookupTable:
        """Make the table of all rows: values [rows, columns], or none for a vocabulary."""
        if not self._width:
            return LookupTable(list(self._lines))
        values = np.frombuffer(self._numbers, dtype=np.float32).reshape(-1, self._width)
        return LookupTable(list(self._lines), values)


def _check_float32(texts: list[str]) -> None:
    """Refuse numbers that would turn into others: integers beside float32's, and too large ones."""
    for text in texts:
        (single,) = array("f", [float(text)])
        is_overflow = math.isinf(single) and not math.isinf(float(text))
        if is_overflow or (_is_integer(text) and single != int(text)):
            raise ValueError(f"float32 cannot hold {text}; an .npz keeps numbers of any type")


def _is_integer(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True
