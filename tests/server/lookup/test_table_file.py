import re
from pathlib import Path

import numpy as np
import pytest

from modelserver.errors import DataLossError, InvalidArgumentError
from modelserver.lookup.table import LookupTable
from modelserver.lookup.table_file import is_cut_short, read_table, table_names


def look_up(table: LookupTable, *keys: bytes | int) -> list[object]:
    query = np.array(keys, table.key_dtype)
    return table.gather(table.find(query)).tolist()


def lacks_its_end(path: Path) -> bool:
    with path.open("rb") as file:
        return is_cut_short(file, path.name)


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


# Formats…


def test_a_csv_has_a_key_and_numbers_in_each_line(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", "cat,1,2.5\ndog,-3,1e2\n"))

    assert look_up(table, b"dog", b"cat") == [[-3.0, 100.0], [1.0, 2.5]]
    assert table.value_dtype == np.float32


def test_a_csv_of_one_column_is_a_vocabulary(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", "cat\ndog\n"))

    assert look_up(table, b"dog", b"cat", b"cow") == [1, 0, -1]


def test_keys_of_a_text_are_strings_even_if_they_look_like_numbers(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", "007,1\n7,2\n"))

    assert look_up(table, b"7", b"007") == [[2.0], [1.0]]


def test_fields_of_a_csv_may_be_quoted(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", '"a,b",1\n"say ""hi""",2\n"two\nlines",3\n'))

    assert look_up(table, b"a,b", b'say "hi"', b"two\nlines") == [[1.0], [2.0], [3.0]]


def test_quotes_mean_nothing_in_a_tsv(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.tsv", '"\n,\n""\nthe\n'))

    assert look_up(table, b'"', b",", b'""', b"the") == [0, 1, 2, 3]


def test_a_tsv_has_columns_between_tabs(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.tsv", "a b\t1\t2\n"))

    assert look_up(table, b"a b") == [[1.0, 2.0]]


def test_keys_are_utf_8_and_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", "größe,1\r\n猫,2\r\n"))

    assert look_up(table, "猫".encode(), "größe".encode()) == [[2.0], [1.0]]


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        pytest.param(np.array(["a", "é"]), "é".encode(), id="unicode"),
        pytest.param(np.array([b"a", b"b"]), b"b", id="bytes"),
        pytest.param(np.array([1, 9], np.int32), 9, id="int32"),
        pytest.param(np.array([1, 9], ">i8"), 9, id="big-endian"),
        pytest.param(np.array([1, 9], np.uint64), 9, id="uint64"),
    ],
)
def test_an_npz_has_keys_of_any_type_of_string_or_integer(
    tmp_path: Path, keys: np.ndarray, asked: bytes | int
) -> None:
    np.savez(tmp_path / "t.npz", keys=keys, values=np.array([[1.0], [2.0]]))

    assert look_up(read_table(str(tmp_path / "t.npz")), asked) == [[2.0]]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint64", "bool"])
def test_an_npz_keeps_the_type_of_its_values(tmp_path: Path, dtype: str) -> None:
    np.savez_compressed(tmp_path / "t.npz", keys=np.array([7]), values=np.array([1], dtype))

    table = read_table(str(tmp_path / "t.npz"))

    assert table.value_dtype == np.dtype(dtype)
    assert look_up(table, 7) == [1]


def test_values_of_foreign_byte_order_are_turned_round(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", keys=np.array([7]), values=np.array([1.5], ">f4"))

    table = read_table(str(tmp_path / "t.npz"))

    assert table.value_dtype == np.dtype("=f4")
    assert look_up(table, 7) == [1.5]


def test_an_npz_without_values_is_a_vocabulary(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", keys=np.array(["x", "y"]))

    assert look_up(read_table(str(tmp_path / "t.npz")), b"y", b"z") == [1, -1]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path, name: str) -> None:
    table = read_table(write(tmp_path / name, "\ufeffa\nb\n"))

    assert look_up(table, b"a", b"b") == [0, 1]


def test_a_byte_order_mark_anywhere_else_is_part_of_its_key(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", "a\n\ufeffb\n"))

    assert look_up(table, "\ufeffb".encode()) == [1]


@pytest.mark.parametrize("number", ["16777217", "-16777217", "100000000001", "1e39", "-1e39"])
def test_a_number_that_would_turn_into_another_is_refused(tmp_path: Path, number: str) -> None:
    path = write(tmp_path / "t.csv", f"a,1\nb,{number}\n")

    message = f"line 2: float32 cannot hold {number}; an .npz keeps numbers of any type"
    with pytest.raises(InvalidArgumentError, match=re.escape(message)):
        read_table(path)


@pytest.mark.parametrize(
    "number", ["16777216", "-16777216", "16777218", "123456789.5", "1e20", "inf", "-inf", "0.1"]
)
def test_a_number_that_float32_holds_or_rounds_is_kept(tmp_path: Path, number: str) -> None:
    table = read_table(write(tmp_path / "t.csv", f"a,{number}\n"))

    assert look_up(table, b"a") == [[np.float32(number)]]


# Malformed files…


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param(
            "t.csv",
            "a,1\nb,x\n",
            "line 2: could not convert string to float: 'x'",
            id="no-number",
        ),
        pytest.param(
            "t.csv",
            "key,value\na,1\n",
            "line 1: could not convert string to float: 'value'",
            id="header",
        ),
        pytest.param(
            "t.csv", "a,1,2\nb,1\n", "line 2: 1 numbers, the lines before have 2", id="short-row"
        ),
        pytest.param(
            "t.tsv", "a\nb\t1\n", "line 2: 1 numbers, the lines before have 0", id="long-row"
        ),
        pytest.param("t.csv", "a,1\n\nb,2\n", "line 2: the line is empty", id="empty-line"),
        pytest.param("t.tsv", "a\nb\na\n", "line 3: key b'a' is already in line 1", id="twice"),
        pytest.param("t.csv", 'a,1\n"b,2\n', "line 2: unexpected end of data", id="open-quote"),
        pytest.param("t.csv", "", "the table has no rows", id="no-rows"),
    ],
)
def test_a_malformed_text_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = write(tmp_path / name, content)

    with pytest.raises(InvalidArgumentError, match=f"^{re.escape(f'{path}: {message}')}$"):
        read_table(path)


def test_a_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"a,1\nb,2\n\xff,3\n")

    with pytest.raises(DataLossError, match=r"t\.csv: line 3: not UTF-8"):
        read_table(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param({"values": np.ones(2)}, "no array 'keys'", id="no-keys"),
        pytest.param(
            {"keys": np.ones((2, 2), int)}, "'keys' has 2 dimensions, needs 1", id="two-dimensions"
        ),
        pytest.param(
            {"keys": np.ones(2)}, "'keys' has type float64, needs integers or strings", id="floats"
        ),
        pytest.param(
            {"keys": np.array([2**63], np.uint64)}, "do not fit into int64", id="too-large"
        ),
        pytest.param(
            {"keys": np.array([1, 2]), "values": np.ones((3, 4))},
            "'values' has shape (3, 4) for 2 keys",
            id="lengths-differ",
        ),
        pytest.param(
            {"keys": np.array([1]), "values": np.array(["x"])},
            "'values' has type <U1, needs numbers",
            id="values-are-strings",
        ),
        pytest.param(
            {"keys": np.array([1, 1])}, "key 1 is in row 0 and again in row 1", id="twice"
        ),
        pytest.param({"keys": np.array([], int)}, "the table has no rows", id="no-rows"),
    ],
)
def test_a_malformed_npz_is_refused_with_its_array(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "t.npz", **arrays)

    with pytest.raises(InvalidArgumentError, match=re.escape(message)):
        read_table(str(tmp_path / "t.npz"))


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", keys=np.array([b"a", "b", 3], object))

    with pytest.raises(InvalidArgumentError, match="Object arrays cannot be loaded"):
        read_table(str(tmp_path / "t.npz"))


def test_a_damaged_npz_is_data_loss(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", keys=np.arange(1000))
    content = bytearray((tmp_path / "t.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = write(tmp_path / "t.npz", bytes(content))

    with pytest.raises(DataLossError, match=r"t\.npz: corrupt \.npz file: Bad CRC-32"):
        read_table(path)


# Half-written files…


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_npz_is_cut_short_and_is_data_loss(tmp_path: Path, share: float) -> None:
    np.savez(tmp_path / "t.npz", keys=np.arange(1000), values=np.ones((1000, 4)))
    content = (tmp_path / "t.npz").read_bytes()
    path = write(tmp_path / "part.npz", content[: int(len(content) * share)])

    assert not lacks_its_end(tmp_path / "t.npz")
    assert lacks_its_end(Path(path))
    with pytest.raises(DataLossError, match="truncated"):
        read_table(path)


@pytest.mark.parametrize("content", ["a,1", "a,1\nb,", "a,1\n", "a,1\r\n"])
def test_of_a_text_only_an_empty_one_is_known_to_be_cut_short(tmp_path: Path, content: str) -> None:
    write(tmp_path / "empty.csv", "")
    write(tmp_path / "t.csv", content)

    assert lacks_its_end(tmp_path / "empty.csv")
    assert not lacks_its_end(tmp_path / "t.csv")


def test_tables_are_told_by_their_suffix_and_only_at_the_top() -> None:
    names = ["b.tsv", "a.npz", "c.csv", "README.md", "old/d.csv", "e.csv.part", "_SUCCESS"]

    assert table_names(names) == ["a.npz", "b.tsv", "c.csv"]
